"""Keras layers that round as an int8 file does, and let gradients pass (Jacob et al. 2018, arXiv:1712.05877)."""

from typing import Any

import keras
from keras import layers
from keras.quantizers import fake_quant_with_min_max_vars as fake_quant

MOMENTUM = 0.99  # of the ranges of activations
NARROWEST = 1e-8  # range of a channel of zeros


def _rounded(kernel: Any, channels: int | None) -> Any:
    """A kernel on the grid of an int8 file: symmetric, 255 steps, for each of the last `channels`, or one for all.

    What is zero, because it was pruned, gets no gradient and stays zero.
    """
    flat = keras.ops.reshape(kernel, (-1, channels or 1))
    flat = flat * keras.ops.stop_gradient(keras.ops.cast(keras.ops.not_equal(flat, 0.0), flat.dtype))
    largest = keras.ops.maximum(keras.ops.max(keras.ops.abs(keras.ops.stop_gradient(flat)), axis=0), NARROWEST)
    rounded = fake_quant(flat, -largest, largest, narrow_range=True, axis=1)
    return keras.ops.reshape(rounded, kernel.shape)


@keras.saving.register_keras_serializable(package="keras_resnets")
class RoundedConv2D(layers.Conv2D):
    """A convolution with weights rounded for each channel that comes out."""

    @property
    def rounded(self) -> Any:
        """The kernel as the file will hold it."""
        return _rounded(self.kernel, self.filters)

    def call(self, inputs: Any) -> Any:
        outputs = self.convolution_op(inputs, self.rounded)
        return outputs + self.bias if self.use_bias else outputs


@keras.saving.register_keras_serializable(package="keras_resnets")
class RoundedDepthwiseConv2D(layers.DepthwiseConv2D):
    """A depthwise convolution with weights rounded for each channel."""

    @property
    def rounded(self) -> Any:
        """The kernel as the file will hold it."""
        return _rounded(self.kernel, self.kernel.shape[2] * self.kernel.shape[3])

    def call(self, inputs: Any) -> Any:
        outputs = keras.ops.depthwise_conv(inputs, self.rounded, self.strides, self.padding, self.data_format)
        return outputs + self.bias if self.use_bias else outputs


@keras.saving.register_keras_serializable(package="keras_resnets")
class RoundedDense(layers.Dense):
    """A dense layer with weights rounded for each unit."""

    @property
    def rounded(self) -> Any:
        """The kernel as the file will hold it."""
        return _rounded(self.kernel, self.units)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        outputs = keras.ops.matmul(inputs, self.rounded)
        return outputs + self.bias if self.use_bias else outputs


@keras.saving.register_keras_serializable(package="keras_resnets")
class RoundedActivation(layers.Layer):
    """Rounds what passes to the 256 steps of its range, which follows the batches in training.

    Args:
        fixed: Whether the range stays as it is.

    Attributes:
        least: Lower end of the range, at most 0.
        largest: Upper end, at least 0.
    """

    rounds = True  # off while the first ranges are read

    def __init__(self, *, fixed: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fixed = fixed

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"fixed": self.fixed}

    def build(self, input_shape: Any) -> None:
        self.least = self.add_weight(shape=(), initializer="zeros", trainable=False, name="least")
        self.largest = self.add_weight(shape=(), initializer="zeros", trainable=False, name="largest")

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not self.rounds:
            return inputs
        if training and not self.fixed:
            seen = keras.ops.stop_gradient(inputs)
            for end, now in ((self.least, keras.ops.min(seen)), (self.largest, keras.ops.max(seen))):
                end.assign(MOMENTUM * end + (1 - MOMENTUM) * now)
        least, largest = keras.ops.minimum(self.least, 0.0), keras.ops.maximum(self.largest, NARROWEST)
        return fake_quant(inputs, least, largest)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape
