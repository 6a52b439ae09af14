"""The state of a training run in one file, from which the same command goes on after it was killed."""

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export.files import replacing
from keras_resnets import UsageError
from keras_resnets.errors import first_line
from recipes._backend import Spread
from recipes.decode import CHANGED
from recipes.progress import console

SCHEMA = 2
AGAIN = "start again with --overwrite and a lower --learning-rate"

NO_MEMORY = (  # in the words of each backend, in small letters
    "can't allocate memory",
    "oom when allocating",
    "out of memory",
    "resource_exhausted",
    "resourceexhausted",
)


@contextlib.contextmanager
def in_plain_words(checkpoint: Path | None) -> Iterator[None]:
    """Says in one line what each backend has its own words for: no memory, an image that cannot be read any more."""
    try:
        yield
    except Exception as error:
        if changed := re.search(f"image .+ {CHANGED}", str(error)):
            raise UsageError(changed.group()) from error
        said = f"{type(error).__name__} {error}".lower()
        if not isinstance(error, MemoryError) and not any(word in said for word in NO_MEMORY):
            raise
        kept = f"{checkpoint} stays as it is" if checkpoint and is_begun(checkpoint) else "no epoch was done"
        raise UsageError(f"out of memory ({first_line(error)}); {kept}; take a smaller --batch-size") from error


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        epoch: Epochs that are done.
        history: One value an epoch of each figure.
        seconds: Time that they took.
        step: Steps that are done of the epoch after them.
        metrics: What the metrics of that epoch have gathered.
    """

    epoch: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    step: int = 0
    metrics: list[float] = field(default_factory=list)


def state_of(model: keras.Model) -> list[np.ndarray]:
    """Everything that a compiled and built model's training depends on: weights, optimizers, random states."""
    return [_on_host(one) for one in _variables(model)]


def save_checkpoint(path: Path, state: Sequence[np.ndarray], progress: Progress) -> None:
    """Writes the state of a training.

    The file appears whole or not at all, also when the machine loses its power, and the one before it stays beside it.

    Args:
        path: A `.npz` file.
        state: See `state_of`.
        progress: How far it is.
    """
    arrays: dict[str, Any] = {f"{place:05}": value for place, value in enumerate(state)}
    about = {"schema": SCHEMA, "progress": asdict(progress)}
    with replacing(path) as part:
        with part.open("wb") as file:
            np.savez(file, about=np.array(json.dumps(about)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            path.replace(_before(path))


def is_begun(path: Path) -> bool:
    """Whether there is a checkpoint to go on from."""
    return path.exists() or _before(path).exists()


def remove_checkpoint(path: Path) -> None:
    """Removes a checkpoint and the one before it."""
    for file in (path, _before(path)):
        file.unlink(missing_ok=True)


def load_checkpoint(path: Path, model: keras.Model) -> Progress:
    """Puts a compiled model back into the state of `save_checkpoint`; see `read_checkpoint`.

    Returns:
        How far the run was.

    Raises:
        UsageError: As `read_checkpoint`, or if the state belongs to another network. The model is then as it was.
    """
    progress, values = read_checkpoint(path)
    variables = _variables(model)
    if [value.shape for value in values] != [tuple(one.shape) for one in variables]:
        raise UsageError(f"{path}, or the one before it, belongs to another network; start again with --overwrite")
    for one, value in zip(variables, values, strict=True):
        one.assign(value)
    return progress


def read_checkpoint(path: Path) -> tuple[Progress, list[np.ndarray]]:
    """How far a run was and the state that was saved of it; those before, if the last are damaged.

    Raises:
        UsageError: If neither can be read.
    """
    files = [file for file in (path, _before(path)) if file.exists()]
    for file in files:
        try:
            return _read(file)
        except Exception as error:  # a damaged file can fail anywhere in zip, zlib, numpy and json
            damage = f"{file} cannot be read: {first_line(error)}"
            if file is files[-1]:
                raise UsageError(f"{damage}; start again with --overwrite") from error
            console.print(f"{damage}; going on from the checkpoint before it", soft_wrap=True)
    raise UsageError(f"there is no checkpoint {path}; start again with --overwrite")


def _read(path: Path) -> tuple[Progress, list[np.ndarray]]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        about = json.loads(str(archive["about"]))
        if about["schema"] != SCHEMA:
            raise ValueError("another version of this package wrote it")
        values = [archive[f"{place:05}"] for place in range(len(archive.files) - 1)]
    return Progress(**about["progress"]), values


def _before(path: Path) -> Path:
    return path.with_suffix(f".before{path.suffix}")


def _on_host(variable: keras.Variable) -> np.ndarray:
    """A variable as an array; where TensorFlow has a part of a sum on each device, it adds them up."""
    return keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable))


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]


def _sums(model: keras.Model) -> list[float]:
    """What the metrics have gathered."""
    return [float(_on_host(one)) for one in model.metrics_variables]


class MetricsOfAll(keras.callbacks.Callback):
    """Makes of each process's own metrics, at the end of an epoch, those of the images of all.

    Args:
        mean: Over the processes, see `Spread`.
    """

    def __init__(self, mean: Callable[[Sequence[float]], list[float]]) -> None:
        super().__init__()
        self._mean = mean

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if batch + 1 == self.params["steps"]:
            metrics = self.model.metrics_variables  # sums and counts, whose means have the same ratio
            for metric, value in zip(metrics, self._mean(_sums(self.model)), strict=True):
                metric.assign(value)


class Checkpoints(keras.callbacks.Callback):
    """Saves a checkpoint after every epoch, and within one, and stops a run whose losses are no numbers.

    Args:
        path: The `.npz` file.
        before: The progress it starts from.
        seed: What random numbers outside of the model's state follow from, with epoch and step: PyTorch draws those of
            a dropout there.
        every: Steps of an epoch between checkpoints within it; None: there are none.
        over: What shares every batch: its first process writes them.
        late: Steps that the losses come late, as those of `recipes.augment.Augmented`.

    Raises:
        UsageError: If a loss is not finite; it names the step, or the epoch, of whose last `late` steps it can be, and
            the last checkpoint stays.
    """

    def __init__(
        self,
        path: Path,
        before: Progress,
        seed: int,
        every: int | None = None,
        over: Spread | None = None,
        *,
        late: int = 0,
    ) -> None:
        super().__init__()
        self.path, self.seed, self.every, self.progress = path, seed, every, before
        self._over, self._late = over or Spread(), late
        self._start = time.perf_counter() - before.seconds

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        step = self.progress.step + batch
        # At the first batch, not when the epoch begins: PyTorch's loader draws a number before it
        if step == 0 or (self.every and step % self.every == 0):
            place = np.random.SeedSequence((self.seed, self.progress.epoch, step))
            keras.utils.set_random_seed(int(place.generate_state(1)[0]))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        step = self.progress.step + batch + 1
        if batch == 0 and self.progress.step:  # not before: metrics come to be in the first step, as sums
            for metric, value in zip(self.model.metrics_variables, self.progress.metrics, strict=True):
                metric.assign(metric + value)
        self._check_losses(self._place(max(step - self._late, self.progress.step + 1)), logs or {})
        saves = self.every and step % self.every == 0 and batch + 1 < self.params["steps"]
        if saves:
            metrics = self._over.mean(_sums(self.model))
            if not np.isfinite(metrics).all():  # of this step, which the losses that came do not tell of yet
                raise UsageError(f"a loss is no number in {self._place(step)}; {self._kept()}; {AGAIN}")
            seconds = time.perf_counter() - self._start
            now = Progress(self.progress.epoch, self.progress.history, seconds, step, metrics)
            self._save(f"step {step} of epoch {self.progress.epoch + 1}", now)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        trained = {name: value for name, value in (logs or {}).items() if not name.startswith("val_")}
        self._check_losses(f"epoch {epoch + 1}", trained)
        past = self.progress.history
        history = {name: [*past.get(name, []), float(value)] for name, value in (logs or {}).items()}
        now = Progress(epoch + 1, history, time.perf_counter() - self._start)
        self._save(f"epoch {epoch + 1}", now)
        self.progress = now

    def _save(self, after: str, now: Progress) -> None:
        state = state_of(self.model)  # once: it comes from the device
        for one, value in zip(_variables(self.model), state, strict=True):
            if not np.isfinite(value).all():
                raise UsageError(f"{one.path} holds no numbers after {after}, which is not saved; {AGAIN}")
        if self._over.rank == 0:
            save_checkpoint(self.path, state, now)

    def _check_losses(self, place: str, logs: dict[str, Any]) -> None:
        for name, value in logs.items():
            if not np.isfinite(value):
                raise UsageError(f"{name} is {value} in {place}; {self._kept()}; {AGAIN}")

    def _place(self, step: int) -> str:
        return f"epoch {self.progress.epoch + 1}, step {step}"

    def _kept(self) -> str:
        done = self.progress.epoch
        if done:
            return f"{self.path} keeps epoch {done}"
        return f"{self.path} keeps steps of epoch 1" if is_begun(self.path) else "there is no epoch to go back to"
