"""The only place that runs ai-edge-quantizer: float32 file and what was observed -> quantized file."""

import contextlib
import io
import re
import warnings
from collections.abc import Mapping

import numpy as np
from ai_edge_quantizer import quantizer, recipe_manager
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.qtyping import TFLOperationName

from export.bias import correct_biases, fit_biases
from export.plan import Choice
from export.quantize import Mode
from export.ranges import Observed, Ranges, is_dead
from export.rewrite import spell_hard_swish
from keras_resnets.errors import first_line

# LiteRT has no integer kernel for a depthwise convolution of float activations; the converter's dynamic mode then
# computes it in a slow way. Its weights are kept in 8 bits and its arithmetic in float32.
# Small layers stay in float32, as the converter leaves them: to quantize their image costs more than it saves.
LEAST_WEIGHTS = 1024
DYNAMIC, WEIGHT_ONLY = ("CONV_2D", "FULLY_CONNECTED"), ("DEPTHWISE_CONV_2D",)
FOUR_BITS = ("CONV_2D", "FULLY_CONNECTED")  # what LiteRT computes with 4-bit weights under 8-bit activations
ANY, ANY_END = ".*", "^.*$"  # a scope of its own: a second rule for all operations would replace the first


class Refused(Exception):
    """The engine cannot quantize this file."""


def quantize(
    data: bytes, mode: Mode, observed: Observed | None = None, choices: Mapping[str, Choice] | None = None
) -> bytes:
    """Quantizes a float32 file as the mode says; operations that ai-edge-quantizer does not know stay in float.

    Args:
        data: A float32 `.tflite` file with one signature.
        mode: A mode whose engines name "quantizer".
        observed: Ranges of its tensors, for modes that are calibrated, and means, by which biases are corrected.
        choices: Types of the tensors that are not to be int8, by name.

    Returns:
        The quantized file; input and output are quantized where the activations are, with choices they are float32.

    Raises:
        Refused: If ai-edge-quantizer fails.
    """
    observed = observed if mode.calibrated else None
    ranges: Ranges = {}
    if observed:
        kept = [tensor for tensor, choice in (choices or {}).items() if choice == "float32"]
        data, ranges = spell_hard_swish(data, observed.ranges, kept)
        data = fit_biases(data, ranges)
    recipe = recipe_manager.RecipeManager()
    every = TFLOperationName.ALL_SUPPORTED
    weight_bits = int(mode.weights.removeprefix("int"))
    if mode.activations == "dynamic":
        for operation in DYNAMIC:
            recipe.add_dynamic_config(ANY, TFLOperationName(operation), weight_bits)
        for operation in WEIGHT_ONLY:
            recipe.add_weight_only_config(ANY, TFLOperationName(operation), weight_bits)
    elif mode.calibrated:
        recipe.add_static_config(ANY, every, int(mode.activations.removeprefix("int")), weight_bits)
    else:
        recipe.add_weight_only_config(ANY, every, weight_bits)
    for tensor, choice in (choices or {}).items():
        scope = f"^{re.escape(tensor)};?$"
        if choice == "float32":
            recipe.add_quantization_config(scope, every, algorithm_key=AlgorithmName.NO_QUANTIZE)
        else:
            for operation in FOUR_BITS:
                recipe.add_static_config(scope, TFLOperationName(operation), 8, 4)
    if choices is not None:
        for end in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
            recipe.add_quantization_config(ANY_END, end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    statistics = {}
    for name, (least, largest) in ranges.items():
        statistics[name] = {"min": np.array([least]), "max": np.array([1.0 if is_dead(least, largest) else largest])}
    rules = recipe.get_quantization_recipe()
    if mode.activations == "dynamic":
        for rule in rules:
            rule["op_config"]["min_weight_elements"] = LEAST_WEIGHTS
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # a bar that it draws all the same
            warnings.filterwarnings("ignore", ".*experimental_preserve_all_tensors", UserWarning)  # its own interpreter
            run = quantizer.Quantizer(bytearray(data), rules)
            result = run.quantize(statistics or None, enable_progress_bar=False, enable_progress_report=False)
    except Exception as error:  # it has no class of its own for what it cannot do
        raise Refused(first_line(error)) from error
    written = bytes(result.quantized_model)
    return correct_biases(data, written, observed.means) if observed else written
