"""DenseNet of Huang et al. 2017: every layer of a stage reads what all layers before it wrote."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from keras import layers

from keras_resnets.errors import UsageError
from keras_resnets.layers import Stem, channel_axis, channels, conv, imagenet_stem, norm_activation
from keras_resnets.registry import register
from keras_resnets.spec import Spec
from keras_resnets.variant import CIFAR10, IMAGENET, Error, Variant

SQUEEZED = 4  # channels of a bottleneck's 3x3 input, in growth rates; section 3, "Bottleneck layers"


@dataclass(frozen=True)
class DenseNetSpec(Spec):
    """A densely connected network.

    Args:
        depths: Blocks in each stage. (The paper's "layers" of a "dense block".)
        growth: Growth rate k, the channels that a block adds.
        bottleneck: Whether a 1x1 convolution to 4k channels stands in front of a block's 3x3 ("B").
        compression: Share theta of the channels that a transition keeps; 1 keeps all ("C" below 1).
        stem: "imagenet" (7x7 with stride 2 and max-pool) or "cifar" (a bare 3x3 convolution).
        dropout: Share of the features dropped after every convolution but the first; 0.2 in the paper where it
            trains without data augmentation.

    References: Huang et al. 2017, arXiv:1608.06993, section 3 and Table 1.
    """

    family: ClassVar[str] = "densenet"

    depths: tuple[int, ...] = (6, 12, 24, 16)
    growth: int = 32
    bottleneck: bool = True
    compression: float = 0.5
    stem: Stem = "imagenet"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choice("stem", Stem)
        self._check_share("dropout")
        if not self.depths or min(self.depths) < 1:
            raise UsageError(f"depths={self.depths}: give one positive number a stage")
        if self.growth < 1:
            raise UsageError(f"growth={self.growth}: give a positive number of channels")
        if not 0 < self.compression <= 1:
            raise UsageError(f"compression={self.compression}: give a share above 0, at most 1")

    @property
    def stride(self) -> int:
        return (4 if self.stem == "imagenet" else 1) * 2 ** (len(self.depths) - 1)

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        width = 2 * self.growth if self.bottleneck else 16
        if self.stem == "imagenet":
            x = imagenet_stem(x, width, self.style)
        else:
            x = conv(x, width, 3, style=self.style, name="stem_conv")
        yield "stem", x
        for stage, depth in enumerate(self.depths, 1):
            if stage > 1:
                x = transition(self, x, f"stage{stage}_transition")
            for block in range(1, depth + 1):
                x = dense_block(self, x, f"stage{stage}_block{block}")
            yield f"stage{stage}", x
        x = norm_activation(x, style=self.style, name="head_bn")
        yield "head", x


def dense_block(spec: DenseNetSpec, x: Any, name: str) -> Any:
    """Adds k channels to those that came in: (h, w, c) -> (h, w, c + k). Fig. 1 and section 3."""
    y = norm_activation(x, style=spec.style, name=f"{name}_preact_bn")
    if spec.bottleneck:
        y = _conv(spec, y, SQUEEZED * spec.growth, 1, f"{name}_conv1")
        y = norm_activation(y, style=spec.style, name=f"{name}_bn1")
        y = _conv(spec, y, spec.growth, 3, f"{name}_conv2")
    else:
        y = _conv(spec, y, spec.growth, 3, f"{name}_conv1")
    return layers.Concatenate(axis=channel_axis(), name=f"{name}_concat")([x, y])


def transition(spec: DenseNetSpec, x: Any, name: str) -> Any:
    """Keeps a share of the channels and halves the size: (h, w, c) -> (h/2, w/2, theta c). Fig. 2."""
    y = norm_activation(x, style=spec.style, name=f"{name}_preact_bn")
    y = _conv(spec, y, max(1, int(spec.compression * channels(x))), 1, f"{name}_conv")
    return layers.AveragePooling2D(2, name=f"{name}_pool")(y)


def _conv(spec: DenseNetSpec, x: Any, filters: int, kernel: int, name: str) -> Any:
    x = conv(x, filters, kernel, style=spec.style, name=name)
    return layers.Dropout(spec.dropout, name=name.replace("conv", "dropout"))(x) if spec.dropout else x


_PAPER = "Huang et al. 2017, arXiv:1608.06993"


def _imagenet(depth: int, depths: tuple[int, ...], percent: float | None = None, *, growth: int = 32) -> Variant:
    spec = DenseNetSpec(depths=depths, growth=growth)
    error = Error(percent, f"ImageNet top-1, one 224x224 crop, {_PAPER}, Table 3") if percent else None
    where = "Table 1" if percent else "Table 1 of its versions 1 to 3"
    return register(Variant(f"DenseNet{depth}", spec, f"{_PAPER}, {where}", IMAGENET, error))


def _cifar(depth: int, growth: int, percent: float | None = None, *, bc: bool = False) -> Variant:
    """Three stages of equal depth; L counts the stem, two transitions and the classifier, too. Section 3."""
    blocks, rest = divmod(depth - 4, 6 if bc else 3)
    if rest:
        raise ValueError(f"depth={depth}: a CIFAR DenseNet has 3n+4 layers, a DenseNet-BC 6n+4")
    spec = DenseNetSpec(
        depths=(blocks,) * 3, growth=growth, bottleneck=bc, compression=0.5 if bc else 1.0, stem="cifar"
    )
    error = Error(percent, f"CIFAR-10 with augmentation, {_PAPER}, Table 2") if percent else None
    name = f"DenseNet{'BC' if bc else ''}{depth}_{growth}"
    where = "Table 2 and section 3" if percent else "section 3, in the depth and growth of Table 2's DenseNet"
    return register(Variant(name, spec, f"{_PAPER}, {where}", CIFAR10, error))


DenseNet121 = _imagenet(121, (6, 12, 24, 16), 25.02)
DenseNet161 = _imagenet(161, (6, 12, 36, 24), growth=48)
DenseNet169 = _imagenet(169, (6, 12, 32, 32), 23.80)
DenseNet201 = _imagenet(201, (6, 12, 48, 32), 22.58)
# Counted as the four above are, the blocks that the paper's Table 1 gives for its "DenseNet-264" make 265 layers.
DenseNet264 = _imagenet(264, (6, 12, 64, 48), 22.15)

DenseNet40_12 = _cifar(40, 12, 5.24)
DenseNet100_12 = _cifar(100, 12, 4.10)
DenseNet100_24 = _cifar(100, 24, 3.74)

DenseNetBC40_12 = _cifar(40, 12, bc=True)
DenseNetBC100_12 = _cifar(100, 12, 4.51, bc=True)
DenseNetBC250_24 = _cifar(250, 24, 3.62, bc=True)
DenseNetBC190_40 = _cifar(190, 40, 3.46, bc=True)
