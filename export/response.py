"""Local response normalisation in steps of an int8 file, so that it can be trained under rounding."""

from typing import Any

import keras
import numpy as np
from keras import layers

from keras_resnets.layers import LocalResponseNorm

BETA = 0.75  # of all networks that were published with it
LEAST = 1e-3  # of a reciprocal root: that of a norm of a million


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


def spell_out(model: keras.Model) -> keras.Model:
    """A functional model with each `LocalResponseNorm` of power `BETA` as layers that have a rule under rounding.

    The sum over neighbouring channels is a 1x1 convolution whose kernel is a band of constants; the power -3/4 of it,
    for whose logarithm there is no 8-bit kernel in every engine, is r * r * r^(-1/2) of its r = t^(-1/2).

    Returns:
        Another model with the same weights, or the model itself, where there is nothing to spell out.
    """
    if not any(_can_be_spelled(layer) for layer in model.layers):
        return model

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return _respond(layer, *args, **kwargs) if _can_be_spelled(layer) else layer(*args, **kwargs)

    made = keras.models.clone_model(
        model, clone_function=lambda layer: type(layer).from_config(layer.get_config()), call_function=call
    )
    for layer in model.layers:
        if layer.weights:
            made.get_layer(layer.name).set_weights(layer.get_weights())
    return made


def _can_be_spelled(layer: Any) -> bool:
    return isinstance(layer, LocalResponseNorm) and layer.beta == BETA


def _respond(layer: LocalResponseNorm, x: Any) -> Any:
    name, count = layer.name, x.shape[layer.axis]
    places = np.arange(count)
    near = np.abs(places - places[:, None]) <= layer.size // 2
    square = layers.Multiply(name=f"{name}_square")([x, x])
    window = layers.Conv2D(count, 1, data_format=layer.data_format, trainable=False, name=f"{name}_window")
    norm = window(square)
    window.set_weights([near[None, None] * (layer.alpha / layer.size), np.full(count, layer.bias)])
    root = InverseRoot(layer.bias, name=f"{name}_root")(norm)
    fourth = InverseRoot(LEAST, name=f"{name}_fourth_root")(root)
    reciprocal = layers.Multiply(name=f"{name}_reciprocal")([root, root])
    factor = layers.Multiply(name=f"{name}_factor")([reciprocal, fourth])
    return layers.Multiply(name=name)([x, factor])
