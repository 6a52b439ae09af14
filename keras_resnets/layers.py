"""The pieces that several families share: convolutions, norms, pools, stems, heads, and a few small layers.

Everything reads `keras.config.image_data_format()` through `channel_axis`; feature maps are written below as
(batch, height, width, channels).
"""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import layers

from keras_resnets.errors import UsageError

Stem = Literal["imagenet", "cifar"]
Pooling = Literal["avg", "max"]
Norm = Literal["batch", "layer", "instance", "group", "none"]
Padding = Literal["symmetric", "same", "valid"]
PoolPadding = Literal["symmetric", "ceil", "valid", "same"]


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
    """How a paper or reference implementation writes "convolution, normalisation, activation".

    Args:
        norm: "batch"; "layer", over height, width and channels of one image; "instance", over height and width;
            "group", over 32 groups of channels, in narrow layers fewer: a group has two at least (Wu & He 2018,
            arXiv:1803.08494); or "none".
        activation: A Keras activation name.
        use_bias: Whether a convolution carries a bias that the normalisation after it makes redundant.
            Without a normalisation it always carries one.
        padding: "symmetric": a strided convolution pads both sides alike (Caffe, torch). "same": Keras's own,
            which pads only bottom and right when it strides over an even size. "valid": it pads nothing.
        scale: Whether the normalisation multiplies by a learned gamma.
        momentum: Share of the old BatchNorm statistics kept at each step.
        epsilon: Added to the variance.
    """

    norm: Norm = "batch"
    activation: str = "relu"
    use_bias: bool = False
    padding: Padding = "symmetric"
    scale: bool = True
    momentum: float = 0.9
    epsilon: float = 1e-5


PAPER = ConvStyle()
GROUPS = 32  # of channels, Wu & He 2018, section 3.2
LOWEST = -65504.0  # of float16, the narrowest type that a network computes in
NEVER_NEGATIVE = ("relu", "relu6", "sigmoid", "hard_sigmoid", "softplus", "exponential")


def conv(
    x: Any,
    filters: int,
    kernel: int | tuple[int, int],
    *,
    name: str,
    stride: int = 1,
    groups: int = 1,
    style: ConvStyle = PAPER,
    use_bias: bool | None = None,
    zeros: int | None = None,
    starts_at_zero: bool = False,
) -> Any:
    """Convolution alone, by default padded so that only a stride changes the size.

    Args:
        x: Feature map, shape (batch, height, width, channels).
        filters: Channels of the result.
        kernel: Side of the square kernel, or (height, width) of it, odd.
        name: Name of the layer. It contains "conv"; padding, normalisation and activation around it carry the same
            name with "pad", "bn" and the activation in its place.
        stride: Step of the kernel in both directions.
        groups: Blocks of channels that are convolved apart; divides input channels and filters.
        style: Says whether there is a bias and which sides are padded.
        use_bias: Overrules the style.
        zeros: Rows of zeros on every side of the map; overrules the style.
        starts_at_zero: Whether the kernel starts at 0, so that a residual branch starts as nothing.

    Returns:
        Feature map, shape (batch, ceil(height/stride), ceil(width/stride), filters).
    """
    if use_bias is None:
        use_bias = style.use_bias or style.norm == "none"
    x, padding = _pad(x, kernel, stride, style, name, zeros)
    return layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding=padding,
        groups=groups,
        use_bias=use_bias,
        kernel_initializer="zeros" if starts_at_zero else HE,
        name=name,
    )(x)


def depthwise(x: Any, kernel: int, *, name: str, stride: int = 1, style: ConvStyle = PAPER) -> Any:
    """Depthwise convolution alone; arguments as in `conv`."""
    x, padding = _pad(x, kernel, stride, style, name)
    return layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        padding=padding,
        use_bias=style.use_bias or style.norm == "none",
        depthwise_initializer=depthwise_initializer(x, 2.0, style),
        name=name,
    )(x)


def depthwise_initializer(x: Any, gain: float, style: ConvStyle) -> keras.initializers.Initializer | str:
    """Draws a depthwise kernel with variance gain / fan-in where the signal depends on it.

    Keras's `HE` counts all channels as inputs of each. After a normalisation that is left so: there the scale of a
    kernel decides how fast it learns, and small ones learn faster.
    """
    if style.norm != "none":
        return HE
    return keras.initializers.VarianceScaling(gain * channels(x), "fan_in", "uniform")


def _pad(
    x: Any, kernel: int | tuple[int, int], stride: int, style: ConvStyle, name: str, zeros: int | None = None
) -> tuple[Any, str]:
    if stride == 1 and isinstance(kernel, int) and zeros == (kernel - 1) / 2:
        return x, "same"  # which trains faster than a layer that pads and a convolution
    if zeros is not None:
        return (layers.ZeroPadding2D(zeros, name=name.replace("conv", "pad"))(x) if zeros else x), "valid"
    if kernel == 1 or stride == 1 or style.padding == "same":
        return x, "same"
    if style.padding == "valid":
        return x, "valid"
    half = kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
    return layers.ZeroPadding2D(half, name=name.replace("conv", "pad"))(x), "valid"


def norm(x: Any, *, name: str, style: ConvStyle = PAPER, starts_at_zero: bool = False) -> Any:
    """The style's normalisation.

    Args:
        x: Feature map, shape (batch, height, width, channels).
        name: Name of the layer; contains "bn", which a normalisation other than BatchNorm replaces by "norm".
        style: Kind and constants.
        starts_at_zero: Whether the learned scale starts at 0, so that a residual branch starts as nothing.

    Returns:
        Feature map of the same shape.
    """
    gamma = "zeros" if starts_at_zero else "ones"
    if style.norm == "batch":
        return layers.BatchNormalization(
            axis=channel_axis(),
            momentum=style.momentum,
            epsilon=style.epsilon,
            scale=style.scale,
            gamma_initializer=gamma,
            name=name,
        )(x)
    if style.norm == "none":
        return x
    count = channels(x)
    groups = {"layer": 1, "instance": count, "group": math.gcd(GROUPS, count)}[style.norm]
    if style.norm == "group" and groups == count > 1:
        groups //= 2
    if style.norm == "instance" and tuple(x.shape[1:]).count(1) >= 2 and count > 1:
        raise UsageError(
            f"norm='instance' leaves nothing of a map of 1x1, at {name}; use larger images or another norm"
        )
    return layers.GroupNormalization(
        groups,
        axis=channel_axis(),
        epsilon=style.epsilon,
        scale=style.scale,
        gamma_initializer=gamma,
        name=name.replace("bn", "norm"),
    )(x)


def activate(x: Any, *, name: str, style: ConvStyle = PAPER) -> Any:
    """The style's activation."""
    return layers.Activation(style.activation, name=name)(x)


def norm_activation(x: Any, *, name: str, style: ConvStyle = PAPER) -> Any:
    """Normalisation, then activation, in front of a convolution; `name` contains "bn"."""
    x = norm(x, name=name, style=style)
    return activate(x, name=name.replace("bn", style.activation), style=style)


def conv_bn(
    x: Any,
    filters: int,
    kernel: int | tuple[int, int],
    *,
    name: str,
    stride: int = 1,
    groups: int = 1,
    style: ConvStyle = PAPER,
    zeros: int | None = None,
    linear: bool = False,
    starts_at_zero: bool = False,
) -> Any:
    """Convolution, normalisation and, unless it is `linear`, activation; arguments as in `conv` and `norm`."""
    bare = starts_at_zero and style.norm == "none"  # no scale to start at zero: the kernel must
    x = conv(x, filters, kernel, name=name, stride=stride, groups=groups, style=style, zeros=zeros, starts_at_zero=bare)
    return _finish(x, style, name, linear, starts_at_zero)


def depthwise_bn(
    x: Any, kernel: int, *, name: str, stride: int = 1, style: ConvStyle = PAPER, linear: bool = False
) -> Any:
    """Depthwise convolution, normalisation and, unless it is `linear`, activation; arguments as in `conv`."""
    return _finish(depthwise(x, kernel, name=name, stride=stride, style=style), style, name, linear)


def _finish(x: Any, style: ConvStyle, name: str, linear: bool, starts_at_zero: bool = False) -> Any:
    x = norm(x, name=name.replace("conv", "bn"), style=style, starts_at_zero=starts_at_zero)
    return x if linear else activate(x, name=name.replace("conv", style.activation), style=style)


def max_pool(
    x: Any, size: int = 3, stride: int = 2, *, name: str, padding: PoolPadding = "symmetric", style: ConvStyle = PAPER
) -> Any:
    """Max-pool as the frameworks of the papers pad it: with nothing that could be a maximum.

    Args:
        x: Feature map, shape (batch, height, width, channels).
        size: Side of the window.
        stride: Step of the window in both directions.
        name: Name of the layer; the padding is called the same with "_pad" appended.
        padding: "symmetric": both sides alike (torch). "ceil": a last window that sticks out at the bottom or right
            is kept (Caffe). "valid": it is dropped. "same": Keras's own.
        style: Its activation, which the map comes out of, says whether zeros can stand for minus infinity.

    Returns:
        Feature map, shape (batch, about height/stride, about width/stride, channels).
    """
    sides = {"symmetric": (size // 2, size // 2), "ceil": (0, stride - 1)}.get(padding)
    if sides:  # one row more changes nothing where the windows fit, and completes the last where they do not
        pad = layers.ZeroPadding2D if style.activation in NEVER_NEGATIVE else LowestPadding2D
        x = pad((sides, sides), name=f"{name}_pad")(x)
    return layers.MaxPooling2D(size, strides=stride, padding="same" if padding == "same" else "valid", name=name)(x)


def squeeze_excite(x: Any, squeezed: int, *, name: str, gate: str = "sigmoid") -> Any:
    """Scales every channel by a gate computed from the averages of all: (h, w, c) -> (h, w, c).

    The narrow layer is followed by a ReLU, as in the paper, whatever the activation of the network.

    Args:
        x: Feature map, shape (batch, height, width, channels).
        squeezed: Channels of the narrow layer.
        name: Prefix of the layers' names; they contain "_se_".
        gate: Activation of the gate.

    References: Hu et al. 2018, arXiv:1709.01507, Fig. 3.
    """
    y = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_se_pool")(x)
    y = layers.Conv2D(squeezed, 1, kernel_initializer=HE, name=f"{name}_se_conv1")(y)
    y = layers.Activation("relu", name=f"{name}_se_relu1")(y)
    y = layers.Conv2D(channels(x), 1, name=f"{name}_se_conv2")(y)
    y = layers.Activation(gate, name=f"{name}_se_gate")(y)
    return layers.Multiply(name=f"{name}_se_scale")([x, y])


def drop_path(x: Any, rate: float, *, name: str) -> Any:
    """Drops a whole residual branch, for each image apart, and scales the others up; nothing at inference.

    Args:
        x: Output of the branch.
        rate: Share of the images that lose it, 1 - p_l of the paper.
        name: Name of the layer.

    References: Huang et al. 2016, arXiv:1603.09382, eq. 2 and 5; scaled in training instead of at inference.
    """
    return layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=name)(x) if rate else x


def imagenet_stem(x: Any, width: int, style: ConvStyle = PAPER) -> Any:
    """7x7 convolution with stride 2, then a 3x3 max-pool with stride 2: (h, w, c) -> (h/4, w/4, width).

    References: He et al. 2015, arXiv:1512.03385, Table 1.
    """
    x = conv_bn(x, width, 7, stride=2, style=style, name="stem_conv")
    return max_pool(x, style=style, name="stem_pool")


def cifar_stem(x: Any, width: int, style: ConvStyle = PAPER) -> Any:
    """One 3x3 convolution at full resolution: (h, w, c) -> (h, w, width).

    References: He et al. 2015, arXiv:1512.03385, section 4.2.
    """
    return conv_bn(x, width, 3, style=style, name="stem_conv")


def normalize(x: Any, mean: Sequence[float], std: Sequence[float]) -> Any:
    """(x - mean) / std per channel, as the first layer of a model that takes raw pixels."""
    if len(mean) != channels(x) or len(std) != channels(x):
        raise UsageError(
            f"pixel_stats: {len(mean)} means and {len(std)} standard deviations for images of {channels(x)} channels; "
            f"give one of each a channel"
        )
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
class LowestPadding2D(_ChannelLayer):
    """Rows of the lowest number around a map, in front of a max-pool: (b, h, w, c) -> (b, h + .., w + .., c).

    Args:
        padding: ((top, bottom), (left, right)) rows.
    """

    def __init__(self, padding: Sequence[Sequence[int]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.padding = tuple(tuple(sides) for sides in padding)

    def call(self, x: Any) -> Any:
        none = (0, 0)
        sides = (none, *self.padding, none) if self.axis == -1 else (none, none, *self.padding)
        return keras.ops.pad(x, sides, constant_values=LOWEST)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"padding": self.padding}


@keras.saving.register_keras_serializable(package="keras_resnets")
class ZeroPadShortcut(_ChannelLayer):
    """Shortcut option A: every `stride`-th pixel, with zero channels added to reach `filters`.

    Has no parameters. Half of the zeros go in front of the channels and half after: the paper does not say
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


@keras.saving.register_keras_serializable(package="keras_resnets")
class LocalResponseNorm(_ChannelLayer):
    """Divides every value by a norm of its neighbours in the channels: (b, h, w, c) -> (b, h, w, c).

    y_i = x_i / (bias + alpha / size * sum of x_j^2 over the `size` channels j around i) ^ beta. Caffe divides alpha
    by the size, the paper does not.

    Args:
        size: Channels in the window, odd.
        alpha: Weight of the mean square.
        beta: Exponent.
        bias: Added to the mean square.

    References: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 3.3.
    """

    def __init__(
        self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.bias = bias

    def call(self, x: Any) -> Any:
        square = x * math.sqrt(self.alpha / self.size)  # scaled first: half floats would overflow
        square = square * square
        count, half = x.shape[self.axis], [self.size // 2, self.size // 2]
        if self.axis == 1:
            square = keras.ops.pad(square, [[0, 0], half, [0, 0], [0, 0]])
            window = [square[:, start : start + count] for start in range(self.size)]
        else:
            square = keras.ops.pad(square, [[0, 0], [0, 0], [0, 0], half])
            window = [square[..., start : start + count] for start in range(self.size)]
        # A power and a division by way of the logarithm: TFLite has no 8-bit kernels of these two, nor of a square.
        return x * keras.ops.exp(-self.beta * keras.ops.log(self.bias + sum(window)))

    def get_config(self) -> dict[str, Any]:
        own = {"size": self.size, "alpha": self.alpha, "beta": self.beta, "bias": self.bias}
        return super().get_config() | own
