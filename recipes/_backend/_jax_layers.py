"""Layers that XLA compiles to less work than those of Keras, with their names, weights and results.

A depthwise convolution is a sum over the pixels of its kernel of the shifted image times a weight. XLA computes that
sum in one loop over the image; its own convolution of as many groups as channels takes several times as long on a CPU.
"""

import math
from typing import Any

import jax.numpy as jnp
import keras

from recipes._backend._keras_layers import made_of


def native(network: keras.Model) -> keras.Model:
    """The same network, to train.

    Args:
        network: A functional model.

    Returns:
        Another model with the same weights, in the same order, or the network itself, where there is nothing to gain.
    """
    return _exchanged(network, keras.layers.DepthwiseConv2D, DepthwiseConv2D)


def portable(network: keras.Model) -> keras.Model:
    """The same network with Keras's layers again, which every backend can load."""
    return _exchanged(network, DepthwiseConv2D, keras.layers.DepthwiseConv2D)


def _exchanged(network: keras.Model, old: type, new: type) -> keras.Model:
    if not any(type(layer) is old for layer in network.layers):
        return network
    return made_of(network, lambda kind: new if kind is old else kind)


MOST = 9  # weights a channel: the gradient holds an image for each of them in memory


class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """A depthwise convolution as a sum of shifted images."""

    def call(self, inputs: Any) -> Any:
        """(n, h, w, c) -> (n, h', w', c)."""
        if self.data_format != "channels_last" or self.depth_multiplier != 1 or math.prod(self.kernel_size) > MOST:
            return super().call(inputs)
        # narrower numbers are multiplied and added in float32, as by a convolution; their gradients, too
        wide = jnp.promote_types(inputs.dtype, "float32")
        kernel = keras.ops.convert_to_tensor(self.kernel).astype(wide)
        sides = zip(inputs.shape[1:3], kernel.shape[:2], self.strides, self.dilation_rate, strict=True)
        (rows, above), (columns, left) = [_places(*side, self.padding) for side in sides]
        padded = jnp.pad(inputs.astype(wide), ((0, 0), above, left, (0, 0)))
        terms = [padded[:, y, x] * kernel[i, j, :, 0] for i, y in enumerate(rows) for j, x in enumerate(columns)]
        outputs = sum(terms[1:], terms[0]).astype(inputs.dtype)
        if self.use_bias:
            outputs = outputs + keras.ops.convert_to_tensor(self.bias)
        return self.activation(outputs)


def _places(pixels: int, size: int, stride: int, dilation: int, padding: str) -> tuple[list[slice], tuple[int, int]]:
    """Along one axis: the pixels that each of the kernel's meets, and the frame of zeros that they are counted in."""
    reach = dilation * (size - 1) + 1
    count = -(-pixels // stride) if padding == "same" else (pixels - reach) // stride + 1
    missing = max((count - 1) * stride + reach - pixels, 0) if padding == "same" else 0
    starts = range(0, dilation * size, dilation)
    return [slice(at, at + (count - 1) * stride + 1, stride) for at in starts], (missing // 2, missing - missing // 2)
