"""Local response normalisation in steps of an int8 file, so that it can be trained under rounding."""

from typing import Any

import keras
import numpy as np
from keras import layers

from export.layers import with_weights_of
from keras_resnets.errors import UsageError
from keras_resnets.layers import LocalResponseNorm

BETA = 0.75  # of all networks that were published with it
LEAST = 1e-3  # of a reciprocal root: that of a norm of a million
STEPS = ("square", "window", "root", "fourth_root", "reciprocal", "factor")


@keras.saving.register_keras_serializable(package="keras_resnets")
class InverseRoot(layers.Layer):
    """One over the square root of every value, of those below `least` that of `least`.

    Args:
        least: Above 0, to which a small value may have been rounded.
    """

    def __init__(self, least: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.least = least

    def call(self, x: Any) -> Any:
        return keras.ops.rsqrt(keras.ops.maximum(x, self.least))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"least": self.least}


def can_be_spelled(layer: Any) -> bool:
    """Whether `spell_out` knows the steps of a layer."""
    return type(layer) is LocalResponseNorm and layer.beta == BETA and layer.bias > 0


def spell_out(model: keras.Model) -> keras.Model:
    """A functional model with each `LocalResponseNorm` as layers that have a rule under rounding, if it can be.

    The sum over neighbouring channels is a 1x1 convolution whose kernel is a band of constants; the power -3/4 of it,
    for whose logarithm there is no 8-bit kernel in every engine, is r * r * r^(-1/2) of its r = t^(-1/2). Where a norm
    t is above a million, it falls as 1 / t.

    Returns:
        Another model with the same weights, or the model itself, where there is nothing to spell out.

    Raises:
        UsageError: If a layer has a name that one of the steps needs.
    """
    responses = [layer.name for layer in model.layers if can_be_spelled(layer)]
    if not responses:
        return model
    taken = {layer.name for layer in model.layers} & {f"{name}_{step}" for name in responses for step in STEPS}
    if taken:
        raise UsageError(f"{model.name}: a layer is called {min(taken)}, as a step of the one before; rename it")

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return _respond(layer, *args, **kwargs) if can_be_spelled(layer) else layer(*args, **kwargs)

    def clone(layer: Any) -> Any:
        return type(layer).from_config(layer.get_config())

    return with_weights_of(model, keras.models.clone_model(model, clone_function=clone, call_function=call))


def _respond(layer: LocalResponseNorm, x: Any) -> Any:
    square, window, root, fourth, reciprocal, factor = (f"{layer.name}_{step}" for step in STEPS)
    count = x.shape[layer.axis]
    places = np.arange(count)
    away = places[:, None] - places  # a channel that goes in from one that comes out
    near = (away >= -(layer.size // 2)) & (away < layer.size - layer.size // 2)
    neighbours = layers.Conv2D(count, 1, data_format=layer.data_format, trainable=False, name=window)
    norm = neighbours(layers.Multiply(name=square)([x, x]))
    neighbours.set_weights([near[None, None] * (layer.alpha / layer.size), np.full(count, layer.bias)])
    r = InverseRoot(layer.bias, name=root)(norm)
    power = [layers.Multiply(name=reciprocal)([r, r]), InverseRoot(LEAST, name=fourth)(r)]
    return layers.Multiply(name=layer.name)([x, layers.Multiply(name=factor)(power)])
