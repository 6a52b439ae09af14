"""The residual builder: ResNet and its plain twin, for ImageNet and CIFAR."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from keras import layers

from keras_resnets.errors import UsageError
from keras_resnets.layers import (
    HE,
    KERAS_DEFAULTS,
    PAPER,
    ConvStyle,
    ZeroPadShortcut,
    channels,
    cifar_stem,
    conv_bn,
    imagenet_stem,
)
from keras_resnets.variant import Spec

Block = Literal["basic", "bottleneck"]
Shortcut = Literal["A", "B", "C", "none"]
Form = Literal["paper", "mlperf_tiny"]
Stem = Literal["imagenet", "cifar"]

EXPANSION = 4  # output channels of a bottleneck per channel of its 3x3 convolution


@dataclass(frozen=True)
class ResNetSpec(Spec):
    """A residual network.

    Args:
        block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1).
        depths: Blocks in each stage.
        widths: Channels of the 3x3 convolutions in each stage.
        stem: "imagenet" (7x7 with stride 2 and max-pool) or "cifar" (3x3).
        shortcut: "A": identity, padded with zero channels where shapes change, no parameters. "B": projection
            where shapes change, identity elsewhere. "C": projection in every block. "none": no shortcut, the
            plain network.
        stride_in_3x3: Where a bottleneck strides: in its first 1x1 (the paper) or in its 3x3 ("v1.5").
        form: "paper", or "mlperf_tiny": biases, Keras's own padding and BatchNorm constants, and no BatchNorm
            on the projection.

    References: He et al. 2015, arXiv:1512.03385, section 3.3 (shortcuts), Fig. 5 (blocks).
    """

    family: ClassVar[str] = "resnet"

    block: Block = "basic"
    depths: tuple[int, ...] = (2, 2, 2, 2)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: Stem = "imagenet"
    shortcut: Shortcut = "B"
    stride_in_3x3: bool = False
    form: Form = "paper"

    def __post_init__(self) -> None:
        for field, choices in (("block", Block), ("stem", Stem), ("shortcut", Shortcut), ("form", Form)):
            if getattr(self, field) not in get_args(choices):
                raise UsageError(f"{field}={getattr(self, field)!r}: choose one of {', '.join(get_args(choices))}")
        if not self.depths or len(self.depths) != len(self.widths) or min(*self.depths, *self.widths) < 1:
            raise UsageError(f"depths={self.depths}, widths={self.widths}: give one positive number a stage in each")

    @property
    def style(self) -> ConvStyle:
        """Bias, padding and BatchNorm constants of the form."""
        return KERAS_DEFAULTS if self.form == "mlperf_tiny" else PAPER

    @property
    def stride(self) -> int:
        return (4 if self.stem == "imagenet" else 1) * 2 ** (len(self.depths) - 1)

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        x = STEMS[self.stem](x, self.widths[0], self.style)
        yield "stem", x
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), 1):
            for block in range(1, depth + 1):
                stride = 2 if block == 1 and stage > 1 else 1
                x = BLOCKS[self.block](self, x, width, stride, f"stage{stage}_block{block}")
            yield f"stage{stage}", x


def basic(spec: ResNetSpec, x: Any, width: int, stride: int, name: str) -> Any:
    """Two 3x3 convolutions: (h, w, c) -> (h/stride, w/stride, width). Fig. 5 left."""
    y = conv_bn(x, width, 3, stride=stride, style=spec.style, name=f"{name}_conv1")
    y = conv_bn(y, width, 3, style=spec.style, activation=None, name=f"{name}_conv2")
    return _join(spec, x, y, stride, name)


def bottleneck(spec: ResNetSpec, x: Any, width: int, stride: int, name: str) -> Any:
    """1x1, 3x3 and 1x1 convolutions: (h, w, c) -> (h/stride, w/stride, 4*width). Fig. 5 right."""
    first, second = (1, stride) if spec.stride_in_3x3 else (stride, 1)
    y = conv_bn(x, width, 1, stride=first, style=spec.style, name=f"{name}_conv1")
    y = conv_bn(y, width, 3, stride=second, style=spec.style, name=f"{name}_conv2")
    y = conv_bn(y, EXPANSION * width, 1, style=spec.style, activation=None, name=f"{name}_conv3")
    return _join(spec, x, y, stride, name)


def _join(spec: ResNetSpec, x: Any, y: Any, stride: int, name: str) -> Any:
    if spec.shortcut != "none":
        y = layers.Add(name=f"{name}_add")([shortcut(spec, x, channels(y), stride, name), y])
    return layers.ReLU(name=f"{name}_out")(y)


def shortcut(spec: ResNetSpec, x: Any, filters: int, stride: int, name: str) -> Any:
    """The way around a block, brought to `filters` channels and 1/stride of the size. Section 3.3."""
    if spec.shortcut != "C" and stride == 1 and channels(x) == filters:
        return x
    if spec.shortcut == "A":
        if filters < channels(x):
            raise UsageError(f"shortcut='A' cannot narrow {channels(x)} channels to {filters}; use 'B'")
        return ZeroPadShortcut(filters, stride, name=f"{name}_shortcut")(x)
    if spec.form == "mlperf_tiny":
        return layers.Conv2D(filters, 1, strides=stride, kernel_initializer=HE, name=f"{name}_proj_conv")(x)
    return conv_bn(x, filters, 1, stride=stride, style=spec.style, activation=None, name=f"{name}_proj_conv")


STEMS: dict[Stem, Callable[[Any, int, ConvStyle], Any]] = {"imagenet": imagenet_stem, "cifar": cifar_stem}
BLOCKS: dict[Block, Callable[[ResNetSpec, Any, int, int, str], Any]] = {"basic": basic, "bottleneck": bottleneck}
