"""What a `.tflite` file says about itself: labels, normalisation, author and version, as phones read them.

The TFLite metadata schema (M001) as a flatbuffer inside the file, and the labels as a text file in a zip archive after
it. MediaPipe's ImageClassifier and Android Studio read both.
"""

import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from flatbuffers.number_types import Float32Flags, Uint8Flags, UOffsetTFlags
from flatbuffers.table import Table

from export.flatbuffer import read, write
from keras_resnets.errors import UsageError

BUFFER = "TFLITE_METADATA"
IDENTIFIER = b"M001"
LABELS = "labels.txt"
LONGEST = 2**20  # bytes of labels that are read
PARSER = "1.0.0"  # the oldest parser that understands what is written here
EPOCH = (1980, 1, 1, 0, 0, 0)  # of the archive's entry: the same labels give the same bytes

# Places of the fields in the tables of the schema, and of the kinds in its unions and enumerations.
MODEL = {"name": 0, "description": 1, "version": 2, "subgraphs": 3, "author": 4, "license": 5, "min_parser_version": 7}
SUBGRAPH = {"inputs": 2, "outputs": 3}
TENSOR = {"name": 0, "description": 1, "content": 3, "process_units": 4, "stats": 5, "files": 6}
FEATURE, IMAGE = 1, 2
RGB, GRAYSCALE = 1, 2
NORMALIZATION = 1
TENSOR_AXIS_LABELS = 2


@dataclass(frozen=True)
class Metadata:
    """What a file says about itself.

    Args:
        labels: Name of each class, in the order of the outputs.
        name: Name of the model; by default the Keras model's.
        description: What it is for.
        version: Of the model.
        author: Who made it.
        license: Under which it may be used.
        mean: Subtracted from the pixels, RGB from 0 to 255, before the model sees them: one for all channels or one
            each; 0 where the model normalises them itself, as those of the recipes do.
        std: What they are divided by then; 1 where the model normalises them itself.
    """

    labels: Sequence[str]
    name: str = ""
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)


def check_metadata(metadata: Metadata, classes: int, channels: int) -> None:
    """Checks that metadata fit a model.

    Raises:
        UsageError: If there is not one label a class, a label is empty or has a line break, or the means and standard
            deviations do not fit the channels.
    """
    if len(metadata.labels) != classes:
        raise UsageError(f"{len(metadata.labels)} labels for {classes} classes; give one each")
    wrong = [label for label in metadata.labels if not label.strip() or label.splitlines() != [label]]
    if wrong:
        raise UsageError(f"a label is a line of text, got {wrong[0]!r}")
    for name, values in (("mean", metadata.mean), ("std", metadata.std)):
        if len(values) not in (1, channels):
            raise UsageError(f"metadata: {len(values)} values of {name} for {channels} channels; give one, or one each")
    if not _normalizes(metadata.mean, metadata.std):
        raise UsageError(
            f"metadata: mean={tuple(metadata.mean)} and std={tuple(metadata.std)} must be numbers, std above 0"
        )


def add_metadata(data: bytes, metadata: Metadata) -> bytes:
    """Writes metadata into a file, in place of any that it has.

    Args:
        data: A `.tflite` file with one image input and one output of class scores.
        metadata: What to write; see `check_metadata`.

    Returns:
        The file with metadata and labels.
    """
    model = read(data)
    graph = model.subgraphs[0]
    channels = int(graph.tensors[graph.inputs[0]].shape[-1])
    buffer = schema.BufferT()
    buffer.data = _describe(metadata, channels)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = BUFFER, len(model.buffers) - 1
    model.metadata = [one for one in model.metadata or [] if _text(one.name) != BUFFER] + [entry]
    file = io.BytesIO(write(model))
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(LABELS, EPOCH), "\n".join(metadata.labels) + "\n")
    return file.getvalue()


def read_labels(data: bytes) -> tuple[str, ...] | None:
    """The names of the classes that a file holds; None where it holds none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(LABELS) as file:
            text = file.read(LONGEST + 1)  # an archive may unpack to more than there is memory
            return tuple(text.decode("utf-8").splitlines()) if len(text) <= LONGEST else None
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, RuntimeError):
        return None  # no archive after the file, or a damaged, encrypted or foreign one


def read_normalization(data: bytes) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """What is subtracted from pixels, and what they are divided by then, as a file says; None where it says nothing."""
    try:
        model = schema.Model.GetRootAs(data)
        entries = [model.Metadata(place) for place in range(model.MetadataLength())]
        buffer = next(one.Buffer() for one in entries if _text(one.Name()) == BUFFER)
        content = model.Buffers(buffer).DataAsNumpy().tobytes()
        root = Table(content, flatbuffers.encode.Get(UOffsetTFlags.packer_type, content, 0))
        graph = _tables(root, MODEL["subgraphs"])[0]
        image = _tables(graph, SUBGRAPH["inputs"])[0]
        units = [one for one in _tables(image, TENSOR["process_units"]) if _byte(one, 0) == NORMALIZATION]
        (values,) = (_table_at(one, 1) for one in units)
        mean, std = _numbers(values, 0), _numbers(values, 1)
    except Exception:  # no such metadata, or foreign bytes, in which reading can fail anywhere
        return None
    return (mean, std) if mean and std and _normalizes(mean, std) else None


def _normalizes(mean: Sequence[float], std: Sequence[float]) -> bool:
    return all(map(math.isfinite, (*mean, *std))) and min(std) > 0


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _describe(metadata: Metadata, channels: int) -> bytes:
    builder = flatbuffers.Builder(1024)
    labels = _table(builder, {0: builder.CreateString(LABELS)}, {2: (TENSOR_AXIS_LABELS, builder.PrependInt8Slot)})
    color = _table(builder, {}, {0: (RGB if channels == 3 else GRAYSCALE, builder.PrependInt8Slot)})
    normalization = _table(builder, {0: _floats(builder, metadata.mean), 1: _floats(builder, metadata.std)})
    unit = _table(builder, {1: normalization}, {0: (NORMALIZATION, builder.PrependUint8Slot)})
    image = _table(
        builder,
        {
            TENSOR["name"]: builder.CreateString("image"),
            TENSOR["description"]: builder.CreateString("pixels from 0 to 255"),
            TENSOR["content"]: _table(builder, {1: color}, {0: (IMAGE, builder.PrependUint8Slot)}),
            TENSOR["process_units"]: _vector(builder, [unit]),
            TENSOR["stats"]: _table(builder, {0: _floats(builder, [255.0]), 1: _floats(builder, [0.0])}),
        },
    )
    scores = _table(
        builder,
        {
            TENSOR["name"]: builder.CreateString("probability"),
            TENSOR["description"]: builder.CreateString("score of each class"),
            TENSOR["content"]: _table(builder, {1: _table(builder, {})}, {0: (FEATURE, builder.PrependUint8Slot)}),
            TENSOR["stats"]: _table(builder, {0: _floats(builder, [1.0]), 1: _floats(builder, [0.0])}),
            TENSOR["files"]: _vector(builder, [labels]),
        },
    )
    graph = _table(
        builder, {SUBGRAPH["inputs"]: _vector(builder, [image]), SUBGRAPH["outputs"]: _vector(builder, [scores])}
    )
    fields = ("name", "description", "version", "author", "license")
    texts = {
        MODEL[field]: builder.CreateString(getattr(metadata, field)) for field in fields if getattr(metadata, field)
    }
    texts[MODEL["min_parser_version"]] = builder.CreateString(PARSER)
    builder.Finish(_table(builder, texts | {MODEL["subgraphs"]: _vector(builder, [graph])}), IDENTIFIER)
    return bytes(builder.Output())


def _table(builder: Any, offsets: dict[int, int], scalars: dict[int, tuple[int, Any]] | None = None) -> int:
    """A table of the schema: what its fields point to, and the numbers in others, each with the slot's writer."""
    scalars = scalars or {}
    builder.StartObject(max((*offsets, *scalars), default=-1) + 1)
    for place, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(place, offset, 0)
    for place, (value, prepend) in scalars.items():
        prepend(place, value, 0)
    return int(builder.EndObject())


def _vector(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _tables(table: Table, slot: int) -> list[Table]:
    """The tables in a vector of a table."""
    field = table.Offset(4 + 2 * slot)
    first = table.Vector(field)
    places = range(first, first + 4 * table.VectorLen(field), 4)
    return [Table(table.Bytes, table.Indirect(place)) for place in places]


def _table_at(table: Table, slot: int) -> Table:
    return Table(table.Bytes, table.Indirect(table.Pos + table.Offset(4 + 2 * slot)))


def _byte(table: Table, slot: int) -> int:
    field = table.Offset(4 + 2 * slot)
    return int(table.Get(Uint8Flags, table.Pos + field)) if field else 0


def _numbers(table: Table, slot: int) -> tuple[float, ...]:
    values = table.GetVectorAsNumpy(Float32Flags, table.Offset(4 + 2 * slot))
    return tuple(map(float, values))


def _floats(builder: Any, values: Sequence[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return int(builder.EndVector())
