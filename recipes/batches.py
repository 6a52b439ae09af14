"""Batches of a training set, in an order and with random numbers that seed and epoch alone decide."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import keras
import numpy as np

from recipes.augment import Mixing, augment, draws_of, shares
from recipes.config import Augmentation

Batch = tuple[dict[str, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Targets:
    """What a network is to say of an image.

    Attributes:
        classes: Number of classes.
        smoothing: Probability that is spread over all classes.
        mixing: How images are mixed with one another.

    References: label smoothing: Szegedy et al. 2015, arXiv:1512.00567, section 7.
    """

    classes: int
    smoothing: float = 0.0
    mixing: Mixing = field(default_factory=Mixing)

    @property
    def are_soft(self) -> bool:
        """Whether a target is a probability for each class, and not a class."""
        return bool(self.smoothing or self.mixing)

    def of(self, labels: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
        """The targets of training images, each mixed with that from the batch's end as far as it is not its own."""
        if not self.are_soft:
            return labels
        hard = self.plain(labels)
        soft = (1 - self.smoothing) * hard + self.smoothing / self.classes
        return soft if own is None else own[:, None] * soft + (1 - own[:, None]) * soft[::-1]

    def plain(self, labels: np.ndarray) -> np.ndarray:
        """The targets of test images."""
        return np.eye(self.classes, dtype=np.float32)[labels] if self.are_soft else labels

    def loss(self) -> keras.losses.Loss:
        """The cross-entropy of logits with them."""
        cross = keras.losses.CategoricalCrossentropy if self.are_soft else keras.losses.SparseCategoricalCrossentropy
        return cross(from_logits=True)


def batches(
    read: Callable[[np.ndarray], np.ndarray],
    labels: np.ndarray,
    shape: tuple[int, int, int],
    size: int,
    *,
    seed: int,
    targets: Targets,
    transforms: Sequence[Augmentation] = (),
    epoch: int = 0,
    step: int = 0,
    multiple: int = 1,
) -> Iterator[Batch]:
    """Batches without end, one epoch after the other; the last of an epoch may be smaller.

    Args:
        read: Gives the images of some indices, (n, height, width, channels); asked for batch after batch.
        labels: Classes of all images, shape (m,).
        shape: (height, width, channels).
        size: Images a batch.
        seed: Seed of order and random numbers.
        targets: What becomes of the labels.
        transforms: What will be done to the images.
        epoch: The epoch to begin in.
        step: The batch of it to begin with.
        multiple: What the size of every batch is a multiple of; images that are left over in an epoch are not used.

    Yields:
        Images with the random numbers that `recipes.augment.augment` takes, and targets.
    """
    count = len(labels)
    while True:
        random = np.random.default_rng((seed, epoch))
        order = random.permutation(count)
        draws = random.random((count, draws_of(transforms)), np.float32)
        mixed = targets.mixing.draw(random, count, shape) if targets.mixing else None
        for part in parts(count, size, multiple)[step:]:
            batch, own = {"images": read(order[part]), "draws": draws[part]}, None
            if mixed is not None:
                batch["mixed"], own = mixed[part], shares(mixed[part], shape)
            yield batch, targets.of(labels[order[part]], own)
        epoch, step = epoch + 1, 0


class Stream(keras.utils.PyDataset):
    """Batches without end that `fit` takes, and may look at twice: TensorFlow does so before it starts.

    Args:
        start: Gives the batches from one of that number on.
    """

    num_batches = None

    def __init__(self, start: Callable[[int], Iterator[Batch]]) -> None:
        super().__init__()
        self._start, self._next = start, -1
        self._batches: Iterator[Batch] = iter(())

    def __getitem__(self, index: int) -> Batch:
        if index != self._next:
            self._batches = self._start(index)
        self._next = index + 1
        return next(self._batches)


def parts(count: int, size: int, multiple: int = 1) -> list[slice]:
    """Of so many images, those of each batch of an epoch; see `batches`."""
    ends = [(start, min(size, count - start) // multiple * multiple) for start in range(0, count, size)]
    return [slice(start, start + length) for start, length in ends if length]


def cut(batch: Batch, count: int) -> list[Batch]:
    """The parts of a batch that devices compute which do not see each other's images.

    A part is some images from the front and their partners from the end: those are mixed with one another.

    Args:
        batch: Of a multiple of 2 * count images.
        count: How many parts.
    """
    inputs, targets = batch
    fronts = np.arange(len(targets) // 2).reshape(count, -1)
    rows = [np.concatenate([front, len(targets) - 1 - front[::-1]]) for front in fronts]
    return [({key: value[one] for key, value in inputs.items()}, targets[one]) for one in rows]


def slices(batch: Batch, count: int) -> list[Batch]:
    """The parts of a batch, one after the other, for processes whose step sees all of them together."""
    inputs, targets = batch
    rows = np.split(np.arange(len(targets)), count)
    return [({key: value[one] for key, value in inputs.items()}, targets[one]) for one in rows]


def join(pieces: Sequence[Batch]) -> Batch:
    """A batch that comes apart again into these, where it is cut in equal lengths."""
    inputs = {key: np.concatenate([one[key] for one, _ in pieces]) for key in pieces[0][0]}
    return inputs, np.concatenate([targets for _, targets in pieces])


class DistillationBatches(keras.utils.PyDataset):
    """Batches of a distillation: augmented images, with what a trained network says of them in place of their labels.

    Args:
        start: Gives batches, as `batches` does, from one of that number on.
        steps: Batches an epoch.
        transforms: What is done to the images.
        teacher: From images to probabilities, or to logits, of which it gives the probabilities.
        logits: Which of them.
        epoch: The epoch to begin in.

    References: Hinton et al. 2015, arXiv:1503.02531, section 2, at a temperature of 1.
    """

    def __init__(
        self,
        start: Callable[[int], Iterator[Batch]],
        steps: int,
        transforms: Sequence[Augmentation],
        teacher: keras.Model,
        *,
        logits: bool = False,
        epoch: int = 0,
    ) -> None:
        super().__init__()
        self._stream, self._steps, self._epoch = Stream(start), steps, epoch
        self._transforms, self._teacher, self._logits = transforms, teacher, logits

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        batch, _ = self._stream[self._epoch * self._steps + index]
        images = keras.ops.convert_to_numpy(augment(batch, self._transforms))
        said = self._teacher.predict_on_batch(images)
        return images, keras.ops.convert_to_numpy(keras.ops.softmax(said)) if self._logits else said

    def on_epoch_end(self) -> None:
        self._epoch += 1
