"""Keras layers that round as an int8 file does, and let gradients pass (Jacob et al. 2018, arXiv:1712.05877)."""

from typing import Any

import keras
from keras import layers
from keras.quantizers import fake_quant_with_min_max_vars as fake_quant

NARROWEST = 1e-8  # range of what is always zero, or next to it


def _rounded(kernel: Any, channels: int | None) -> Any:
    """A kernel on the grid of an int8 file: symmetric, 255 steps, for each of the last `channels`, or one for all.

    What is zero, because it was pruned, gets no gradient and stays zero.
    """
    flat = keras.ops.reshape(kernel, (-1, channels or 1))
    flat = flat * keras.ops.stop_gradient(keras.ops.cast(keras.ops.not_equal(flat, 0.0), flat.dtype))
    largest = keras.ops.maximum(keras.ops.max(keras.ops.abs(keras.ops.stop_gradient(flat)), axis=0), NARROWEST)
    rounded = fake_quant(flat, -largest, largest, narrow_range=True, axis=1)
    return keras.ops.reshape(rounded, kernel.shape)


class _Scaled(layers.Layer):
    """What a convolution has when a BatchNorm is folded into it.

    Attributes:
        scale: Fixed factor of each channel that comes out. It stays beside the kernel, so that the kernel learns at the
            pace that it had in front of the BatchNorm.
    """

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        shape = self.kernel.shape[2:] if isinstance(self, layers.DepthwiseConv2D) else (self.filters,)
        self.scale = self.add_weight(shape=shape, initializer="ones", trainable=False, name="scale")

    def save_own_variables(self, store: Any) -> None:
        layers.Layer.save_own_variables(self, store)  # a convolution's own saves kernel and bias alone

    def load_own_variables(self, store: Any) -> None:
        layers.Layer.load_own_variables(self, store)

    def biased(self, outputs: Any) -> Any:
        """The outputs with the bias, if there is one, added to each channel."""
        if not self.use_bias:
            return outputs
        first = self.data_format == "channels_first"
        return outputs + (keras.ops.reshape(self.bias, (1, -1, 1, 1)) if first else self.bias)


@keras.saving.register_keras_serializable(package="keras_resnets")
class RoundedConv2D(_Scaled, layers.Conv2D):
    """A convolution with weights rounded for each channel that comes out."""

    @property
    def rounded(self) -> Any:
        """The kernel as the file will hold it."""
        return _rounded(self.kernel * self.scale, self.filters)

    def call(self, inputs: Any) -> Any:
        return self.biased(self.convolution_op(inputs, self.rounded))


@keras.saving.register_keras_serializable(package="keras_resnets")
class RoundedDepthwiseConv2D(_Scaled, layers.DepthwiseConv2D):
    """A depthwise convolution with weights rounded for each channel."""

    @property
    def rounded(self) -> Any:
        """The kernel as the file will hold it."""
        return _rounded(self.kernel * self.scale, self.kernel.shape[2] * self.kernel.shape[3])

    def call(self, inputs: Any) -> Any:
        where = self.strides, self.padding, self.data_format, self.dilation_rate
        return self.biased(keras.ops.depthwise_conv(inputs, self.rounded, *where))


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
    """Rounds what passes to the 256 steps of a fixed range, and clips it to that.

    Attributes:
        least: Lower end of the range, at most 0.
        largest: Upper end, at least 0.
    """

    rounds = True  # off while the first ranges are read

    def build(self, input_shape: Any) -> None:
        self.least = self.add_weight(shape=(), initializer="zeros", trainable=False, name="least")
        self.largest = self.add_weight(shape=(), initializer="zeros", trainable=False, name="largest")

    def call(self, inputs: Any) -> Any:
        if not self.rounds:
            return inputs
        least, largest = keras.ops.minimum(self.least, 0.0), keras.ops.maximum(self.largest, NARROWEST)
        return fake_quant(inputs, least, largest)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape
