"""What a file says about itself, read back by other readers than the code that wrote it."""

import io
import json
import subprocess
import zipfile
from pathlib import Path

import flatbuffers.table
import numpy as np
import pytest
from flatbuffers import encode, number_types

from export import Metadata, pick_calibration, to_tflite
from export.flatbuffer import read
from export.metadata import LONGEST, read_labels, read_normalization
from export.runtimes.litert import LiteRT
from keras_resnets import UsageError

LABELS = ("upper left", "upper right", "lower left", "Unterrand rechts \u00e4")
FULL = Metadata(
    LABELS, name="quarters", author="tests", version="2.1", license="Apache-2.0", mean=(1.0, 2.0, 3.0), std=(4.0,)
)

pytestmark = pytest.mark.once  # bytes around bytes


@pytest.fixture(scope="module")
def export(trained, data, tmp_path_factory):
    calibration = pick_calibration(data.x_train, data.y_train, "blobs", count=40)
    folder = tmp_path_factory.mktemp("metadata")

    def write(**options):
        return to_tflite(
            trained, folder / "a.tflite", mode="int8", calibration=calibration, test=data.x_test, **options
        ).path

    return write


class Table:
    """A table of a flatbuffer by the places of its fields, after the flatbuffers specification."""

    def __init__(self, data, position):
        self.table = flatbuffers.table.Table(bytearray(data), position)

    @classmethod
    def root(cls, data):
        return cls(data, encode.Get(number_types.UOffsetTFlags.packer_type, data, 0))

    def _at(self, place):
        offset = self.table.Offset(4 + 2 * place)
        assert offset, f"field {place} is missing"
        return offset

    def text(self, place):
        return self.table.String(self._at(place) + self.table.Pos).decode()

    def number(self, place):
        return self.table.Get(number_types.Int8Flags, self._at(place) + self.table.Pos)

    def child(self, place):
        return Table(self.table.Bytes, self.table.Indirect(self._at(place) + self.table.Pos))

    def union(self, place):
        table = flatbuffers.table.Table(bytearray(), 0)
        self.table.Union(table, self._at(place))
        return Table(table.Bytes, table.Pos)

    def children(self, place):
        start, count = self.table.Vector(self._at(place)), self.table.VectorLen(self._at(place))
        return [Table(self.table.Bytes, self.table.Indirect(start + 4 * index)) for index in range(count)]

    def floats(self, place):
        return self.table.GetVectorAsNumpy(number_types.Float32Flags, self._at(place)).tolist()


def test_everything_stands_where_the_schema_says(export):
    """Places after metadata_schema.fbs, version M001."""
    data = export(metadata=FULL).read_bytes()
    model = read(data)
    (buffer,) = (entry.buffer for entry in model.metadata if entry.name == b"TFLITE_METADATA")
    content = bytes(bytearray(model.buffers[buffer].data))
    assert content[4:8] == b"M001"
    root = Table.root(content)
    assert [root.text(place) for place in (0, 2, 4, 5)] == ["quarters", "2.1", "tests", "Apache-2.0"]
    (graph,) = root.children(3)
    (image,), (scores,) = graph.children(2), graph.children(3)
    assert image.child(3).number(0) == 2  # ImageProperties
    assert image.child(3).union(1).number(0) == 1  # RGB
    (unit,) = image.children(4)
    assert unit.number(0) == 1  # NormalizationOptions
    assert (unit.union(1).floats(0), unit.union(1).floats(1)) == ([1.0, 2.0, 3.0], [4.0])
    assert scores.child(3).number(0) == 1  # FeatureProperties
    (labels,) = scores.children(6)
    assert labels.text(0) == "labels.txt"
    assert labels.number(2) == 2  # TENSOR_AXIS_LABELS
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(LABELS)


def test_the_file_runs_as_before_and_is_the_same_every_time(export, data):
    plain = np.stack(list(LiteRT(export()).predict(data.x_test)))
    first = export(metadata=FULL).read_bytes()
    told = np.stack(list(LiteRT(export(metadata=FULL)).predict(data.x_test)))
    np.testing.assert_array_equal(told, plain)
    assert export(metadata=FULL).read_bytes() == first


def archive(content, name="labels.txt"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(name, content)
    return file.getvalue()


def test_labels_are_read_back(export):
    assert read_labels(export(metadata=FULL).read_bytes()) == LABELS
    assert read_labels(export().read_bytes()) is None


def test_normalization_is_read_back(export, data):
    assert read_normalization(export().read_bytes()) is None
    content = export(metadata=FULL).read_bytes()
    assert read_normalization(content) == ((1.0, 2.0, 3.0), (4.0,))
    assert read_normalization(content[: len(content) // 2]) is None
    random = np.random.default_rng(0)
    for _ in range(50):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), 20):
            damaged[place] ^= 255
        read_normalization(bytes(damaged))  # says something or nothing
    four = np.float32(4).tobytes()
    assert content.count(four) == 1
    for wrong in (0.0, -1.0, np.nan, np.inf):
        assert read_normalization(content.replace(four, np.float32(wrong).tobytes())) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no archive",
        archive("a\nb", name="other.txt"),
        archive(b"\xff\xfe"),
        archive("a" * (LONGEST + 1)),  # a small archive that unpacks to much
        archive("a\nb" * 100).replace(b"\x08\x00", b"\x63\x00"),  # a compression that nobody knows
    ],
    ids=["empty", "foreign", "other", "no text", "long", "compression"],
)
def test_what_holds_no_labels_has_none(data):
    assert read_labels(data) is None


MEDIAPIPE = Path(__file__).parents[2] / ".venv-mediapipe" / "bin" / "python"
CLASSIFY = """
import json, sys
import mediapipe, numpy
from mediapipe.tasks.python.core.base_options import BaseOptions
from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions

file, images = sys.argv[1:]
options = ImageClassifierOptions(base_options=BaseOptions(model_asset_path=file))
with ImageClassifier.create_from_options(options) as classifier:
    for pixels in numpy.load(images, allow_pickle=False):
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
        found = classifier.classify(image).classifications[0].categories
        print(json.dumps({one.category_name: one.score for one in found}))
"""


def test_mediapipe_classifies_by_the_labels(export, data, tmp_path):
    if not MEDIAPIPE.exists():
        pytest.skip("MediaPipe is not installed: `make mediapipe` puts it into an environment of its own")
    path = export(io="uint8", metadata=Metadata(LABELS))
    np.save(tmp_path / "images.npy", data.x_test)
    command = [MEDIAPIPE, "-P", "-c", CLASSIFY, path, tmp_path / "images.npy"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    expected = np.stack(list(LiteRT(path).predict(data.x_test)))
    np.testing.assert_allclose([[scores[label] for label in LABELS] for scores in found], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (Metadata(("a", "b")), "2 labels for 4 classes"),
        (Metadata(("a", "b", "c", "")), "a label is a line of text"),
        (Metadata(("a", "b", "c", "d\ne")), "a label is a line of text"),
        (Metadata(("a", "b", "c", "d\u2028e")), "a label is a line of text"),
        (Metadata(LABELS, mean=(1.0, 2.0)), "2 values of mean for 3 channels"),
        (Metadata(LABELS, std=(0.0,)), "std above 0"),
        (Metadata(LABELS, std=(float("nan"),)), "must be numbers"),
        (Metadata(LABELS, mean=(float("inf"),)), "must be numbers"),
    ],
)
def test_metadata_that_do_not_fit_are_one_line(export, metadata, message):
    with pytest.raises(UsageError, match=message):
        export(metadata=metadata)
