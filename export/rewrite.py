"""Rewriting a float32 file in operations that lose less in int8, or run faster."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.flatbuffer import make_operator, read, stored, write
from export.ranges import Ranges

_ADD, _SUB, _MUL = schema.BuiltinOperator.ADD, schema.BuiltinOperator.SUB, schema.BuiltinOperator.MUL
_HARD_SWISH = schema.BuiltinOperator.HARD_SWISH
_NONE, _RELU = schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU


@dataclass(frozen=True)
class _Affine:
    """An operation that computes image * scale + shift for each of the image's channels."""

    operator: Any
    image: int
    scale: np.ndarray
    shift: np.ndarray


def fuse_affine(data: bytes) -> bytes:
    """Makes one depthwise 1x1 convolution of multiplications and additions of constants in a row.

    TensorFlow's converter takes a BatchNorm into the convolution in front of it. Where none is, in pre-activation
    networks and DenseNets, and for the normalisation of the image, it writes two or more. In int8 each rounds its
    constants and what comes out; the convolution rounds once, scales each channel exactly and shifts it in 32 bits.

    Args:
        data: A float32 `.tflite` file.

    Returns:
        The file, without the tensors between these operations.
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
        written, out = operator, int(operator.outputs[0])
        activation = operator.builtinOptions.fusedActivationFunction if step else _NONE
        if step and first:
            kept.remove(first.operator)
            scale, shift = first.scale * step.scale, first.shift * step.scale + step.shift
            written = _scale(model, first.image, out, scale, shift, activation)
            step = _Affine(written, first.image, scale, shift)
        kept.append(written)
        if step and readers[out] == 1 and activation == _NONE:
            open_ends[out] = step
    graph.operators = kept
    return write(model)


def spell_hard_swish(data: bytes, ranges: Ranges, kept: Collection[str]) -> tuple[bytes, Ranges]:
    """Makes of each hard-swish the product of its input and a gate, for a file that is to be quantized.

    XNNPACK has no integer kernel for HARD_SWISH: LiteRT leaves its integer graph for each and takes ten times as long.

    Args:
        data: A float32 `.tflite` file.
        ranges: Of its tensors.
        kept: Names of tensors that stay in float32, and so do the hard-swishes that write them.

    Returns:
        The file and the ranges of its tensors. It is right only when quantized to these: a gate is clipped at 1 by the
        end of its range.
    """
    model = read(data)
    graph = model.subgraphs[0]
    spelled, ranges = [], dict(ranges)
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code != _HARD_SWISH or graph.tensors[int(operator.outputs[0])].name.decode() in kept:
            spelled.append(operator)
            continue
        image, product = int(operator.inputs[0]), int(operator.outputs[0])
        name, shape = graph.tensors[product].name, graph.tensors[image].shape
        sixth, gate = (_add_tensor(model, name + part, shape) for part in (b"/sixth", b"/gate"))
        scale, shift = (
            _add_tensor(model, name + part, (1,), np.array([value]))
            for part, value in ((b"/scale", 1 / 6), (b"/shift", 1 / 2))
        )
        adds = schema.AddOptionsT()
        adds.fusedActivationFunction = _RELU
        spelled += [
            make_operator(model, _MUL, [image, scale], [sixth], options=schema.MulOptionsT()),
            make_operator(model, _ADD, [sixth, shift], [gate], options=adds),
            make_operator(model, _MUL, [image, gate], [product], options=schema.MulOptionsT()),
        ]
        least, largest = ranges[graph.tensors[image].name.decode()]
        ranges[(name + b"/sixth").decode()] = least / 6, largest / 6  # the same steps: nothing is rounded
        ranges[(name + b"/gate").decode()] = 0.0, 1.0
    graph.operators = spelled
    return write(model), ranges


def _read(model: Any, operator: Any) -> _Affine | None:
    graph, code = model.subgraphs[0], model.operatorCodes[operator.opcodeIndex].builtinCode
    if code not in (_ADD, _SUB, _MUL):
        return None
    image, other = (int(index) for index in operator.inputs)
    if code != _SUB and graph.tensors[other].buffer == 0:
        image, other = other, image
    shape, out = graph.tensors[image].shape, graph.tensors[int(operator.outputs[0])]
    if graph.tensors[other].buffer == 0 or out.type != schema.TensorType.FLOAT32:
        return None
    constant = stored(model, graph.tensors[other])
    by_channel = constant.size == 1 or constant.shape[-1] == constant.size == shape[-1]
    if not by_channel or len(shape) != 4 or list(shape) != list(out.shape):
        return None
    constant = np.broadcast_to(constant.ravel().astype(np.float64), shape[3])
    zeros, ones = np.zeros(shape[3]), np.ones(shape[3])
    scale, shift = {_ADD: (ones, constant), _SUB: (ones, -constant), _MUL: (constant, zeros)}[code]
    return _Affine(operator, image, scale, shift)


def _scale(model: Any, image: int, out: int, scale: np.ndarray, shift: np.ndarray, activation: int) -> Any:
    """A depthwise convolution that scales and shifts each channel."""
    name = model.subgraphs[0].tensors[out].name
    constants = [
        _add_tensor(model, name + b"/scale", (1, 1, 1, len(scale)), scale),
        _add_tensor(model, name + b"/shift", (len(shift),), shift),
    ]
    options = schema.DepthwiseConv2DOptionsT()
    options.padding, options.fusedActivationFunction = schema.Padding.VALID, activation
    options.strideW = options.strideH = options.depthMultiplier = 1
    return make_operator(model, schema.BuiltinOperator.DEPTHWISE_CONV_2D, [image, *constants], [out], options=options)


def _add_tensor(model: Any, name: bytes, shape: Sequence[int], values: np.ndarray | None = None) -> int:
    """Adds a float32 tensor, a constant if it has values; returns its index."""
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.hasRank = name, [int(side) for side in shape], True
    tensor.type, tensor.buffer = schema.TensorType.FLOAT32, 0  # the empty buffer, of what is computed
    if values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1
