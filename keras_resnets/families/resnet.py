"""ResNet: the variants of He et al. 2015, v1.5, and MLPerf Tiny's ResNet-8."""

from dataclasses import replace

from keras_resnets.families.residual import ResNetSpec
from keras_resnets.registry import register
from keras_resnets.variant import CIFAR10, IMAGENET, Error, Variant

_PAPER = "He et al. 2015, arXiv:1512.03385"
_V1_5 = f"{_PAPER}, Table 1, stride on the 3x3 (ResNet v1.5, Goyal et al. 2017, arXiv:1706.02677)"
_TINY = "Banbury et al. 2021 (MLPerf Tiny), arXiv:2106.07597, Table 1"
_TEN_CROPS = "ImageNet top-1, 10 crops"


def _imagenet(
    name: str, block: str, depths: tuple[int, ...], error: Error | None = None, *, stride_in_3x3: bool = False
) -> Variant:
    spec = ResNetSpec(block=block, depths=depths, stride_in_3x3=stride_in_3x3)  # type: ignore[arg-type]
    return register(Variant(name, spec, _V1_5 if stride_in_3x3 else f"{_PAPER}, Table 1", IMAGENET, error))


def cifar_spec(depth: int, shortcut: str) -> ResNetSpec:
    """The CIFAR net of 6n+2 layers: three stages of n basic blocks, 16, 32 and 64 channels. Section 4.2."""
    blocks, rest = divmod(depth - 2, 6)
    if rest:
        raise ValueError(f"depth={depth}: a CIFAR net has 6n+2 layers")
    return ResNetSpec(depths=(blocks,) * 3, widths=(16, 32, 64), stem="cifar", shortcut=shortcut)  # type: ignore[arg-type]


def _cifar(depth: int, percent: float) -> Variant:
    error = Error(percent, f"CIFAR-10, {_PAPER}, Table 6")
    return register(Variant(f"ResNet{depth}", cifar_spec(depth, "A"), f"{_PAPER}, Table 6", CIFAR10, error))


ResNet18 = _imagenet("ResNet18", "basic", (2, 2, 2, 2), Error(27.88, f"{_TEN_CROPS}, shortcut A, {_PAPER}, Table 2"))
ResNet34 = _imagenet("ResNet34", "basic", (3, 4, 6, 3), Error(24.52, f"{_TEN_CROPS}, {_PAPER}, Table 3"))
ResNet50 = _imagenet("ResNet50", "bottleneck", (3, 4, 6, 3), Error(22.85, f"{_TEN_CROPS}, {_PAPER}, Table 3"))
ResNet101 = _imagenet("ResNet101", "bottleneck", (3, 4, 23, 3), Error(21.75, f"{_TEN_CROPS}, {_PAPER}, Table 3"))
ResNet152 = _imagenet("ResNet152", "bottleneck", (3, 8, 36, 3), Error(21.43, f"{_TEN_CROPS}, {_PAPER}, Table 3"))

ResNet50V1_5 = _imagenet("ResNet50V1_5", "bottleneck", (3, 4, 6, 3), stride_in_3x3=True)
ResNet101V1_5 = _imagenet("ResNet101V1_5", "bottleneck", (3, 4, 23, 3), stride_in_3x3=True)
ResNet152V1_5 = _imagenet("ResNet152V1_5", "bottleneck", (3, 8, 36, 3), stride_in_3x3=True)

ResNet20 = _cifar(20, 8.75)
ResNet32 = _cifar(32, 7.51)
ResNet44 = _cifar(44, 7.17)
ResNet56 = _cifar(56, 6.97)
ResNet110 = _cifar(110, 6.43)
ResNet1202 = _cifar(1202, 7.93)

ResNet8 = register(
    Variant(
        "ResNet8",
        ResNetSpec(depths=(1, 1, 1), widths=(16, 32, 64), stem="cifar", form="mlperf_tiny"),
        _TINY,
        replace(CIFAR10, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),  # the reference takes pixels as they are
    )
)
