"""Scale and shift of every channel, as one operation of a file instead of two."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.flatbuffer import read, write

_ADD, _SUB, _MUL = schema.BuiltinOperator.ADD, schema.BuiltinOperator.SUB, schema.BuiltinOperator.MUL
_NONE = schema.ActivationFunctionType.NONE


@dataclass(frozen=True)
class _Affine:
    """An operation that computes image * scale + shift for each of the image's channels."""

    operator: Any
    image: int
    scale: np.ndarray
    shift: np.ndarray


def fuse_affine(data: bytes) -> bytes:
    """Makes one depthwise 1x1 convolution of two multiplications or additions of constants in a row.

    TensorFlow's converter takes a BatchNorm into the convolution in front of it. Where none is, in pre-activation
    networks and DenseNets, and for the normalisation of the image, it writes two operations. In int8 each rounds its
    constants and what comes out; the convolution rounds once, scales each channel exactly and shifts it in 32 bits.

    Args:
        data: A float32 `.tflite` file.

    Returns:
        The file, without the tensor between the two operations.
    """
    model = read(data)
    graph = model.subgraphs[0]
    readers = Counter(int(index) for operator in graph.operators for index in operator.inputs)
    readers.update(map(int, graph.outputs))
    open_ends: dict[int, _Affine] = {}  # by the tensor that it writes and one operation reads
    kept: list[Any] = []
    for operator in graph.operators:
        step = _read(model, operator)
        first = open_ends.pop(step.image, None) if step else None
        if step and first:
            kept.remove(first.operator)
            kept.append(_convolution(model, first, step))
            continue
        kept.append(operator)
        out = int(operator.outputs[0])
        if step and readers[out] == 1 and operator.builtinOptions.fusedActivationFunction == _NONE:
            open_ends[out] = step
    graph.operators = kept
    return write(model)


def _read(model: Any, operator: Any) -> _Affine | None:
    graph, code = model.subgraphs[0], model.operatorCodes[operator.opcodeIndex].builtinCode
    if code not in (_ADD, _SUB, _MUL):
        return None
    image, other = (int(index) for index in operator.inputs)
    if code != _SUB and graph.tensors[other].buffer == 0:
        image, other = other, image
    values, shape = model.buffers[graph.tensors[other].buffer].data, graph.tensors[image].shape
    if values is None or len(shape) != 4 or list(shape) != list(graph.tensors[int(operator.outputs[0])].shape):
        return None
    constant = np.asarray(values, np.uint8).view(np.float32).astype(np.float64)
    if constant.size not in (1, shape[3]) or constant.size != list(graph.tensors[other].shape or [1])[-1]:
        return None  # it is no value a channel
    constant = np.broadcast_to(constant, shape[3])
    zeros, ones = np.zeros(shape[3]), np.ones(shape[3])
    scale, shift = {_ADD: (ones, constant), _SUB: (ones, -constant), _MUL: (constant, zeros)}[code]
    return _Affine(operator, image, scale, shift)


def _convolution(model: Any, first: _Affine, second: _Affine) -> Any:
    """The operation that computes both, in the place of the second."""
    graph = model.subgraphs[0]
    name = graph.tensors[int(second.operator.outputs[0])].name
    scale = _add_constant(model, name + b"/scale", (first.scale * second.scale).reshape(1, 1, 1, -1))
    shift = _add_constant(model, name + b"/shift", first.shift * second.scale + second.shift)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEPTHWISE_CONV_2D
    code.version = 1
    model.operatorCodes.append(code)
    options = schema.DepthwiseConv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideW = options.strideH = options.depthMultiplier = 1
    options.fusedActivationFunction = second.operator.builtinOptions.fusedActivationFunction
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.DepthwiseConv2DOptions, options
    operator.inputs, operator.outputs = [first.image, scale, shift], second.operator.outputs
    return operator


def _add_constant(model: Any, name: bytes, values: np.ndarray) -> int:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.hasRank = name, list(values.shape), True
    tensor.type, tensor.buffer = schema.TensorType.FLOAT32, len(model.buffers) - 1
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1
