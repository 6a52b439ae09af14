"""Comparing a written file with the model it came from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.calibrate import check_labels
from export.flatbuffer import describe
from export.runtimes.litert import LiteRT, classes_of


@dataclass(frozen=True)
class Verification:
    """How a file differs from its Keras model.

    Attributes:
        source: What was compared: "test" or "calibration" images, or "noise" where there were none.
        images: Number of images compared.
        agreement: Share of the images on which both name the same class.
        max_error: Largest absolute difference of an output.
        mean_error: Mean absolute difference of the outputs.
        accuracy: Share of the images that the file classifies correctly, where labels were given.
        model_accuracy: The same of the Keras model.
        operations: Number of operations of each kind.
        float_operations: Operations that compute in floating point.
        select_tf_operations: Operations that need TensorFlow's kernels beside LiteRT's.
        dynamic_dimensions: Tensors with a size that is known only when the file runs.
    """

    source: str
    images: int
    agreement: float
    max_error: float
    mean_error: float
    accuracy: float | None
    model_accuracy: float | None
    operations: dict[str, int]
    float_operations: int
    select_tf_operations: int
    dynamic_dimensions: int


def verify(
    path: str | Path, images: np.ndarray, expected: np.ndarray, source: str = "test", labels: np.ndarray | None = None
) -> Verification:
    """Runs a file over images and compares it with what the Keras model said.

    Args:
        path: A `.tflite` file.
        images: Shape (n, height, width, channels), n at least 1.
        expected: Output of the Keras model, shape (n, classes), finite.
        source: What the images are, for the record.
        labels: Their classes, shape (n,), for the accuracies.

    Returns:
        The comparison. An output of the file that is not finite agrees with nothing and has an infinite error.

    Raises:
        UsageError: If the file does not run, or there is not one label an image.
    """
    path = Path(path)
    if labels is not None:
        check_labels(images, labels)
    outputs = np.stack(list(LiteRT(path).predict(images)))
    errors = np.where(np.isfinite(outputs), np.abs(outputs - expected), np.inf)
    named, wanted = classes_of(outputs), classes_of(expected)
    return Verification(
        source=source,
        images=len(images),
        agreement=float(np.mean(named == wanted)),
        max_error=float(errors.max()),
        mean_error=float(errors.mean()),
        accuracy=None if labels is None else float(np.mean(named == labels)),
        model_accuracy=None if labels is None else float(np.mean(wanted == labels)),
        **vars(describe(path.read_bytes())),
    )
