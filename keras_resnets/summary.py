"""What a network costs: parameters, multiply-accumulates and depth, read off the built model."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import keras

from keras_resnets.graph import walk
from keras_resnets.registry import get_variant
from keras_resnets.variant import Error

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
COUNTED = (*CONVOLUTIONS, keras.layers.Dense)
FIGURES = Path(__file__).parent / "figures.json"  # of every registered network; `make golden` builds them and counts


@dataclass(frozen=True)
class ModelInfo:
    """A registered model and its cost.

    Attributes:
        name: Name in the registry.
        family: Family it belongs to.
        reference: Paper and table.
        input_shape: (height, width, channels) that the figures hold for.
        classes: Number of classes the figures hold for.
        parameters: Trainable parameters, as papers count them.
        total_parameters: Trainable parameters and BatchNorm's moving statistics, as Keras counts them.
        macs: Multiply-accumulates of all convolutions and dense layers for one image.
        depth: Number of layers as the paper counts them.
        error: The published error rate, where there is one.
        published_weights: Whether `weights="imagenet"` loads the weights that Keras publishes.
        options: Fields of the spec that a call may set.
    """

    name: str
    family: str
    reference: str
    input_shape: tuple[int, ...]
    classes: int
    parameters: int
    total_parameters: int
    macs: int
    depth: int
    error: Error | None
    published_weights: bool
    options: tuple[str, ...]


def model_info(name: str) -> ModelInfo:
    """What is known of the variant of that name; the figures lie beside this file, so nothing is built.

    Raises:
        UsageError: If there is no such name.
    """
    variant = get_variant(name)
    figures = read_figures()[variant.name]
    return ModelInfo(
        name=variant.name,
        family=variant.spec.family,
        reference=variant.reference,
        input_shape=variant.data.input_shape,
        classes=variant.data.classes,
        parameters=figures["parameters"],
        total_parameters=figures["total_parameters"],
        macs=figures["macs"],
        depth=figures["depth"],
        error=variant.error,
        published_weights=variant.has_published_weights,
        options=variant.options,
    )


@cache
def read_figures() -> dict[str, dict[str, Any]]:
    """Counts of every registered network, as it is built without options, by its name."""
    figures: dict[str, dict[str, Any]] = json.loads(FIGURES.read_text())
    return figures


def count_parameters(model: keras.Model) -> int:
    """Number of trainable parameters."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def count_macs(model: keras.Model) -> int:
    """Multiply-accumulates of all convolutions and dense layers for one image.

    A convolution costs output height * output width * kernel weights, a dense layer its kernel's weights. Biases,
    normalisation, activations, pooling and additions are left out, as papers leave them out.

    Raises:
        ValueError: If a layer's output size is unknown (the model was built with None for height or width), a
            layer is used more than once, or is of a kind that is not counted.
    """
    for layer in model.get_config()["layers"]:
        if len(layer.get("inbound_nodes", ())) > 1:
            raise ValueError(f"{layer['name']} is used more than once; MACs are counted for layers used once")
    return sum(count_macs(layer) if isinstance(layer, keras.Model) else _layer_macs(layer) for layer in model.layers)


def iter_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model and of the models nested in it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from iter_layers(layer)
        else:
            yield layer


def _layer_macs(layer: keras.layers.Layer) -> int:
    if isinstance(layer, keras.layers.Dense):
        return math.prod(layer.kernel.shape)
    if not isinstance(layer, CONVOLUTIONS):
        if any(len(weight.shape) > 2 for weight in layer.weights):
            raise ValueError(f"{layer.name}: the MACs of a {type(layer).__name__} are not counted")
        return 0
    last = layer.data_format == "channels_last"
    height, width = layer.output.shape[1:3] if last else layer.output.shape[2:4]
    if height is None or width is None:
        raise ValueError(f"{layer.name}: MACs need a known image size; build the model with a full input_shape")
    kernels = [weight.shape for weight in layer.weights if weight.name.endswith("kernel")]
    return height * width * sum(map(math.prod, kernels))


def depth(model: keras.Model) -> int:
    """Convolutions and dense layers on the longest path from input to output.

    This is what the number in most networks' names counts: a projection runs beside a block and adds nothing, and
    the gate of a squeeze-excite unit is none of the network's layers.

    Raises:
        ValueError: If the model is not a functional model of plain layers.
    """
    if isinstance(model, keras.Sequential) or any(isinstance(layer, keras.Model) for layer in model.layers):
        raise ValueError(f"{model.name}: depth is counted for functional models without models inside")
    longest: dict[str, int] = {}
    for layer, before in walk(model):
        counted = isinstance(layer, COUNTED) and "_se_" not in layer.name
        longest[layer.name] = max((longest[name] for name in before), default=0) + counted
    return max(longest.values())
