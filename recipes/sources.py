"""Where a training run has its images from: a set in memory or a folder of any size."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from export import Calibration, pick_calibration
from keras_resnets import UsageError
from recipes.batches import Batch, Targets
from recipes.config import Augmentation, TrainConfig
from recipes.data import BUILT_IN, DOWNLOADS, Dataset, file_of, load
from recipes.decode import Files, decode
from recipes.folders import classes_of, open_folder

# Height, width, channels and classes of sets that `--smoke` would have to download
SHAPES = {"cifar10": (32, 32, 3, 10), "cifar100": (32, 32, 3, 100), "mnist": (28, 28, 1, 10)}
SHAPES["fashion_mnist"] = SHAPES["mnist"]
SMOKE_BATCH, SMOKE_STEPS = 8, 2
TESTED = 2000  # test images of a folder that are held in memory


class Source(Protocol):
    """Training and test images of some classes."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, where they are known."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""

    @property
    def pixel_stats(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel."""

    @property
    def images(self) -> int:
        """Number of training images."""

    @property
    def tested(self) -> int:
        """Number of test images."""

    @property
    def is_bytes(self) -> bool:
        """Whether pixels go from 0 to 255."""

    def in_step(self, transforms: tuple[Augmentation, ...]) -> tuple[Augmentation, ...]:
        """What of the augmentation is left to the training step."""

    def training(
        self,
        size: int,
        *,
        seed: int,
        targets: Targets,
        transforms: tuple[Augmentation, ...],
        epoch: int = 0,
        step: int = 0,
        multiple: int = 1,
    ) -> Iterator[Batch]:
        """Batches without end, as `recipes.batches.batches`."""

    def validation(self, size: int, targets: Targets) -> Any:
        """Test images and their targets, as `fit` takes them."""


def open_source(config: TrainConfig, workers: int | None = None) -> Source:
    """The data of a run.

    Args:
        config: What decides the run.
        workers: Processes that decode the images of a folder; None: one for each processor but one.

    Raises:
        UsageError: If there is no such data, or it does not hold what it should.
    """
    if _is_folder(config.data):
        return open_folder(Path(config.data), config.image_size, workers)
    return load(config.data)


def images_of(model: keras.Model, source: str, *, count: int, seed: int) -> tuple[Dataset, Calibration]:
    """The data that a model was trained on, and training images to calibrate on.

    Args:
        model: Says the size of a folder's images.
        source: As `--data` takes it. Of a folder, the images to calibrate on are the training images, and up to
            `TESTED` of `val` the test images, with the classes as equally present as they can be.
        count: Images to calibrate on.
        seed: Seed of the choice.

    Raises:
        UsageError: If there is no such data, it does not hold what it should, or the model's images are no squares.
    """
    if not _is_folder(source):
        data = load(source)
        return data, pick_calibration(data.x_train, data.y_train, data.name, count=count, seed=seed)
    height, width, channels = model.input_shape[1:]
    if height != width or channels != 3:
        raise UsageError(f"{model.name} takes images of {height, width, channels}; those of a folder are RGB squares")
    folder = open_folder(Path(source), height)

    def some(files: Files, most: int) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
        places = np.arange(len(files.labels))
        chosen = pick_calibration(places, files.labels, source, count=most, seed=seed).indices
        images = np.stack([decode(files.root / files.paths[place], height) for place in chosen])
        return images, files.labels[list(chosen)], chosen

    images, labels, chosen = some(folder.train, count)
    tests, answers, _ = some(folder.val, TESTED)
    data = Dataset(source, images, labels, tests, answers, folder.classes)
    return data, Calibration(images, str(folder.train.root), chosen)


def _is_folder(source: str) -> bool:
    return source not in (*BUILT_IN, *DOWNLOADS) and Path(source).is_dir()


def _shape(config: TrainConfig) -> tuple[int, int, int, int]:
    """Height, width, channels and classes of a run's data."""
    side = config.image_size
    if _is_folder(config.data):
        return side, side, 3, len(classes_of(Path(config.data) / "train"))
    if file_of(config.data) is None and config.data in SHAPES:
        return SHAPES[config.data]
    if file_of(config.data) is None and config.data == "imagenet":  # the folder that the configs of ImageNet name
        return side, side, 3, 1000
    data = load(config.data)
    return (*data.image_shape, data.classes)


def made_up(config: TrainConfig, multiple: int = 1) -> tuple[TrainConfig, Dataset]:
    """Some noise in the shape of a run's data, and the run as one short epoch of it.

    Args:
        config: What decides the run.
        multiple: What the size of a batch is to be a multiple of.

    Raises:
        UsageError: If there is no such data.
    """
    height, width, channels, classes = _shape(config)
    batch = -(-SMOKE_BATCH // multiple) * multiple
    count = SMOKE_STEPS * batch
    random = np.random.default_rng(config.seed)
    images = random.integers(0, 256, (count, height, width, channels), np.uint8)
    labels = np.arange(count) % classes
    test = slice(0, batch)
    data = Dataset("made up", images, labels, images[test], labels[test], classes)
    return replace(config, epochs=1, batch_size=batch), data
