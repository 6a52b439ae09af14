"""LeNet-5, AlexNet and ZFNet: plain chains of a few convolutions and dense layers, from before VGG."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from keras import layers

from keras_resnets.errors import UsageError
from keras_resnets.layers import (
    HE,
    ConvStyle,
    LocalResponseNorm,
    Norm,
    activate,
    channel_axis,
    conv_bn,
    max_pool,
)
from keras_resnets.registry import register
from keras_resnets.spec import Spec
from keras_resnets.variant import IMAGENET, MNIST, Error, Variant

Lrn = Literal["before_pool", "after_pool", "none"]
PlainPoolPadding = Literal["ceil", "valid"]

FIELD = 32  # side of the image that LeNet-5 sees, wider than the digit in its middle
STAGES = ((0,), (1,), (2, 3, 4))  # AlexNet's five convolutions, with a pool between the stages and after the last


def dense_head(
    x: Any,
    widths: Sequence[int],
    classes: int,
    activation: str | None,
    *,
    style: ConvStyle,
    dropout: float = 0.0,
) -> Any:
    """Hidden dense layers and the classifier: (h, w, c) -> (h*w*c,) -> each width -> (classes,).

    Flattens in the order (height, width, channels), whatever the data format.

    Args:
        x: Feature map, shape (batch, height, width, channels), of known size.
        widths: Units of each hidden layer.
        classes: Number of classes.
        activation: Activation of the classifier.
        style: Says the activation of the hidden layers.
        dropout: Share of the features dropped after each hidden layer.

    Returns:
        Tensor, shape (batch, classes).

    Raises:
        UsageError: If the size of the feature map is unknown.
    """
    if None in x.shape[1:]:
        raise UsageError(
            "input_shape: the dense layers of the top need a known height and width; give both, or include_top=False"
        )
    x = layers.Flatten(name="head_flatten")(x)
    for number, width in enumerate(widths, 1):
        x = layers.Dense(width, kernel_initializer=HE, name=f"head_dense{number}")(x)
        x = activate(x, style=style, name=f"head_{style.activation}{number}")
        if dropout:
            x = layers.Dropout(dropout, name=f"head_dropout{number}")(x)
    return layers.Dense(classes, activation=activation, name="head_dense")(x)


@dataclass(frozen=True)
class LeNet5Spec(Spec):
    """LeNet-5 as it is built today; all that it leaves out of the paper's is listed here.

    C3 sees all maps of S2 (the paper connects it to some of them, by a table), S2 and S4 are plain averages (no
    coefficient, bias and squashing), tanh is not scaled, C5 is a dense layer on the 5x5 maps that it covers, and a
    softmax stands for the RBF units. C1 and C3 do not pad: an image smaller than the paper's 32x32 is centred in a
    field of that size, as the paper centres the 28x28 of MNIST, so that images of 28x28 and of 32x32 share maps and
    weights. The field is zero, the mean of normalised pixels. The top flattens in the order (height, width, channels).

    Args:
        widths: Channels of C1 and C3.
        head_widths: Units of C5 and F6.

    References: LeCun et al. 1998, Proc. IEEE 86(11), DOI 10.1109/5.726791, section II-B and Fig. 2.
    """

    family: ClassVar[str] = "lenet"

    norm: Norm = "none"
    activation: str = "tanh"
    widths: tuple[int, int] = (6, 16)
    head_widths: tuple[int, ...] = (120, 84)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.widths) != 2 or min(*self.widths, *self.head_widths) < 1:
            raise UsageError(
                f"widths={self.widths}, head_widths={self.head_widths}: give two positive numbers of channels, and "
                f"positive numbers of units"
            )

    @property
    def stride(self) -> int:
        return 4

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        x, zeros = centred(x, 5)
        x = conv_bn(x, self.widths[0], 5, zeros=zeros, style=self.style, name="stage1_conv1")
        yield "stage1", x
        x = layers.AveragePooling2D(2, name="stage2_pool")(x)
        x = conv_bn(x, self.widths[1], 5, zeros=0, style=self.style, name="stage2_conv1")
        yield "stage2", x
        yield "head", layers.AveragePooling2D(2, name="head_average_pool")(x)

    def head(self, features: dict[str, Any], classes: int, activation: str | None) -> Any:
        return dense_head(features["head"], self.head_widths, classes, activation, style=self.style)


def centred(x: Any, kernel: int) -> tuple[Any, int]:
    """Zeros around an image of less than 32 pixels: (h, w, c) -> (max(h, 32), max(w, 32), c).

    Args:
        x: Image, shape (batch, height, width, channels).
        kernel: Odd side of the convolution that follows, which pads by itself where half of it is missing on all sides.

    Returns:
        The image, and the rows of zeros that the convolution adds on every side.
    """
    height, width = x.shape[1:3] if channel_axis() == -1 else x.shape[2:4]
    missing = [max(0, FIELD - (side or FIELD)) for side in (height, width)]  # an unknown size is taken for enough
    if missing == [kernel - 1, kernel - 1]:
        return x, kernel // 2
    if any(missing):
        x = layers.ZeroPadding2D([(zeros // 2, zeros - zeros // 2) for zeros in missing], name="stage1_field")(x)
    return x, 0


@dataclass(frozen=True)
class AlexNetSpec(Spec):
    """Five convolutions in three sizes, three overlapping 3x3 max-pools, two hidden dense layers.

    The top flattens in the order (height, width, channels) and drops features after both hidden layers.

    Args:
        widths: Channels of the five convolutions.
        kernels: Sides of their kernels.
        strides: Their steps.
        zeros: Rows of zeros on each side of what they convolve.
        groups: Blocks of channels that they convolve apart: the two GPUs of the paper, which exchange their halves
            only in front of the third convolution and of the dense layers.
        lrn: Where the local response normalisation stands: in front of the first two pools ("before_pool"), after
            them ("after_pool") or nowhere ("none"). It stays where `norm` adds another.
        pool: What the pools do with a last window that sticks out: "valid" drops, "ceil" keeps it.
        head_width: Units of each hidden dense layer.
        dropout: Share of the features dropped after each hidden dense layer.

    References: Krizhevsky et al. 2012, DOI 10.1145/3065386, section 3 and Fig. 2.
    """

    family: ClassVar[str] = "alexnet"

    norm: Norm = "none"
    widths: tuple[int, ...] = (96, 256, 384, 384, 256)
    kernels: tuple[int, ...] = (11, 5, 3, 3, 3)
    strides: tuple[int, ...] = (4, 1, 1, 1, 1)
    zeros: tuple[int, ...] = (0, 2, 1, 1, 1)
    groups: tuple[int, ...] = (1, 2, 1, 2, 2)
    lrn: Lrn = "before_pool"
    pool: PlainPoolPadding = "valid"
    head_width: int = 4096
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choice("lrn", Lrn)
        self._check_choice("pool", PlainPoolPadding)
        self._check_share("dropout")
        for field, least in (("widths", 1), ("kernels", 1), ("strides", 1), ("zeros", 0), ("groups", 1)):
            values = getattr(self, field)
            if len(values) != 5 or min(values) < least:
                raise UsageError(f"{field}={values}: give five numbers, one a convolution, of at least {least}")
        if self.head_width < 1:
            raise UsageError(f"head_width={self.head_width}: give a positive number of units")
        before = (None, *self.widths)
        for inputs, width, groups in zip(before, self.widths, self.groups, strict=False):
            if width % groups or (inputs or groups) % groups:
                raise UsageError(f"groups={self.groups}: each must divide the channels around it, {self.widths}")

    @property
    def stride(self) -> int:
        stride = 2 ** len(STAGES)
        for step in self.strides:
            stride *= step
        return stride

    @property
    def min_size(self) -> int:
        side = 1
        for convolutions in reversed(STAGES):
            side = 2 * side + (self.pool == "valid")
            for index in reversed(convolutions):
                side = max(1, (side - 1) * self.strides[index] + self.kernels[index] - 2 * self.zeros[index])
        return side

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        for stage, convolutions in enumerate(STAGES, 1):
            if stage > 1:
                x = max_pool(x, padding=self.pool, style=self.style, name=f"stage{stage}_pool")
                x = self._respond(x, "after_pool", f"stage{stage}_lrn")
            for number, index in enumerate(convolutions, 1):
                x = convolution(self, x, index, f"stage{stage}_conv{number}")
            if stage < len(STAGES):
                x = self._respond(x, "before_pool", f"stage{stage}_lrn")
            yield f"stage{stage}", x
        yield "head", max_pool(x, padding=self.pool, style=self.style, name="head_max_pool")

    def _respond(self, x: Any, place: Lrn, name: str) -> Any:
        if self.lrn != place:
            return x
        # n = 5, alpha = 1e-4, beta = 0.75, k = 2 of section 3.3; the layer divides alpha by n, the paper does not.
        return LocalResponseNorm(size=5, alpha=5 * 1e-4, beta=0.75, bias=2.0, name=name)(x)

    def head(self, features: dict[str, Any], classes: int, activation: str | None) -> Any:
        widths = (self.head_width, self.head_width)
        return dense_head(features["head"], widths, classes, activation, style=self.style, dropout=self.dropout)


def convolution(spec: AlexNetSpec, x: Any, index: int, name: str) -> Any:
    """The convolution of that index, activated."""
    return conv_bn(
        x,
        spec.widths[index],
        spec.kernels[index],
        stride=spec.strides[index],
        groups=spec.groups[index],
        zeros=spec.zeros[index],
        style=spec.style,
        name=name,
    )


_LECUN = "LeCun et al. 1998, Proc. IEEE 86(11), DOI 10.1109/5.726791"
_KRIZHEVSKY = "Krizhevsky et al. 2012, NIPS 25, DOI 10.1145/3065386"
_ZEILER = "Zeiler & Fergus 2014, arXiv:1311.2901"
_TOP1 = "ImageNet top-1, validation, 10 crops, 1 network"

LeNet5 = register(
    Variant(
        "LeNet5",
        LeNet5Spec(),
        f"{_LECUN}, Fig. 2",
        MNIST.sized(FIELD),
        Error(0.95, f"MNIST, without distortions, {_LECUN}, section III-C and Fig. 9"),
    )
)

# The paper says 224x224 pixels; its 55x55 maps come of 227x227.
AlexNet = register(
    Variant(
        "AlexNet",
        AlexNetSpec(),
        f"{_KRIZHEVSKY}, Fig. 2",
        IMAGENET.sized(227),
        Error(40.7, f"{_TOP1}, {_KRIZHEVSKY}, Table 2"),
    )
)

# One tower without groups and normalisation, as torchvision has it; at 224x224 its adaptive pool does nothing. In
# training torchvision drops in front of both hidden layers, this one, as in 2012, after them.
AlexNetOWT = register(
    Variant(
        "AlexNetOWT",
        AlexNetSpec(
            widths=(64, 192, 384, 256, 256),
            zeros=(2, 2, 1, 1, 1),
            groups=(1, 1, 1, 1, 1),
            lrn="none",
        ),
        "Krizhevsky 2014 (One weird trick), arXiv:1404.5997, section 5",
    )
)

# Fig. 3 gives kernels, strides, channels and the sizes 110, 55, 26, 13, 13, 13, 6. Inferred from the sizes: one row of
# zeros around the image, none around the second convolution, pools that keep a last window that sticks out. Taken
# over from AlexNet: the constants of the contrast normalisation, "similar to" whose network this is.
ZFNet = register(
    Variant(
        "ZFNet",
        AlexNetSpec(
            kernels=(7, 5, 3, 3, 3),
            strides=(2, 2, 1, 1, 1),
            zeros=(1, 0, 1, 1, 1),
            groups=(1, 1, 1, 1, 1),
            lrn="after_pool",
            pool="ceil",
        ),
        f"{_ZEILER}, Fig. 3",
        IMAGENET,
        Error(38.4, f"{_TOP1}, {_ZEILER}, Table 2"),
    )
)
