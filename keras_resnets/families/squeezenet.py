"""SqueezeNet of Iandola et al. 2016: fire modules, narrow 1x1 convolutions that feed wide ones."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import keras
from keras import layers

from keras_resnets.errors import UsageError
from keras_resnets.layers import ConvStyle, Norm, Stem, activate, channel_axis, channels, conv, conv_bn, max_pool
from keras_resnets.registry import register
from keras_resnets.spec import Spec
from keras_resnets.variant import CIFAR10, IMAGENET, Error, Variant

SQUEEZE_RATIO = 8  # channels that come out of a fire module, per channel that it squeezes to; section 5.1


@dataclass(frozen=True)
class SqueezeNetSpec(Spec):
    """A chain of fire modules.

    Args:
        norm: Normalisation after every convolution; the paper has none.
        widths: Channels that come out of each fire module, for each stage. A max-pool stands in front of a stage.
        stem: "imagenet" (a convolution with stride 2) or "cifar" (3x3 at full resolution, no pool after it).
        stem_width: Channels of the stem.
        stem_kernel: Side of the stem's kernel; odd. "cifar" has 3.
        bypass: Whether a fire module that keeps the number of channels adds its input: modules 3, 5, 7 and 9 of
            the paper, its "simple bypass".
        dropout: Share of the features dropped in front of the classifier.

    References: Iandola et al. 2016, arXiv:1602.07360, Table 1, Fig. 1 and 2.
    """

    family: ClassVar[str] = "squeezenet"
    top_layers: ClassVar[tuple[str, ...]] = ("activation", "conv2d", "dropout")

    norm: Norm = "none"
    widths: tuple[tuple[int, ...], ...] = ((128, 128), (256, 256), (384, 384, 512, 512))
    stem: Stem = "imagenet"
    stem_width: int = 64
    stem_kernel: int = 3
    bypass: bool = False
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choice("stem", Stem)
        self._check_share("dropout")
        if (
            not self.widths
            or not all(self.widths)
            or any(width < 1 or width % SQUEEZE_RATIO for stage in self.widths for width in stage)
        ):
            raise UsageError(f"widths={self.widths}: give multiples of {SQUEEZE_RATIO}, one tuple a stage")
        if self.stem_width < 1:
            raise UsageError(f"stem_width={self.stem_width}: give a positive number of channels")
        if self.stem_kernel < 1 or self.stem_kernel % 2 == 0:
            raise UsageError(f"stem_kernel={self.stem_kernel}: give an odd number")
        if self.stem == "cifar" and self.stem_kernel != 3:
            raise UsageError(f"stem_kernel={self.stem_kernel}: stem='cifar' is a 3x3 convolution; leave it out")

    @property
    def style(self) -> ConvStyle:
        return replace(super().style, padding="valid")  # the stem alone strides

    @property
    def stride(self) -> int:
        return 2 ** (len(self.widths) + 1) if self.stem == "imagenet" else 2 ** (len(self.widths) - 1)

    @property
    def min_size(self) -> int:
        """A side whose map in front of the pools they can halve to one pixel."""
        return self.stride - 2 + self.stem_kernel if self.stem == "imagenet" else self.stride

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        imagenet = self.stem == "imagenet"
        stride = 2 if imagenet else 1
        x = conv_bn(x, self.stem_width, self.stem_kernel, stride=stride, style=self.style, name="stem_conv")
        yield "stem", x
        for stage, widths in enumerate(self.widths, 1):
            if stage > 1 or imagenet:
                x = max_pool(x, padding="ceil", style=self.style, name=f"stage{stage}_pool")
            for block, width in enumerate(widths, 1):
                x = fire(self, x, width, f"stage{stage}_block{block}")
            yield f"stage{stage}", x

    def head(self, features: dict[str, Any], classes: int, activation: str | None) -> Any:
        """A 1x1 convolution to one map a class, averaged.

        A ReLU lies between the two, as published, so that no score is negative; but not in front of a sigmoid, which
        could give no probability below a half then.
        """
        x = list(features.values())[-1]
        if self.dropout:
            x = layers.Dropout(self.dropout, name="head_dropout")(x)
        x = conv(x, classes, 1, style=self.style, use_bias=True, name="head_conv")
        if keras.activations.get(activation) is not keras.activations.sigmoid:
            x = activate(x, style=self.style, name=f"head_{self.activation}")
        x = layers.GlobalAveragePooling2D(name="head_pool")(x)
        return layers.Activation(activation, name="head_activation")(x) if activation else x


def fire(spec: SqueezeNetSpec, x: Any, filters: int, name: str) -> Any:
    """Squeezes with 1x1, expands with 1x1 and 3x3 side by side: (h, w, c) -> (h, w, filters). Fig. 1."""
    squeezed = conv_bn(x, filters // SQUEEZE_RATIO, 1, style=spec.style, name=f"{name}_squeeze_conv")
    expanded = [
        conv_bn(squeezed, filters // 2, kernel, style=spec.style, name=f"{name}_expand{kernel}_conv")
        for kernel in (1, 3)
    ]
    y = layers.Concatenate(axis=channel_axis(), name=f"{name}_concat")(expanded)
    if spec.bypass and channels(x) == filters:
        y = layers.Add(name=f"{name}_add")([x, y])
    return y


_PAPER = "Iandola et al. 2016, arXiv:1602.07360"
_V1_1 = f"{_PAPER}, SqueezeNet v1.1 of the authors' repository"

SqueezeNet1_0 = register(
    Variant(
        "SqueezeNet1_0",
        SqueezeNetSpec(
            widths=((128, 128, 256), (256, 384, 384, 512), (512,)),
            stem_width=96,
            stem_kernel=7,
        ),
        f"{_PAPER}, Table 1, whose maps of 111x111 take images of 227x227",
        IMAGENET,
        Error(42.5, f"ImageNet top-1, {_PAPER}, Table 2"),
    )
)
SqueezeNet1_1 = register(Variant("SqueezeNet1_1", SqueezeNetSpec(), _V1_1, IMAGENET))
SqueezeNet1_1_CIFAR = register(
    Variant(
        "SqueezeNet1_1_CIFAR",
        SqueezeNetSpec(stem="cifar"),
        f"{_V1_1}, stem without stride and first pool left out: a small baseline for 32x32 images, in no paper",
        CIFAR10,
    )
)
