"""VGG of Simonyan & Zisserman 2015: stages of 3x3 convolutions between 2x2 max-pools."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from keras_resnets.errors import UsageError
from keras_resnets.families.classic import dense_head
from keras_resnets.layers import Norm, conv_bn, max_pool
from keras_resnets.registry import register
from keras_resnets.spec import Spec
from keras_resnets.variant import IMAGENET, Error, Variant

_PAPER = "Simonyan & Zisserman 2015, arXiv:1409.1556"


@dataclass(frozen=True)
class VGGSpec(Spec):
    """A VGG network.

    There is no stem: the first convolutions are stage 1. The last pool belongs to the head, and a network without
    its top ends in it. The top flattens in the order (height, width, channels).

    Args:
        depths: Convolutions in each stage.
        widths: Channels of each stage.
        head_width: Units of each hidden dense layer.
        dropout: Share of the features dropped after each hidden dense layer.

    References: Simonyan & Zisserman 2015, arXiv:1409.1556, section 2.1 and Table 1; section 3.1 (dropout).
    """

    family: ClassVar[str] = "vgg"

    norm: Norm = "none"
    depths: tuple[int, ...] = (2, 2, 3, 3, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    head_width: int = 4096
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_share("dropout")
        if not self.depths or len(self.depths) != len(self.widths) or min(*self.depths, *self.widths) < 1:
            raise UsageError(f"depths={self.depths}, widths={self.widths}: give one positive number a stage in each")
        if self.head_width < 1:
            raise UsageError(f"head_width={self.head_width}: give a positive number of units")

    @property
    def stride(self) -> int:
        return 2 ** len(self.depths)

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), 1):
            if stage > 1:
                x = max_pool(x, 2, padding="valid", name=f"stage{stage}_pool")
            for number in range(1, depth + 1):
                x = conv_bn(x, width, 3, style=self.style, name=f"stage{stage}_conv{number}")
            yield f"stage{stage}", x
        yield "head", max_pool(x, 2, padding="valid", name="head_max_pool")

    def head(self, features: dict[str, Any], classes: int, activation: str | None) -> Any:
        widths = (self.head_width, self.head_width)
        return dense_head(features["head"], widths, classes, activation, style=self.style, dropout=self.dropout)


def _imagenet(depths: tuple[int, ...], configuration: str, percent: float, scale: str) -> Variant:
    error = Error(percent, f"ImageNet top-1, validation, whole image at one scale, {scale}, {_PAPER}, Table 3")
    reference = f"{_PAPER}, Table 1, configuration {configuration}"
    return register(Variant(f"VGG{sum(depths) + 3}", VGGSpec(depths=depths), reference, IMAGENET, error))


def _with_batch_norm(plain: Variant) -> Variant:
    spec = replace(plain.spec, norm="batch")
    return register(Variant(f"{plain.python_name}_BN", spec, f"{plain.reference}, with BatchNorm added"))


_FIXED, _JITTER = "trained at scale 256", "trained at scales from 256 to 512"

VGG11 = _imagenet((1, 1, 2, 2, 2), "A", 29.6, _FIXED)
VGG13 = _imagenet((2, 2, 2, 2, 2), "B", 28.7, _FIXED)
VGG16 = _imagenet((2, 2, 3, 3, 3), "D", 25.6, _JITTER)
VGG19 = _imagenet((2, 2, 4, 4, 4), "E", 25.5, _JITTER)

VGG11_BN = _with_batch_norm(VGG11)
VGG13_BN = _with_batch_norm(VGG13)
VGG16_BN = _with_batch_norm(VGG16)
VGG19_BN = _with_batch_norm(VGG19)
