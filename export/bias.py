"""Taking out of the biases what rounded weights add to an output on average."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.flatbuffer import read, store, stored, write

_CONV, _DEPTHWISE = schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D
_WEIGHTED = (_CONV, _DEPTHWISE, schema.BuiltinOperator.FULLY_CONNECTED)
_INTEGERS = (schema.TensorType.INT32, schema.TensorType.INT64)


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
    exact = {tensor.name: tensor for tensor in before.subgraphs[0].tensors}
    tensors, operators = after.subgraphs[0].tensors, after.subgraphs[0].operators
    readers = Counter(int(index) for operator in operators for index in operator.inputs)
    for operator in operators:
        code = after.operatorCodes[operator.opcodeIndex].builtinCode
        if code not in _WEIGHTED or len(operator.inputs) < 3 or readers[int(operator.inputs[2])] > 1:
            continue
        image, kernel, bias = (tensors[index] for index in operator.inputs)
        mean = means.get(image.name.decode())
        if mean is None or operator.inputs[2] < 0 or bias.type not in _INTEGERS:
            continue
        weights = [stored(after, kernel), stored(before, exact[kernel.name])]
        if code == _DEPTHWISE:  # (1, height, width, outputs): every output has one input
            weights = [values.reshape(-1, values.shape[3], 1).transpose(1, 0, 2) for values in weights]
        else:
            weights = [values.reshape(values.shape[0], -1, values.shape[-1]) for values in weights]
        outputs, _, inputs = weights[0].shape
        if len(mean) % inputs or outputs % (len(mean) // inputs):
            continue  # a dense layer of an image that is not flattened
        groups = mean.reshape(-1, inputs)
        each = groups.repeat(outputs // len(groups), axis=0)
        errors = weights[0] * np.reshape(kernel.quantization.scale, (-1, 1, 1)) - weights[1]
        moved = np.einsum("oti,oi->o", errors, each)
        store(after, bias, stored(after, bias) - np.rint(moved / bias.quantization.scale))
    return write(after)
