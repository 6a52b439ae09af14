"""Where images come from: a set in memory or a folder of any size."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from export import Calibration, pick_calibration
from keras_resnets import UsageError
from recipes.config import TrainConfig
from recipes.data import BUILT_IN, DOWNLOADS, Dataset, file_of, load
from recipes.decode import Files, decode_again
from recipes.folders import ImageFolder, classes_of, open_folder

# Height, width, channels and classes of sets that `--smoke` would have to download
SHAPES = {"cifar10": (32, 32, 3, 10), "cifar100": (32, 32, 3, 100), "mnist": (28, 28, 1, 10)}
SHAPES["fashion_mnist"] = SHAPES["mnist"]
SMOKE_BATCH, SMOKE_STEPS = 8, 2
TESTED = 2000  # test images of a folder that are held in memory

Source = Dataset | ImageFolder


def open_source(source: str, side: int = TrainConfig.image_size, workers: int | None = None) -> Source:
    """Opens data by name or by path.

    Args:
        source: As `--data` takes it.
        side: Side of the images that a folder gives.
        workers: Processes that decode the images of a folder; None: one for each processor but one.

    Raises:
        UsageError: If there is no such data, or it does not hold what it should.
    """
    return open_folder(Path(source), side, workers) if _is_folder(source) else load(source)


def hold(source: Source, shape: Sequence[int], *, count: int, seed: int) -> tuple[Dataset, Calibration]:
    """Test images in memory, for a model that takes images of a shape, and training images to calibrate on.

    Args:
        source: What holds them. A set in memory is returned as it is. Of a folder, the images to calibrate on are the
            training images, and up to `TESTED` of `val` the test images, with the classes as equally present as they
            can be.
        shape: (height, width, channels), which decides the side of a folder's images.
        count: Images to calibrate on.
        seed: Seed of their choice; that of the test images is always the same.

    Raises:
        UsageError: If a folder cannot give images of this shape.
    """
    if isinstance(source, Dataset):
        return source, pick_calibration(source.x_train, source.y_train, source.name, count=count, seed=seed)
    if not source.fits(shape):
        raise UsageError(f"the images of {source.name} become RGB squares, and the model takes {tuple(shape)}")

    def some(files: Files, most: int, seed: int) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
        places = np.arange(len(files.labels))
        chosen = pick_calibration(places, files.labels, source.name, count=most, seed=seed).indices
        images = np.stack([decode_again(files.root / files.paths[place], shape[0]) for place in chosen])
        return images, files.labels[list(chosen)], chosen

    images, labels, chosen = some(source.train, count, seed)
    tests, answers, _ = some(source.val, TESTED, 0)
    data = Dataset(source.name, images, labels, tests, answers, source.classes)
    return data, Calibration(images, str(source.train.root), chosen)


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
    return replace(config, epochs=1, batch_size=batch, accumulate=min(config.accumulate, SMOKE_STEPS)), data
