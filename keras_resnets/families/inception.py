"""GoogLeNet, BN-Inception and Inception v3: blocks of parallel branches, given as rows of the papers' tables."""

import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from keras import layers

from keras_resnets.errors import UsageError
from keras_resnets.layers import (
    HE,
    ConvStyle,
    LocalResponseNorm,
    Norm,
    Pooling,
    PoolPadding,
    activate,
    channel_axis,
    channels,
    conv_bn,
    max_pool,
    squeeze_excite,
)
from keras_resnets.registry import register
from keras_resnets.spec import Spec
from keras_resnets.variant import IMAGENET, Error, Variant

Form = Literal["paper", "torchvision"]
Row = tuple[Any, ...]

AUXILIARY = ("stage2_block1", "stage2_block4")  # blocks 4a and 4d, whose outputs the two extra classifiers read
AUXILIARY_WIDTHS = (128, 1024)


@dataclass(frozen=True)
class Conv:
    """Convolution, normalisation and activation.

    Args:
        filters: Channels of the result.
        kernel: Side of the square kernel, or (height, width) of it.
        stride: Step of the kernel in both directions.
        zeros: Rows of zeros on every side; by default as many as keep the size.
        beside: Whether it reads what the step in front of it reads, so that the branch ends in both.
    """

    kind: ClassVar[str] = "conv"

    filters: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    zeros: int | None = None
    beside: bool = False

    def build(self, x: Any, style: ConvStyle, name: str) -> Any:
        """The step on the feature map `x`."""
        return conv_bn(x, self.filters, self.kernel, stride=self.stride, zeros=self.zeros, style=style, name=name)


@dataclass(frozen=True)
class Pool:
    """Maximum or average over a window.

    Args:
        pooling: "avg" or "max".
        size: Side of the window.
        stride: Step of the window in both directions.
        padding: As in `max_pool`. An average leaves out what "same" pads, as TensorFlow does, and counts the zeros
            of "symmetric", as Caffe does.
    """

    kind: ClassVar[str] = "pool"

    pooling: Pooling
    size: int = 3
    stride: int = 1
    padding: PoolPadding = "same"

    def build(self, x: Any, style: ConvStyle, name: str) -> Any:
        """The step on the feature map `x`."""
        if self.pooling == "max":
            return max_pool(x, self.size, self.stride, padding=self.padding, style=style, name=name)
        if self.padding == "symmetric":
            x = layers.ZeroPadding2D(self.size // 2, name=f"{name}_pad")(x)
        padding = "same" if self.padding == "same" else "valid"
        return layers.AveragePooling2D(self.size, strides=self.stride, padding=padding, name=name)(x)


@dataclass(frozen=True)
class Lrn:
    """Local response normalisation with Caffe's constants."""

    kind: ClassVar[str] = "lrn"

    def build(self, x: Any, style: ConvStyle, name: str) -> Any:
        """The step on the feature map `x`."""
        return LocalResponseNorm(name=name)(x)


Steps = Sequence[Conv | Pool | Lrn]
Branches = Sequence[Steps]


@dataclass(frozen=True, kw_only=True)
class InceptionSpec(Spec):
    """A network of Inception blocks.

    Args:
        stem_widths: Channels of the convolutions in front of the first block.
        blocks: For each stage its blocks, for each block the numbers of channels in its branches, in the order of
            the paper's table.
        se_ratio: Reduction ratio r of a squeeze-excite unit at the end of every block; 0 leaves it out.

    References: Szegedy et al. 2015, arXiv:1409.4842; Hu et al. 2018, arXiv:1709.01507, Fig. 2.
    """

    family: ClassVar[str] = "inception"

    stem_widths: tuple[int, ...]
    blocks: tuple[tuple[Row, ...], ...]
    se_ratio: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.se_ratio < 0:
            raise UsageError(f"se_ratio={self.se_ratio}: give the reduction ratio r of the paper, such as 16, or 0")
        if not self.blocks or not all(self.blocks):
            raise UsageError(f"blocks={self.blocks}: give at least one stage, and at least one block a stage")
        _check_row("stem_widths", self.stem_widths, self.stem)
        for stage, rows in enumerate(self.blocks, 1):
            for number, row in enumerate(rows, 1):
                _check_row(f"blocks, stage {stage}, block {number}", row, self.block(stage, number))

    @abstractmethod
    def stem(self, *widths: Any) -> Steps:
        """The steps in front of the first stage, from `stem_widths`."""

    @abstractmethod
    def block(self, stage: int, number: int) -> Callable[..., Branches]:
        """What makes the branches of that block from its row."""

    @abstractmethod
    def pool(self, stage: int) -> Pool | None:
        """The pool in front of that stage, where its first block does not stride."""

    @property
    def stride(self) -> int:
        return 4 * 2 ** len(self.blocks)

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        (x,) = chain(self, x, self.stem(*self.stem_widths), "stem")
        yield "stem", x
        for stage, rows in enumerate(self.blocks, 1):
            pool = self.pool(stage)
            x = pool.build(x, self.style, f"stage{stage}_pool") if pool else x
            for number, row in enumerate(rows, 1):
                name = f"stage{stage}_block{number}"
                x = inception(self, x, self.block(stage, number)(*row), name)
                yield name, x
            yield f"stage{stage}", x


def _check_row(what: str, row: Row, function: Callable[..., Any]) -> None:
    """Checks that the function, annotated with `int` or a Literal, can take a row."""

    def fits(value: Any, annotation: Any) -> bool:
        return isinstance(value, int) and value > 0 if annotation is int else value in get_args(annotation)

    wanted = inspect.signature(function).parameters
    if len(row) != len(wanted) or not all(map(fits, row, (one.annotation for one in wanted.values()))):
        raise UsageError(f"{what}: {row} should be {', '.join(wanted)}, each number at least 1")


def inception(spec: InceptionSpec, x: Any, branches: Branches, name: str) -> Any:
    """Branches side by side, their channels joined: (h, w, c) -> (h/stride, w/stride, sum of the branches')."""
    ends = []
    for number, steps in enumerate(branches, 1):
        ends += chain(spec, x, steps, f"{name}_b{number}")
    x = layers.Concatenate(axis=channel_axis(), name=f"{name}_concat")(ends)
    return squeeze_excite(x, max(1, channels(x) // spec.se_ratio), name=name) if spec.se_ratio else x


def chain(spec: InceptionSpec, x: Any, steps: Steps, prefix: str) -> list[Any]:
    """Steps one after the other; returns the ends, several where the last steps stand beside each other."""
    kinds = [step.kind for step in steps]
    ends = [x]
    for place, step in enumerate(steps, 1):
        if not (isinstance(step, Conv) and step.beside):
            x, ends = ends[-1], []
        number = kinds[:place].count(step.kind) if kinds.count(step.kind) > 1 else ""
        ends.append(step.build(x, spec.style, f"{prefix}_{step.kind}{number}"))
    return ends


@dataclass(frozen=True, kw_only=True)
class GoogLeNetSpec(InceptionSpec):
    """GoogLeNet, Inception v1.

    Args:
        stem_widths: Channels of the 7x7, the 1x1 and the 3x3 convolution.
        blocks: Rows of Table 1: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj.
        auxiliary: Whether two more classifiers read the blocks 4a and 4d. The outputs are then
            {"main": ..., "aux1": ..., "aux2": ...}; the paper adds 0.3 of each auxiliary loss to the main one.
        dropout: Share of the pooled features dropped in front of the main classifier; 0.2 in torchvision.
        form: "paper"; "torchvision": always with BatchNorm, without local response normalisation, 3x3 in place of
            5x5 convolutions, 2x2 in place of the last 3x3 max-pool. Its published weights are trained on
            pixels from -1 to 1: `pixel_stats=((127.5,) * 3, (127.5,) * 3)`. The auxiliary classifiers average as in
            the paper, where torchvision pools to 4x4: their outputs are not torchvision's.

    References: Szegedy et al. 2015, arXiv:1409.4842, Fig. 2b, Table 1 and section 5.
    """

    norm: Norm = "none"
    auxiliary: bool = False
    dropout: float = 0.4
    form: Form = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choice("form", Form)
        self._check_share("dropout")
        if self.form == "torchvision" and self.norm not in ("none", "batch"):
            raise UsageError("form='torchvision' is a net with BatchNorm; leave norm alone")
        if self.auxiliary and (len(self.blocks) < 2 or len(self.blocks[1]) < 4):
            raise UsageError("auxiliary=True reads the first and the fourth block of stage 2; give it four blocks")

    @property
    def style(self) -> ConvStyle:
        if self.form == "torchvision":
            return ConvStyle(norm="batch", activation=self.activation, epsilon=1e-3)
        return super().style

    @property
    def has_auxiliary_heads(self) -> bool:
        return self.auxiliary

    @property
    def min_size(self) -> int:
        return 80 if self.auxiliary else self.stride  # an auxiliary classifier averages 5x5 positions of stage 2

    @property
    def head_dropout(self) -> float:
        return self.dropout

    def stem(self, conv1: int, reduce: int, conv2: int) -> Steps:
        first: Steps = [Conv(conv1, 7, 2), Pool("max", stride=2, padding="ceil")]
        lrn = [Lrn()] if self.form == "paper" else []
        return [*first, *lrn, Conv(reduce), Conv(conv2, 3), *lrn]

    def block(self, stage: int, number: int) -> Callable[..., Branches]:
        return self.branches

    def branches(self, conv1: int, reduce3: int, conv3: int, reduce5: int, conv5: int, projected: int) -> Branches:
        """1x1; 3x3; 5x5; max-pool. Fig. 2b."""
        kernel = 3 if self.form == "torchvision" else 5
        return (
            [Conv(conv1)],
            [Conv(reduce3), Conv(conv3, 3)],
            [Conv(reduce5), Conv(conv5, kernel)],
            [Pool("max"), Conv(projected)],
        )

    def pool(self, stage: int) -> Pool:
        size = 2 if self.form == "torchvision" and stage == 3 else 3
        return Pool("max", size, stride=2, padding="ceil")

    def head(self, features: dict[str, Any], classes: int, activation: str | None) -> Any:
        outputs = {"main": super().head(features, classes, activation)}
        if not self.auxiliary:
            return outputs["main"]
        for number, place in enumerate(AUXILIARY, 1):
            outputs[f"aux{number}"] = auxiliary_head(self, features[place], classes, activation, f"head_aux{number}")
        return outputs


def auxiliary_head(spec: GoogLeNetSpec, x: Any, classes: int, activation: str | None, name: str) -> Any:
    """5x5 average pool with stride 3, 1x1 convolution, two dense layers: (h, w, c) -> (classes,). Section 5."""
    x = layers.AveragePooling2D(5, strides=3, name=f"{name}_pool")(x)
    if None in x.shape[1:]:
        raise UsageError("auxiliary=True needs a known height and width; give both in input_shape")
    x = conv_bn(x, AUXILIARY_WIDTHS[0], 1, style=spec.style, name=f"{name}_conv")
    x = layers.Flatten(name=f"{name}_flatten")(x)
    x = layers.Dense(AUXILIARY_WIDTHS[1], kernel_initializer=HE, name=f"{name}_dense1")(x)
    x = activate(x, style=spec.style, name=f"{name}_dense_{spec.activation}")
    x = layers.Dropout(0.7, name=f"{name}_dropout")(x)
    return layers.Dense(classes, activation=activation, name=f"{name}_dense2")(x)


@dataclass(frozen=True, kw_only=True)
class BNInceptionSpec(InceptionSpec):
    """BN-Inception, Inception v2: two 3x3 convolutions in place of the 5x5, average pools, BatchNorm everywhere.

    The first block of the second and of the third stage strides and passes its input on through a max-pool. The
    paper's depthwise first layer is an ordinary 7x7 convolution here, as in every published copy.

    Args:
        stem_widths: Channels of the 7x7, the 1x1 and the 3x3 convolution.
        blocks: Rows of the paper's table: #1x1, #3x3 reduce, #3x3, double #3x3 reduce, double #3x3, pool, proj;
            where a block strides, only the 3x3 and double 3x3 columns.

    References: Ioffe & Szegedy 2015, arXiv:1502.03167, Fig. 5 (appendix).
    """

    def stem(self, conv1: int, reduce: int, conv2: int) -> Steps:
        return [Conv(conv1, 7, 2), Pool("max", stride=2, padding="ceil"), Conv(reduce), Conv(conv2, 3)]

    def block(self, stage: int, number: int) -> Callable[..., Branches]:
        return v2_reduction if stage > 1 and number == 1 else v2_block

    def pool(self, stage: int) -> Pool | None:
        return Pool("max", stride=2, padding="ceil") if stage == 1 else None


def v2_block(
    conv1: int, reduce3: int, conv3: int, reduce_double: int, double: int, pool: Pooling, projected: int
) -> Branches:
    """1x1; 3x3; two 3x3; pool."""
    return (
        [Conv(conv1)],
        [Conv(reduce3), Conv(conv3, 3)],
        [Conv(reduce_double), Conv(double, 3), Conv(double, 3)],
        [Pool(pool, padding="symmetric"), Conv(projected)],
    )


def v2_reduction(reduce3: int, conv3: int, reduce_double: int, double: int) -> Branches:
    """3x3 with stride 2; two 3x3, the last with stride 2; max-pool."""
    return (
        [Conv(reduce3), Conv(conv3, 3, 2)],
        [Conv(reduce_double), Conv(double, 3), Conv(double, 3, 2)],
        [Pool("max", stride=2)],
    )


@dataclass(frozen=True, kw_only=True)
class InceptionV3Spec(InceptionSpec):
    """Inception v3 as published with its weights: the net of Table 1 with BatchNorm, whose scale is fixed to 1.

    Args:
        stem_widths: Channels of the five convolutions of the stem.
        blocks: Three stages of blocks after Fig. 5, 6 and 7, with a reduction in front of the second and third;
            the numbers of a block are the arguments of `v3_35`, `v3_to_17`, `v3_17`, `v3_to_8` and `v3_8`.

    References: Szegedy et al. 2016, arXiv:1512.00567, Fig. 5 to 7 and 10, Table 1.
    """

    def __post_init__(self) -> None:
        if len(self.blocks) != 3:
            raise UsageError(f"blocks: Inception v3 has three stages, got {len(self.blocks)}")
        super().__post_init__()

    @property
    def style(self) -> ConvStyle:
        return ConvStyle(norm=self.norm, activation=self.activation, scale=False, momentum=0.99, epsilon=1e-3)

    @property
    def min_size(self) -> int:
        return 75  # nothing pads where the map shrinks; from here on the last one has a position

    def stem(self, conv1: int, conv2: int, conv3: int, conv4: int, conv5: int) -> Steps:
        first = [Conv(conv1, 3, 2, zeros=0), Conv(conv2, 3, zeros=0), Conv(conv3, 3)]
        return [*first, Pool("max", stride=2, padding="valid"), Conv(conv4), Conv(conv5, 3, zeros=0)]

    def block(self, stage: int, number: int) -> Callable[..., Branches]:
        if stage == 1:
            return v3_35
        if stage == 2:
            return v3_to_17 if number == 1 else v3_17
        return v3_to_8 if number == 1 else v3_8

    def pool(self, stage: int) -> Pool | None:
        return Pool("max", stride=2, padding="valid") if stage == 1 else None


def v3_35(conv1: int, reduce5: int, conv5: int, reduce_double: int, double: int, projected: int) -> Branches:
    """1x1; 5x5; two 3x3; average pool. Fig. 5, with a 5x5 left as it is."""
    return (
        [Conv(conv1)],
        [Conv(reduce5), Conv(conv5, 5)],
        [Conv(reduce_double), Conv(double, 3), Conv(double, 3)],
        [Pool("avg"), Conv(projected)],
    )


def v3_to_17(conv3: int, reduce_double: int, double: int) -> Branches:
    """3x3 with stride 2; two 3x3, the last with stride 2; max-pool. Fig. 10."""
    return (
        [Conv(conv3, 3, 2, zeros=0)],
        [Conv(reduce_double), Conv(double, 3), Conv(double, 3, 2, zeros=0)],
        [Pool("max", stride=2, padding="valid")],
    )


def v3_17(inner: int, filters: int) -> Branches:
    """1x1; 7x7 in two layers; two 7x7 in four layers; average pool. Fig. 6 with n = 7."""
    return (
        [Conv(filters)],
        [Conv(inner), Conv(inner, (1, 7)), Conv(filters, (7, 1))],
        [Conv(inner), Conv(inner, (7, 1)), Conv(inner, (1, 7)), Conv(inner, (7, 1)), Conv(filters, (1, 7))],
        [Pool("avg"), Conv(filters)],
    )


def v3_to_8(inner: int, conv3: int) -> Branches:
    """3x3 with stride 2; 7x7 in two layers, then 3x3 with stride 2; max-pool."""
    return (
        [Conv(inner), Conv(conv3, 3, 2, zeros=0)],
        [Conv(inner), Conv(inner, (1, 7)), Conv(inner, (7, 1)), Conv(inner, 3, 2, zeros=0)],
        [Pool("max", stride=2, padding="valid")],
    )


def v3_8(conv1: int, split: int, reduce_double: int, pool: Pooling, projected: int) -> Branches:
    """1x1; 1x3 beside 3x1; 3x3, then 1x3 beside 3x1; pool. Fig. 7, which does not say which pool."""
    fork = [Conv(split, (1, 3)), Conv(split, (3, 1), beside=True)]
    return (
        [Conv(conv1)],
        [Conv(split), *fork],
        [Conv(reduce_double), Conv(split, 3), *fork],
        [Pool(pool), Conv(projected)],
    )


_V1 = "Szegedy et al. 2015, arXiv:1409.4842"
_V2 = "Ioffe & Szegedy 2015, arXiv:1502.03167"
_V3 = "Szegedy et al. 2016, arXiv:1512.00567"
_SE = "Hu et al. 2018, arXiv:1709.01507"

GOOGLENET = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
# The columns of the table. Its output sizes of 4c, 4d and 4e, 576, 576 and 1024, are not the sums of its columns.
BN_INCEPTION = (
    ((64, 64, 64, 64, 96, "avg", 32), (64, 64, 96, 64, 96, "avg", 64)),
    (
        (128, 160, 64, 96),
        (224, 64, 96, 96, 128, "avg", 128),
        (192, 96, 128, 96, 128, "avg", 128),
        (160, 128, 160, 128, 160, "avg", 128),
        (96, 128, 192, 160, 192, "avg", 128),
    ),
    (
        (128, 192, 192, 256),
        (352, 192, 320, 160, 224, "avg", 128),
        (352, 192, 320, 192, 224, "max", 128),
    ),
)
INCEPTION_V3 = (
    ((64, 48, 64, 64, 96, 32), (64, 48, 64, 64, 96, 64), (64, 48, 64, 64, 96, 64)),
    ((384, 64, 96), (128, 192), (160, 192), (160, 192), (192, 192)),
    ((192, 320), (320, 384, 448, "avg", 192), (320, 384, 448, "avg", 192)),
)
# The network of December 2015 whose features are those of the Fréchet distance: its last block takes the maximum.
INCEPTION_V3_2015 = (*INCEPTION_V3[:2], (*INCEPTION_V3[2][:2], (320, 384, 448, "max", 192)))

GoogLeNet = register(
    Variant(
        "GoogLeNet",
        GoogLeNetSpec(stem_widths=(64, 64, 192), blocks=GOOGLENET),
        f"{_V1}, Table 1",
        IMAGENET,
        Error(10.07, f"ImageNet top-5, one crop, {_V1}, Table 3"),
    )
)
BNInception = register(
    Variant(
        "BNInception",
        BNInceptionSpec(stem_widths=(64, 64, 192), blocks=BN_INCEPTION),
        f"{_V2}, Fig. 5",
        IMAGENET,
        Error(25.2, f"ImageNet top-1, one 224x224 crop, {_V2}, Fig. 4"),
    )
)
SEInception = register(
    Variant(
        "SEInception",
        BNInceptionSpec(stem_widths=(64, 64, 192), blocks=BN_INCEPTION, se_ratio=16),
        f"{_SE}, section 4 and Table 2",
        IMAGENET,
        Error(24.23, f"ImageNet top-1, one 224x224 crop, {_SE}, Table 2"),
    )
)
InceptionV3 = register(
    Variant(
        "InceptionV3",
        InceptionV3Spec(stem_widths=(32, 32, 64, 80, 192), blocks=INCEPTION_V3),
        f"{_V3}, Table 1",
        IMAGENET.sized(299),
        Error(21.2, f"ImageNet top-1, one 299x299 crop, {_V3}, Table 3"),
    )
)
