"""Wide ResNet of Zagoruyko & Komodakis 2016: fewer and wider blocks, pre-activated for CIFAR."""

from dataclasses import dataclass
from typing import ClassVar

from keras_resnets.families.residual import ResNetSpec
from keras_resnets.registry import register
from keras_resnets.variant import CIFAR10, IMAGENET, Error, Variant

_PAPER = "Zagoruyko & Komodakis 2016, arXiv:1605.07146"


@dataclass(frozen=True)
class WideResNetSpec(ResNetSpec):
    """A Wide ResNet; its CIFAR form counts depth in its own way.

    References: Zagoruyko & Komodakis 2016, arXiv:1605.07146, section 2.
    """

    family: ClassVar[str] = "wide_resnet"

    def depth(self, longest_path: int) -> int:
        """6N+4: the paper counts a projection for each of its stages, and not the classifier."""
        return longest_path - 1 + len(self.depths) if self.stem == "cifar" else longest_path


def _cifar(depth: int, factor: int, percent: float | None = None) -> Variant:
    """The net of 6N+4 layers: three stages of N basic blocks, 16, 32 and 64 channels times the factor. Table 1."""
    blocks, rest = divmod(depth - 4, 6)
    if rest:
        raise ValueError(f"depth={depth}: a CIFAR Wide ResNet has 6N+4 layers")
    spec = WideResNetSpec(
        depths=(blocks,) * 3,
        widths=(16 * factor, 32 * factor, 64 * factor),
        stem="cifar",
        stem_width=16,
        preact=True,
    )
    error = Error(percent, f"CIFAR-10, {_PAPER}, Table 5") if percent else None
    return register(Variant(f"WideResNet{depth}_{factor}", spec, f"{_PAPER}, Table 1", CIFAR10, error))


def _imagenet(depths: tuple[int, ...], percent: float | None = None) -> Variant:
    spec = WideResNetSpec(block="bottleneck", depths=depths, base_width=128, stride_in_3x3=True)
    error = Error(percent, f"ImageNet top-1, one 224x224 crop, {_PAPER}, Table 8") if percent else None
    name = f"WideResNet{3 * sum(depths) + 2}_2"
    where = "section 3 and Table 8" if percent else "section 3, in the depth of ResNet-101: torchvision's"
    return register(Variant(name, spec, f"{_PAPER}, {where}", IMAGENET, error))


WideResNet16_4 = _cifar(16, 4)
WideResNet16_8 = _cifar(16, 8, 4.27)
WideResNet40_4 = _cifar(40, 4, 4.53)
WideResNet28_10 = _cifar(28, 10, 4.00)

WideResNet50_2 = _imagenet((3, 4, 6, 3), 21.9)
WideResNet101_2 = _imagenet((3, 4, 23, 3))
