"""LiteRT with XNNPACK: the runtime of Android and of Linux boards."""

import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from export.calibrate import check_labels
from export.results import End, Failure, LiteRTFigures, Peak, Timing
from export.runtimes import Runtime, Subject, explain, run
from export.runtimes.matmul import PRODUCT_MACS, write_products
from keras_resnets.errors import UsageError, first_line

ENDS = (np.float32, np.uint8, np.int8)  # types of input and output
ROUNDS = 20
RUNS = (5, 100)  # of a file in a round, at least and at most
TURN = 0.01  # seconds of a file in a round, within these limits
WARM_UP = 0.1  # seconds
PROBES = 3


class Runner:
    """A file that LiteRT has opened.

    Args:
        path: The file.
        threads: Threads of the interpreter.

    Raises:
        UsageError: If the file is missing or broken, or needs operations LiteRT lacks.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        if threads < 1:
            raise UsageError(f"threads must be at least 1, got {threads}")
        if not path.is_file():
            raise UsageError(f"no file {path}; `keras-resnets export` writes .tflite files")
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise UsageError(f"{path} does not run in LiteRT: {first_line(error)}") from error
        self.path = path

    def invoke(self) -> float:
        """Runs what the input holds; returns the seconds that took.

        Raises:
            UsageError: If an operation fails.
        """
        start = time.perf_counter()
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise UsageError(f"{self.path} does not run in LiteRT: {first_line(error)}") from error
        return time.perf_counter() - start


def classes_of(scores: np.ndarray) -> np.ndarray:
    """The classes that scores name: (..., classes) -> (...,); a single score is the probability of class 1.

    Scores that are not finite name none: -1.
    """
    named = np.where(scores[..., 0] > 0.5, 1, 0) if scores.shape[-1] == 1 else scores.argmax(-1)
    return np.where(np.isfinite(scores).all(-1), named, -1)


class LiteRT(Runner):
    """One image classifier, ready to run.

    Args:
        path: The `.tflite` file.
        threads: Threads of the interpreter.

    Raises:
        UsageError: As `Runner`, or if the file has not exactly one image input of batch size 1 and one output of
            class scores.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        super().__init__(path, threads)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0]["shape"]) != 4 or inputs[0]["shape"][0] != 1:
            raise UsageError(f"{path} is no image classifier: it needs one input (1, h, w, c) and one output")
        self._check_ends(inputs[0], outputs[0])
        self._input, self._output = inputs[0], outputs[0]

    def _check_ends(self, image: dict[str, Any], scores: dict[str, Any]) -> None:
        if -1 in image["shape_signature"][1:]:
            sizes = "x".join("?" if side == -1 else str(side) for side in image["shape_signature"])
            raise UsageError(f"{self.path} takes images of any size ({sizes}): export it with a fixed input shape")
        if image["dtype"] not in ENDS:
            raise UsageError(f"{self.path} takes {image['dtype'].__name__}, not an image: float32, uint8 or int8")
        shape = "x".join(map(str, scores["shape_signature"]))
        if len(scores["shape"]) != 2 or scores["shape"][0] != 1 or -1 in scores["shape_signature"][1:]:
            raise UsageError(f"{self.path} is no image classifier: its output is of shape ({shape}), not (1, classes)")
        if scores["dtype"] not in ENDS:
            raise UsageError(
                f"{self.path} gives {scores['dtype'].__name__}, not the scores of classes: float32, uint8 or int8"
            )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image, (height, width, channels)."""
        return tuple(int(side) for side in self._input["shape"][1:])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self._output["shape"][-1])

    @property
    def input(self) -> End:
        """What goes in."""
        return _end(self._input)

    @property
    def output(self) -> End:
        """What comes out."""
        return _end(self._output)

    def check_fit(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Checks that images have the file's shape, and labels are among its classes.

        Raises:
            UsageError: If they do not, or there is not one label an image.
        """
        check_labels(images, labels)
        if images.shape[1:] != self.input_shape:
            raise UsageError(
                f"{self.path} takes images of shape {self.input_shape}, the data has {images.shape[1:]}; "
                f"use the data that the model was trained on"
            )
        if labels.max() >= max(self.classes, 2):  # a single score tells two classes apart
            raise UsageError(
                f"{self.path} has {self.classes} classes, the data has labels up to {labels.max()}; "
                f"use the data that the model was trained on"
            )

    def classify(self, images: np.ndarray) -> np.ndarray:
        """The class that the file names for each image: (n, height, width, channels) -> (n,)."""
        return np.array([classes_of(output) for output in self.predict(images)])

    def load(self, image: np.ndarray) -> None:
        """Puts one image, shape (height, width, channels), into the input, quantized where the input is."""
        self._interpreter.set_tensor(self._input["index"], encode(image[None], self._input))

    def predict(self, images: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the output for each image of shape (n, height, width, channels), as float32 (classes,)."""
        for image in images:
            self.load(image)
            self.invoke()
            yield decode(self._interpreter.get_tensor(self._output["index"])[0], self._output)


class OnLiteRT(Runtime):
    """Latency of files in turns at each number of threads, and what opening one costs.

    A round gives every file some runs, after one that is not timed; so a machine that drifts treats all alike. Before
    the first round each has warmed up. One number of threads follows the other: the threads of an interpreter wait for
    work for a while, and would slow down files that run beside them. Before all of them, two large matrix products on
    one thread show the processor's peak.

    Args:
        threads: Numbers of threads.

    Attributes:
        peak: After `measure`: what one thread reached on the matrix products.
    """

    name = "litert"

    def __init__(self, threads: Sequence[int]) -> None:
        self._threads = tuple(dict.fromkeys(threads))
        self.peak: Peak | None = None

    def check(self) -> None:
        if not self._threads or min(self._threads) < 1:
            raise UsageError(f"threads must be at least 1, got {' '.join(map(str, self._threads)) or 'none'}")

    def steps(self, count: int) -> int:
        return count + ROUNDS * (1 + len(self._threads))

    def measure(self, subjects: Sequence[Subject], on_step: Callable[[], None]) -> list[LiteRTFigures | Failure]:
        costs = []
        for subject in subjects:
            costs.append(_probe(subject.path))
            on_step()
        self.peak = _measure_peak(on_step)
        timings: list[list[Timing]] = [[] for _ in subjects]
        for threads in self._threads:
            runners = [_runner(subject.path, subject.images[0], threads) for subject in subjects]
            for own, seconds in zip(timings, time_in_turns(runners, on_step), strict=True):
                own.append(summarize(seconds, threads))
        return [
            cost
            if isinstance(cost, Failure)
            else LiteRTFigures(timings=tuple(own), peak_share=self._share(subject, own), **cost)
            for subject, own, cost in zip(subjects, timings, costs, strict=True)
        ]

    def _share(self, subject: Subject, timings: Sequence[Timing]) -> float | None:
        single = [one.p50_ms for one in timings if one.threads == 1]
        if subject.macs is None or subject.arithmetic is None or not single or self.peak is None:
            return None
        peak = self.peak.float32_gops if subject.arithmetic == "float32" else self.peak.int8_gops
        return 2 * subject.macs / (single[0] * 1e6) / peak


def time_in_turns(runners: Sequence[Runner], on_step: Callable[[], None]) -> list[np.ndarray]:
    """Times files in turns (A B A B ...), each with its image loaded.

    Returns:
        For each file the seconds of its runs, shape (ROUNDS, runs of a round).
    """
    counts = []
    for runner in runners:
        runner.invoke()  # prepares the kernels
        times, end = [runner.invoke()], time.perf_counter() + WARM_UP
        while time.perf_counter() < end:
            times.append(runner.invoke())
        counts.append(int(np.clip(TURN / np.median(times), *RUNS)))
    seconds = [np.empty((ROUNDS, count)) for count in counts]
    for turn in range(ROUNDS):
        for runner, count, own in zip(runners, counts, seconds, strict=True):
            runner.invoke()  # untimed: the caches still hold the file before
            own[turn] = [runner.invoke() for _ in range(count)]
        on_step()
    return seconds


def summarize(seconds: np.ndarray, threads: int) -> Timing:
    """The figures of timed runs.

    The median's interval holds the medians of eighteen rounds of twenty. Other work on the machine only ever slows a
    round down, and rarely all of them: the interval then widens towards what it takes from those it let alone.

    Args:
        seconds: Shape (rounds, runs of a round).
        threads: Threads they ran on.
    """
    milliseconds = seconds * 1e3
    rounds = np.median(milliseconds, axis=1)
    p50, p90, p99 = np.percentile(milliseconds, (50, 90, 99))
    low, high = np.percentile(rounds, (5, 95))
    return Timing(
        threads=threads,
        p50_ms=float(p50),
        p50_low_ms=float(low),
        p50_high_ms=float(high),
        p90_ms=float(p90),
        p99_ms=float(p99),
        mean_ms=float(milliseconds.mean()),
        std_ms=float(milliseconds.std()),
        runs=milliseconds.size,
        rounds_ms=tuple(rounds.tolist()),
    )


def _measure_peak(on_step: Callable[[], None]) -> Peak:
    with tempfile.TemporaryDirectory() as folder:
        runners = [Runner(path) for path in write_products(Path(folder))]
        floats, integers = (2 * PRODUCT_MACS / np.median(one) / 1e9 for one in time_in_turns(runners, on_step))
    return Peak(float32_gops=float(floats), int8_gops=float(integers))


def _runner(path: Path, image: np.ndarray, threads: int) -> LiteRT:
    runner = LiteRT(path, threads)
    runner.load(image)
    return runner


def _probe(path: Path) -> dict[str, Any] | Failure:
    """Time and memory of opening a file, from a process of its own; the median of a few."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("_litert_probe.py")), str(path.resolve())]
    found = []
    for _ in range(PROBES):
        child = run(command)
        if child.returncode:
            return Failure(reason=f"does not open in a process of its own: {explain(child)}")
        found.append(json.loads(child.stdout.splitlines()[-1]))
    return {key: None if found[0][key] is None else statistics.median(one[key] for one in found) for key in found[0]}


def open_traced(data: bytes) -> Interpreter:
    """An interpreter that keeps the values of all tensors, for looking at one image at a time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*experimental_preserve_all_tensors", UserWarning)  # it takes memory
        interpreter = Interpreter(model_content=data, experimental_preserve_all_tensors=True, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _end(tensor: dict[str, Any]) -> End:
    scale, zero_point = tensor["quantization"]
    quantized = _is_quantized(tensor)
    return End(
        name=tensor["name"],
        shape=tuple(int(side) for side in tensor["shape"]),
        type=np.dtype(tensor["dtype"]).name,
        scale=float(scale) if quantized else None,
        zero_point=int(zero_point) if quantized else None,
    )


def _is_quantized(tensor: dict[str, Any]) -> bool:
    """Whether a tensor's numbers stand for others; pixels may be stored as they are."""
    return bool(np.issubdtype(tensor["dtype"], np.integer) and tensor["quantization"][0])


def encode(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """Real numbers as a tensor of an interpreter holds them."""
    if not np.issubdtype(tensor["dtype"], np.integer):
        return values.astype(tensor["dtype"])
    scale, zero_point = tensor["quantization"] if _is_quantized(tensor) else (1.0, 0)
    limits = np.iinfo(tensor["dtype"])
    return np.clip(np.rint(values / scale + zero_point), limits.min, limits.max).astype(tensor["dtype"])


def decode(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """What a tensor of an interpreter holds as real numbers."""
    if not _is_quantized(tensor):
        return values.astype(np.float32)
    scale, zero_point = tensor["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale)
