"""Comparing a written file with the model it came from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.runtimes.litert import LiteRT, count_operations


@dataclass(frozen=True)
class Verification:
    """How a file differs from its Keras model.

    Attributes:
        source: What was compared: "test" or "calibration" images, or "noise" where there were none.
        images: Number of images compared.
        agreement: Share of the images on which both name the same class.
        max_error: Largest absolute difference of an output.
        mean_error: Mean absolute difference of the outputs.
        operations: Number of operations of each kind.
        float_operations: Operations that compute in floating point.
    """

    source: str
    images: int
    agreement: float
    max_error: float
    mean_error: float
    operations: dict[str, int]
    float_operations: int


def verify(path: Path, images: np.ndarray, expected: np.ndarray, source: str = "test") -> Verification:
    """Runs a file over images and compares it with what the Keras model said.

    Args:
        path: A `.tflite` file.
        images: Shape (n, height, width, channels), n at least 1.
        expected: Output of the Keras model, shape (n, classes), finite.
        source: What the images are, for the record.

    Returns:
        The comparison. An output of the file that is not finite agrees with nothing and has an infinite error.

    Raises:
        UsageError: If the file does not run.
    """
    outputs = np.stack(list(LiteRT(path).predict(images)))
    finite = np.isfinite(outputs).all(-1)
    errors = np.where(np.isfinite(outputs), np.abs(outputs - expected), np.inf)
    operations, float_operations = count_operations(path)
    return Verification(
        source=source,
        images=len(images),
        agreement=float(np.mean(finite & (outputs.argmax(-1) == expected.argmax(-1)))),
        max_error=float(errors.max()),
        mean_error=float(errors.mean()),
        operations=operations,
        float_operations=float_operations,
    )
