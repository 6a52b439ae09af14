"""Xception: residual blocks of depthwise separable convolutions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from keras import layers

from keras_resnets.errors import UsageError
from keras_resnets.layers import (
    HE,
    ConvStyle,
    activate,
    channels,
    conv_bn,
    depthwise_initializer,
    drop_path,
    max_pool,
    norm,
)
from keras_resnets.registry import register
from keras_resnets.spec import ResidualSpec
from keras_resnets.variant import IMAGENET, Error, Variant

# Channels of each separable convolution, by stage and block: entry flow, middle flow, and the exit flow's first block.
BLOCKS = (((128, 128),), ((256, 256),), ((728, 728), *[(728, 728, 728)] * 8), ((728, 1024),))


@dataclass(frozen=True)
class XceptionSpec(ResidualSpec):
    """Xception.

    A separable convolution is a depthwise 3x3 and a 1x1 convolution with nothing between them.

    Args:
        stem_widths: Channels of the two ordinary 3x3 convolutions in front.
        blocks: For each stage its residual blocks, for each block the channels of its separable convolutions. A
            stage's first block halves the map; the others end in as many channels as they begin with.
        exit_widths: Channels of the separable convolutions after the last residual block.
        dropout: Share of the pooled features dropped in front of the classifier; the paper's section 4.3.

    References: Chollet 2017, arXiv:1610.02357, Fig. 5.
    """

    family: ClassVar[str] = "xception"

    stem_widths: tuple[int, int] = (32, 64)
    blocks: tuple[tuple[tuple[int, ...], ...], ...] = BLOCKS
    exit_widths: tuple[int, ...] = (1536, 2048)
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_share("dropout")
        blocks = [block for stage in self.blocks for block in stage]
        rows = (self.stem_widths, self.exit_widths, *blocks)
        if len(self.stem_widths) != 2 or not all(row and min(row) > 0 for row in rows):
            raise UsageError(
                f"stem_widths={self.stem_widths}, blocks={self.blocks}, exit_widths={self.exit_widths}: give positive "
                f"numbers of channels, two of them for the stem"
            )
        if not blocks or any(len({block[-1] for block in stage}) != 1 for stage in self.blocks):
            raise UsageError(
                f"blocks={self.blocks}: give every stage a block, and end its blocks in one number of channels"
            )

    @property
    def style(self) -> ConvStyle:
        return ConvStyle(norm=self.norm, activation=self.activation, momentum=0.99, epsilon=1e-3)

    @property
    def stride(self) -> int:
        return 2 * 2 ** len(self.blocks)

    @property
    def min_size(self) -> int:
        return 71  # as the published network; its last map then has three positions a side

    @property
    def head_dropout(self) -> float:
        return self.dropout

    def depth(self, longest_path: int) -> int:
        """36: the paper does not count the classifier."""
        return longest_path - 1

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        for number, width in enumerate(self.stem_widths, 1):
            stride = 2 if number == 1 else 1
            x = conv_bn(x, width, 3, stride=stride, zeros=0, style=self.style, name=f"stem_conv{number}")
        yield "stem", x
        made, total = 0, sum(map(len, self.blocks))
        for stage, blocks in enumerate(self.blocks, 1):
            for number, widths in enumerate(blocks, 1):
                made += 1
                stride = 2 if number == 1 else 1
                x = residual(self, x, widths, f"stage{stage}_block{number}", stride, self.drop_rate(made, total))
            if stage == len(self.blocks):
                x = exit_flow(self, x, f"stage{stage}_block{len(blocks) + 1}")
            yield f"stage{stage}", x


def separable(spec: XceptionSpec, x: Any, width: int, name: str, number: int, *, starts_at_zero: bool = False) -> Any:
    """Separable 3x3 convolution, then the normalisation: (h, w, c) -> (h, w, width). Fig. 4."""
    bare = spec.norm == "none"
    x = layers.SeparableConv2D(
        width,
        3,
        padding="same",
        use_bias=bare,
        depthwise_initializer=depthwise_initializer(x, 1.0, spec.style),  # nothing halves the signal on the way
        pointwise_initializer="zeros" if bare and starts_at_zero else HE,
        name=f"{name}_conv{number}",
    )(x)
    return norm(x, style=spec.style, starts_at_zero=starts_at_zero, name=f"{name}_bn{number}")


def residual(spec: XceptionSpec, x: Any, widths: tuple[int, ...], name: str, stride: int, drop: float) -> Any:
    """Activation in front of each separable convolution, pool and projection where it strides. Fig. 5.

    (h, w, c) -> (h/stride, w/stride, last width). The stem is activated already, so the first block begins without.
    """
    y = x
    for number, width in enumerate(widths, 1):
        if (name, number) != ("stage1_block1", 1):
            y = activate(y, style=spec.style, name=f"{name}_{spec.activation}{number}")
        zero = spec.zero_init_residual and number == len(widths)
        y = separable(spec, y, width, name, number, starts_at_zero=zero)
    if stride > 1:
        y = max_pool(y, padding="same", name=f"{name}_pool")
        x = conv_bn(x, channels(y), 1, stride=stride, style=spec.style, linear=True, name=f"{name}_proj_conv")
    return layers.Add(name=f"{name}_add")([x, drop_path(y, drop, name=f"{name}_drop_path")])


def exit_flow(spec: XceptionSpec, x: Any, name: str) -> Any:
    """Separable convolutions, activated afterwards, without a shortcut: (h, w, c) -> (h, w, last width)."""
    for number, width in enumerate(spec.exit_widths, 1):
        x = separable(spec, x, width, name, number)
        x = activate(x, style=spec.style, name=f"{name}_{spec.activation}{number}")
    return x


_PAPER = "Chollet 2017, arXiv:1610.02357"

Xception = register(
    Variant(
        "Xception",
        XceptionSpec(),
        f"{_PAPER}, Fig. 5",
        IMAGENET.sized(299),
        Error(21.0, f"ImageNet top-1, one crop, {_PAPER}, Table 1"),
    )
)
