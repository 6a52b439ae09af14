"""MobileNetV3 of Howard et al. 2019: searched inverted residuals with squeeze-excite, hard-swish and a late head."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from keras import layers

from keras_resnets.families.mobilenet import MobileNetSpec, inverted_residual
from keras_resnets.layers import HE, ConvStyle, activate, channels, conv_bn, divisible
from keras_resnets.registry import register
from keras_resnets.spec import ResidualSpec
from keras_resnets.variant import CIFAR10, Error, Variant

_PAPER = "Howard et al. 2019, arXiv:1905.02244"

Size = Literal["small", "large"]


class Stage(NamedTuple):
    """Blocks of equal width, one row of the paper's table each.

    Args:
        kernel: Side of the depthwise kernels.
        expanded: Channels of each block's depthwise convolution, "exp size".
        width: Channels between the blocks, "#out".
        squeezes: Whether the blocks have squeeze-excite units, "SE".
        activation: Activation of the blocks, "NL".
        stride: Step of the first block, "s".
    """

    kernel: int
    expanded: tuple[int, ...]
    width: int
    squeezes: bool
    activation: str
    stride: int


# Tables 1 and 2. The tick of Table 2 for a squeeze-excite unit at the last convolution is not in the authors' code.
STAGES: dict[Size, tuple[Stage, ...]] = {
    "large": (
        Stage(3, (16,), 16, False, "relu", 1),
        Stage(3, (64, 72), 24, False, "relu", 2),
        Stage(5, (72, 120, 120), 40, True, "relu", 2),
        Stage(3, (240, 200, 184, 184), 80, False, "hard_swish", 2),
        Stage(3, (480, 672), 112, True, "hard_swish", 1),
        Stage(5, (672, 960, 960), 160, True, "hard_swish", 2),
    ),
    "small": (
        Stage(3, (16,), 16, True, "relu", 2),
        Stage(3, (72, 88), 24, False, "relu", 2),
        Stage(5, (96, 240, 240), 40, True, "hard_swish", 2),
        Stage(5, (120, 144), 48, True, "hard_swish", 1),
        Stage(5, (288, 576, 576), 96, True, "hard_swish", 2),
    ),
}
STEM_WIDTH = 16
HEAD_EXPANSION = 6  # channels of the last convolution per channel of the last block: 576 and 960
HIDDEN: dict[Size, int] = {"large": 1280, "small": 1024}  # channels of the layer in front of the classifier
SE_RATIO = 4  # section 5.3: squeeze-excite to 1/4 of the expanded channels


@dataclass(frozen=True)
class MobileNetV3Spec(MobileNetSpec, ResidualSpec):
    """MobileNetV3; the width multiplier never narrows the layer in front of the classifier.

    Args:
        size: "small" or "large".

    References: Howard et al. 2019, arXiv:1905.02244, Tables 1 and 2, sections 5 and 6.1.
    """

    family: ClassVar[str] = "mobilenetv3"

    activation: str = "hard_swish"
    dropout: float = 0.2
    size: Size = "large"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choice("size", Size)

    @property
    def style(self) -> ConvStyle:
        return dataclasses.replace(super().style, momentum=0.99, epsilon=1e-3)

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        table = STAGES[self.size]
        first, *strides = self.strides([2, *(stage.stride for stage in table)])
        x = conv_bn(x, divisible(STEM_WIDTH * self.alpha), 3, stride=first, style=self.style, name="stem_conv")
        yield "stem", x
        before, total = STEM_WIDTH, sum(len(stage.expanded) for stage in table)
        made = 0
        for number, (stage, stride) in enumerate(zip(table, strides, strict=True), 1):
            drops = [self.drop_rate(made + block, total) for block in range(1, len(stage.expanded) + 1)]
            x = self._stage(x, stage, before, stride, drops, f"stage{number}")
            before, made = stage.width, made + len(drops)
            yield f"stage{number}", x
        x = conv_bn(x, divisible(HEAD_EXPANSION * channels(x)), 1, style=self.style, name="head_conv")
        yield "head", x

    def _stage(self, x: Any, stage: Stage, before: int, stride: int, drops: list[float], name: str) -> Any:
        style = dataclasses.replace(self.style, activation=stage.activation)
        for block, (published, drop) in enumerate(zip(stage.expanded, drops, strict=True), 1):
            # The multiplier narrows what lies between the blocks, and a block widens that by the paper's factor.
            expanded = divisible(channels(x) * published / (before if block == 1 else stage.width))
            x = inverted_residual(
                x,
                expanded,
                divisible(stage.width * self.alpha),
                kernel=stage.kernel,
                stride=stride if block == 1 else 1,
                squeezed=divisible(expanded / SE_RATIO) if stage.squeezes else 0,
                style=style,
                drop=drop,
                starts_at_zero=self.zero_init_residual,
                name=f"{name}_block{block}",
            )
        return x

    def head(self, features: dict[str, Any], classes: int, activation: str | None) -> Any:
        """Pools first and widens then, where one position is left to compute (section 5.1)."""
        x = layers.GlobalAveragePooling2D(name="head_pool")(features["head"])
        width = divisible(HIDDEN[self.size] * max(1.0, self.alpha))
        x = layers.Dense(width, kernel_initializer=HE, name="head_expand_dense")(x)
        x = activate(x, style=self.style, name=f"head_expand_{self.activation}")
        if self.dropout:
            x = layers.Dropout(self.dropout, name="head_dropout")(x)
        return layers.Dense(classes, activation=activation, name="head_dense")(x)


FIXED = ("size", "activation")  # the tables say which block has which activation


def _imagenet(name: str, size: Size, table: int, percent: float) -> Variant:
    error = Error(percent, f"ImageNet top-1, one 224x224 crop, {_PAPER}, Table 3")
    return register(Variant(name, MobileNetV3Spec(size=size), f"{_PAPER}, Table {table}", error=error, fixed=FIXED))


MobileNetV3Small = _imagenet("MobileNetV3Small", "small", 2, 32.6)
MobileNetV3Large = _imagenet("MobileNetV3Large", "large", 1, 24.8)

MobileNetV3Small_CIFAR = register(
    Variant(
        "MobileNetV3Small_CIFAR",
        MobileNetV3Spec(size="small", stem="cifar"),
        f"{_PAPER}, Table 2, without the first two halvings",
        CIFAR10,
        fixed=FIXED,
    )
)
