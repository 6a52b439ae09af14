"""LiteRT with XNNPACK: the runtime of Android and of Linux boards."""

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from keras_resnets.errors import UsageError, first_line


class LiteRT:
    """One `.tflite` file, ready to run.

    Args:
        path: The file.
        threads: Threads of the interpreter.

    Raises:
        UsageError: If the file is missing or broken, needs operations LiteRT lacks, or has not exactly one image
            input of batch size 1 and one output.
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
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0]["shape"]) != 4 or inputs[0]["shape"][0] != 1:
            raise UsageError(f"{path} is no image classifier: it needs one input (1, h, w, c) and one output")
        self.path = path
        self._input, self._output = inputs[0], outputs[0]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image, (height, width, channels)."""
        return tuple(int(side) for side in self._input["shape"][1:])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self._output["shape"][-1])

    def load(self, image: np.ndarray) -> None:
        """Puts one image, shape (height, width, channels), into the input, quantized where the input is."""
        self._interpreter.set_tensor(self._input["index"], encode(image[None], self._input))

    def invoke(self) -> float:
        """Runs the loaded image; returns the seconds that took."""
        start = time.perf_counter()
        self._interpreter.invoke()
        return time.perf_counter() - start

    def predict(self, images: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the output for each image of shape (n, height, width, channels), as float32 (classes,)."""
        for image in images:
            self.load(image)
            self._interpreter.invoke()
            yield decode(self._interpreter.get_tensor(self._output["index"])[0], self._output)


def open_traced(data: bytes) -> Interpreter:
    """An interpreter that keeps the values of all tensors, for looking at one image at a time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*experimental_preserve_all_tensors", UserWarning)  # it takes memory
        interpreter = Interpreter(model_content=data, experimental_preserve_all_tensors=True, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def encode(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """Real numbers as a tensor of an interpreter holds them."""
    if not np.issubdtype(tensor["dtype"], np.integer):
        return values.astype(tensor["dtype"])
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    return np.clip(np.rint(values / scale + zero_point), limits.min, limits.max).astype(tensor["dtype"])


def decode(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """What a tensor of an interpreter holds as real numbers."""
    if not np.issubdtype(tensor["dtype"], np.integer):
        return values.astype(np.float32)
    scale, zero_point = tensor["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale)
