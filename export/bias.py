"""Biases of integer layers: made to fit, and corrected for what rounded weights add to an output on average."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.flatbuffer import read, store, stored, write
from export.ranges import STEPS, Ranges
from export.rounding import NARROWEST

_CONV, _DEPTHWISE = schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D
_WEIGHTED = (_CONV, _DEPTHWISE, schema.BuiltinOperator.FULLY_CONNECTED)
_INTEGERS = (schema.TensorType.INT32, schema.TensorType.INT64)
_LARGEST_WEIGHT, _LARGEST_BIAS = 127, 2**30  # of 8 bits, and half of what 32 hold


@dataclass(frozen=True)
class _Layer:
    """A convolution or dense layer with a bias; tensors as the schema has them."""

    name: bytes
    image: Any
    kernel: Any
    bias: Any
    depthwise: bool

    def by_output(self, weights: np.ndarray) -> np.ndarray:
        """A kernel in the shape (outputs, places, inputs of an output)."""
        if self.depthwise:  # (1, height, width, outputs), each of one input
            return weights.reshape(-1, weights.shape[3], 1).transpose(1, 0, 2)
        return weights.reshape(weights.shape[0], -1, weights.shape[-1])


def _layers(model: Any, *, own: bool = True) -> Iterator[_Layer]:
    """Those with a bias; with `own`, that no other operation reads, so that it can be moved."""
    tensors, operators = model.subgraphs[0].tensors, model.subgraphs[0].operators
    readers = Counter(int(index) for operator in operators for index in operator.inputs)
    for operator in operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        places = [int(index) for index in operator.inputs]
        if code in _WEIGHTED and len(places) == 3 and places[2] >= 0 and (not own or readers[places[2]] == 1):
            image, kernel, bias = (tensors[place] for place in places)
            yield _Layer(tensors[int(operator.outputs[0])].name, image, kernel, bias, code == _DEPTHWISE)


def fit_biases(floats: bytes, ranges: Ranges) -> bytes:
    """Raises the largest weight of an output whose weights are next to nothing beside its bias.

    A bias is stored in steps of the image's times the weights'. Behind a BatchNorm that scales a channel by almost 0
    these steps are so small that the bias would not fit; the weight is raised by what no output shows.

    Args:
        floats: A float32 file that is to be quantized.
        ranges: Of its tensors.
    """
    model = read(floats)
    for layer in _layers(model):
        least, largest = ranges.get(layer.image.name.decode(), (0.0, 0.0))
        kernel, bias = stored(model, layer.kernel).copy(), stored(model, layer.bias)
        weights = kernel.reshape(-1, bias.size).T if layer.depthwise else kernel.reshape(bias.size, -1)
        step = max(max(largest, 0.0) - min(least, 0.0), NARROWEST) / STEPS
        needed = _LARGEST_WEIGHT * np.abs(bias) / (step * _LARGEST_BIAS)
        raised = np.abs(weights).max(1) < needed
        weights[raised, 0] = needed[raised]
        store(model, layer.kernel, kernel)
    return write(model)


def correct_biases(floats: bytes, quantized: bytes, means: Mapping[str, np.ndarray]) -> bytes:
    """Moves each bias of an integer layer against the mean error of its output that the rounded weights make.

    That error is the error of the weights times the mean input. What padding takes from it at the edges is left out.

    Args:
        floats: The float32 file.
        quantized: What was made of it, with integer activations.
        means: Mean of each channel of the float32 file's activations, shape (channels,), by the name of the tensor.

    Returns:
        The quantized file with other biases.

    References: Nagel et al. 2019, arXiv:1906.04721, section 4.2, with the means of calibration images.
    """
    before, after = read(floats), read(quantized)
    # of other names are copies of a kernel and of an image; TensorFlow lets layers share a bias of zeros
    exact = {layer.name: layer for layer in _layers(before, own=False)}
    for layer in _layers(after):
        known = exact.get(layer.name)
        if known is None or layer.bias.type not in _INTEGERS:
            continue
        mean = means.get(known.image.name.decode(), np.zeros(0))
        rounded, kernel = layer.by_output(stored(after, layer.kernel)), known.by_output(stored(before, known.kernel))
        outputs, _, inputs = kernel.shape
        if not len(mean) or len(mean) % inputs or outputs % (len(mean) // inputs):
            continue  # a dense layer of an image that is not flattened, or a layer of constants
        groups = mean.reshape(-1, inputs)
        each = groups.repeat(outputs // len(groups), axis=0)
        errors = rounded * np.reshape(layer.kernel.quantization.scale, (-1, 1, 1)) - kernel
        moved = np.rint(np.einsum("oti,oi->o", errors, each) / layer.bias.quantization.scale)
        limits = np.iinfo(np.int32)
        store(after, layer.bias, np.clip(stored(after, layer.bias) - moved, limits.min, limits.max))
    return write(after)
