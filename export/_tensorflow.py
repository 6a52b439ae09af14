"""Conversion by TensorFlow; also a program, for models trained on another backend.

    KERAS_BACKEND=tensorflow python -m export._tensorflow FOLDER

reads model.keras, images.npy and wanted.json there and writes MODE.ENGINE.tflite for float32 and for each mode.
"""

import importlib
import json
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export._quantizer import Refused, quantize
from export.flatbuffer import add_signature, describe
from export.layers import are_pixels
from export.plan import Layers, Plan, resolve
from export.qat import Learned, ranges_of_tensors
from export.quantize import MODES, Engine, Mode
from export.ranges import Clipping, Observed, choose_clipping, observe
from export.rewrite import fuse_affine
from keras_resnets.errors import UsageError, first_line
from keras_resnets.layers import deep_graphs

Converted = tuple[Mode, Engine, bytes]


def convert(
    model: keras.Model,
    modes: Iterable[Mode],
    images: np.ndarray | None,
    clipping: Clipping | None,
    plan: Plan,
    learned: Learned | None = None,
) -> Iterator[Converted]:
    """Converts a model to one flatbuffer a mode, batch size 1, built-in operations only.

    Args:
        model: A model with one image input, on the TensorFlow backend.
        modes: Modes wanted.
        images: Calibration images, shape (n, height, width, channels), for the modes that need them.
        clipping: How the ranges of int8 activations are chosen, see `choose_clipping`.
        plan: Types of the layers that are not to be int8, for a mode that needs a plan.
        learned: Ranges by layer, of a model that quantization-aware training gave them to.

    Yields:
        Mode, engine that wrote it, and the bytes of its `.tflite` file, whose input and output are quantized where
        the activations are. The first is float32, wanted or not: the others are compared with it.

    Raises:
        UsageError: If the model holds an operation that LiteRT lacks.
    """
    import tensorflow as tf

    image = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")
    try:
        function = tf.function(lambda image: model(image, training=False)).get_concrete_function(image)
    except Exception as error:  # a layer of the user's can fail in any way
        raise not_traced(model, error) from error
    floats = fuse_affine(run_converter(model, function, MODES["float32"], images))
    yield MODES["float32"], "converter", floats
    for mode in modes:
        if mode.name == "float32":
            continue
        if mode.calibrated and "WHILE" in describe(floats).operations:  # the converter's calibrator would crash
            raise UsageError(
                f"{model.name} holds a loop, as recurrent layers do, whose values cannot be read: build these with "
                f"unroll=True, or use a mode that needs no images"
            )
        made: dict[Engine, bytes] = {}
        for engine in mode.engines if learned is None else mode.engines[:1]:  # the converter takes no ranges
            try:
                if engine == "quantizer":
                    choices = resolve(plan, floats, model) if mode.needs_plan else None
                    if learned is None:
                        chosen = choose_clipping(clipping, mode, engine)
                        observed = None
                        if mode.calibrated and images is not None:
                            observed = observe(floats, images, chosen, pixels=are_pixels(model, images))
                    else:
                        observed = Observed(ranges_of_tensors(floats, learned, model), {})
                    made[engine] = quantize(floats, mode, observed, choices)
                else:
                    made[engine] = run_converter(model, function, mode, images)
            except Refused as refusal:
                mistake = UsageError(f"{model.name} cannot be quantized to {mode.name}: {refusal}")
                continue
            except UsageError as refusal:
                mistake = refusal
                continue
            if not describe(made[engine]).float_operations:
                break
        if not made:
            raise mistake
        engine = min(made, key=lambda one: describe(made[one]).float_operations)  # the first of those with as few
        choose_clipping(clipping, mode, engine)  # an error if it cannot be had
        yield mode, engine, made[engine]


def run_converter(model: keras.Model, function: Any, mode: Mode, images: np.ndarray | None) -> bytes:
    """One run of the converter.

    Args:
        model: The model, which owns the variables.
        function: Its concrete function.
        mode: The mode wanted.
        images: Calibration images for a mode that needs them.

    Raises:
        UsageError: If the model holds an operation that LiteRT lacks.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    converter.experimental_lower_to_saved_model = False  # frozen in memory: a fifth of the time of a SavedModel's
    if mode.weights != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if mode.weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if mode.calibrated and images is not None:
        integer, operations = {
            "int8": (tf.int8, tf.lite.OpsSet.TFLITE_BUILTINS_INT8),
            "int16": (tf.int16, tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8),
        }[mode.activations]
        converter.representative_dataset = lambda: ([image[None].astype(np.float32)] for image in images)
        converter.target_spec.supported_ops = [operations]
        converter.inference_input_type = converter.inference_output_type = integer
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Statistics for quantized inputs", UserWarning)  # the images give them
            data = converter.convert()
    except Exception as error:  # the converter's own class is not public
        raise UsageError(
            f"{model.name} cannot be converted to {mode.name} with built-in operations: "
            f"{_blame(str(error), function, model) or first_line(error)}"
        ) from error
    return add_signature(data)


def _blame(message: str, function: Any, model: keras.Model) -> str:
    """The layers that hold the operations that the converter's message names, and these operations."""
    kinds = set(re.findall(r"'tf\.(\w+)' op", message))
    operations = function.graph.get_operations()
    layers = Layers([one.name for one in operations], {layer.name for layer in model.layers}, model.name)
    found = {layer: one.type for one in operations if one.type in kinds for layer in layers.of(one.name)}
    return ", ".join(f"layer {layer} computes {kind}, which LiteRT lacks" for layer, kind in found.items())


def not_traced(model: keras.Model, error: Exception) -> UsageError:
    """What to say of a model with an error in TensorFlow's tracing: the layers that cannot be traced by themselves."""
    import tensorflow as tf

    found = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        try:
            specs = keras.tree.map_structure(lambda x: tf.TensorSpec((1, *x.shape[1:]), x.dtype), layer.input)
            tf.function(lambda inputs, layer=layer: layer(inputs)).get_concrete_function(specs)
        except Exception:  # as above
            found.append(f"layer {layer.name} ({type(layer).__name__})")
    if not found:
        return UsageError(f"{model.name} cannot be computed: {first_line(error)}")
    return UsageError(
        f"{model.name} is not computed by TensorFlow operations alone: {', '.join(found)}; write it in keras.ops"
    )


def main(folder: Path) -> None:
    """Converts FOLDER/model.keras, importing first the modules that define its layers."""
    wanted = json.loads((folder / "wanted.json").read_text())
    for module in wanted["modules"]:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise UsageError(f"module {module}, which defines layers, cannot be imported: {error}") from error
    images = np.load(folder / "images.npy", allow_pickle=False) if (folder / "images.npy").exists() else None
    try:
        with deep_graphs():
            model = keras.models.load_model(folder / "model.keras", compile=False)
    except Exception as error:  # a layer of the user's can fail in any way
        called = re.search(r"calling (\w+)\.call\(\)", str(error))
        if called is None:
            raise
        named = ", ".join(f"layer {name}" for name, kind in wanted["layers"].items() if kind == called[1])
        raise UsageError(
            f"TensorFlow, which converts, cannot compute {named} ({called[1]}); write it in keras.ops"
        ) from error
    modes = [MODES[name] for name in wanted["modes"]]
    for mode, engine, data in convert(model, modes, images, wanted["clipping"], wanted["plan"], wanted["learned"]):
        (folder / f"{mode.name}.{engine}.tflite").write_bytes(data)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except UsageError as mistake:
        (Path(sys.argv[1]) / "mistake.txt").write_text(str(mistake))
        sys.exit(2)
