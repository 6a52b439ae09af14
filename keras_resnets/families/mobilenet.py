"""What the three MobileNets share: width multiplier, strides, and the inverted residual."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from keras import layers

from keras_resnets.errors import UsageError
from keras_resnets.layers import PAPER, ConvStyle, Stem, channels, conv_bn, depthwise_bn, drop_path, squeeze_excite
from keras_resnets.spec import Spec

Padding = Literal["symmetric", "same"]

CIFAR_HALVINGS = 2  # halvings that a net for 32x32 images leaves out, so that its last map has 4x4 positions


@dataclass(frozen=True)
class MobileNetSpec(Spec):
    """A MobileNet of any version.

    Args:
        stem: "imagenet", or "cifar": without the first two halvings, for 32x32 images.
        alpha: Width multiplier.
        dropout: Share of the features dropped in front of the classifier.
        padding: How strided convolutions pad: "symmetric", both sides alike; "same", as TensorFlow does, which the
            weights that Keras publishes are trained with.

    References: Howard et al. 2017, arXiv:1704.04861, section 3.3 (width multiplier).
    """

    activation: str = "relu6"
    stem: Stem = "imagenet"
    alpha: float = 1.0
    dropout: float = 0.0
    padding: Padding = "symmetric"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choice("stem", Stem)
        self._check_choice("padding", Padding)
        self._check_share("dropout")
        if not 0 < self.alpha < math.inf:
            raise UsageError(f"alpha={self.alpha}: the width multiplier must be a number above 0")

    @property
    def style(self) -> ConvStyle:
        return dataclasses.replace(super().style, padding=self.padding)

    @property
    def stride(self) -> int:
        return 32 if self.stem == "imagenet" else 32 // 2**CIFAR_HALVINGS

    @property
    def head_dropout(self) -> float:
        return self.dropout

    def strides(self, published: Iterable[int]) -> Iterator[int]:
        """The strides of the paper's table, from the stem on, as this network takes them."""
        halvings = 0
        for stride in published:
            halvings += stride > 1
            yield 1 if self.stem == "cifar" and halvings <= CIFAR_HALVINGS else stride


def inverted_residual(
    x: Any,
    expanded: int,
    filters: int,
    *,
    name: str,
    kernel: int = 3,
    stride: int = 1,
    squeezed: int = 0,
    style: ConvStyle = PAPER,
    drop: float = 0.0,
    starts_at_zero: bool = False,
) -> Any:
    """Widen with 1x1, filter depthwise, narrow linearly: (h, w, c) -> (h/stride, w/stride, filters).

    Args:
        x: Feature map, shape (batch, height, width, channels).
        expanded: Channels of the depthwise convolution; as many as `x` has leave the first 1x1 out.
        filters: Channels of the result.
        name: Prefix of the layers' names.
        kernel: Side of the depthwise kernel.
        stride: Step of the depthwise convolution.
        squeezed: Channels of the narrow layer of a squeeze-excite unit after it; 0 leaves the unit out.
        style: Normalisation, activation and padding.
        drop: Share of the images that lose the branch in training, where there is a shortcut.
        starts_at_zero: Whether the branch starts as nothing, where there is a shortcut.

    References: Sandler et al. 2018, arXiv:1801.04381, Fig. 4d; Howard et al. 2019, arXiv:1905.02244, Fig. 4.
    """
    residual = stride == 1 and channels(x) == filters
    y = x
    if expanded != channels(x):
        y = conv_bn(y, expanded, 1, style=style, name=f"{name}_expand_conv")
    y = depthwise_bn(y, kernel, stride=stride, style=style, name=f"{name}_depthwise_conv")
    if squeezed:
        y = squeeze_excite(y, squeezed, gate="hard_sigmoid", name=name)
    zero = residual and starts_at_zero
    y = conv_bn(y, filters, 1, style=style, linear=True, starts_at_zero=zero, name=f"{name}_project_conv")
    if not residual:
        return y
    return layers.Add(name=f"{name}_add")([x, drop_path(y, drop, name=f"{name}_drop_path")])
