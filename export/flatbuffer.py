"""Reading and changing the flatbuffer of a `.tflite` file: its operations, its signature, the types of its ends."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from export.quantize import Io

Arithmetic = Literal["float32", "int8"]
SIGNATURE = "serving_default"
_TYPES = {"float32": schema.TensorType.FLOAT32, "uint8": schema.TensorType.UINT8, "int8": schema.TensorType.INT8}
_VERSIONS = {  # of the operators, by the types they read and write
    schema.BuiltinOperator.QUANTIZE: {schema.TensorType.INT8: 1, schema.TensorType.INT16: 2},
    schema.BuiltinOperator.DEQUANTIZE: {schema.TensorType.INT8: 2, schema.TensorType.INT16: 3},
}


_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_ACTIVATIONS = {code: name for name, code in vars(schema.ActivationFunctionType).items() if not name.startswith("_")}
_FLOAT_TYPES = {schema.TensorType.FLOAT32, schema.TensorType.FLOAT16}
_MOVES_BETWEEN_TYPES = {"QUANTIZE", "DEQUANTIZE"}
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_STORED = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
}
_SELECT_TF = "CUSTOM Flex"  # what the names of TensorFlow's own kernels begin with


@dataclass(frozen=True)
class Contents:
    """What a file is made of.

    Attributes:
        operations: Number of operations of each kind; "CUSTOM name" for what is not built in.
        float_operations: Operations that compute in floating point. QUANTIZE and DEQUANTIZE only move between types.
        select_tf_operations: Operations that need TensorFlow's kernels beside LiteRT's.
        dynamic_dimensions: Tensors with a size that is known only when the file runs.
    """

    operations: dict[str, int]
    float_operations: int
    select_tf_operations: int
    dynamic_dimensions: int


def describe(data: bytes) -> Contents:
    """Reads off a file what it is made of."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    kinds: Counter[str] = Counter()
    floats = 0
    for graph in model.subgraphs:
        for operator in graph.operators:
            kind = _kind(model.operatorCodes[operator.opcodeIndex])
            kinds[kind] += 1
            computes_float = any(graph.tensors[index].type in _FLOAT_TYPES for index in operator.outputs)
            floats += computes_float and kind not in _MOVES_BETWEEN_TYPES
    signatures = (tensor.shapeSignature for graph in model.subgraphs for tensor in graph.tensors)
    return Contents(
        operations=dict(kinds.most_common()),
        float_operations=floats,
        select_tf_operations=sum(count for kind, count in kinds.items() if kind.startswith(_SELECT_TF)),
        dynamic_dimensions=sum(signature is not None and -1 in signature for signature in signatures),
    )


@dataclass(frozen=True)
class Tensor:
    """A tensor of a graph.

    Attributes:
        index: Its place, by which an interpreter knows it.
        name: Its name, in which TensorFlow joins those of the layers that it fused.
        shape: Its shape.
        is_float: Whether it is float32.
        is_int16: Whether it is int16.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    is_float: bool
    is_int16: bool


@dataclass(frozen=True)
class Operation:
    """An operation of a graph.

    Attributes:
        kind: What it does.
        activation: Name of the activation that it ends in, such as "RELU6", or "NONE".
        inputs: Tensors that it reads; what is left out is not there.
        outputs: Tensors that it writes.
    """

    kind: str
    activation: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def operations(data: bytes) -> list[Operation]:
    """The operations of a file's main graph, in the order in which they run."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]

    def tensors(indices: Iterable[int]) -> tuple[Tensor, ...]:
        return tuple(
            Tensor(
                index=int(index),
                name=(graph.tensors[index].name or b"").decode(errors="replace"),  # names are the maker's to choose
                shape=tuple(int(side) for side in graph.tensors[index].shape),
                is_float=graph.tensors[index].type == schema.TensorType.FLOAT32,
                is_int16=graph.tensors[index].type == schema.TensorType.INT16,
            )
            for index in indices
            if index >= 0  # -1 stands for an input that is left out
        )

    return [
        Operation(
            kind=_kind(model.operatorCodes[one.opcodeIndex]),
            activation=_ACTIVATIONS[getattr(one.builtinOptions, "fusedActivationFunction", 0)],
            inputs=tensors(one.inputs),
            outputs=tensors(one.outputs),
        )
        for one in graph.operators
    ]


def arithmetic(data: bytes) -> Arithmetic | None:
    """What a file's convolutions and dense layers compute in; None where they differ, and for int16 activations.

    Weights that are unpacked first are float32 to the layer; int8 weights beside float32 images (dynamic range) are
    multiplied as integers.
    """
    weighted = [step for step in operations(data) if step.kind in _WEIGHTED]
    floats = {step.inputs[1].is_float for step in weighted}
    if len(floats) != 1 or any(step.inputs[0].is_int16 for step in weighted):
        return None
    return "float32" if floats.pop() else "int8"


@dataclass(frozen=True)
class Weights:
    """What the weights of a file's convolutions and dense layers are.

    Attributes:
        count: Their number.
        nonzero: Those that are not zero.
        most_values: Different values in the layer that has most of them.
    """

    count: int
    nonzero: int
    most_values: int


def weigh(data: bytes) -> Weights:
    """Counts the weights of a file as it stores them."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    kinds = [_kind(model.operatorCodes[operator.opcodeIndex]) for operator in graph.operators]
    steps = list(zip(kinds, graph.operators, strict=True))
    unpacked = {int(one.outputs[0]): int(one.inputs[0]) for kind, one in steps if kind == "DEQUANTIZE"}
    kernels = {int(one.inputs[1]) for kind, one in steps if kind in _WEIGHTED}
    kernels -= {int(one.inputs[1]) for kind, one in steps if kind == "DEPTHWISE_CONV_2D" and _is_scale(graph, one)}
    arrays = [stored(model, graph.tensors[unpacked.get(kernel, kernel)]) for kernel in kernels]
    return Weights(
        count=sum(array.size for array in arrays),
        nonzero=sum(int(np.count_nonzero(array)) for array in arrays),
        most_values=max((len(np.unique(array)) for array in arrays), default=0),
    )


def _is_scale(graph: Any, depthwise: Any) -> bool:
    """Whether a depthwise convolution of 1x1 only scales the channels."""
    return list(graph.tensors[int(depthwise.inputs[1])].shape[1:3]) == [1, 1]


def stored(model: Any, tensor: Any) -> np.ndarray:
    """The constant that a tensor of a model, read by `read`, is: in its shape and the type that the file stores."""
    data = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
    if tensor.type != schema.TensorType.INT4:
        return data.view(_STORED[tensor.type]).reshape([] if tensor.shape is None else tensor.shape)
    halves = np.stack([data & 15, data >> 4], axis=-1).ravel()[: int(np.prod(tensor.shape))]  # the first is the lower
    return ((halves ^ 8).astype(np.int8) - 8).reshape(tensor.shape)


def store(model: Any, tensor: Any, values: np.ndarray) -> None:
    """Gives a constant other values; not for INT4."""
    model.buffers[tensor.buffer].data = np.frombuffer(values.astype(_STORED[tensor.type]).tobytes(), np.uint8)


def _kind(code: Any) -> str:
    if code.customCode:
        return f"CUSTOM {code.customCode.decode(errors='replace')}"
    # Files written before the field was widened hold the code in the older 8-bit field.
    return _NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def read(data: bytes) -> Any:
    """The file as nested objects after the schema."""
    return flatbuffer_utils.read_model_from_bytearray(bytearray(data))


class _SharingBuilder(flatbuffers.Builder):
    """Stores vectors of numbers once that occur often, such as the zero points of all channels of all layers.

    A flatbuffer may point to a place from several others. An int8 file of a network with many narrow layers becomes a
    sixth smaller.
    """

    def __init__(self) -> None:
        super().__init__(initialSize=1024)
        self._places: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        key = x.dtype.str, x.tobytes()
        if key not in self._places:
            self._places[key] = super().CreateNumpyVector(x)
        return self._places[key]


def write(model: Any) -> bytes:
    """The objects as a file, without what nothing uses.

    TFLite Micro would find room for such a tensor, and an app that is built with the kernels of its files alone would
    ask for that of such a kind of operation.
    """
    _list_kinds_once(model)
    for place, graph in enumerate(model.subgraphs):
        _drop_unused(graph, [one for one in model.signatureDefs or [] if one.subgraphIndex == place])
    held = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    held |= {entry.buffer for entry in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in held:
            buffer.data = None
    builder = _SharingBuilder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _list_kinds_once(model: Any) -> None:
    """Leaves each kind of operation in the list of kinds once, in the order of the first operations."""
    kinds: dict[tuple[Any, ...], int] = {}
    codes: list[Any] = []
    for operator in (one for graph in model.subgraphs for one in graph.operators):
        code = model.operatorCodes[operator.opcodeIndex]
        kind = code.builtinCode, code.deprecatedBuiltinCode, code.customCode, code.version
        if kind not in kinds:
            kinds[kind] = len(codes)
            codes.append(code)
        operator.opcodeIndex = kinds[kind]
    model.operatorCodes = codes


def _drop_unused(graph: Any, signatures: Sequence[Any]) -> None:
    """Leaves out the tensors that neither an operation nor an end of the graph uses, and numbers the others anew."""
    lists = [(graph, "inputs"), (graph, "outputs")]
    lists += [(one, name) for one in graph.operators for name in ("inputs", "outputs", "intermediates")]
    ends = [end for one in signatures for end in (*one.inputs, *one.outputs)]
    used = {int(index) for owner, name in lists for index in _indices(owner, name) if index >= 0}
    kept = sorted(used | {int(end.tensorIndex) for end in ends})
    place = {old: new for new, old in enumerate(kept)} | {-1: -1}  # -1 stands for an input that is left out
    graph.tensors = [graph.tensors[index] for index in kept]
    for owner, name in lists:
        if _indices(owner, name):
            setattr(owner, name, [place[int(index)] for index in _indices(owner, name)])
    for end in ends:
        end.tensorIndex = place[int(end.tensorIndex)]


def _indices(owner: Any, name: str) -> list[int]:
    values = getattr(owner, name)
    return [] if values is None else list(values)


def add_signature(data: bytes) -> bytes:
    """Names the input and the output of a file, "image" and "output", for runtimes that look them up by name.

    Args:
        data: A `.tflite` file with one input and one output.

    Returns:
        The file with one signature, `SIGNATURE`.
    """
    model = read(data)
    _sign(model)
    return write(model)


def set_io(data: bytes, io: Io) -> bytes:
    """Gives a file of integer activations an input and an output of another type.

    An operation in front of the first and one after the last convert between the types. uint8 counts from 0 where int8
    counts from -128: a value's distance from the zero point stays the same.

    Args:
        data: A `.tflite` file whose input and output are int8 or int16.
        io: Type wanted.
    """
    model = read(data)
    graph = model.subgraphs[0]
    inside, outside = int(graph.inputs[0]), int(graph.outputs[0])
    wanted = _TYPES[io]
    if graph.tensors[inside].type != wanted:
        code = schema.BuiltinOperator.QUANTIZE
        entry = _add_twin(graph, inside, wanted, f"image_{io}")
        version = _VERSIONS[code][graph.tensors[inside].type]
        graph.operators.insert(0, make_operator(model, code, [entry], [inside], version=version))
        graph.inputs = [entry]
    if graph.tensors[outside].type != wanted:
        floats = wanted == schema.TensorType.FLOAT32
        code = schema.BuiltinOperator.DEQUANTIZE if floats else schema.BuiltinOperator.QUANTIZE
        end = _add_twin(graph, outside, wanted, f"output_{io}")
        version = _VERSIONS[code][graph.tensors[outside].type]
        graph.operators.append(make_operator(model, code, [outside], [end], version=version))
        graph.outputs = [end]
    _sign(model)
    return write(model)


def _sign(model: Any) -> None:
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE
    signature.subgraphIndex = 0
    signature.inputs = [_entry("image", graph.inputs[0])]
    signature.outputs = [_entry("output", graph.outputs[0])]
    model.signatureDefs = [signature]


def _entry(name: str, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = int(tensor)
    return entry


def _add_twin(graph: Any, index: int, kind: int, name: str) -> int:
    """Adds a tensor of the same shape and another type; returns its index."""
    old = graph.tensors[index]
    twin = schema.TensorT()
    twin.name = name
    twin.shape = old.shape
    twin.shapeSignature = old.shapeSignature
    twin.type = kind
    twin.buffer = 0  # the empty one, for what is computed
    if kind != schema.TensorType.FLOAT32:
        twin.quantization = schema.QuantizationParametersT()
        twin.quantization.scale = old.quantization.scale
        shift = 128 if kind == schema.TensorType.UINT8 else 0
        twin.quantization.zeroPoint = [int(point) + shift for point in old.quantization.zeroPoint]
    graph.tensors.append(twin)
    return len(graph.tensors) - 1


def make_operator(
    model: Any, builtin: int, inputs: list[int], outputs: list[int], *, options: Any = None, version: int = 1
) -> Any:
    """An operation for one of the model's graphs.

    Args:
        model: The model, which gets its kind.
        builtin: The kind, of schema.BuiltinOperator.
        inputs: Places of the tensors that it reads.
        outputs: Places of those that it writes.
        options: Its settings, such as schema.MulOptionsT.
        version: Of the kind, which rises with the types that it takes.
    """
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = version
    model.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = inputs, outputs
    if options is not None:
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    return operator
