"""Choosing the training images from which activation ranges are read."""

from dataclasses import dataclass

import numpy as np

from keras_resnets.errors import UsageError

DEFAULT_COUNT = 200


@dataclass(frozen=True)
class Calibration:
    """Images to read activation ranges from, and where they come from.

    Args:
        images: Shape (n, height, width, channels), in the range the model was trained on.
        source: Name of the data set.
        indices: Places of the images in the training set of `source`.
    """

    images: np.ndarray
    source: str = "array"
    indices: tuple[int, ...] = ()


def pick_calibration(
    images: np.ndarray, labels: np.ndarray, source: str, *, count: int = DEFAULT_COUNT, seed: int = 0
) -> Calibration:
    """Picks `count` training images with the classes as equally present as they can be.

    Calibration must not see test images: pass the training set.

    Args:
        images: The training images, shape (n, height, width, channels).
        labels: Their classes, shape (n,).
        source: Name of the data set.
        count: Number of images wanted; all are taken if there are fewer.
        seed: Seed of the choice.

    Raises:
        UsageError: If `count` is below 1 or `seed` below 0.
    """
    if count < 1 or seed < 0:
        raise UsageError(f"cannot pick {count} images with seed {seed}; give at least 1 image and a seed from 0")
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    # Deal the classes out in rounds: first one image of each class, then a second of each, and so on.
    turn = np.empty(len(labels), dtype=int)
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        turn[members] = np.arange(len(members))
    dealt = shuffled[np.argsort(turn[shuffled], kind="stable")]
    indices = np.sort(dealt[:count])
    return Calibration(images[indices], source, tuple(indices.tolist()))
