"""Squeeze-and-excitation nets of Hu et al. 2018 over the residual builder."""

import dataclasses

from keras_resnets.families.residual import ResNetSpec
from keras_resnets.families.resnet import cifar_spec
from keras_resnets.registry import register
from keras_resnets.variant import CIFAR10, IMAGENET, Error, Variant

_PAPER = "Hu et al. 2018, arXiv:1709.01507"
RATIO = 16  # reduction ratio r, section 3.2 and Table 10


def _imagenet(name: str, spec: ResNetSpec, table: str, percent: float | None = None) -> Variant:
    source = "ImageNet top-1, one 224x224 crop, the authors' github.com/hujie-frank/SENet, Table 1"
    error = Error(percent, source) if percent else None
    return register(Variant(name, spec, f"{_PAPER}, {table}", IMAGENET, error))


def _residual(name: str, block: str, depths: tuple[int, ...], percent: float | None = None) -> Variant:
    spec = ResNetSpec(block=block, depths=depths, se_ratio=RATIO)  # type: ignore[arg-type]
    return _imagenet(name, spec, "Table 2" if percent else "Fig. 3 in the depths of ResNet-18 and 34", percent)


def _resnext(name: str, depths: tuple[int, ...], percent: float) -> Variant:
    spec = ResNetSpec(block="bottleneck", depths=depths, groups=32, base_width=4, stride_in_3x3=True, se_ratio=RATIO)
    return _imagenet(name, spec, "Table 2", percent)


SEResNet18 = _residual("SEResNet18", "basic", (2, 2, 2, 2))
SEResNet34 = _residual("SEResNet34", "basic", (3, 4, 6, 3))
SEResNet50 = _residual("SEResNet50", "bottleneck", (3, 4, 6, 3), 22.37)
SEResNet101 = _residual("SEResNet101", "bottleneck", (3, 4, 23, 3), 21.75)
SEResNet152 = _residual("SEResNet152", "bottleneck", (3, 8, 36, 3), 21.34)

SEResNeXt50_32x4d = _resnext("SEResNeXt50_32x4d", (3, 4, 6, 3), 20.97)
SEResNeXt101_32x4d = _resnext("SEResNeXt101_32x4d", (3, 4, 23, 3), 19.81)

SENet154 = _imagenet(
    "SENet154",
    ResNetSpec(
        block="bottleneck",
        depths=(3, 8, 36, 3),
        groups=64,
        base_width=4,
        stride_in_3x3=True,
        se_ratio=RATIO,
        dropout=0.2,
        form="senet154",
    ),
    "section 4 and appendix",
    18.68,
)

SEResNet20 = register(
    Variant(
        "SEResNet20",
        dataclasses.replace(cifar_spec(20, "A"), se_ratio=RATIO),
        f"{_PAPER}, Fig. 3, in the CIFAR form of He et al. 2015",
        CIFAR10,
    )
)
