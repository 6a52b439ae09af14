"""Image folders of any size: found, checked before training, decoded by Grain in worker processes."""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export.environment import cores
from keras_resnets import UsageError
from recipes.batches import Batch, Targets, batches, parts
from recipes.config import Augmentation
from recipes.decode import Files, HeldOutBatches, TrainingBatches, damage, decode_again, end_with_parent
from recipes.progress import bar

ENDINGS = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
PORTION = 10_000  # files that are waiting to be checked: each takes memory
LISTED = 10  # files that a message names
SAMPLE = 2000  # images whose pixels mean and standard deviation are taken of
AHEAD = 2  # batches that a worker decodes ahead


@dataclass(frozen=True)
class ImageFolder:
    """Images in `train/CLASS/*` and `val/CLASS/*`, decoded to squares of one size.

    Attributes:
        root: The folder.
        names: Of the classes, in the order of their numbers: that of the alphabet.
        train: Training files.
        val: Test files.
        side: Side of the images.
        workers: Processes that decode; 0: this one.
    """

    root: Path
    names: tuple[str, ...]
    train: Files
    val: Files
    side: int
    workers: int

    is_bytes = True

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.root)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.side, self.side, 3

    @property
    def images(self) -> int:
        """Number of training images."""
        return len(self.train)

    @property
    def tested(self) -> int:
        """Number of test images."""
        return len(self.val)

    @cached_property
    def pixel_stats(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel over the middles of up to 2,000 training images."""
        chosen = np.random.default_rng(0).permutation(len(self.train))[:SAMPLE]
        sums = np.zeros((2, 3))
        for one in chosen:
            pixels = decode_again(self.train.root / self.train.paths[one], self.side).reshape(-1, 3) / 255.0
            sums += pixels.mean(0), (pixels**2).mean(0)
        mean, square = sums / len(chosen)
        std = np.sqrt(np.maximum(square - mean**2, 1e-14))
        return (255 * mean).tolist(), (255 * std).tolist()

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether images can be of this shape: RGB squares of any size."""
        return len(shape) == 3 and None not in shape and shape[0] == shape[1] and shape[2] == 3

    def in_step(self, transforms: tuple[Augmentation, ...]) -> tuple[Augmentation, ...]:
        """What of the augmentation is left to the training step: all but the crops."""
        return tuple(name for name in transforms if name != "crop")

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
        """Batches without end, one epoch after the other, as `recipes.batches.batches`."""
        steps = len(parts(len(self.train), size, multiple))
        first = epoch * steps + step
        decoded = self._decoded(TrainingBatches(self.train, size, steps, self.side, seed, "crop" in transforms, first))
        try:
            yield from batches(
                lambda chosen: next(decoded)[: len(chosen)],  # the workers follow the same order
                self.train.labels,
                self.image_shape,
                size,
                seed=seed,
                targets=targets,
                transforms=self.in_step(transforms),
                epoch=epoch,
                step=step,
                multiple=multiple,
            )
        finally:
            decoded.close()  # ends the workers

    def validation(self, size: int, targets: Targets) -> keras.utils.PyDataset:
        """Batches of all test images."""
        return _Validation(self, size, targets)

    def _decoded(self, source: Any) -> Any:
        """Grain's iterator over a source of batches."""
        import grain  # takes a second to load
        from absl import flags

        if not flags.FLAGS.is_parsed():  # Grain's workers read flags of it, which no command line here has
            flags.FLAGS.mark_as_parsed()
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=AHEAD)
        decoded = grain.MapDataset.source(source).to_iter_dataset(options)
        if self.workers:
            decoded = decoded.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=self.workers, per_worker_buffer_size=AHEAD), end_with_parent
            )
        return iter(decoded)


class _Validation(keras.utils.PyDataset):
    """Test batches one after the other, each time from the first."""

    def __init__(self, folder: ImageFolder, size: int, targets: Targets) -> None:
        super().__init__()
        self._folder, self._targets = folder, targets
        self._source = HeldOutBatches(folder.val, size, folder.side)
        self._decoded: Any = None

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index == 0:
            if self._decoded:
                self._decoded.close()  # TensorFlow looks at two batches before it starts
            self._decoded = self._folder._decoded(self._source)
        labels = self._folder.val.labels[index * self._source.size :][: self._source.size]
        return next(self._decoded), self._targets.plain(labels)


def open_folder(root: Path, side: int, workers: int | None = None) -> ImageFolder:
    """Finds the images of a folder and makes sure that all of them can be decoded.

    What was checked once is remembered in the user's cache folder until a file changes.

    Args:
        root: With `train/CLASS/*` and `val/CLASS/*`: .bmp, .jpeg, .jpg, .png and .webp; other files are passed over.
        side: Side of the images, in pixels.
        workers: Processes that decode; None: one for each processor but one, shared by the processes of torchrun.

    Raises:
        UsageError: If a folder is missing, a class has no image, or is only in `val`, or files are damaged, which the
            message names.
    """
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's processes on this machine
    workers = max(1, (cores() - 1) // beside) if workers is None else workers
    if workers < 0:
        raise UsageError(f"workers must be at least 0, got {workers}")
    found = {part: classes_of(root / part) for part in ("train", "val")}
    names = tuple(found["train"])
    unknown = sorted(set(found["val"]) - set(names))
    if unknown:
        raise UsageError(f"{root}: {_some(unknown)} only in val, not in train; the network cannot learn it")
    empty = [f"{part}/{name}" for part, classes in found.items() for name, files in classes.items() if not files]
    if empty:
        kinds = ", ".join(sorted(ENDINGS))
        raise UsageError(f"{root}: no images in {_some(empty)}; put {kinds} files there or remove it")
    train, val = (_files(root / part, found[part], names) for part in ("train", "val"))
    _check(root, [train, val], workers)
    return ImageFolder(root, names, train, val, side, workers)


def classes_of(folder: Path) -> dict[str, list[str]]:
    """The image files of each class of a part of the data, in the order of the alphabet.

    Raises:
        UsageError: If there is no such folder, or none of a class in it.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}; give one with train/CLASS/* and val/CLASS/*")
    classes = {
        entry.name: sorted(file.name for file in entry.iterdir() if file.suffix.lower() in ENDINGS)
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and not entry.name.startswith(".")
    }
    if not classes:
        raise UsageError(f"{folder} has no folders of classes; give one with train/CLASS/* and val/CLASS/*")
    return classes


def _files(folder: Path, classes: dict[str, list[str]], names: Sequence[str]) -> Files:
    labels = {name: label for label, name in enumerate(names)}
    pairs = [(f"{name}/{file}", labels[name]) for name, files in classes.items() for file in files]
    return Files(folder, [path for path, _ in pairs], np.array([label for _, label in pairs], np.int64))


def _check(root: Path, parts: Sequence[Files], workers: int) -> None:
    """Decodes every file, unless the same files were found good before."""
    paths = [part.root / path for part in parts for path in part.paths]
    seen = _note(parts)
    if seen and seen.exists():
        return
    damaged = []
    with bar(f"check {root.name}", len(paths)) as step, ThreadPoolExecutor(max(1, workers)) as pool:
        for start in range(0, len(paths), PORTION):
            some = paths[start : start + PORTION]
            for path, trouble in zip(some, pool.map(damage, some), strict=True):
                step()
                if trouble:
                    damaged.append(f"{path.relative_to(root)} ({trouble})")
    if damaged:
        raise UsageError(f"{root}: {len(damaged)} damaged: {_some(damaged)}; repair or remove them")
    if seen:
        with contextlib.suppress(OSError):  # then they are checked again
            seen.parent.mkdir(parents=True, exist_ok=True)
            seen.touch()


def _note(parts: Sequence[Files]) -> Path | None:
    """The file that says that these files, as they are now, were found good; None where there is no place for it."""
    digest = hashlib.sha256()
    try:
        for part in parts:
            folder = part.root.resolve()  # once: of each file it takes ten times as long as its size and time
            for path in (folder / name for name in part.paths):
                stat = path.stat()
                digest.update(os.fsencode(path) + f"|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except (OSError, RuntimeError):  # a link to nowhere, which is found damaged then; nobody's home
        return None
    return cache / "keras-resnets" / "folders" / digest.hexdigest()


def _some(things: Sequence[str]) -> str:
    more = len(things) - LISTED
    return ", ".join(things[:LISTED]) + (f" and {more:,} more" if more > 0 else "")
