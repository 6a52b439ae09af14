"""The residual builder: everything that is a chain of residual blocks, for ImageNet and CIFAR.

ResNet, the plain nets, pre-activation, SENet, ResNeXt and Wide ResNet are tables of specs over this file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from keras import layers

from keras_resnets.errors import UsageError
from keras_resnets.layers import (
    HE,
    ConvStyle,
    Stem,
    ZeroPadShortcut,
    activate,
    channels,
    cifar_stem,
    conv,
    conv_bn,
    drop_path,
    imagenet_stem,
    max_pool,
    norm_activation,
    squeeze_excite,
)
from keras_resnets.spec import ResidualSpec

Block = Literal["basic", "bottleneck"]
Shortcut = Literal["A", "B", "C", "none"]
Form = Literal["paper", "mlperf_tiny", "keras", "senet154"]

EXPANSION = 4  # output channels of a bottleneck per channel of its stage's width


@dataclass(frozen=True)
class ResNetSpec(ResidualSpec):
    """A residual network.

    Args:
        block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1).
        depths: Blocks in each stage.
        widths: Channels of the 3x3 convolutions in each stage.
        stem: "imagenet" (7x7 with stride 2 and max-pool) or "cifar" (3x3).
        stem_width: Channels of the stem; 0 stands for the first stage's width.
        shortcut: "A": identity, padded with zero channels where shapes change, no parameters. "B": projection
            where shapes change, identity elsewhere. "C": projection in every block. "none": no shortcut, the
            plain network.
        stride_in_3x3: Where a bottleneck strides: in its first 1x1 (the paper) or in its 3x3 ("v1.5").
        preact: Whether normalisation and activation stand in front of the convolutions (He et al. 2016).
        groups: Groups of a bottleneck's 3x3 convolution, the cardinality of ResNeXt.
        base_width: Channels of one group of the 3x3 convolution where the stage's width is 64.
        se_ratio: Reduction ratio r of a squeeze-excite unit at the end of every branch; 0 leaves it out.
        dropout: Share of the features dropped between the convolutions of a block (Wide ResNet), with
            form="senet154" in front of the classifier.
        form: "paper"; "mlperf_tiny": biases, Keras's own padding and BatchNorm constants, and no BatchNorm on the
            projection; "keras": pre-activation as in keras.applications, with the stride in a stage's last block and
            a pool that pads the bare stem convolution, which has a bias; "senet154": three 3x3 convolutions as stem,
            the first 1x1 half as wide, 3x3 projections.

    References: He et al. 2015, arXiv:1512.03385, section 3.3 (shortcuts), Fig. 5 (blocks); He et al. 2016,
    arXiv:1603.05027, Fig. 1b and appendix; Xie et al. 2017, arXiv:1611.05431, Fig. 3c; Hu et al. 2018,
    arXiv:1709.01507, Fig. 3; Zagoruyko & Komodakis 2016, arXiv:1605.07146, Fig. 1.
    """

    family: ClassVar[str] = "resnet"

    block: Block = "basic"
    depths: tuple[int, ...] = (2, 2, 2, 2)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: Stem = "imagenet"
    stem_width: int = 0
    shortcut: Shortcut = "B"
    stride_in_3x3: bool = False
    preact: bool = False
    groups: int = 1
    base_width: int = 64
    se_ratio: int = 0
    dropout: float = 0.0
    form: Form = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, choices in (("block", Block), ("stem", Stem), ("shortcut", Shortcut), ("form", Form)):
            self._check_choice(field, choices)
        self._check_share("dropout")
        if not self.depths or len(self.depths) != len(self.widths) or min(*self.depths, *self.widths) < 1:
            raise UsageError(f"depths={self.depths}, widths={self.widths}: give one positive number a stage in each")
        if self.stem_width < 0:
            raise UsageError(f"stem_width={self.stem_width}: give a positive number, or 0 for the first stage's width")
        if self.groups < 1 or self.base_width < 1:
            raise UsageError(f"groups={self.groups}, base_width={self.base_width}: give positive numbers")
        if self.se_ratio < 0:
            raise UsageError(f"se_ratio={self.se_ratio}: give the reduction ratio r of the paper, such as 16, or 0")
        if self.block == "bottleneck" and any(width * self.base_width % 64 for width in self.widths):
            raise UsageError(
                f"base_width={self.base_width}: channels of a group are width * base_width / 64, no whole number for "
                f"widths={self.widths}"
            )
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.block == "basic" and (self.groups > 1 or self.base_width != 64):
            raise UsageError("groups and base_width shape a bottleneck's 3x3 convolution; set block='bottleneck'")
        if self.block == "basic" and self.stride_in_3x3:
            raise UsageError("stride_in_3x3 says where a bottleneck strides; set block='bottleneck'")
        if self.shortcut == "none" and self.preact:
            raise UsageError("a pre-activation block needs its shortcut; choose shortcut='A', 'B' or 'C'")
        if self.shortcut == "none" and (self.drop_path or self.zero_init_residual):
            raise UsageError("drop_path and zero_init_residual leave a plain net with nothing; give it a shortcut")
        if self.form == "mlperf_tiny" and (self.preact or self.norm != "batch"):
            raise UsageError("form='mlperf_tiny' is a post-activation net with BatchNorm; leave preact and norm alone")
        keras_form = self.preact and self.block == "bottleneck" and self.stem == "imagenet" and self.shortcut == "B"
        if self.form == "keras" and not keras_form:
            raise UsageError("form='keras' is that of keras.applications' ResNet50V2, ResNet101V2 and ResNet152V2")
        if self.form == "senet154" and (self.preact or self.block == "basic" or self.stem == "cifar"):
            raise UsageError("form='senet154' is a post-activation bottleneck net with an ImageNet stem")
        if self.form == "senet154" and any(width * self.base_width // 64 % 2 for width in self.widths):
            raise UsageError(f"base_width={self.base_width}: form='senet154' halves the channels of a group; give more")

    @property
    def style(self) -> ConvStyle:
        if self.form == "mlperf_tiny":
            return ConvStyle(activation=self.activation, use_bias=True, padding="same", momentum=0.99, epsilon=1e-3)
        return super().style

    @property
    def stride(self) -> int:
        return (4 if self.stem == "imagenet" else 1) * 2 ** (len(self.depths) - 1)

    @property
    def head_dropout(self) -> float:
        return self.dropout if self.form == "senet154" else 0.0

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        x = stem(self, x, self.stem_width or self.widths[0])
        yield "stem", x
        made, total = 0, sum(self.depths)
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), 1):
            for number in range(1, depth + 1):
                made += 1
                block = Place(
                    name=f"stage{stage}_block{number}",
                    width=width,
                    stride=self._stride(stage, number, depth),
                    first=made == 1,
                    opens_stage=number == 1,
                    drop=self.drop_rate(made, total),
                )
                x = preact_block(self, x, block) if self.preact else post_block(self, x, block)
            yield f"stage{stage}", x
        if self.preact:
            x = norm_activation(x, name="head_bn", style=self.style)
            yield "head", x

    def _stride(self, stage: int, number: int, depth: int) -> int:
        if self.form == "keras":
            return 2 if number == depth and stage < len(self.depths) else 1
        return 2 if number == 1 and stage > 1 else 1


@dataclass(frozen=True)
class Place:
    """Where a block stands in the network.

    Args:
        name: Prefix of its layers' names.
        width: Channels of the stage.
        stride: Step of the block.
        first: Whether it follows the stem.
        opens_stage: Whether it is the first of its stage.
        drop: Share of the images that lose its branch in training.
    """

    name: str
    width: int
    stride: int
    first: bool
    opens_stage: bool
    drop: float


def stem(spec: ResNetSpec, x: Any, width: int) -> Any:
    """The layers in front of the first block, activated and pooled."""
    if spec.form == "keras":
        x = conv(x, width, 7, stride=2, style=spec.style, use_bias=True, name="stem_conv")
        return max_pool(x, name="stem_pool")  # pads with zeros though no ReLU stands in front, as the published one
    if spec.form == "senet154":
        x = conv_bn(x, width, 3, stride=2, style=spec.style, name="stem_conv1")
        x = conv_bn(x, width, 3, style=spec.style, name="stem_conv2")
        x = conv_bn(x, 2 * width, 3, style=spec.style, name="stem_conv3")
        return max_pool(x, style=spec.style, name="stem_pool")
    return {"imagenet": imagenet_stem, "cifar": cifar_stem}[spec.stem](x, width, spec.style)


def post_block(spec: ResNetSpec, x: Any, place: Place) -> Any:
    """The block of 2015, activated after the addition: (h, w, c) -> (h/stride, w/stride, filters). Fig. 5."""
    y = x
    steps = convolutions(spec, place)
    for number, (filters, kernel, stride, groups) in enumerate(steps, 1):
        last = number == len(steps)
        y = conv_bn(
            y,
            filters,
            kernel,
            stride=stride,
            groups=groups,
            style=spec.style,
            linear=last,
            starts_at_zero=last and spec.zero_init_residual,
            name=f"{place.name}_conv{number}",
        )
        if number == len(steps) - 1:
            y = _dropout(spec, y, place)
    y = _finish_branch(spec, y, place)
    if spec.shortcut != "none":
        y = layers.Add(name=f"{place.name}_add")([shortcut(spec, x, channels(y), place), y])
    return activate(y, style=spec.style, name=f"{place.name}_out")


def preact_block(spec: ResNetSpec, x: Any, place: Place) -> Any:
    """The block of 2016, activated in front: (h, w, c) -> (h/stride, w/stride, filters). Fig. 1b.

    Where shapes change, the shortcut starts after the activation, too. The stem is activated already, so the
    first block adds none (appendix of the paper).
    """
    ready = x
    if not (place.first and spec.form == "paper"):
        ready = norm_activation(x, style=spec.style, name=f"{place.name}_preact_bn")
    y = ready
    steps = convolutions(spec, place)
    for number, (filters, kernel, stride, groups) in enumerate(steps, 1):
        arguments: dict[str, Any] = {
            "stride": stride,
            "groups": groups,
            "style": spec.style,
            "name": f"{place.name}_conv{number}",
        }
        if number < len(steps):
            y = conv_bn(y, filters, kernel, **arguments)
        else:
            y = _dropout(spec, y, place)
            y = conv(y, filters, kernel, **arguments, starts_at_zero=spec.zero_init_residual)
    y = _finish_branch(spec, y, place)
    projects = place.opens_stage if spec.form == "keras" else _changes_shape(x, channels(y), place)
    around = ready if spec.shortcut == "C" or projects else x
    return layers.Add(name=f"{place.name}_add")([shortcut(spec, around, channels(y), place), y])


def convolutions(spec: ResNetSpec, place: Place) -> list[tuple[int, int, int, int]]:
    """Filters, kernel, stride and groups of a branch's convolutions."""
    width, stride = place.width, place.stride
    if spec.block == "basic":
        return [(width, 3, stride, 1), (width, 3, 1, 1)]
    inner = width * spec.base_width // 64 * spec.groups
    first, second = (1, stride) if spec.stride_in_3x3 else (stride, 1)
    narrow = inner // 2 if spec.form == "senet154" else inner
    return [(narrow, 1, first, 1), (inner, 3, second, spec.groups), (EXPANSION * width, 1, 1, 1)]


def _dropout(spec: ResNetSpec, y: Any, place: Place) -> Any:
    if not spec.dropout or spec.form == "senet154":
        return y
    return layers.Dropout(spec.dropout, name=f"{place.name}_dropout")(y)


def _finish_branch(spec: ResNetSpec, y: Any, place: Place) -> Any:
    if spec.se_ratio:
        y = squeeze_excite(y, max(1, channels(y) // spec.se_ratio), name=place.name)
    return drop_path(y, place.drop, name=f"{place.name}_drop_path")


def _changes_shape(x: Any, filters: int, place: Place) -> bool:
    return place.stride > 1 or channels(x) != filters


def shortcut(spec: ResNetSpec, x: Any, filters: int, place: Place) -> Any:
    """The way around a block, brought to `filters` channels and 1/stride of the size. Section 3.3."""
    name, stride = place.name, place.stride
    if spec.form == "keras" and not place.opens_stage:
        return layers.MaxPooling2D(1, strides=stride, name=f"{name}_shortcut")(x) if stride > 1 else x
    if spec.shortcut != "C" and not _changes_shape(x, filters, place):
        return x
    if spec.shortcut == "A":
        if filters < channels(x):
            raise UsageError(f"shortcut='A' cannot narrow {channels(x)} channels to {filters}; use 'B'")
        return ZeroPadShortcut(filters, stride, name=f"{name}_shortcut")(x)
    if spec.form == "mlperf_tiny":
        return layers.Conv2D(filters, 1, strides=stride, kernel_initializer=HE, name=f"{name}_proj_conv")(x)
    if spec.preact:
        return conv(x, filters, 1, stride=stride, style=spec.style, name=f"{name}_proj_conv")
    kernel = 3 if spec.form == "senet154" and not place.first else 1
    return conv_bn(x, filters, kernel, stride=stride, style=spec.style, linear=True, name=f"{name}_proj_conv")
