"""Ranges and means of a network's activations, read off its float32 file over calibration images."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from export.flatbuffer import Operation, operations
from export.layers import PIXELS
from export.quantize import Engine, Mode
from export.rounding import NARROWEST
from export.runtimes.litert import open_traced
from keras_resnets.errors import UsageError

Clipping = Literal["minmax", "percentile", "mse"]
Ranges = dict[str, tuple[float, float]]

DEFAULT: Clipping = "mse"

KEPT = 0.9999  # share of an activation's values that "percentile" keeps between its ends, both together
SAMPLES = 2**17  # values of an activation, from all images together, by which it is clipped
BINS = 2048
STEPS = 255  # of an 8-bit range
SHARES = np.linspace(1.0, 0.0, 101)  # of either end, that "mse" tries; the full one where none is better


def check_clipping(clipping: str | None) -> None:
    """Raises a UsageError if there is no such way to clip."""
    if clipping not in (None, *get_args(Clipping)):
        raise UsageError(f"clipping={clipping!r}: choose one of {', '.join(get_args(Clipping))}")


def choose_clipping(clipping: Clipping | None, mode: Mode, engine: Engine) -> Clipping:
    """How the ranges of a file end: as wanted; where nobody says, "mse" if the engine lets them be chosen.

    16 bits lose nothing at the full range, and TensorFlow's converter knows no other.

    Raises:
        UsageError: If the converter is to clip.
    """
    if mode.activations != "int8":
        return "minmax"
    if engine == "quantizer":
        return clipping or DEFAULT
    if clipping not in (None, "minmax"):
        raise UsageError(
            f"clipping={clipping!r}: the model has operations that only TensorFlow's converter quantizes to "
            f"{mode.name}, and it takes the full range; use clipping='minmax'"
        )
    return "minmax"


@dataclass(frozen=True)
class Observed:
    """What was seen of the activations of a file.

    Attributes:
        ranges: (least, largest) by the name of the tensor.
        means: Mean of each channel, shape (channels,), by the name of the tensor.
    """

    ranges: Ranges
    means: Mapping[str, np.ndarray]


def observe(data: bytes, images: np.ndarray, clipping: Clipping = DEFAULT, *, pixels: bool = False) -> Observed:
    """Runs a float32 file over images and says between which values each of its tensors lies, and around which.

    Input and output are never clipped: a clipped pixel or score is an error for every network.

    Args:
        data: A float32 `.tflite` file.
        images: Calibration images, shape (n, height, width, channels).
        clipping: "minmax" takes the least and the largest value. "percentile" leaves out `1 - KEPT` of the values,
            half of it at each end. "mse" draws in either end to where the mean squared error of 8-bit rounding and
            clipping is least; for the logits of a softmax at the end, the error of its probabilities: what is far
            below the largest logit changes none, and in steps of half the size fewer classes tie.
        pixels: Whether the range of the image is that of its 256 levels, so that a uint8 file takes the pixels
            themselves.

    Returns:
        Ranges and means.
    """
    interpreter = open_traced(data)
    ends = {tensor["index"] for tensor in (*interpreter.get_input_details(), *interpreter.get_output_details())}
    steps = operations(data)
    logits = logits_of(steps)
    seen: dict[str, Seen] = {}
    means, random = dict[str, np.ndarray](), np.random.default_rng(0)
    for index, name, values in _activations(interpreter, _computed(data), images):
        if name not in seen:
            seen[name] = Seen("minmax" if index in ends else clipping, len(images), logits=name in logits)
        seen[name].add(values[None], random)
        means[name] = means.get(name, 0.0) + values.reshape(-1, values.shape[-1]).mean(0) / len(images)
    ranges = {name: one.ends() for name, one in seen.items()}
    if pixels:
        ranges[steps[0].inputs[0].name] = PIXELS
    return Observed(ranges, means)


class Seen:
    """What was seen of one activation: its extremes, and a sample of its values, by which it is clipped.

    Args:
        clipping: Where its range is to end, see `observe`.
        images: How many images it will be seen on.
        logits: Whether it holds the logits of a softmax, which are told by what stands beside them.
    """

    def __init__(self, clipping: Clipping, images: int, *, logits: bool = False) -> None:
        self._clipping, self._logits = clipping, logits
        self._each = max(SAMPLES // max(images, 1), 1)
        self._least, self._largest = np.inf, -np.inf
        self._samples: list[np.ndarray] = []

    def add(self, values: np.ndarray, random: np.random.Generator) -> None:
        """Takes in the values on some images, shape (images, ...)."""
        self._least, self._largest = min(self._least, float(values.min())), max(self._largest, float(values.max()))
        if self._clipping != "minmax":
            drawn = values.reshape(-1, values.shape[-1] if self._logits else 1)
            most = max(self._each * len(values) // drawn.shape[1], 1)
            self._samples.append(drawn if len(drawn) <= most else random.choice(drawn, most))

    def ends(self) -> tuple[float, float]:
        """The range."""
        if self._clipping == "minmax":
            return self._least, self._largest
        if self._logits and self._clipping == "mse":
            return range_of_logits(np.concatenate(self._samples))
        if not self._least < self._largest:  # always the same, or no number
            return self._least, self._largest
        clip = _percentile if self._clipping == "percentile" else least_error
        return clip(np.concatenate(self._samples, axis=None), self._least, self._largest)


def is_dead(least: float, largest: float) -> bool:
    """Whether nothing but zero was seen of an activation.

    Its range would have steps of almost nothing: they overflow what LiteRT multiplies with, and under training nothing
    could come alive in them. (0, 1) stands for it.
    """
    return max(-least, largest) < NARROWEST


def logits_of(steps: list[Operation]) -> set[str]:
    """The tensors that hold the logits of a softmax at the end of a file; there is more than one if they are moved."""
    *before, last = (step for step in steps if step.kind not in ("QUANTIZE", "DEQUANTIZE"))
    if last.kind != "SOFTMAX":
        return set()
    names = {last.inputs[0].name}
    for step in reversed(before):
        if step.kind in ("RESHAPE", "SQUEEZE") and step.outputs[0].name in names:
            names.add(step.inputs[0].name)
    return names


def _activations(
    interpreter: Interpreter, computed: set[int], images: np.ndarray
) -> Iterator[tuple[int, str, np.ndarray]]:
    """Index, name and values of every tensor that depends on the image, for each image."""
    (entry,) = interpreter.get_input_details()
    tensors = [tensor for tensor in interpreter.get_tensor_details() if tensor["index"] in computed]
    for image in images:
        interpreter.set_tensor(entry["index"], image[None].astype(np.float32))
        interpreter.invoke()
        for tensor in tensors:
            yield tensor["index"], tensor["name"], np.atleast_1d(interpreter.get_tensor(tensor["index"]))


def _computed(data: bytes) -> set[int]:
    """The input and every float32 tensor that an operation writes; the others are weights, or shapes."""
    steps = operations(data)
    return {tensor.index for step in steps for tensor in step.outputs if tensor.is_float} | {steps[0].inputs[0].index}


def _percentile(values: np.ndarray, least: float, largest: float) -> tuple[float, float]:
    counts, edges = np.histogram(values.astype(np.float64), BINS, (least, largest))
    share = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    below = np.searchsorted(share, (1 - KEPT) / 2, side="right") - 1
    above = np.searchsorted(share, 1 - (1 - KEPT) / 2, side="left")
    return float(edges[below]), float(edges[above])


def least_error(values: np.ndarray, least: float, largest: float) -> tuple[float, float]:
    """The ends of the 8-bit range to which values are rounded and clipped at the least mean squared error.

    Args:
        values: A sample, of any shape.
        least: The least of all the values that it stands for.
        largest: The largest, more than the least.
    """
    counts, edges = np.histogram(values.astype(np.float64), BINS, (least, largest))
    centres = (edges[:-1] + edges[1:]) / 2
    least, largest = min(least, 0.0), max(largest, 0.0)  # an 8-bit range always holds zero
    return _best_ends(least, largest, lambda *ends: counts @ np.square(centres - _rounded(centres, *ends)))


def range_of_logits(logits: np.ndarray) -> tuple[float, float]:
    """The ends of the 8-bit range at which the probabilities that a softmax makes of logits change least.

    Args:
        logits: A sample, shape (n, classes).
    """
    least, largest = min(float(logits.min()), 0.0), max(float(logits.max()), 0.0)
    expected = _softmax(logits)
    return _best_ends(least, largest, lambda *ends: np.square(_softmax(_rounded(logits, *ends)) - expected).mean())


def _best_ends(least: float, largest: float, error: Callable[[float, float], float]) -> tuple[float, float]:
    """The ends of least error, each in its turn and twice as a share of the full one."""
    low = high = 1.0
    for _ in range(2):
        low = min(SHARES, key=lambda share: error(least * share, largest * high))
        high = min(SHARES, key=lambda share: error(least * low, largest * share))
    return float(least * low), float(largest * high)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _rounded(values: np.ndarray, least: float, largest: float) -> np.ndarray:
    step = max(largest - least, NARROWEST) / STEPS
    return np.clip(np.rint((values - least) / step), 0, STEPS) * step + least
