"""ShuffleNetV2 of Ma et al. 2018: channel split, one depthwise branch, concatenation, channel shuffle."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from keras import layers

from keras_resnets.errors import UsageError
from keras_resnets.families.shufflenet import REPEATS, ShuffleNetSpec
from keras_resnets.layers import ChannelShuffle, ChannelSplit, ConvStyle, channel_axis, conv_bn, depthwise_bn
from keras_resnets.registry import register
from keras_resnets.variant import CIFAR10, Error, Variant

_PAPER = "Ma et al. 2018, arXiv:1807.11164"


@dataclass(frozen=True)
class ShuffleNetV2Spec(ShuffleNetSpec):
    """ShuffleNetV2.

    Args:
        widths: Channels of the three stages, even numbers.
        head_width: Channels of the last 1x1 convolution.

    References: Ma et al. 2018, arXiv:1807.11164, Table 5 and Fig. 3c, 3d.
    """

    family: ClassVar[str] = "shufflenetv2"

    head_width: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.widths) != len(REPEATS) or any(width < 2 or width % 2 for width in self.widths):
            raise UsageError(f"widths={self.widths}: give three even, positive numbers of channels")
        if self.head_width < 1:
            raise UsageError(f"head_width={self.head_width}: give a positive number of channels")

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        last = x
        for name, last in super().stages(x):
            yield name, last
        x = conv_bn(last, self.head_width, 1, style=self.style, name="head_conv")
        yield "head", x

    def unit(self, x: Any, width: int, stride: int, name: str, number: int) -> Any:
        return basic(x, width, name, self.style) if stride == 1 else downsample(x, width, name, self.style)


def basic(x: Any, width: int, name: str, style: ConvStyle) -> Any:
    """Half of the channels pass, half are transformed: (h, w, width) -> (h, w, width). Fig. 3c."""
    keep, y = ChannelSplit(name=f"{name}_split")(x)
    return _join(keep, _branch(y, width // 2, 1, name, style), name)


def downsample(x: Any, width: int, name: str, style: ConvStyle) -> Any:
    """Both branches see all channels and stride: (h, w, c) -> (h/2, w/2, width). Fig. 3d."""
    y = depthwise_bn(x, 3, stride=2, style=style, linear=True, name=f"{name}_proj_depthwise_conv")
    y = conv_bn(y, width // 2, 1, style=style, name=f"{name}_proj_conv")
    return _join(y, _branch(x, width // 2, 2, name, style), name)


def _branch(x: Any, width: int, stride: int, name: str, style: ConvStyle) -> Any:
    x = conv_bn(x, width, 1, style=style, name=f"{name}_conv1")
    x = depthwise_bn(x, 3, stride=stride, style=style, linear=True, name=f"{name}_depthwise_conv")
    return conv_bn(x, width, 1, style=style, name=f"{name}_conv2")


def _join(left: Any, right: Any, name: str) -> Any:
    x = layers.Concatenate(axis=channel_axis(), name=f"{name}_concat")([left, right])
    return ChannelShuffle(2, name=f"{name}_shuffle")(x)


def _imagenet(suffix: str, widths: tuple[int, int, int], percent: float, head_width: int = 1024) -> Variant:
    error = Error(percent, f"ImageNet top-1, one 224x224 crop, {_PAPER}, Table 8")
    spec = ShuffleNetV2Spec(widths=widths, head_width=head_width)
    return register(Variant(f"ShuffleNetV2_{suffix}", spec, f"{_PAPER}, Table 5", error=error))


def _cifar(suffix: str, widths: tuple[int, int, int], head_width: int = 1024) -> Variant:
    reference = f"{_PAPER}, Table 5, stem without stride and pool"
    spec = ShuffleNetV2Spec(stem="cifar", widths=widths, head_width=head_width)
    return register(Variant(f"ShuffleNetV2_{suffix}_CIFAR", spec, reference, CIFAR10))


X0_5, X1_0, X1_5, X2_0 = (48, 96, 192), (116, 232, 464), (176, 352, 704), (244, 488, 976)

ShuffleNetV2_x0_5 = _imagenet("x0_5", X0_5, 39.7)
ShuffleNetV2_x1_0 = _imagenet("x1_0", X1_0, 30.6)
ShuffleNetV2_x1_5 = _imagenet("x1_5", X1_5, 27.4)
ShuffleNetV2_x2_0 = _imagenet("x2_0", X2_0, 25.1, 2048)

ShuffleNetV2_x0_5_CIFAR = _cifar("x0_5", X0_5)
ShuffleNetV2_x1_0_CIFAR = _cifar("x1_0", X1_0)
ShuffleNetV2_x1_5_CIFAR = _cifar("x1_5", X1_5)
ShuffleNetV2_x2_0_CIFAR = _cifar("x2_0", X2_0, 2048)
