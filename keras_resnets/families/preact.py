"""Pre-activation residual nets of He et al. 2016: normalisation and activation in front of every convolution."""

from keras_resnets.families.residual import ResNetSpec
from keras_resnets.registry import register
from keras_resnets.variant import CIFAR10, IMAGENET, Error, Variant

_PAPER = "He et al. 2016, arXiv:1603.05027"


def _imagenet(name: str, block: str, depths: tuple[int, ...], percent: float | None = None) -> Variant:
    """The nets of section 5, which stride in the 3x3 as the authors' code does."""
    spec = ResNetSpec(block=block, depths=depths, preact=True, stride_in_3x3=block == "bottleneck")  # type: ignore[arg-type]
    error = Error(percent, f"ImageNet top-1, one 320x320 crop, {_PAPER}, Table 5") if percent else None
    where = "section 5 and Table 5" if percent else "Fig. 1b, in the depths of He et al. 2015, Table 1"
    return register(Variant(name, spec, f"{_PAPER}, {where}", IMAGENET, error))


def _cifar(depth: int, percent: float | None = None) -> Variant:
    """The bottleneck net of 9n+2 layers: stages of 16, 32 and 64 channels, four times as many between blocks."""
    blocks, rest = divmod(depth - 2, 9)
    if rest:
        raise ValueError(f"depth={depth}: a CIFAR bottleneck net has 9n+2 layers")
    spec = ResNetSpec(block="bottleneck", depths=(blocks,) * 3, widths=(16, 32, 64), stem="cifar", preact=True)
    error = Error(percent, f"CIFAR-10, {_PAPER}, Table 4") if percent else None
    where = "Table 4" if percent else "in the bottleneck form of its Table 4; the paper's own of this depth is 6n+2"
    return register(Variant(f"PreActResNet{depth}", spec, f"{_PAPER}, {where}", CIFAR10, error))


ResNet18V2 = _imagenet("ResNet18V2", "basic", (2, 2, 2, 2))
ResNet34V2 = _imagenet("ResNet34V2", "basic", (3, 4, 6, 3))
ResNet50V2 = _imagenet("ResNet50V2", "bottleneck", (3, 4, 6, 3))
ResNet101V2 = _imagenet("ResNet101V2", "bottleneck", (3, 4, 23, 3))
ResNet152V2 = _imagenet("ResNet152V2", "bottleneck", (3, 8, 36, 3), 21.1)
ResNet200V2 = _imagenet("ResNet200V2", "bottleneck", (3, 24, 36, 3), 20.7)

PreActResNet20 = register(
    Variant(
        "PreActResNet20",
        ResNetSpec(depths=(3, 3, 3), widths=(16, 32, 64), stem="cifar", shortcut="A", preact=True),
        f"{_PAPER}, Fig. 1b, in the 6n+2 form of its Table 2",
        CIFAR10,
    )
)
PreActResNet110 = _cifar(110)
PreActResNet164 = _cifar(164, 5.46)
PreActResNet1001 = _cifar(1001, 4.92)
