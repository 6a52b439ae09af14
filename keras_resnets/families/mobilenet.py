"""MobileNetV2 at CIFAR size: inverted residuals with linear bottlenecks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from keras import layers

from keras_resnets.errors import UsageError
from keras_resnets.layers import channels, cifar_stem, conv_bn, depthwise_bn, divisible
from keras_resnets.registry import register
from keras_resnets.variant import CIFAR10, Spec, Variant

# Expansion t, channels c, repeats n, stride s of the seven stages. Sandler et al. 2018, Table 2; the first two
# halvings (the stem and the second stage) are left out for 32x32 images.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


@dataclass(frozen=True)
class MobileNetV2Spec(Spec):
    """MobileNetV2 for 32x32 images.

    Args:
        alpha: Width multiplier of every layer but the last 1x1 convolution, which it never narrows.
        dropout: Share of the pooled features dropped in front of the classifier.

    References: Sandler et al. 2018, arXiv:1801.04381, Table 2.
    """

    family: ClassVar[str] = "mobilenetv2"

    activation: str = "relu6"
    alpha: float = 1.0
    dropout: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alpha > 0:
            raise UsageError(f"alpha={self.alpha}: the width multiplier must be above 0")
        self._check_share("dropout")

    @property
    def stride(self) -> int:
        return 8

    @property
    def head_dropout(self) -> float:
        return self.dropout

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        x = cifar_stem(x, divisible(32 * self.alpha), self.style)
        yield "stem", x
        for stage, (expansion, width, repeats, stride) in enumerate(STAGES, 1):
            for block in range(1, repeats + 1):
                step = stride if block == 1 else 1
                name = f"stage{stage}_block{block}"
                x = inverted_residual(self, x, divisible(width * self.alpha), expansion, step, name)
            yield f"stage{stage}", x
        x = conv_bn(x, divisible(1280 * max(1.0, self.alpha)), 1, style=self.style, name="head_conv")
        yield "head", x


def inverted_residual(spec: MobileNetV2Spec, x: Any, filters: int, expansion: int, stride: int, name: str) -> Any:
    """Widen with 1x1, filter depthwise, narrow linearly: (h, w, c) -> (h/stride, w/stride, filters). Fig. 4d."""
    y = x
    if expansion > 1:
        y = conv_bn(y, expansion * channels(x), 1, style=spec.style, name=f"{name}_expand_conv")
    y = depthwise_bn(y, 3, stride=stride, style=spec.style, name=f"{name}_depthwise_conv")
    y = conv_bn(y, filters, 1, style=spec.style, linear=True, name=f"{name}_project_conv")
    if stride == 1 and channels(x) == filters:
        y = layers.Add(name=f"{name}_add")([x, y])
    return y


def _cifar(suffix: str, alpha: float) -> Variant:
    reference = "Sandler et al. 2018, arXiv:1801.04381, Table 2, without the first two halvings"
    return register(Variant(f"MobileNetV2_{suffix}_CIFAR", MobileNetV2Spec(alpha=alpha), reference, CIFAR10))


MobileNetV2_x0_5_CIFAR = _cifar("x0_5", 0.5)
MobileNetV2_x0_75_CIFAR = _cifar("x0_75", 0.75)
MobileNetV2_x1_0_CIFAR = _cifar("x1_0", 1.0)
MobileNetV2_x1_4_CIFAR = _cifar("x1_4", 1.4)
