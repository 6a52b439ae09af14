"""MobileNet of Howard et al. 2017: every 3x3 convolution is a depthwise one and a 1x1."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from keras_resnets.families.mobilenet import MobileNetSpec
from keras_resnets.layers import ConvStyle, conv_bn, depthwise_bn
from keras_resnets.registry import register
from keras_resnets.variant import CIFAR10, Error, Variant

_PAPER = "Howard et al. 2017, arXiv:1704.04861"

# Channels, repeats and stride of the stages. Table 1 prints a stride of 2 for the last depthwise convolution, too, but
# the sizes beside it, and the authors' code, have 1.
STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))
STEM_WIDTH = 32
LEAST_WIDTH = 8


@dataclass(frozen=True)
class MobileNetV1Spec(MobileNetSpec):
    """MobileNet, with the activation (ReLU6) and the dropout of the authors' code, on which the paper is silent.

    References: Howard et al. 2017, arXiv:1704.04861, Table 1; github.com/tensorflow/models, slim/nets/mobilenet_v1.py.
    """

    family: ClassVar[str] = "mobilenetv1"

    dropout: float = 0.001

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        first, *strides = self.strides([2, *(stride for _, _, stride in STAGES)])
        x = conv_bn(x, self._width(STEM_WIDTH), 3, stride=first, style=self.style, name="stem_conv")
        yield "stem", x
        for stage, ((width, repeats, _), stride) in enumerate(zip(STAGES, strides, strict=True), 1):
            for block in range(1, repeats + 1):
                step = stride if block == 1 else 1
                x = separable(x, self._width(width), stride=step, style=self.style, name=f"stage{stage}_block{block}")
            yield f"stage{stage}", x

    def _width(self, published: int) -> int:
        return max(LEAST_WIDTH, int(published * self.alpha))


def separable(x: Any, filters: int, *, name: str, stride: int, style: ConvStyle) -> Any:
    """Depthwise 3x3, then 1x1: (h, w, c) -> (h/stride, w/stride, filters). Fig. 3."""
    x = depthwise_bn(x, 3, stride=stride, style=style, name=f"{name}_depthwise_conv")
    return conv_bn(x, filters, 1, style=style, name=f"{name}_pointwise_conv")


def _imagenet(suffix: str, alpha: float, percent: float) -> Variant:
    error = Error(percent, f"ImageNet top-1, one 224x224 crop, {_PAPER}, Table 6")
    return register(
        Variant(f"MobileNetV1_{suffix}", MobileNetV1Spec(alpha=alpha), f"{_PAPER}, Tables 1 and 6", error=error)
    )


def _cifar(suffix: str, alpha: float) -> Variant:
    reference = f"{_PAPER}, Table 1, without the first two halvings"
    return register(
        Variant(f"MobileNetV1_{suffix}_CIFAR", MobileNetV1Spec(stem="cifar", alpha=alpha), reference, CIFAR10)
    )


MobileNetV1_x0_25 = _imagenet("x0_25", 0.25, 49.4)
MobileNetV1_x0_5 = _imagenet("x0_5", 0.5, 36.3)
MobileNetV1_x0_75 = _imagenet("x0_75", 0.75, 31.6)
MobileNetV1_x1_0 = _imagenet("x1_0", 1.0, 29.4)

MobileNetV1_x0_5_CIFAR = _cifar("x0_5", 0.5)
MobileNetV1_x1_0_CIFAR = _cifar("x1_0", 1.0)
