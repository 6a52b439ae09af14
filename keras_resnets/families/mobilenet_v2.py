"""MobileNetV2 of Sandler et al. 2018: inverted residuals with linear bottlenecks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from keras_resnets.families.mobilenet import MobileNetSpec, inverted_residual
from keras_resnets.layers import channels, conv_bn, divisible
from keras_resnets.registry import register
from keras_resnets.spec import ResidualSpec
from keras_resnets.variant import CIFAR10, Error, Variant

_PAPER = "Sandler et al. 2018, arXiv:1801.04381"

# Expansion t, channels c, repeats n, stride s of the seven stages, Table 2.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM_WIDTH = 32
HEAD_WIDTH = 1280


@dataclass(frozen=True)
class MobileNetV2Spec(MobileNetSpec, ResidualSpec):
    """MobileNetV2; the width multiplier never narrows the last 1x1 convolution.

    References: Sandler et al. 2018, arXiv:1801.04381, Table 2 and section 6.1; dropout as in
    github.com/tensorflow/models, slim/nets/mobilenet.
    """

    family: ClassVar[str] = "mobilenetv2"

    dropout: float = 0.2

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        first, *strides = self.strides([2, *(stride for *_, stride in STAGES)])
        x = conv_bn(x, divisible(STEM_WIDTH * self.alpha), 3, stride=first, style=self.style, name="stem_conv")
        yield "stem", x
        made, total = 0, sum(repeats for _, _, repeats, _ in STAGES)
        for stage, ((expansion, width, repeats, _), stride) in enumerate(zip(STAGES, strides, strict=True), 1):
            for block in range(1, repeats + 1):
                made += 1
                x = inverted_residual(
                    x,
                    expansion * channels(x),
                    divisible(width * self.alpha),
                    stride=stride if block == 1 else 1,
                    style=self.style,
                    drop=self.drop_rate(made, total),
                    starts_at_zero=self.zero_init_residual,
                    name=f"stage{stage}_block{block}",
                )
            yield f"stage{stage}", x
        x = conv_bn(x, divisible(HEAD_WIDTH * max(1.0, self.alpha)), 1, style=self.style, name="head_conv")
        yield "head", x


def _imagenet(suffix: str, alpha: float, percent: float | None = None) -> Variant:
    error = Error(percent, f"ImageNet top-1, one 224x224 crop, {_PAPER}, Table 4") if percent else None
    return register(Variant(f"MobileNetV2_{suffix}", MobileNetV2Spec(alpha=alpha), f"{_PAPER}, Table 2", error=error))


def _cifar(suffix: str, alpha: float) -> Variant:
    reference = f"{_PAPER}, Table 2, without the first two halvings"
    return register(
        Variant(f"MobileNetV2_{suffix}_CIFAR", MobileNetV2Spec(stem="cifar", alpha=alpha), reference, CIFAR10)
    )


MobileNetV2_x0_35 = _imagenet("x0_35", 0.35)
MobileNetV2_x0_5 = _imagenet("x0_5", 0.5)
MobileNetV2_x0_75 = _imagenet("x0_75", 0.75)
MobileNetV2_x1_0 = _imagenet("x1_0", 1.0, 28.0)
MobileNetV2_x1_3 = _imagenet("x1_3", 1.3)
MobileNetV2_x1_4 = _imagenet("x1_4", 1.4, 25.3)

MobileNetV2_x0_5_CIFAR = _cifar("x0_5", 0.5)
MobileNetV2_x0_75_CIFAR = _cifar("x0_75", 0.75)
MobileNetV2_x1_0_CIFAR = _cifar("x1_0", 1.0)
MobileNetV2_x1_4_CIFAR = _cifar("x1_4", 1.4)
