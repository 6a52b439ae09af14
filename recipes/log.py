"""What a run writes of its history after every epoch."""

import csv
from pathlib import Path
from typing import Any

import keras

from export.files import replacing
from keras_resnets import UsageError


def write_history(history: dict[str, list[float]], path: Path) -> None:
    """Writes one row an epoch."""
    with replacing(path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *history])
        writer.writerows([epoch, *row] for epoch, row in enumerate(zip(*history.values(), strict=True), 1))


class HistoryFile(keras.callbacks.Callback):
    """Writes the history as CSV, whole after every epoch.

    Args:
        path: The file.
        before: One value of each figure for the epochs that are done.
    """

    def __init__(self, path: Path, before: dict[str, list[float]]) -> None:
        super().__init__()
        self._path, self._history = path, {name: list(values) for name, values in before.items()}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for name, value in (logs or {}).items():
            self._history.setdefault(name, []).append(float(value))
        write_history(self._history, self._path)


class TensorBoard(keras.callbacks.Callback):
    """Writes training, validation and learning rate of every epoch as TensorBoard's event files.

    Keras's own callback of this name loads TensorFlow into the process, whatever the backend.

    Args:
        folder: Of the event files.

    Raises:
        UsageError: If tensorboardX is not installed.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise UsageError("tensorboardX is not installed; pip install 'keras-resnets[tensorboard]'") from error
        self._writer = SummaryWriter(str(folder))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        for name, value in {**(logs or {}), "learning_rate": rate}.items():
            part, figure = ("validation", name[4:]) if name.startswith("val_") else ("training", name)
            self._writer.add_scalar(f"{part}/{figure}", float(value), epoch + 1)
        self._writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._writer.close()
