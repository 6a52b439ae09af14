"""Augmentation of training images that are in memory."""

import math

import keras
import numpy as np

PADDING = 4  # pixels on each side, He et al. 2015, section 4.2


class CropsAndFlips(keras.utils.PyDataset):
    """Batches of a training set, each image cropped out of its zero-padded self at random and mirrored half the time.

    What an image becomes depends on the seed and the epoch alone. He et al. 2015, section 4.2.

    Args:
        images: Shape (n, height, width, channels).
        labels: Shape (n,).
        batch_size: Images a batch; the last one may be smaller.
        seed: Seed of the order and of the crops.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, batch_size: int, seed: int) -> None:
        super().__init__()
        border = ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0))
        height, width = images.shape[1:3]
        # A view: (image, row of the crop, column of the crop, channel, height, width)
        self._crops = np.lib.stride_tricks.sliding_window_view(np.pad(images, border), (height, width), axis=(1, 2))
        self._labels, self._batch_size = labels, batch_size
        self._seed, self._epoch = seed, 0
        self._draw()

    def __len__(self) -> int:
        return math.ceil(len(self._labels) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        batch = slice(index * self._batch_size, (index + 1) * self._batch_size)
        chosen = self._order[batch]
        images = self._crops[chosen, self._rows[batch], self._columns[batch]]
        images[self._mirrored[batch]] = images[self._mirrored[batch], ..., ::-1]
        return np.moveaxis(images, 1, -1), self._labels[chosen]

    def on_epoch_end(self) -> None:
        """Draws the next epoch's order, crops and mirrorings; `fit` does so before the first, too."""
        self._epoch += 1
        self._draw()

    def _draw(self) -> None:
        random, count = np.random.default_rng((self._seed, self._epoch)), len(self._labels)
        self._order = random.permutation(count)
        self._rows, self._columns = random.integers(0, 2 * PADDING + 1, (2, count))
        self._mirrored = random.random(count) < 0.5
