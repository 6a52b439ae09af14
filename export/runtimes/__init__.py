"""Where `.tflite` files run: one runtime a file behind the interface below."""

import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from export.flatbuffer import Arithmetic
from export.results import Failure

PATIENCE = 900  # seconds for a program that runs one file


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs a program that a file may crash or hang; one that does not end counts as failed and is ended."""
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"it did not end within {PATIENCE:g} s")


def explain(child: subprocess.CompletedProcess[str]) -> str:
    """Why such a program failed: its last line, or what else is known."""
    said = child.stderr.strip()
    if child.returncode < 0:
        crash = f"crashes ({signal.Signals(-child.returncode).name})"
        return f"{crash}: {said.splitlines()[-1].strip()}" if said else f"{crash} without saying why"
    lines = (said or child.stdout.strip()).splitlines()
    return lines[-1].strip() if lines else f"exit status {child.returncode}"


@dataclass(frozen=True)
class Subject:
    """A file to measure, known to run in LiteRT.

    Attributes:
        path: The file: one input (1, height, width, channels), one output (1, classes).
        images: What to run it on, shape (n, height, width, channels), n at least 1, real numbers as the model takes
            them: test images, or noise where there are none.
        macs: Multiply-accumulates of one image, where they are known.
        arithmetic: What its convolutions and dense layers compute in; None where they do not agree.
    """

    path: Path
    images: np.ndarray
    macs: int | None
    arithmetic: Arithmetic | None


class Runtime(ABC):
    """A way to run files, and what it tells about them."""

    name: ClassVar[str]
    """As `--runtime` takes it."""

    @abstractmethod
    def check(self) -> None:
        """Makes sure, before anything is measured, that the runtime is there.

        Raises:
            UsageError: If it is not; the message says what installs it.
        """

    def steps(self, count: int) -> int:
        """How often `measure` calls `on_step` for a number of files."""
        return count

    @abstractmethod
    def measure(self, subjects: Sequence[Subject], on_step: Callable[[], None]) -> list[Any | Failure]:
        """Measures files; one that the runtime cannot run is a failure with its reason, never the end of the rest.

        Args:
            subjects: The files.
            on_step: Called as work goes on, `steps(len(subjects))` times.

        Returns:
            For each file this runtime's figures, or why there are none.
        """
