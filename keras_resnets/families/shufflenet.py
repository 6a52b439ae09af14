"""ShuffleNetV2 at CIFAR size: channel split, one depthwise branch, concatenation, channel shuffle."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from keras import layers

from keras_resnets.errors import UsageError
from keras_resnets.layers import (
    ChannelShuffle,
    ChannelSplit,
    channel_axis,
    cifar_stem,
    conv_bn,
    depthwise_bn,
)
from keras_resnets.registry import register
from keras_resnets.variant import CIFAR10, Spec, Variant

STEM_WIDTH = 24
REPEATS = (4, 8, 4)  # blocks of the three stages, Ma et al. 2018, Table 5


@dataclass(frozen=True)
class ShuffleNetV2Spec(Spec):
    """ShuffleNetV2 for 32x32 images: the stem neither strides nor pools.

    Args:
        widths: Channels of the three stages, even numbers.
        head_width: Channels of the last 1x1 convolution.

    References: Ma et al. 2018, arXiv:1807.11164, Table 5 and Fig. 3c, 3d.
    """

    family: ClassVar[str] = "shufflenetv2"

    widths: tuple[int, int, int] = (116, 232, 464)
    head_width: int = 1024

    def __post_init__(self) -> None:
        if len(self.widths) != len(REPEATS) or any(width < 2 or width % 2 for width in self.widths):
            raise UsageError(f"widths={self.widths}: give three even, positive numbers of channels")
        if self.head_width < 1:
            raise UsageError(f"head_width={self.head_width}: give a positive number of channels")

    @property
    def stride(self) -> int:
        return 8

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        x = cifar_stem(x, STEM_WIDTH)
        yield "stem", x
        for stage, (width, repeats) in enumerate(zip(self.widths, REPEATS, strict=True), 1):
            x = downsample(x, width, f"stage{stage}_block1")
            for block in range(2, repeats + 1):
                x = unit(x, width, f"stage{stage}_block{block}")
            yield f"stage{stage}", x
        x = conv_bn(x, self.head_width, 1, name="head_conv")
        yield "head", x


def unit(x: Any, width: int, name: str) -> Any:
    """Half of the channels pass, half are transformed: (h, w, width) -> (h, w, width). Fig. 3c."""
    keep, y = ChannelSplit(name=f"{name}_split")(x)
    return _join(keep, _branch(y, width // 2, 1, name), name)


def downsample(x: Any, width: int, name: str) -> Any:
    """Both branches see all channels and stride: (h, w, c) -> (h/2, w/2, width). Fig. 3d."""
    y = depthwise_bn(x, 3, stride=2, linear=True, name=f"{name}_proj_depthwise_conv")
    y = conv_bn(y, width // 2, 1, name=f"{name}_proj_conv")
    return _join(y, _branch(x, width // 2, 2, name), name)


def _branch(x: Any, width: int, stride: int, name: str) -> Any:
    x = conv_bn(x, width, 1, name=f"{name}_conv1")
    x = depthwise_bn(x, 3, stride=stride, linear=True, name=f"{name}_depthwise_conv")
    return conv_bn(x, width, 1, name=f"{name}_conv2")


def _join(left: Any, right: Any, name: str) -> Any:
    x = layers.Concatenate(axis=channel_axis(), name=f"{name}_concat")([left, right])
    return ChannelShuffle(2, name=f"{name}_shuffle")(x)


def _cifar(suffix: str, widths: tuple[int, int, int], head_width: int = 1024) -> Variant:
    reference = "Ma et al. 2018, arXiv:1807.11164, Table 5, stem without stride and pool"
    spec = ShuffleNetV2Spec(widths=widths, head_width=head_width)
    return register(Variant(f"ShuffleNetV2_{suffix}_CIFAR", spec, reference, CIFAR10))


ShuffleNetV2_x0_5_CIFAR = _cifar("x0_5", (48, 96, 192))
ShuffleNetV2_x1_0_CIFAR = _cifar("x1_0", (116, 232, 464))
ShuffleNetV2_x1_5_CIFAR = _cifar("x1_5", (176, 352, 704))
ShuffleNetV2_x2_0_CIFAR = _cifar("x2_0", (244, 488, 976), 2048)
