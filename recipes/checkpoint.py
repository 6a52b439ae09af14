"""The state of a training run in one file, from which the same command goes on after it was killed."""

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export.files import replacing
from keras_resnets import UsageError
from keras_resnets.errors import first_line

SCHEMA = 1
AGAIN = "start again with --overwrite and a lower --learning-rate"


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        epoch: Epochs that are done.
        history: One value an epoch of each figure.
        seconds: Time that they took.
    """

    epoch: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0


def save_checkpoint(path: Path, model: keras.Model, progress: Progress) -> None:
    """Writes everything that a compiled model's training depends on: weights, optimizers, random states.

    The file appears whole or not at all, also when the machine loses its power.

    Args:
        path: A `.npz` file.
        model: A compiled and built model.
        progress: How far it is.
    """
    arrays = {f"{place:05}": keras.ops.convert_to_numpy(state.value) for place, state in enumerate(_state(model))}
    about = {"schema": SCHEMA, "progress": asdict(progress)}
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path, model: keras.Model) -> Progress:
    """Puts a compiled model back into the state of `save_checkpoint`.

    Returns:
        How far the run was.

    Raises:
        UsageError: If the file cannot be read, or belongs to another network. The model is then as it was.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            about = json.loads(str(archive["about"]))
            values = [archive[f"{place:05}"] for place in range(len(archive.files) - 1)]
        schema, progress = about["schema"], Progress(**about["progress"])
    except Exception as error:  # a damaged file can fail anywhere in zip, zlib, numpy and json
        raise UsageError(f"{path} cannot be read: {first_line(error)}; start again with --overwrite") from error
    if schema != SCHEMA:
        raise UsageError(f"{path} was written by another version of this package; start again with --overwrite")
    state = _state(model)
    if [value.shape for value in values] != [tuple(one.shape) for one in state]:
        raise UsageError(f"{path} belongs to another network; start again with --overwrite")
    for one, value in zip(state, values, strict=True):
        one.assign(value)
    return progress


def _state(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]


class Checkpoints(keras.callbacks.Callback):
    """Saves a checkpoint behind every epoch, and stops a run whose losses are no numbers.

    Args:
        path: The `.npz` file.
        before: The progress it starts from.
        seed: What random numbers outside of the model's state follow from, with the epoch: PyTorch draws those of a
            dropout there.

    Raises:
        UsageError: In the step after which a loss is not finite; the checkpoint stays that of the epoch before.
    """

    def __init__(self, path: Path, before: Progress, seed: int) -> None:
        super().__init__()
        self.path, self.seed, self.progress = path, seed, before
        self._start = time.perf_counter() - before.seconds

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if batch == 0:  # not when the epoch begins: PyTorch's loader draws a number before its first batch
            keras.utils.set_random_seed((self.seed + self.progress.epoch) % 2**32)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        for name, value in (logs or {}).items():
            if not np.isfinite(float(value)):
                done = self.progress.epoch
                kept = f"{self.path} keeps epoch {done}" if done else "there is no epoch to go back to"
                raise UsageError(f"{name} is {float(value)} in epoch {done + 1}, step {batch + 1}; {kept}; {AGAIN}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for one in _state(self.model):
            if not np.isfinite(keras.ops.convert_to_numpy(one.value)).all():
                raise UsageError(f"{one.path} holds no numbers behind epoch {epoch + 1}, which is not saved; {AGAIN}")
        past = self.progress.history
        history = {name: [*past.get(name, []), float(value)] for name, value in (logs or {}).items()}
        self.progress = Progress(epoch + 1, history, time.perf_counter() - self._start)
        save_checkpoint(self.path, self.model, self.progress)
