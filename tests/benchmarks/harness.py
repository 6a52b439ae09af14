"""What the LiteRT harness adds to a bare loop, how well its medians repeat, and what it says on a busy machine.

Measures an int8 and a float32 file of ResNet-8 with random weights at 1 thread and writes `harness.json`:

- cost: median of the harness over the median of a bare loop around `invoke()`, in turns, pair by pair.
- repeated: difference of the medians of two runs back to back.
- busy: the median and its interval while as many other processes as there are cores multiply matrices, beside the
  median of the quiet machine.

Run it on a machine that does nothing else: `python tests/benchmarks/harness.py`.
"""

import json
import multiprocessing
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from export import export_modes
from export.environment import describe_environment
from export.runtimes import Subject
from export.runtimes.litert import ROUNDS, LiteRT, OnLiteRT, time_in_turns
from keras_resnets import ResNet8

OUT = Path(__file__).with_name("harness.json")
PAIRS = 9
BARE_RUNS = 1000


def export(folder: Path) -> dict[str, Path]:
    keras.utils.set_random_seed(0)
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3)).astype("float32")
    outs = {mode: folder / f"{mode}.tflite" for mode in ("float32", "int8")}
    list(export_modes(ResNet8(include_preprocessing=True), outs, calibration=noise, min_agreement=0.0))
    return outs


def bare_ms(path: Path) -> float:
    """The median of a loop that does nothing but time `invoke()`."""
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    for _ in range(100):
        interpreter.invoke()
    times = np.empty(BARE_RUNS)
    for index in range(BARE_RUNS):
        start = time.perf_counter()
        interpreter.invoke()
        times[index] = time.perf_counter() - start
    return float(np.median(times)) * 1e3


def harness_ms(path: Path) -> float:
    runner = LiteRT(path)
    runner.load(np.zeros(runner.input_shape))
    (seconds,) = time_in_turns([runner], lambda: None)
    return float(np.median(seconds)) * 1e3


def cost(path: Path) -> float:
    harness_ms(path), bare_ms(path)
    return statistics.median(harness_ms(path) / bare_ms(path) for _ in range(PAIRS))


def measure(files: dict[str, Path]) -> dict[str, dict[str, float]]:
    images = np.zeros((1, 32, 32, 3))
    found = OnLiteRT((1,)).measure([Subject(path, images, None, "int8") for path in files.values()], lambda: None)
    keys = ("p50_ms", "p50_low_ms", "p50_high_ms")
    return {
        mode: {key: getattr(figures.timings[0], key) for key in keys}
        for mode, figures in zip(files, found, strict=True)
    }


def multiply(stop) -> None:
    matrix = np.ones((300, 300), "float32")
    while not stop.is_set():
        matrix @ matrix


def measure_busy(files: dict[str, Path]) -> dict[str, dict[str, float]]:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    others = [context.Process(target=multiply, args=(stop,)) for _ in range(os.cpu_count())]
    for other in others:
        other.start()
    time.sleep(5)  # until they have imported numpy
    try:
        return measure(files)
    finally:
        stop.set()
        for other in others:
            other.join()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        files = export(Path(folder))
        costs = {mode: cost(path) for mode, path in files.items()}
        first, second, busy = measure(files), measure(files), measure_busy(files)
    results = {"environment": describe_environment(), "rounds": ROUNDS}
    for mode in files:
        quiet = first[mode]["p50_ms"]
        results[mode] = {
            "cost": costs[mode],
            "repeated": second[mode]["p50_ms"] / quiet - 1,
            "quiet": first[mode],
            "busy": busy[mode],
            "covered": busy[mode]["p50_low_ms"] <= quiet <= busy[mode]["p50_high_ms"],
        }
        print(f"{mode}: harness / bare loop {costs[mode]:.4f}, second run {results[mode]['repeated']:+.2%}")
        print(f"  quiet {quiet:.4f} ms, busy {busy[mode]}: covers the quiet median: {results[mode]['covered']}")
    OUT.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
