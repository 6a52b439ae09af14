"""Augmentation of training images: each is changed in its own way, inside the training step.

Every random number is drawn on the host, by NumPy, and comes with the batch: the three backends change an image alike,
and a run can go on in the middle of an epoch. What the numbers do to an image is done where the network computes.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from recipes._backend import steps_late
from recipes.averages import AveragedStatistics
from recipes.config import Augmentation

Tensor = Any  # of whichever backend
PADDING = 4  # pixels on each side, He et al. 2015, section 4.2
# How far distortions go is a choice of ours: logarithms, then slope, then shares of a side
SCALING, SQUEEZING, SHEARING, TRANSLATION = 0.3, 0.1, 0.2, 1 / 14
ERASED, AREAS, ASPECTS = 0.5, (0.02, 0.4), (0.3, 1 / 0.3)  # Zhong et al. 2017, section 4.2
# RandAugment: M = 9 on its scale of 10, N = 2 operations, as for ResNet-50 (Cubuk et al. 2019, section 4.4); what 10
# means is AutoAugment's (Cubuk et al. 2018, Table 6)
MAGNITUDE, OPERATIONS_OF_AN_IMAGE = 9 / 10, 2
OPERATIONS = (
    "identity",
    "autocontrast",
    "equalize",
    "rotate",
    "solarize",
    "color",
    "posterize",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
DEGREES, SHEAR, SHIFT, ENHANCEMENT = 30 * MAGNITUDE, 0.3 * MAGNITUDE, 150 / 331 * MAGNITUDE, 0.9 * MAGNITUDE
LEVEL, THRESHOLD = 2 ** round(4 * MAGNITUDE), 256 * (1 - MAGNITUDE)
GRAY, MIDDLE = (0.299, 0.587, 0.114), 128.0


@dataclass(frozen=True)
class Transform:
    """A random change of images.

    Attributes:
        draws: How many numbers from 0 to below 1 an image needs.
        apply: Images of shape (n, height, width, channels), float32, and numbers of shape (n, draws), to images of the
            same shape.
    """

    draws: int
    apply: Callable[[Tensor, Tensor], Tensor]


def crop(images: Tensor, draws: Tensor) -> Tensor:
    """Crops each image out of its zero-padded self.

    References: He et al. 2015, arXiv:1512.03385, section 4.2.
    """
    count, height, width, channels = ops.shape(images)
    corner = ops.cast(ops.floor(draws * (2 * PADDING + 1)), "int32")
    rows = corner[:, :1] + ops.arange(height, dtype="int32")
    columns = corner[:, 1:] + ops.arange(width, dtype="int32")
    border = (PADDING, PADDING)
    padded = ops.pad(images, ((0, 0), border, border, (0, 0)))
    first_rows = ops.arange(count, dtype="int32")[:, None] * (height + 2 * PADDING)
    pixels = (first_rows + rows)[:, :, None] * (width + 2 * PADDING) + columns[:, None, :]
    return ops.take(ops.reshape(padded, (-1, channels)), pixels, axis=0)


def flip(images: Tensor, draws: Tensor) -> Tensor:
    """Mirrors each image half of the time."""
    return ops.where(_per_image(draws[:, 0]) < 0.5, ops.flip(images, 2), images)


def distort(images: Tensor, draws: Tensor) -> Tensor:
    """Scales, squeezes, shears and shifts each image, as was done for LeNet-5; what was outside is 0.

    Scaled by a factor of up to e^0.3, made wider and lower (or narrower and higher) by up to e^0.1, sheared
    horizontally by a slope of up to 0.2, shifted by up to a fourteenth of a side.

    References: LeCun et al. 1998, Proc. IEEE 86(11), DOI 10.1109/5.726791, section III.
    """
    scaling, squeezing, shear, across, down = ops.unstack(2 * draws - 1, 5, axis=1)
    scale, squeeze = ops.exp(SCALING * scaling), ops.exp(SQUEEZING * squeezing)
    height, width = images.shape[1:3]
    zero = ops.zeros_like(scale)
    matrix = (1 / (scale * squeeze), SHEARING * shear, zero, squeeze / scale)
    return _warp(images, *matrix, TRANSLATION * width * across, TRANSLATION * height * down, fill=0.0)


def erase(images: Tensor, draws: Tensor) -> Tensor:
    """Paints a rectangle over half of the images, in the mean colour of the image.

    References: Zhong et al. 2017, arXiv:1708.04896, Algorithm 1; its mean is that of the whole training set.
    """
    whether, area, aspect, y, x = ops.unstack(draws, 5, axis=1)
    height, width = images.shape[1:3]
    area = (AREAS[0] + (AREAS[1] - AREAS[0]) * area) * height * width
    aspect = ops.exp(math.log(ASPECTS[0]) + math.log(ASPECTS[1] / ASPECTS[0]) * aspect)
    tall, wide = ops.minimum(ops.sqrt(area * aspect), height), ops.minimum(ops.sqrt(area / aspect), width)
    top, left = y * (height - tall), x * (width - wide)
    erased = _inside(images, top, top + tall, left, left + wide) & _per_image(whether < ERASED)
    return ops.where(erased, ops.mean(images, (1, 2), keepdims=True), images)


def rand_augment(images: Tensor, draws: Tensor) -> Tensor:
    """Two operations out of fourteen on each image, all of one magnitude, for pixels from 0 to 255.

    References: Cubuk et al. 2019, arXiv:1909.13719, section 3.
    """
    for one in range(OPERATIONS_OF_AN_IMAGE):
        images = _operate(images, draws[:, 2 * one], draws[:, 2 * one + 1])
    return images


def _operate(images: Tensor, which: Tensor, side: Tensor) -> Tensor:
    chosen = ops.floor(which * len(OPERATIONS))
    sign = ops.where(side < 0.5, -1.0, 1.0)

    def strength(name: str) -> Tensor:
        """Where an image is to have this operation 1 or -1, elsewhere 0."""
        return ops.where(chosen == OPERATIONS.index(name), sign, 0.0)

    def pick(name: str, changed: Tensor) -> Tensor:
        return ops.where(_per_image(chosen == OPERATIONS.index(name)), changed, images)

    height, width, channels = images.shape[1:]
    angle = math.radians(DEGREES) * strength("rotate")
    matrix = (
        ops.cos(angle),
        SHEAR * strength("shear_x") - ops.sin(angle),
        SHEAR * strength("shear_y") + ops.sin(angle),
        ops.cos(angle),
    )
    shift = SHIFT * width * strength("translate_x"), SHIFT * height * strength("translate_y")
    images = _warp(images, *matrix, *shift, fill=MIDDLE)

    light = ops.array(GRAY) if channels == 3 else 1 / channels
    gray = ops.sum(images * light, -1, keepdims=True)
    # What an enhancement takes an image away from or leads it to
    poorer = {
        "brightness": ops.zeros_like(images),
        "color": gray + ops.zeros_like(images),
        "contrast": ops.mean(gray, (1, 2), keepdims=True) + ops.zeros_like(images),
        "sharpness": _smooth(images),
    }
    for name, poor in poorer.items():
        images = images + _per_image(ENHANCEMENT * strength(name)) * (images - poor)
    images = ops.clip(images, 0, 255)
    images = pick("posterize", ops.floor(images / LEVEL) * LEVEL)
    images = pick("solarize", ops.where(images < THRESHOLD, images, 255 - images))
    low, high = ops.min(images, (1, 2), keepdims=True), ops.max(images, (1, 2), keepdims=True)
    stretched = (images - low) * (255 / ops.maximum(high - low, 1e-3))
    images = pick("autocontrast", ops.where(high > low, stretched, images))
    return pick("equalize", _equalize(images))


def _warp(
    images: Tensor, a: Tensor, b: Tensor, d: Tensor, e: Tensor, across: Tensor, down: Tensor, *, fill: float
) -> Tensor:
    """Takes a point (x, y) of the new image from (a x + b y, d x + e y) of the old one, around the middle, shifted."""
    y, x = ((side - 1) / 2 for side in images.shape[1:3])
    zero = ops.zeros_like(a)
    rows = [a, b, x - a * x - b * y + across, d, e, y - d * x - e * y + down, zero, zero]
    transforms = ops.stack(rows, 1)
    return ops.image.affine_transform(images, transforms, fill_mode="constant", fill_value=fill)


def _smooth(images: Tensor) -> Tensor:
    """The mean of a pixel, five times, and its neighbours; border pixels stay. As Pillow's SMOOTH."""
    neighbours = 9 * ops.average_pool(images, 3, 1, "valid")
    inner = (neighbours + 4 * images[:, 1:-1, 1:-1]) / 13
    middle = ops.concatenate([images[:, 1:-1, :1], inner, images[:, 1:-1, -1:]], 2)
    return ops.concatenate([images[:, :1], middle, images[:, -1:]], 1)


def _equalize(images: Tensor) -> Tensor:
    """Spreads the grey levels of each channel evenly, as Pillow does."""
    count, channels = ops.shape(images)[0], images.shape[-1]
    levels = ops.cast(ops.round(images), "int32")
    planes = ops.reshape(ops.arange(count * channels, dtype="int32"), (-1, 1, 1, channels))
    places = planes * 256 + levels
    flat = ops.reshape(places, (-1,))
    histogram = ops.segment_sum(ops.ones_like(flat), flat, num_segments=count * channels * 256)
    histogram = ops.reshape(histogram, (-1, 256))
    below = ops.cumsum(histogram, 1) - histogram
    highest = ops.max(ops.where(histogram > 0, below, 0), 1, keepdims=True)  # pixels below the brightest level
    step = highest // 255
    table = ops.minimum((below + step // 2) // ops.maximum(step, 1), 255)
    table = ops.where(step > 0, table, ops.arange(256, dtype="int32")[None])
    return ops.cast(ops.take(ops.reshape(table, (-1,)), places, axis=0), images.dtype)


def _inside(images: Tensor, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Whether the middle of a pixel lies inside of its image's rectangle, shape (n, height, width, 1)."""
    height, width = images.shape[1:3]
    y, x = ops.arange(height, dtype="float32") + 0.5, ops.arange(width, dtype="float32") + 0.5
    rows = (y >= top[:, None]) & (y < bottom[:, None])
    columns = (x >= left[:, None]) & (x < right[:, None])
    return (rows[:, :, None] & columns[:, None, :])[..., None]


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]


TRANSFORMS: dict[Augmentation, Transform] = {
    "distort": Transform(5, distort),
    "crop": Transform(2, crop),
    "flip": Transform(1, flip),
    "randaugment": Transform(2 * OPERATIONS_OF_AN_IMAGE, rand_augment),
    "erase": Transform(5, erase),
}


def draws_of(transforms: Sequence[Augmentation]) -> int:
    """How many numbers an image needs for some transforms."""
    return sum(TRANSFORMS[name].draws for name in transforms)


@dataclass(frozen=True)
class Mixing:
    """Mixing of each image and its label with another of the batch: mixup, CutMix, or one of them in turn at random.

    Attributes:
        mixup: Alpha of the Beta distribution of the other image's share, such as 0.2; 0: no mixup.
        cutmix: The same of the other's share of the area, such as 1; 0: no CutMix.

    References: Zhang et al. 2017, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __bool__(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    def draw(self, random: np.random.Generator, count: int, shape: tuple[int, int, int]) -> np.ndarray:
        """Draws a rectangle (top, bottom, left, right) of each image, in pixels, and its own share inside of it.

        Returns:
            Shape (count, 5), float32. Outside of the rectangle an image is itself.
        """
        height, width = shape[:2]
        whole = np.tile(np.array([0, height, 0, width], np.float64), (count, 1))
        mixed = np.column_stack([whole, random.beta(self.mixup, self.mixup, count) if self.mixup else np.ones(count)])
        if not self.cutmix:
            return mixed.astype(np.float32)
        side = np.sqrt(1 - random.beta(self.cutmix, self.cutmix, count))
        middle = random.random((2, count))
        edges = [
            np.clip(np.round((part + sign * side / 2) * length), 0, length)
            for part, length in zip(middle, (height, width), strict=True)
            for sign in (-1, 1)
        ]
        cut = np.column_stack([*edges, np.zeros(count)])
        either = random.random(count) < 0.5 if self.mixup else np.zeros(count, bool)
        return np.where(either[:, None], mixed, cut).astype(np.float32)


def shares(mixed: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """How much of each image is its own after `mix`, shape (n,)."""
    top, bottom, left, right, inside = mixed.T
    return 1 - (bottom - top) * (right - left) / (shape[0] * shape[1]) * (1 - inside)


def mix(images: Tensor, mixed: Tensor) -> Tensor:
    """Lays the image at the same place from the batch's end over each image, as `Mixing.draw` says."""
    top, bottom, left, right, inside = ops.unstack(mixed, 5, axis=1)
    own = ops.where(_inside(images, top, bottom, left, right), _per_image(inside), 1.0)
    return own * images + (1 - own) * ops.flip(images, 0)


def augment(batch: dict[str, Tensor], transforms: Sequence[Augmentation]) -> Tensor:
    """The images of a batch as its random numbers make them.

    Args:
        batch: "images" of shape (n, height, width, channels); "draws" of shape (n, `draws_of(transforms)`); "mixed" of
            shape (n, 5), if they are to be mixed.
        transforms: What is done, in the order of `TRANSFORMS`; mixing comes last.
    """
    images, draws = ops.cast(batch["images"], "float32"), ops.convert_to_tensor(batch["draws"])
    start = 0
    for name, transform in TRANSFORMS.items():
        if name in transforms:
            images = transform.apply(images, draws[:, start : start + transform.draws])
            start += transform.draws
    return mix(images, ops.convert_to_tensor(batch["mixed"])) if "mixed" in batch else images


class Augmented(keras.Model):
    """A network that changes its images while it is trained; it has the weights of the network.

    Args:
        network: From images to probabilities.
        transforms: What is done to the images of a batch, as `augment` takes it; images alone stay as they are.
        forward: What computes the outputs of the network in training; None: the network.
        averages: Of the network's statistics, kept in each step of training; None: there are none.
    """

    train_function: Any

    def __init__(
        self,
        network: keras.Model,
        transforms: Sequence[Augmentation],
        forward: Callable[..., Tensor] | None = None,
        averages: AveragedStatistics | None = None,
    ) -> None:
        super().__init__(name=network.name, dtype="float32")  # the numbers; the network computes in its own types
        self.network, self._forward = network, forward or network
        self._transforms, self._averages = tuple(transforms), averages
        self._logs: deque[Any] = deque()

    def call(self, inputs: Tensor | dict[str, Tensor], training: bool = False) -> Tensor:
        """Classifies images or a batch with its random numbers."""
        if isinstance(inputs, dict):
            inputs = augment(inputs, self._transforms) if training else inputs["images"]
        outputs = (self._forward if training else self.network)(inputs, training=training)
        if training and self._averages:
            self._averages.update()
        return outputs

    def make_train_function(self, force: bool = False) -> None:
        """As of any model; where steps are read late, callbacks are told what an earlier one came to."""
        before = self.train_function
        super().make_train_function(force)
        late = steps_late()
        if late and self.train_function is not before:  # which it is where one was made already
            self.train_function = self._late(self.train_function, late)

    def reset_metrics(self) -> None:
        """As of any model: an epoch begins."""
        super().reset_metrics()
        self._logs.clear()

    def _late(self, train: Callable[..., tuple[Any, Any]], late: int) -> Callable[..., tuple[Any, Any]]:
        def step(state: Any, batches: Any) -> tuple[Any, Any]:
            logs, state = train(state, batches)
            self._logs.append(logs)
            return (self._logs.popleft() if len(self._logs) > late else self._logs[0]), state

        return step
