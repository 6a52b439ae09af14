"""Data sets: images and labels, checked before anything is trained on them."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import keras
import numpy as np

from keras_resnets import UsageError
from keras_resnets.errors import first_line
from recipes.batches import Batch, Targets, batches
from recipes.config import Augmentation

FOLDER_VARIABLE = "KERAS_RESNETS_DATA"
KEYS = ("x_train", "y_train", "x_test", "y_test")
DOWNLOADS = ("cifar10", "cifar100", "fashion_mnist", "mnist")
DIMMEST = 64  # a set of images whose brightest pixel is darker has another range than 0 to 255
SLANT, BACKGROUND, INK = 0.4, 100, 200  # of digits_shifted: columns a row, pixel values


@dataclass(frozen=True)
class Dataset:
    """Images and labels, split for training and testing.

    Attributes:
        name: Name or path it was loaded by.
        x_train: Training images, shape (n, height, width, channels), raw pixels.
        y_train: Their classes, shape (n,), 0 to classes - 1.
        x_test: Test images, shape (m, height, width, channels).
        y_test: Their classes, shape (m,).
        classes: Number of classes.
        names: Of the classes, where they are known.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        height, width, channels = self.x_train.shape[1:]
        return height, width, channels

    names: tuple[str, ...] = ()  # of the classes, which these sets do not say

    @property
    def images(self) -> int:
        """Number of training images."""
        return len(self.x_train)

    @property
    def tested(self) -> int:
        """Number of test images."""
        return len(self.x_test)

    @property
    def is_bytes(self) -> bool:
        """Whether pixels go from 0 to 255."""
        return self.x_train.dtype == np.uint8

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether images are of this shape, (height, width, channels)."""
        return tuple(shape) == self.image_shape

    def in_step(self, transforms: tuple[Augmentation, ...]) -> tuple[Augmentation, ...]:
        """What of the augmentation is left to the training step: all."""
        return transforms

    def training(
        self,
        size: int,
        *,
        seed: int,
        targets: Targets,
        transforms: Sequence[Augmentation],
        epoch: int = 0,
        step: int = 0,
        multiple: int = 1,
    ) -> Iterator[Batch]:
        """Batches of training images, as `recipes.batches.batches`."""
        return batches(
            lambda chosen: self.x_train[chosen],
            self.y_train,
            self.image_shape,
            size,
            seed=seed,
            targets=targets,
            transforms=transforms,
            epoch=epoch,
            step=step,
            multiple=multiple,
        )

    def validation(self, size: int, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """Test images and their targets, as `fit` takes them."""
        return self.x_test, targets.plain(self.y_test)

    @cached_property
    def pixel_stats(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel over the training pixels."""
        total, squares = np.zeros(self.image_shape[2]), np.zeros(self.image_shape[2])
        for start in range(0, len(self.x_train), 1000):  # in pieces: float64 takes eight times the memory of uint8
            piece = self.x_train[start : start + 1000].astype(np.float64)
            total += piece.sum((0, 1, 2))
            squares += (piece**2).sum((0, 1, 2))
        pixels = self.x_train[..., 0].size
        mean = total / pixels
        std = np.sqrt(np.maximum(squares / pixels - mean**2, 1e-14))  # a constant channel has nothing to scale
        return mean.tolist(), std.tolist()


def load(source: str) -> Dataset:
    """Loads a data set by name or by path.

    `digits` and `digits_shifted` are always the built-in sets. Any other name is looked for as
    `$KERAS_RESNETS_DATA/<name>.npz`, then in Keras's downloads (cifar10, cifar100, fashion_mnist, mnist). What ends in
    `.npz` is a path. A `.npz` holds x_train, y_train, x_test and y_test; images have shape (n, height, width) or
    (n, height, width, channels), labels are integers from 0 without a gap.

    Raises:
        UsageError: If there is no such data, or it does not hold what it should.
    """
    if source in BUILT_IN:
        return BUILT_IN[source]()
    if source.endswith(".npz"):
        return _checked(source, _read(Path(source)))
    file = file_of(source)
    if file is not None:
        return _checked(source, _read(file))
    if source in DOWNLOADS:
        return _checked(source, _download(source))
    if Path(source).is_dir():
        raise UsageError(
            f"{source} is a folder, which `train`, `export`, `compress`, `sweep`, `diagnose` and `bench` take; give a "
            "set in memory here"
        )
    raise UsageError(
        f"no data set named {source!r}; use {', '.join((*BUILT_IN, *DOWNLOADS))}, the path of a .npz file, or put "
        f"{source}.npz into the folder that ${FOLDER_VARIABLE} names"
    )


def file_of(source: str) -> Path | None:
    """The file of a named data set in the folder of the user's data, if it is there."""
    folder = os.environ.get(FOLDER_VARIABLE)
    file = Path(folder) / f"{source}.npz" if folder else None
    return file if file and file.is_file() else None


def pixel_limit(images: np.ndarray) -> int:
    """White: 255, or 1 where no pixel is above.

    Raises:
        UsageError: If the pixels have neither of these ranges.
    """
    least, most = images.min(), images.max()
    if least < 0 or most > 255 or 1 < most < DIMMEST:
        raise UsageError(f"pixels from {least} to {most}; give images from 0 to 255 or from 0 to 1")
    return 255 if most > 1 else 1


def _shifted() -> Dataset:
    """The digits in italics, grey on a background that brightens to the right: another domain of the same classes."""
    digits = _digits()

    def shift(images: np.ndarray) -> np.ndarray:
        slanted = np.zeros_like(images)
        side = images.shape[1]
        for row in range(side):
            by = round(SLANT * (side / 2 - row))
            slanted[:, row, max(0, by) : side + min(0, by)] = images[:, row, max(0, -by) : side - max(0, by)]
        background = np.linspace(0, BACKGROUND, side)[:, None]
        return np.rint(background + slanted * ((INK - background) / 255)).astype(np.uint8)

    return replace(digits, name="digits_shifted", x_train=shift(digits.x_train), x_test=shift(digits.x_test))


def _digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8x8 enlarged to 32x32, a stratified fifth held out for the test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = pixels.repeat(4, axis=1).repeat(4, axis=2)
    # The split is part of the data set: it must not change with the seed of a run.
    x_train, x_test, y_train, y_test = train_test_split(
        images, digits.target, test_size=0.2, stratify=digits.target, random_state=0
    )
    return _checked("digits", {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test})


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UsageError(f"no data file {path}; give the path of a .npz file with {', '.join(KEYS)}")
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise UsageError(f"{path} holds a single array; save {', '.join(KEYS)} with numpy.savez")
            missing = [key for key in KEYS if key not in archive.files]
            if missing:
                found = ", ".join(archive.files) or "nothing"
                raise UsageError(f"{path} lacks {', '.join(missing)} (it holds {found}); save {', '.join(KEYS)}")
            return {key: archive[key] for key in KEYS}
    except UsageError:
        raise
    except Exception as error:  # a foreign file can fail anywhere in zip, zlib and numpy
        raise UsageError(f"{path} cannot be read as .npz: {first_line(error)}; write it with numpy.savez") from error


def _download(name: str) -> dict[str, np.ndarray]:
    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise UsageError(
            f"cannot download {name} ({first_line(error)}); put {name}.npz into a folder and let "
            f"${FOLDER_VARIABLE} name it"
        ) from error
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def _checked(name: str, arrays: dict[str, np.ndarray]) -> Dataset:
    x_train, x_test = (_images(name, key, arrays[key]) for key in ("x_train", "x_test"))
    if x_train.shape[1:] != x_test.shape[1:]:
        raise UsageError(
            f"{name}: x_train has images of {x_train.shape[1:]}, x_test of {x_test.shape[1:]}; make them alike"
        )
    y_train, y_test = (_labels(name, key, arrays[key], len(x)) for key, x in (("y_train", x_train), ("y_test", x_test)))
    present = np.unique(y_train)
    classes = len(present)
    if present[-1] != classes - 1:
        gap = next(label for label in range(classes) if label not in present)
        raise UsageError(f"{name}: y_train has no image of class {gap}; number the classes 0, 1, 2, ... without a gap")
    if y_test.max() >= classes:
        raise UsageError(
            f"{name}: y_test holds class {y_test.max()}, but the {classes} classes of y_train end at {classes - 1}; "
            f"test only on classes that are trained"
        )
    return Dataset(name, x_train, y_train, x_test, y_test, classes)


def _images(name: str, key: str, images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or not images.size:
        raise UsageError(
            f"{name}: {key} has shape {images.shape}; give (n, height, width) or (n, height, width, channels)"
        )
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.number) or not np.isfinite(images).all():
        raise UsageError(f"{name}: {key} must hold finite numbers (uint8 0..255 is usual), got {images.dtype}")
    return images.astype(np.float32)


def _labels(name: str, key: str, labels: np.ndarray, count: int) -> np.ndarray:
    if labels.shape not in {(count,), (count, 1)}:
        raise UsageError(
            f"{name}: {key} has shape {labels.shape} for {count} images; give one label an image, ({count},)"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise UsageError(f"{name}: {key} must hold classes 0, 1, 2, ... as integers, got {labels.dtype}")
    if labels.min() < 0:
        raise UsageError(f"{name}: {key} holds class {labels.min()}; number the classes 0, 1, 2, ...")
    return labels.reshape(-1).astype(np.int64)


BUILT_IN: dict[str, Callable[[], Dataset]] = {"digits": _digits, "digits_shifted": _shifted}
