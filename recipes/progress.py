"""What a user sees while work goes on: bars on a terminal, lines in a log."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LOG_WIDTH = 120  # columns where there is no terminal to ask
PAUSE = 0.1  # seconds between two notes


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Goes on in silence: the reader of a pipe has gone, as `head` does, and a training is not lost for that."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


console = _Console(width=None if sys.stdout.isatty() else LOG_WIDTH, markup=False)  # names may hold brackets


class Step(Protocol):
    """Advances a bar by one, or not, and changes its note where one is given."""

    def __call__(self, note: str = "", by: int = 1) -> None: ...


@contextmanager
def bar(label: str, total: int | None) -> Iterator[Step]:
    """A progress bar, each step of which ends where the user asked to; one line without a terminal.

    `total` is the number of steps, None where nobody knows.
    """
    columns = (
        TextColumn("{task.description:<32}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with _hearing_signals() as answer, Progress(*columns, console=console) as progress:
        task = progress.add_task(label, total=total, note="")

        def step(note: str = "", by: int = 1) -> None:
            answer()
            progress.advance(task, by)
            if note:
                progress.update(task, note=note)

        try:
            yield step
            answer()
        except BaseException as error:
            progress.remove_task(task)  # the error that follows is all there is to say
            if isinstance(error, Exception):
                answer()  # it may have come of that
            raise


@contextmanager
def _hearing_signals() -> Iterator[Callable[[], None]]:
    """Remembers what Ctrl-C and SIGTERM ask for: `fit` loses an exception raised while it waits for a step's losses.

    (Keras converts them under a bare `except`, and where steps run in the background that is where a run spends its
    time.) What it hands out raises such an exception again.
    """
    lost: list[tuple[int, FrameType | None]] = []
    handlers: dict[int, Callable[[int, FrameType | None], object]] = {}

    def hear(number: int, frame: FrameType | None) -> None:
        try:
            handlers[number](number, frame)
        except BaseException:
            lost.append((number, frame))
            raise

    def answer() -> None:
        if lost:
            number, frame = lost.pop()
            handlers[number](number, frame)

    if threading.current_thread() is threading.main_thread():  # elsewhere no signals arrive
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            handler = signal.getsignal(number)
            if callable(handler):
                handlers[number] = handler
                signal.signal(number, hear)
    try:
        yield answer
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is hear:  # SIGTERM's handler leaves it to be ignored
                signal.signal(number, handler)


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

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        self._step(by=0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._step(by=0)
        if not console.is_terminal:
            console.print(self._note(logs or {}))

    def _note(self, logs: dict[str, Any]) -> str:
        figures = "  ".join(f"{key} {float(value):.3f}" for key, value in logs.items())
        return f"epoch {self._epoch}/{self._epochs}  {figures}"
