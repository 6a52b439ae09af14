"""ResNeXt of Xie et al. 2017: bottlenecks whose 3x3 convolution is grouped."""

from keras_resnets.families.residual import ResNetSpec
from keras_resnets.registry import register
from keras_resnets.variant import CIFAR10, IMAGENET, Error, Variant

_PAPER = "Xie et al. 2017, arXiv:1611.05431"


def _imagenet(depths: tuple[int, ...], groups: int, base_width: int, percent: float | None = None) -> Variant:
    spec = ResNetSpec(block="bottleneck", depths=depths, groups=groups, base_width=base_width, stride_in_3x3=True)
    error = Error(percent, f"ImageNet top-1, one 224x224 crop, {_PAPER}, Table 3") if percent else None
    name = f"ResNeXt{3 * sum(depths) + 2}_{groups}x{base_width}d"
    where = "Table 1 and Fig. 3c" if percent else "Fig. 3c, in the width of Mahajan et al. 2018, arXiv:1805.00932"
    return register(Variant(name, spec, f"{_PAPER}, {where}", IMAGENET, error))


def _cifar(groups: int, percent: float) -> Variant:
    """The CIFAR net of 29 layers: three stages of three blocks, 64, 128 and 256 channels. Section 5.3."""
    spec = ResNetSpec(
        block="bottleneck",
        depths=(3, 3, 3),
        widths=(64, 128, 256),
        stem="cifar",
        groups=groups,
        base_width=64,
        stride_in_3x3=True,
    )
    error = Error(percent, f"CIFAR-10, {_PAPER}, Table 7")
    return register(Variant(f"ResNeXt29_{groups}x64d", spec, f"{_PAPER}, section 5.3 and Table 7", CIFAR10, error))


ResNeXt50_32x4d = _imagenet((3, 4, 6, 3), 32, 4, 22.2)
ResNeXt101_32x4d = _imagenet((3, 4, 23, 3), 32, 4, 21.2)
ResNeXt101_32x8d = _imagenet((3, 4, 23, 3), 32, 8)

ResNeXt29_8x64d = _cifar(8, 3.65)
ResNeXt29_16x64d = _cifar(16, 3.58)
