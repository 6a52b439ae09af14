"""Augmentation of training images that are in memory."""

import math
from abc import ABC, abstractmethod

import keras
import numpy as np
from keras import ops

from recipes.config import Augmentation

PADDING = 4  # pixels on each side, He et al. 2015, section 4.2
# How far distortions go is a choice of ours: logarithms, then slope, then shares of a side
SCALING, SQUEEZING, SHEARING, TRANSLATION = 0.3, 0.1, 0.2, 1 / 14


class Augmented(keras.utils.PyDataset, ABC):
    """Batches of a training set, each image changed at random: the seed and the epoch alone say how.

    Args:
        images: Shape (n, height, width, channels).
        labels: Shape (n,).
        batch_size: Images a batch; the last one may be smaller.
        seed: Seed of the order and of the changes.
        epoch: Epochs that are done already.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, batch_size: int, seed: int, epoch: int = 0) -> None:
        super().__init__()
        self._images, self._labels, self._batch_size = images, labels, batch_size
        self._seed, self._epoch = seed, epoch
        self._begin()

    def __len__(self) -> int:
        return math.ceil(len(self._labels) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        batch = slice(index * self._batch_size, (index + 1) * self._batch_size)
        chosen = self._order[batch]
        return self._change(chosen, batch), self._labels[chosen]

    def on_epoch_end(self) -> None:
        """Draws the next epoch's order and changes; `fit` does so before the first, too."""
        self._epoch += 1
        self._begin()

    def _begin(self) -> None:
        random = np.random.default_rng((self._seed, self._epoch))
        self._order = random.permutation(len(self._labels))
        self._draw(random, len(self._labels))

    @abstractmethod
    def _draw(self, random: np.random.Generator, count: int) -> None:
        """Draws an epoch's changes, in the order in which the images will come."""

    @abstractmethod
    def _change(self, chosen: np.ndarray, batch: slice) -> np.ndarray:
        """The images at some indices, as the epoch's changes in this part of it make them."""


class Shuffled(Augmented):
    """Each image as it is."""

    def _draw(self, random: np.random.Generator, count: int) -> None:
        pass

    def _change(self, chosen: np.ndarray, batch: slice) -> np.ndarray:
        return self._images[chosen]


class CropsAndFlips(Augmented):
    """Each image cropped out of its zero-padded self and mirrored half the time, as is usual for photographs.

    References: He et al. 2015, arXiv:1512.03385, section 4.2.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, batch_size: int, seed: int, epoch: int = 0) -> None:
        border = ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0))
        size = images.shape[1:3]
        # A view: (image, row of the crop, column of the crop, channel, height, width)
        self._crops = np.lib.stride_tricks.sliding_window_view(np.pad(images, border), size, axis=(1, 2))
        super().__init__(images, labels, batch_size, seed, epoch)

    def _draw(self, random: np.random.Generator, count: int) -> None:
        self._rows, self._columns = random.integers(0, 2 * PADDING + 1, (2, count))
        self._mirrored = random.random(count) < 0.5

    def _change(self, chosen: np.ndarray, batch: slice) -> np.ndarray:
        images = self._crops[chosen, self._rows[batch], self._columns[batch]]
        images[self._mirrored[batch]] = images[self._mirrored[batch], ..., ::-1]
        return np.moveaxis(images, 1, -1)


class Distortions(Augmented):
    """Each image scaled, squeezed, sheared and shifted, as was done for LeNet-5; what was outside is 0.

    Scaled by a factor of up to e^0.3, made wider and lower (or narrower and higher) by up to e^0.1, sheared
    horizontally by a slope of up to 0.2, shifted by up to a fourteenth of a side.

    References: LeCun et al. 1998, Proc. IEEE 86(11), DOI 10.1109/5.726791, section III.
    """

    def _draw(self, random: np.random.Generator, count: int) -> None:
        scaling, squeezing, shear, *shifts = random.uniform(-1, 1, (5, count))
        height, width = self._images.shape[1:3]
        scale, squeeze = np.exp(SCALING * scaling), np.exp(SQUEEZING * squeezing)
        # From a point of the new image to one of the old: (x, y) -> (a x + b y + c, d y + f), around the middle
        a, b, d = 1 / (scale * squeeze), SHEARING * shear, squeeze / scale
        x, y = (width - 1) / 2, (height - 1) / 2
        c = x - a * x - b * y + TRANSLATION * width * shifts[0]
        f = y - d * y + TRANSLATION * height * shifts[1]
        zero = np.zeros(count)
        self._transforms = np.stack([a, b, c, zero, d, f, zero, zero], 1).astype(np.float32)

    def _change(self, chosen: np.ndarray, batch: slice) -> np.ndarray:
        images = self._images[chosen].astype(np.float32)
        return ops.convert_to_numpy(ops.image.affine_transform(images, self._transforms[batch]))


AUGMENTATIONS: dict[Augmentation, type[Augmented]] = {
    "none": Shuffled,
    "crops": CropsAndFlips,
    "distortions": Distortions,
}
