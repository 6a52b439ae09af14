"""Choosing the training images from which activation ranges are read."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from keras_resnets.errors import UsageError

DEFAULT_COUNT = 200
FEW = 32  # images below which a range is a guess
PHOTOS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


@dataclass(frozen=True)
class Calibration:
    """Images to read activation ranges from, and where they come from.

    Args:
        images: Shape (n, height, width, channels), in the range the model was trained on.
        source: Name of the data set.
        indices: Places of the images in the training set of `source`, or among the sorted files of a folder.
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
        UsageError: If `count` is below 1 or `seed` below 0, or there is not one class an image.
    """
    _check_pick(count, seed)
    images, labels = np.asarray(images), np.asarray(labels)
    check_labels(images, labels)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    # Deal the classes out in rounds: first one image of each class, then a second of each, and so on.
    turn = np.empty(len(labels), dtype=int)
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        turn[members] = np.arange(len(members))
    dealt = shuffled[np.argsort(turn[shuffled], kind="stable")]
    indices = np.sort(dealt[:count])
    return Calibration(images[indices], source, tuple(indices.tolist()))


def read_photos(folder: str | Path, shape: Sequence[int], *, count: int = DEFAULT_COUNT, seed: int = 0) -> Calibration:
    """Picks `count` photos of a folder, and as equally as can be of the folders in it, for a model of raw pixels.

    A photo is turned upright, scaled until it covers the model's image, and cut at its longer sides.

    Args:
        folder: The folder.
        shape: (height, width, channels) of the model's image; 1 channel is grey, 3 are RGB.
        count: Number of photos wanted; all are taken if there are fewer.
        seed: Seed of the choice.

    Returns:
        Images, shape (n, height, width, channels), uint8.

    Raises:
        UsageError: If the folder holds no photos, one of those picked cannot be read (all of them are listed), or the
            model's image has neither 1 nor 3 channels.
    """
    _check_pick(count, seed)
    folder = Path(folder)
    height, width, channels = shape
    if channels not in (1, 3):
        raise UsageError(f"photos have 1 or 3 channels, the model's image has {channels}; give it its training data")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTOS and path.is_file())
    if not files:
        raise UsageError(f"no photos in {folder}; give a folder of {', '.join(PHOTOS)} files")
    _, folders = np.unique([str(file.parent) for file in files], return_inverse=True)
    indices = pick_calibration(np.arange(len(files)), folders, str(folder), count=count, seed=seed).indices
    images, broken = [], []
    for index in indices:
        try:
            with Image.open(files[index]) as photo:
                if photo.mode[0] in "IF":  # of more than 8 bits, which Pillow would make white
                    raise ValueError(photo.mode)
                upright = ImageOps.exif_transpose(photo).convert("L" if channels == 1 else "RGB")
            images.append(np.asarray(ImageOps.fit(upright, (width, height))).reshape(height, width, channels))
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError):
            broken.append(str(files[index]))
    if broken:
        raise UsageError(f"cannot read {', '.join(broken)} as photos of 8 bits; replace or remove these files")
    return Calibration(np.stack(images), str(folder), indices)


def check_labels(images: np.ndarray, labels: np.ndarray, classes: int | None = None) -> None:
    """Checks that there is one class an image, and that it is one of a model's, where their number is given.

    NumPy would compare a column of them, as Keras's CIFAR-10 has, with every prediction.

    Raises:
        UsageError: If labels are not of shape (n,) for n images, or there are no images, or a label is no class.
    """
    if not len(images) or labels.shape != (len(images),):
        raise UsageError(
            f"{len(images)} images and labels of shape {labels.shape}: give one class an image, shape (n,)"
        )
    if classes is None:
        return
    if labels.dtype.kind not in "biuf" or not (labels == np.rint(labels)).all():
        raise UsageError(f"labels of type {labels.dtype} that are no whole numbers; give classes, from 0")
    most = max(classes, 2)  # a single score tells two classes apart
    if labels.min() < 0 or labels.max() >= most:
        raise UsageError(
            f"labels from {labels.min()} to {labels.max()}, and the model has {most} classes; use the data that it was "
            f"trained on"
        )


def warn_if_few(images: np.ndarray, stacklevel: int) -> None:
    """Says so where ranges come from too few images; `stacklevel` as of the caller."""
    if len(images) < FEW:
        warnings.warn(
            f"ranges from {len(images)} calibration images are a guess; give at least {FEW}", stacklevel=stacklevel + 1
        )


def _check_pick(count: int, seed: int) -> None:
    if count < 1 or seed < 0:
        raise UsageError(f"cannot pick {count} images with seed {seed}; give at least 1 image and a seed from 0")
