"""Image files to pixels, in the worker processes of a data pipeline: they load neither Keras nor a backend."""

import math
import multiprocessing
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

AREAS, ASPECTS, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10  # Szegedy et al. 2014, section 6
CHANGED = "was damaged or removed while it was in use; put it right and run this again, a training with --resume"
CENTRE = 0.875  # share of the shorter side that is tested on, Krizhevsky et al. 2012: 224 of 256


@dataclass(frozen=True)
class Files:
    """Image files and the classes they are of.

    Attributes:
        root: Folder that the paths are relative to.
        paths: One a file.
        labels: Their classes, shape (n,).
    """

    root: Path
    paths: Sequence[str]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class TrainingBatches:
    """Decoded batches of endless training, each decided by the seed and its place alone.

    Attributes:
        files: What is trained on.
        size: Images a batch; the last of an epoch may be smaller.
        steps: Batches an epoch.
        side: Side of the square images.
        seed: Seed of order and crops.
        cropped: Whether a part of random area and shape is taken, or the middle.
        start: The first batch, counted from the beginning of the training.
    """

    files: Files
    size: int
    steps: int
    side: int
    seed: int
    cropped: bool
    start: int

    def __len__(self) -> int:
        return 2**40  # Grain asks; no training comes so far

    def __getitem__(self, index: int) -> np.ndarray:
        epoch, step = divmod(self.start + int(index), self.steps)
        chosen = order_of(self.seed, epoch, len(self.files))[step * self.size : (step + 1) * self.size]
        random = np.random.default_rng((self.seed, epoch, step, 1))  # 1: another stream than the order's
        paths = [self.files.root / self.files.paths[one] for one in chosen]
        return np.stack([decode_again(path, self.side, random if self.cropped else None) for path in paths])


@dataclass(frozen=True)
class HeldOutBatches:
    """Decoded batches of all files in their order, the middle of each.

    Attributes:
        files: What is tested on.
        size: Images a batch; the last one may be smaller.
        side: Side of the square images.
    """

    files: Files
    size: int
    side: int

    def __len__(self) -> int:
        return math.ceil(len(self.files) / self.size)

    def __getitem__(self, index: int) -> np.ndarray:
        paths = self.files.paths[int(index) * self.size : (int(index) + 1) * self.size]
        return np.stack([decode_again(self.files.root / path, self.side) for path in paths])


_ORDERS: dict[tuple[int, int, int], np.ndarray] = {}  # the last one: every batch of an epoch asks for the same


def order_of(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of an epoch, as `recipes.batches.batches` has it."""
    key = (seed, epoch, count)
    if key not in _ORDERS:
        _ORDERS.clear()
        _ORDERS[key] = np.random.default_rng((seed, epoch)).permutation(count)
    return _ORDERS[key]


def decode(path: Path, side: int, random: np.random.Generator | None = None) -> np.ndarray:
    """Pixels of an image file, shape (side, side, 3), uint8.

    Args:
        path: Any file of 8 bits that Pillow reads; photographs are turned upright as they say, grey images become
            coloured, transparency is dropped.
        side: Side of the square image.
        random: Where the part that is taken comes from; None: the middle 7/8 of the shorter side.

    Raises:
        OSError: If the file is damaged, or no image.
    """
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file).convert("RGB")
    width, height = image.size
    if random is None:
        part = CENTRE * min(width, height)
        box = ((width - part) / 2, (height - part) / 2, (width + part) / 2, (height + part) / 2)
    else:
        box = _part(width, height, random)
    # A gap of 2: first quickly to twice the size, then well
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0))


def decode_again(path: Path, side: int, random: np.random.Generator | None = None) -> np.ndarray:
    """Pixels of a file that could be decoded when the folder was opened."""
    try:
        return decode(path, side, random)
    except OSError as error:
        raise OSError(f"image {path} {CHANGED}") from error


def _part(width: int, height: int, random: np.random.Generator) -> tuple[float, float, float, float]:
    """A part of an image of random area and shape.

    References: Szegedy et al. 2014, arXiv:1409.4842, section 6.
    """
    for _ in range(TRIES):
        area = random.uniform(*AREAS) * width * height
        aspect = np.exp(random.uniform(*np.log(ASPECTS)))
        wide, tall = np.sqrt(area * aspect), np.sqrt(area / aspect)
        if wide <= width and tall <= height:
            left, top = random.uniform(0, width - wide), random.uniform(0, height - tall)
            return left, top, left + wide, top + tall
    wide = tall = min(width, height)
    left, top = (width - wide) / 2, (height - tall) / 2
    return left, top, left + wide, top + tall


def end_with_parent(*_: int) -> None:
    """Lets a worker process end when that which started it was killed, and could not tell it to."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def damage(path: Path) -> str | None:
    """What is wrong with an image file; None: it can be decoded to its end."""
    try:
        with Image.open(path) as file:
            if file.mode[0] in "IF":
                return f"of mode {file.mode}: convert it to 8 bits"  # which Pillow would make white
            file.draft("RGB", (1, 1))  # JPEG: reads everything, computes an eighth
            file.load()
    except Exception as error:  # damaged data can fail anywhere in Pillow
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None
