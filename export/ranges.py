"""The ranges of a network's activations, read off its float32 file over calibration images."""

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from export.flatbuffer import operations
from export.runtimes.litert import open_traced
from keras_resnets.errors import UsageError

Clipping = Literal["minmax", "percentile", "mse"]
Ranges = dict[str, tuple[float, float]]

KEPT = 0.9999  # share of an activation's values that "percentile" keeps between its ends, both together
BINS = 2048
STEPS = 255  # of an 8-bit range
SHRINKS = np.linspace(0.3, 1.0, 71)  # shares of the full range that "mse" tries


def check_clipping(clipping: str) -> None:
    """Raises a UsageError if there is no such way to clip."""
    if clipping not in get_args(Clipping):
        raise UsageError(f"clipping={clipping!r}: choose one of {', '.join(get_args(Clipping))}")


def read_ranges(data: bytes, images: np.ndarray, clipping: Clipping = "minmax") -> Ranges:
    """Runs a float32 file over images and says between which values each of its tensors lies.

    Input and output are never clipped: a clipped pixel or logit is an error for every network.

    Args:
        data: A float32 `.tflite` file.
        images: Calibration images, shape (n, height, width, channels).
        clipping: "minmax" takes the least and the largest value. "percentile" leaves out `1 - KEPT` of the values,
            half of it at each end. "mse" shrinks the range to where the mean squared error of 8-bit rounding and
            clipping is least.

    Returns:
        (least, largest) by the name of the tensor.
    """
    interpreter = open_traced(data)
    ends = {tensor["index"] for tensor in (*interpreter.get_input_details(), *interpreter.get_output_details())}
    computed, extremes = _computed(data), Ranges()
    for _, name, values in _activations(interpreter, computed, images):
        least, largest = extremes.get(name, (np.inf, -np.inf))
        extremes[name] = min(least, float(values.min())), max(largest, float(values.max()))
    if clipping == "minmax":
        return extremes
    histograms: dict[str, np.ndarray] = {}
    for index, name, values in _activations(interpreter, computed, images):
        if index not in ends and extremes[name][0] < extremes[name][1]:
            counts, _ = np.histogram(values, BINS, extremes[name])
            histograms[name] = histograms.get(name, 0) + counts
    clip = {"percentile": _percentile, "mse": _least_error}[clipping]
    return extremes | {name: clip(counts, *extremes[name]) for name, counts in histograms.items()}


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
            yield tensor["index"], tensor["name"], interpreter.get_tensor(tensor["index"])


def _computed(data: bytes) -> set[int]:
    """The input and every float32 tensor that an operation writes; the others are weights, or shapes."""
    steps = operations(data)
    return {tensor.index for step in steps for tensor in step.outputs if tensor.is_float} | {steps[0].inputs[0].index}


def _percentile(counts: np.ndarray, least: float, largest: float) -> tuple[float, float]:
    edges = np.linspace(least, largest, BINS + 1)
    share = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    below = np.searchsorted(share, (1 - KEPT) / 2, side="right") - 1
    above = np.searchsorted(share, 1 - (1 - KEPT) / 2, side="left")
    return float(edges[below]), float(edges[above])


def _least_error(counts: np.ndarray, least: float, largest: float) -> tuple[float, float]:
    edges = np.linspace(least, largest, BINS + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    least, largest = min(least, 0.0), max(largest, 0.0)  # an 8-bit range always holds zero
    errors = []
    for shrink in SHRINKS:
        low, high = least * shrink, largest * shrink
        step = (high - low) / STEPS
        rounded = np.clip(np.rint((centres - low) / step), 0, STEPS) * step + low
        errors.append(float(counts @ np.square(centres - rounded)))
    best = float(SHRINKS[int(np.argmin(errors))])
    return least * best, largest * best
