"""Measuring files side by side: accuracy over a test set and latency."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.flatbuffer import describe
from export.recipe import read_recipe
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


@dataclass(frozen=True)
class Row:
    """One measured file; what is None was not measured.

    Attributes:
        model: Name of the model.
        mode: Name of the mode it was exported with, and the engine of quantization-aware training where there was any.
        file: Name of the file.
        parameters: Trainable parameters.
        macs: Multiply-accumulates for one image.
        bytes: Size of the file.
        accuracy: Share of the test images classified correctly.
        agreement: Share of the test images on which the file names the same class as the Keras model.
        p50_ms: Median latency of one image, milliseconds.
        p90_ms: Latency that nine of ten runs stay below, milliseconds.
        speedup: p50 of the model's float32 file over this one's.
        float_operations: Operations that compute in floating point.
        runs: Number of timed runs.
        threads: Threads of the interpreter.
    """

    model: str
    mode: str | None
    file: str
    parameters: int | None
    macs: int | None
    bytes: int
    accuracy: float
    agreement: float | None
    p50_ms: float
    p90_ms: float
    speedup: float | None
    float_operations: int
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


def tabulate(measurements: Sequence[Measurement], named: Sequence[np.ndarray | None]) -> list[Row]:
    """Rows of a table, with what the recipe beside each file says of its model.

    Args:
        measurements: The measured files.
        named: For each file, the classes that its Keras model names on the same images, shape (n,), or None.
    """
    recipes = [read_recipe(measurement.path) for measurement in measurements]
    models = [recipe.get("model", m.path.stem) for m, recipe in zip(measurements, recipes, strict=True)]
    modes = [mode_of(recipe) for recipe in recipes]
    origins = [recipe.get("fingerprint") for recipe in recipes]
    base = {origin: m.p50_ms for m, origin, mode in zip(measurements, origins, modes, strict=True) if mode == "float32"}
    return [
        Row(
            model=model,
            mode=mode,
            file=m.path.name,
            parameters=recipe.get("parameters"),
            macs=recipe.get("macs"),
            bytes=m.bytes,
            accuracy=m.accuracy,
            agreement=None if classes is None else float(np.mean(m.predictions == classes)),
            p50_ms=m.p50_ms,
            p90_ms=m.p90_ms,
            speedup=base[origin] / m.p50_ms if origin in base else None,
            float_operations=describe(m.path.read_bytes()).float_operations,
            runs=m.runs,
            threads=m.threads,
        )
        for m, recipe, model, mode, origin, classes in zip(
            measurements, recipes, models, modes, origins, named, strict=True
        )
    ]


def mode_of(recipe: Mapping[str, Any]) -> str | None:
    """The mode of a file by its recipe; None without one.

    With the engine of quantization-aware training, and the type of input and output where that is not float32.
    """
    if not recipe:
        return None
    training = f", QAT {recipe['aware']}" if recipe.get("aware") else ""
    ends = f", {recipe['io']} io" if recipe.get("io", "float32") != "float32" else ""
    return f"{recipe['mode']['name']}{training}{ends}"
