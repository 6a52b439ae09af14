"""How to run a file: working code for Python, Android, browsers and microcontrollers, with the file's own numbers."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np

from export.c_array import array_name
from export.report.formats import float32
from export.report.page import render
from export.results import End, Entry, Failure, TflmFigures

ARENA_STEP = 16  # TFLite Micro aligns to it
UNKNOWN_ARENA = 256 * 1024
WHITE = 255
C_TYPES = {"int8": "int8_t", "uint8": "uint8_t"}

# What `tflite::MicroMutableOpResolver` adds, by the ends of its methods' names; without signal processing.
MICRO_OPERATIONS = re.findall(
    r"\w+",
    """
    Abs Add AddN ArgMax ArgMin AssignVariable AveragePool2D BatchMatMul BatchToSpaceNd BroadcastArgs BroadcastTo
    CallOnce Cast Ceil Concatenation Conv2D Cos CumSum DepthToSpace DepthwiseConv2D Dequantize Div
    DynamicUpdateSlice Elu EmbeddingLookup Equal Exp ExpandDims Fill Floor FloorDiv FloorMod FullyConnected
    Gather GatherNd Greater GreaterEqual HardSwish If L2Normalization L2Pool2D LeakyRelu Less LessEqual Log
    LogSoftmax LogicalAnd LogicalNot LogicalOr Logistic MaxPool2D Maximum Mean Minimum MirrorPad Mul Neg
    NotEqual Pack Pad PadV2 Prelu Quantize ReadVariable ReduceAll ReduceMax ReduceMin Relu Relu6 Reshape
    ResizeBilinear ResizeNearestNeighbor ReverseV2 Round Rsqrt SelectV2 Shape Sin Slice Softmax SpaceToBatchNd
    SpaceToDepth Split SplitV Sqrt Square SquaredDifference Squeeze StridedSlice Sub Sum Svdf Tanh Transpose
    TransposeConv UnidirectionalSequenceLSTM Unpack VarHandle While ZerosLike
    """,
)
_MICRO_METHODS = {name.upper(): name for name in MICRO_OPERATIONS}


@dataclass(frozen=True)
class Snippet:
    """Code that runs a file somewhere.

    Attributes:
        title: Language and runtime.
        code: The code.
        note: What to know first, or nothing.
    """

    title: str
    code: str
    note: str


def micro_method(kind: str) -> str | None:
    """The method of a `MicroMutableOpResolver` that adds a kind of operation: CONV_2D -> AddConv2D; None: none does."""
    name = _MICRO_METHODS.get(kind.replace("_", ""))
    return None if name is None else f"Add{name}"


def snippets(entry: Entry) -> list[Snippet]:
    """The four snippets of a file."""
    kinds = list(entry.operations)
    header = Path(entry.file).with_suffix(".h").name
    values = {
        "file": json.dumps(entry.file),
        "python_file": repr(entry.file),
        "kotlin_file": json.dumps(entry.file).replace("$", "\\$"),
        "url": json.dumps("/" + quote(entry.file)),
        "header": json.dumps(header, ensure_ascii=False),
        "array": array_name(Path(entry.file)),
        "shape": entry.input.shape,
        "normalization": _normalization(entry),
        "input": _End.of(entry.input),
        "output": _End.of(entry.output),
        "browser_input": _End.of(_as_uint8(entry.input)),
        "browser_output": _End.of(_as_uint8(entry.output)),
        "micro_methods": [method for kind in kinds if (method := micro_method(kind))],
        **_arena(entry),
    }

    def code(template: str) -> str:
        return render(f"snippets/{template}.j2", **values)

    found = [
        Snippet("Python, LiteRT", code("python"), _failure(entry.litert)),
        Snippet("Kotlin, LiteRT on Android", code("kotlin"), _failure(entry.android)),
        Snippet("JavaScript, LiteRT.js in a browser", code("javascript"), _browser_note(entry)),
        Snippet("C++, TFLite Micro on a microcontroller", code("cpp"), _micro_note(entry, kinds)),
    ]
    first = foreign_range(entry)
    return [replace(one, note=" ".join(filter(None, (one.note, first)))) for one in found]


def normalizes(entry: Entry) -> bool:
    """Whether a file says that pixels are to be shifted or scaled before the model sees them."""
    return any(entry.mean or ()) or any(value != 1 for value in entry.std or ())


def foreign_range(entry: Entry) -> str:
    """What to do first where the input holds no pixels from 0 to 255 and the file does not say how to bring them."""
    end = entry.input
    if end.scale is None or normalizes(entry):
        return ""
    limits, zero_point = np.iinfo(end.type), end.zero_point or 0
    low, high = ((limit - zero_point) * end.scale for limit in (limits.min, limits.max))
    if high > WHITE / 2:
        return ""
    return (
        f"The input holds real numbers from {low:.3g} to {high:.3g}, not pixels from 0 to 255: bring them there first, "
        "as in training."
    )


def _normalization(entry: Entry) -> dict[str, list[str]] | None:
    """What the file says, for each channel, as the templates need it."""
    if not normalizes(entry):
        return None
    channels = entry.input.shape[-1]
    values = {"mean": entry.mean or (0.0,), "std": entry.std or (1.0,)}
    return {key: [float32(one) for one in (some * channels)[:channels]] for key, some in values.items()}


@dataclass(frozen=True)
class _End:
    """An input or output as the templates need it: stored = real / scale + zero_point, from low to high."""

    type: str
    size: int
    scale: str
    zero_point: int
    low: int
    high: int

    @classmethod
    def of(cls, end: End) -> "_End":
        limits = np.iinfo(end.type) if end.type in C_TYPES else None
        return cls(
            type=end.type,
            size=int(np.prod(end.shape)),
            scale=float32(1.0 if end.scale is None else end.scale),
            zero_point=end.zero_point or 0,
            low=int(limits.min) if limits else 0,
            high=int(limits.max) if limits else 0,
        )

    @property
    def is_float(self) -> bool:
        return self.type not in C_TYPES

    @property
    def c_type(self) -> str:
        return C_TYPES.get(self.type, "float")

    @property
    def c_field(self) -> str:
        """Of the union that TFLite Micro keeps a tensor's values in."""
        return "f" if self.is_float else self.type


def _as_uint8(end: End) -> End:
    """The end that `keras-resnets export --io uint8` gives a file instead of int8."""
    return end if end.type != "int8" else replace(end, type="uint8", zero_point=(end.zero_point or 0) + 128)


def _arena(entry: Entry) -> dict[str, object]:
    if not isinstance(entry.tflm, TflmFigures):
        return {"arena": UNKNOWN_ARENA, "arena_note": "a guess: interpreter.arena_used_bytes() tells"}
    aligned = -(-entry.tflm.arena_bytes // ARENA_STEP) * ARENA_STEP
    return {"arena": aligned, "arena_note": "measured on a 64-bit computer; 32 bits take a little less"}


def _failure(figures: object) -> str:
    return f"It did not run here: {figures.reason}" if isinstance(figures, Failure) else ""


def _browser_note(entry: Entry) -> str:
    if "int8" in (entry.input.type, entry.output.type):
        return (
            "LiteRT.js takes no int8 input or output, but uint8 or float32: export the network again with --io uint8. "
            "The code below is for that file."
        )
    return _failure(entry.browser)


def _micro_note(entry: Entry, kinds: list[str]) -> str:
    unknown = [kind for kind in kinds if micro_method(kind) is None]
    if unknown:
        return f"TFLite Micro has no {', '.join(unknown)}: it cannot run this file."
    return _failure(entry.tflm)
