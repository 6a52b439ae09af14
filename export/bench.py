"""Measuring files side by side: accuracy over a test set and latency."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.runtimes.litert import LiteRT, summarize, time_in_turns
from keras_resnets.errors import UsageError


@dataclass(frozen=True)
class Measurement:
    """One file on one runtime.

    Attributes:
        path: The file.
        bytes: Its size.
        accuracy: Share of the test images it classifies correctly.
        predictions: Class it names for every test image.
        p50_ms: Median latency of one image, milliseconds.
        p90_ms: Latency that nine of ten runs stay below, milliseconds.
        runs: Number of timed runs.
        threads: Threads of the interpreter.
    """

    path: Path
    bytes: int
    accuracy: float
    predictions: np.ndarray
    p50_ms: float
    p90_ms: float
    runs: int
    threads: int


def measure(
    paths: Sequence[str | Path],
    images: np.ndarray,
    labels: np.ndarray,
    *,
    threads: int = 1,
    on_step: Callable[[], None] = lambda: None,
) -> list[Measurement]:
    """Measures files on LiteRT.

    Accuracy comes first and warms the caches and the clock; then the files are timed in turns (A B A B ...), so
    that a machine that drifts treats them alike.

    Args:
        paths: The `.tflite` files.
        images: Test images, shape (n, height, width, channels).
        labels: Their classes, shape (n,).
        threads: Threads of the interpreter.
        on_step: Called once after each file's accuracy and once after each round.

    Returns:
        One measurement a file, in the order given.

    Raises:
        UsageError: If a file does not run, or images or labels do not fit it.
    """
    if not paths:
        raise UsageError("name at least one .tflite file to measure")
    runners = [LiteRT(Path(path), threads) for path in paths]
    for runner in runners:
        runner.check_fit(images, labels)
    predictions = []
    for runner in runners:
        predictions.append(runner.classify(images))
        on_step()
    for runner in runners:
        runner.load(images[0])
    timings = [summarize(seconds, threads) for seconds in time_in_turns(runners, on_step)]
    return [
        Measurement(
            path=runner.path,
            bytes=runner.path.stat().st_size,
            accuracy=float(np.mean(predicted == labels)),
            predictions=predicted,
            p50_ms=timing.p50_ms,
            p90_ms=timing.p90_ms,
            runs=timing.runs,
            threads=threads,
        )
        for runner, predicted, timing in zip(runners, predictions, timings, strict=True)
    ]
