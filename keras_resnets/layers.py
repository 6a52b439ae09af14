"""The pieces that several families share: convolution + BatchNorm, stems, heads, and three small layers.

Everything reads `keras.config.image_data_format()` through `channel_axis`; feature maps are written below as
(batch, height, width, channels).
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import layers

Pooling = Literal["avg", "max"]


def channel_axis(data_format: str | None = None) -> int:
    """Axis of the channels of a 4-D feature map; by default under the current image data format."""
    return -1 if (data_format or keras.config.image_data_format()) == "channels_last" else 1


@contextmanager
def deep_graphs() -> Iterator[None]:
    """Lets Keras build or load a very deep functional model.

    Keras walks the graph by recursion, one frame a layer, and ResNet-1202 has more layers than Python allows frames.
    """
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 20_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def channels(x: Any) -> int:
    """Number of channels of a feature map."""
    return int(x.shape[channel_axis()])


# Variance 2 / fan-in, as He et al. 2015 (arXiv:1502.01852) derive it for ReLU nets. Drawn uniformly, where the paper
# draws from a Gaussian: TensorFlow builds a ResNet-50 a fifth faster so. By name, because layers that share one
# initializer object would start with equal weights.
HE = "he_uniform"


@dataclass(frozen=True)
class ConvStyle:
    """How a paper or reference implementation writes "convolution + BatchNorm".

    Args:
        use_bias: Whether the convolution carries a bias that the BatchNorm makes redundant.
        symmetric: Whether a strided convolution pads both sides alike (Caffe, torch). Keras's own "same" pads
            only bottom and right when it strides over an even size, which shifts every imported weight.
        momentum: Share of the old BatchNorm statistics kept at each step.
        epsilon: Added to the BatchNorm variance.
    """

    use_bias: bool = False
    symmetric: bool = True
    momentum: float = 0.9
    epsilon: float = 1e-5


PAPER = ConvStyle()
KERAS_DEFAULTS = ConvStyle(use_bias=True, symmetric=False, momentum=0.99, epsilon=1e-3)


def conv_bn(
    x: Any,
    filters: int,
    kernel: int,
    *,
    name: str,
    stride: int = 1,
    style: ConvStyle = PAPER,
    activation: str | None = "relu",
) -> Any:
    """Convolution, BatchNorm and, unless it is None, an activation.

    Args:
        x: Feature map, shape (batch, height, width, channels).
        filters: Channels of the result.
        kernel: Side of the square kernel, odd.
        name: Name of the convolution. It contains "conv"; the padding, BatchNorm and activation carry the same
            name with "pad", "bn" and the activation in its place.
        stride: Step of the kernel in both directions.
        style: Bias, padding and BatchNorm constants.
        activation: A Keras activation name, or None for a linear output.

    Returns:
        Feature map, shape (batch, ceil(height/stride), ceil(width/stride), filters).
    """
    x, padding = _pad(x, kernel, stride, style, name)
    x = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding=padding,
        use_bias=style.use_bias,
        kernel_initializer=HE,
        name=name,
    )(x)
    return _bn_activation(x, style, activation, name)


def depthwise_bn(
    x: Any,
    kernel: int,
    *,
    name: str,
    stride: int = 1,
    style: ConvStyle = PAPER,
    activation: str | None = "relu",
) -> Any:
    """Depthwise convolution, BatchNorm and, unless it is None, an activation; arguments as in `conv_bn`."""
    x, padding = _pad(x, kernel, stride, style, name)
    x = layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        padding=padding,
        use_bias=style.use_bias,
        depthwise_initializer=HE,
        name=name,
    )(x)
    return _bn_activation(x, style, activation, name)


def _pad(x: Any, kernel: int, stride: int, style: ConvStyle, name: str) -> tuple[Any, str]:
    if kernel == 1 or stride == 1 or not style.symmetric:
        return x, "same"
    return layers.ZeroPadding2D(kernel // 2, name=name.replace("conv", "pad"))(x), "valid"


def _bn_activation(x: Any, style: ConvStyle, activation: str | None, name: str) -> Any:
    x = layers.BatchNormalization(
        axis=channel_axis(), momentum=style.momentum, epsilon=style.epsilon, name=name.replace("conv", "bn")
    )(x)
    if activation is None:
        return x
    return layers.Activation(activation, name=name.replace("conv", activation))(x)


def imagenet_stem(x: Any, width: int, style: ConvStyle = PAPER) -> Any:
    """7x7 convolution with stride 2, then a 3x3 max-pool with stride 2: (h, w, c) -> (h/4, w/4, width).

    The pool pads with zeros, which equals the paper's padding because its input comes out of a ReLU.

    References: He et al. 2015, arXiv:1512.03385, Table 1.
    """
    x = conv_bn(x, width, 7, stride=2, style=style, name="stem_conv")
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    return layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)


def cifar_stem(x: Any, width: int, style: ConvStyle = PAPER, activation: str = "relu") -> Any:
    """One 3x3 convolution at full resolution: (h, w, c) -> (h, w, width).

    References: He et al. 2015, arXiv:1512.03385, section 4.2.
    """
    return conv_bn(x, width, 3, style=style, activation=activation, name="stem_conv")


def normalize(x: Any, mean: Sequence[float], std: Sequence[float]) -> Any:
    """(x - mean) / std per channel, as the first layer of a model that takes raw pixels."""
    variance = [s * s for s in std]  # the layer takes a variance, papers give standard deviations
    return layers.Normalization(axis=channel_axis(), mean=list(mean), variance=variance, name="normalize")(x)


def top(x: Any, classes: int, activation: str | None, dropout: float = 0.0) -> Any:
    """Global average pooling, dropout where there is any, and the classifier: (h, w, c) -> (classes,)."""
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    return layers.Dense(classes, activation=activation, name="head_dense")(x)


def headless(x: Any, pooling: Pooling | None) -> Any:
    """The last feature map itself, or its average or maximum over all positions."""
    if pooling == "avg":
        return layers.GlobalAveragePooling2D(name="head_pool")(x)
    if pooling == "max":
        return layers.GlobalMaxPooling2D(name="head_pool")(x)
    return x


def divisible(value: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `value`, but never below 90% of it.

    References: Sandler et al. 2018, arXiv:1801.04381, reference implementation (MobileNet width multiplier).
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * value else rounded + divisor


class _ChannelLayer(layers.Layer):
    """A layer that keeps, as convolutions do, the data format that it was built under."""

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format or keras.config.image_data_format()

    @property
    def axis(self) -> int:
        """Axis of the channels."""
        return channel_axis(self.data_format)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"data_format": self.data_format}


@keras.saving.register_keras_serializable(package="keras_resnets")
class ZeroPadShortcut(_ChannelLayer):
    """Shortcut option A: every `stride`-th pixel, with zero channels added to reach `filters`.

    Has no parameters. Half of the zeros go in front of the channels and half behind: the paper does not say
    where, and the published CIFAR weights are trained this way.

    Args:
        filters: Channels of the result; at least as many as the input has.
        stride: Step in both directions.

    References: He et al. 2015, arXiv:1512.03385, section 3.3, option (A).
    """

    def __init__(self, filters: int, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.stride = stride

    def call(self, x: Any) -> Any:
        step = slice(None, None, self.stride)
        missing = self.filters - x.shape[self.axis]
        zeros = [missing // 2, missing - missing // 2]
        if self.axis == 1:
            return keras.ops.pad(x[:, :, step, step], [[0, 0], zeros, [0, 0], [0, 0]])
        return keras.ops.pad(x[:, step, step, :], [[0, 0], [0, 0], [0, 0], zeros])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"filters": self.filters, "stride": self.stride}


@keras.saving.register_keras_serializable(package="keras_resnets")
class ChannelSplit(_ChannelLayer):
    """Two halves of the channels: (b, h, w, c) -> two of (b, h, w, c/2).

    References: Ma et al. 2018 (ShuffleNet V2), arXiv:1807.11164, Fig. 3c.
    """

    def call(self, x: Any) -> list[Any]:
        return list(keras.ops.split(x, 2, axis=self.axis))


@keras.saving.register_keras_serializable(package="keras_resnets")
class ChannelShuffle(_ChannelLayer):
    """Interleaves `groups` equal blocks of channels, so that the next grouped layer sees all of them.

    Channel i of block g comes out at place i * groups + g.

    Args:
        groups: Number of blocks; divides the channels.

    References: Zhang et al. 2017 (ShuffleNet), arXiv:1707.01083, section 3.1.
    """

    def __init__(self, groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = groups

    def call(self, x: Any) -> Any:
        batch, *rest = keras.ops.shape(x)
        if self.axis == 1:
            count, height, width = rest
            x = keras.ops.reshape(x, (batch, self.groups, count // self.groups, height, width))
            return keras.ops.reshape(keras.ops.transpose(x, (0, 2, 1, 3, 4)), (batch, count, height, width))
        height, width, count = rest
        x = keras.ops.reshape(x, (batch, height, width, self.groups, count // self.groups))
        return keras.ops.reshape(keras.ops.transpose(x, (0, 1, 2, 4, 3)), (batch, height, width, count))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"groups": self.groups}
