"""What a user sees while work goes on: bars on a terminal, lines in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LOG_WIDTH = 120  # columns where there is no terminal to ask
PAUSE = 0.1  # seconds between two notes, whose losses a GPU must hand over

console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH, markup=False)  # names may hold brackets


class Step(Protocol):
    """Advances a bar by one and, where given, changes its note."""

    def __call__(self, note: str = "") -> None: ...


@contextmanager
def bar(label: str, total: int) -> Iterator[Step]:
    """A progress bar of `total` steps; without a terminal, one line when it ends."""
    columns = (
        TextColumn("{task.description:<32}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(label, total=total, note="")

        def step(note: str = "") -> None:
            progress.advance(task)
            if note:
                progress.update(task, note=note)

        try:
            yield step
        except BaseException:
            progress.remove_task(task)  # the error that follows is all there is to say
            raise


class FitProgress(keras.callbacks.Callback):
    """Advances a bar by one a training batch and notes loss and accuracy."""

    def __init__(self, step: Step, epochs: int) -> None:
        super().__init__()
        self._step = step
        self._epochs = epochs
        self._epoch = 0
        self._noted = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        now = time.monotonic()
        due = batch + 1 == self.params["steps"] or (console.is_terminal and now > self._noted + PAUSE)
        self._noted = now if due else self._noted
        self._step(self._note(logs or {}) if due else "")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not console.is_terminal:
            console.print(self._note(logs or {}))

    def _note(self, logs: dict[str, Any]) -> str:
        figures = "  ".join(f"{key} {float(value):.3f}" for key, value in logs.items())
        return f"epoch {self._epoch}/{self._epochs}  {figures}"
