"""ShuffleNet of Zhang et al. 2018: grouped 1x1 convolutions, and a shuffle that lets the groups see each other."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from keras import layers

from keras_resnets.errors import UsageError
from keras_resnets.families.shufflenet import REPEATS, ShuffleNetSpec
from keras_resnets.layers import (
    ChannelShuffle,
    Stem,
    activate,
    channel_axis,
    channels,
    conv_bn,
    depthwise_bn,
    drop_path,
)
from keras_resnets.registry import register
from keras_resnets.spec import ResidualSpec
from keras_resnets.variant import CIFAR10, Error, Variant

_PAPER = "Zhang et al. 2018, arXiv:1707.01083"

WIDTHS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # groups -> channels of the first stage, Table 1; each next doubles
STEM_WIDTH = 24
BOTTLENECK = 4  # channels of a unit per channel of its bottleneck, section 3.2


@dataclass(frozen=True)
class ShuffleNetV1Spec(ShuffleNetSpec, ResidualSpec):
    """ShuffleNet.

    Args:
        widths: Channels of the three stages; they and what each adds to the one before are multiples of `groups`.
        groups: Groups of the 1x1 convolutions.

    References: Zhang et al. 2018, arXiv:1707.01083, Table 1 and Fig. 2b, 2c.
    """

    family: ClassVar[str] = "shufflenetv1"

    widths: tuple[int, int, int] = (240, 480, 960)
    groups: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.groups < 1:
            raise UsageError(f"groups={self.groups}: give a positive number")
        if len(self.widths) != len(REPEATS) or any(a >= b for a, b in pairwise((self.stem_width, *self.widths))):
            raise UsageError(
                f"stem_width={self.stem_width}, widths={self.widths}: give three widths, each above the one before it "
                f"(a strided unit adds channels to those it keeps)"
            )
        if any(width % self.groups for width in (self.stem_width, *self.widths)):
            raise UsageError(
                f"stem_width={self.stem_width}, widths={self.widths}: give multiples of groups={self.groups}"
            )

    def unit(self, x: Any, width: int, stride: int, name: str, number: int) -> Any:
        return unit(self, x, width, stride, name, self.drop_rate(number, sum(REPEATS)))


def unit(spec: ShuffleNetV1Spec, x: Any, width: int, stride: int, name: str, drop: float) -> Any:
    """Narrow, shuffle, filter depthwise, widen: (h, w, c) -> (h/stride, w/stride, width). Fig. 2b, 2c.

    Around it goes the input: added, or where the unit strides, pooled and concatenated.
    """
    style, groups = spec.style, spec.groups
    narrow = multiple(max(1, width // BOTTLENECK), groups)
    added = width if stride == 1 else width - channels(x)
    first = 1 if channels(x) == spec.stem_width else groups  # section 3.2: the stem has too few channels to group
    y = conv_bn(x, narrow, 1, groups=first, style=style, name=f"{name}_conv1")
    if groups > 1:
        y = ChannelShuffle(groups, name=f"{name}_shuffle")(y)
    y = depthwise_bn(y, 3, stride=stride, style=style, linear=True, name=f"{name}_depthwise_conv")
    zero = spec.zero_init_residual and stride == 1
    y = conv_bn(y, added, 1, groups=groups, style=style, linear=True, starts_at_zero=zero, name=f"{name}_conv2")
    if stride == 1:
        y = layers.Add(name=f"{name}_add")([x, drop_path(y, drop, name=f"{name}_drop_path")])
    else:
        y = layers.Concatenate(axis=channel_axis(), name=f"{name}_concat")([average_pool(x, f"{name}_proj_pool"), y])
    return activate(y, style=style, name=f"{name}_out")


def average_pool(x: Any, name: str) -> Any:
    """3x3 averages with stride 2, the padding counted as zeros: (h, w, c) -> (h/2, w/2, c). Fig. 2c."""
    x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    return layers.AveragePooling2D(3, strides=2, name=name)(x)


def multiple(value: int, groups: int) -> int:
    """The smallest multiple of `groups` from `value` up."""
    return -(-value // groups) * groups


def _spec(groups: int, scale: float, stem: Stem = "imagenet") -> ShuffleNetV1Spec:
    """ShuffleNet s times: the filters of Table 1, those of the stem too, times the scale.

    The complexities in Tables 2 and 5 (38 MFLOPs at 0.5x, 524 at 2x with three groups) hold with a scaled stem. Where
    the groups do not divide the stem or a bottleneck of a 0.5x net, the next multiple is taken, as the authors' code,
    github.com/megvii-model/ShuffleNet-Series, takes 16 channels in the stem for eight groups.
    """
    first = int(WIDTHS[groups] * scale)
    stem_width = multiple(int(STEM_WIDTH * scale), groups)
    return ShuffleNetV1Spec(stem=stem, stem_width=stem_width, widths=(first, 2 * first, 4 * first), groups=groups)


def _imagenet(groups: int, suffix: str, scale: float, percent: float | None = None, table: int = 2) -> Variant:
    error = Error(percent, f"ImageNet top-1, one 224x224 crop, {_PAPER}, Table {table}") if percent else None
    reference = f"{_PAPER}, Table 1" if scale == 1 else f"{_PAPER}, Table 1, {scale:g} times as wide"
    return register(Variant(f"ShuffleNetV1_g{groups}_{suffix}", _spec(groups, scale), reference, error=error))


ShuffleNetV1_g1_x0_5 = _imagenet(1, "x0_5", 0.5, 45.1)
ShuffleNetV1_g1_x1_0 = _imagenet(1, "x1_0", 1.0, 33.6)
ShuffleNetV1_g1_x2_0 = _imagenet(1, "x2_0", 2.0)

ShuffleNetV1_g2_x0_5 = _imagenet(2, "x0_5", 0.5, 44.4)
ShuffleNetV1_g2_x1_0 = _imagenet(2, "x1_0", 1.0, 32.7)
ShuffleNetV1_g2_x2_0 = _imagenet(2, "x2_0", 2.0)

ShuffleNetV1_g3_x0_5 = _imagenet(3, "x0_5", 0.5, 43.2)
ShuffleNetV1_g3_x1_0 = _imagenet(3, "x1_0", 1.0, 32.6)
ShuffleNetV1_g3_x2_0 = _imagenet(3, "x2_0", 2.0, 26.3, table=5)

ShuffleNetV1_g4_x0_5 = _imagenet(4, "x0_5", 0.5, 41.6)
ShuffleNetV1_g4_x1_0 = _imagenet(4, "x1_0", 1.0, 32.8)
ShuffleNetV1_g4_x2_0 = _imagenet(4, "x2_0", 2.0)

ShuffleNetV1_g8_x0_5 = _imagenet(8, "x0_5", 0.5, 42.3)
ShuffleNetV1_g8_x1_0 = _imagenet(8, "x1_0", 1.0, 32.4)
ShuffleNetV1_g8_x2_0 = _imagenet(8, "x2_0", 2.0)

ShuffleNetV1_g3_x1_0_CIFAR = register(
    Variant(
        "ShuffleNetV1_g3_x1_0_CIFAR",
        _spec(3, 1.0, "cifar"),
        f"{_PAPER}, Table 1, stem without stride and pool",
        CIFAR10,
    )
)
