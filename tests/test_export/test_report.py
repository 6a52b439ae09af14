import io
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console
from tiny import build_tiny

from export import export_modes
from export.bench import Measurement, Row, measure, tabulate
from export.environment import describe_environment
from export.report.rows import COLUMNS, draw_accuracy_latency, markdown_table, terminal_table, write_page
from export.runtimes.litert import ROUNDS, RUNS
from keras_resnets import UsageError
from recipes.data import load

pytestmark = pytest.mark.once  # files are measured in LiteRT, and pages drawn of rows


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    outs = {mode: folder / f"net_{mode}.tflite" for mode in ("float32", "float16")}
    return [file.path for file in export_modes(build_tiny("plain"), outs)]


def row(**changes) -> Row:
    values = {
        "model": "net", "mode": "float32", "file": "net.tflite", "parameters": 1234, "macs": 5_600_000, "bytes": 7890,
        "accuracy": 0.5, "agreement": 1.0, "p50_ms": 2.0, "p90_ms": 3.0, "speedup": 1.0, "float_operations": 4,
        "runs": 200, "threads": 1,
    }  # fmt: skip
    return Row(**values | changes)


def test_measure_counts_accuracy_and_runs(files, blobs_file):
    data = load(str(blobs_file))
    steps = []
    found = measure(files, data.x_test, data.y_test, on_step=lambda: steps.append(1))
    assert [m.path for m in found] == files
    assert len(steps) == len(files) + ROUNDS
    for m in found:
        assert m.accuracy == (m.predictions == data.y_test).mean()
        assert RUNS[0] * ROUNDS <= m.runs <= RUNS[1] * ROUNDS
        assert 0 < m.p50_ms <= m.p90_ms
        assert m.bytes == m.path.stat().st_size


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [((3, 8, 8, 3), [0, 1, 2], r"takes images of shape \(16, 16, 3\)"), ((3, 16, 16, 3), [0, 1, 4], "has 4 classes")],
)
def test_data_that_does_not_fit_the_file_is_one_line(files, shape, labels, message):
    with pytest.raises(UsageError, match=message):
        measure(files, np.zeros(shape, np.uint8), np.array(labels))


def test_table_compares_each_model_with_its_own_float32(files):
    def measurement(path, p50, predictions):
        return Measurement(path, 10, 0.5, np.array(predictions), p50, p50, 30, 1)

    bare = shutil.copy(files[0], files[0].with_name("x.tflite"))  # without a recipe beside it
    rows = tabulate(
        [measurement(files[0], 4.0, [1, 2]), measurement(files[1], 2.0, [1, 0]), measurement(bare, 1.0, [0, 0])],
        [np.array([1, 2]), np.array([1, 2]), None],
    )
    assert [r.speedup for r in rows] == [1.0, 2.0, None]
    assert [r.agreement for r in rows] == [1.0, 0.5, None]
    assert [r.mode for r in rows] == ["float32", "float16", None]
    assert [r.model for r in rows] == ["plain20", "plain20", "x"]
    assert rows[2].parameters is None


def test_terminal_table_shows_every_figure():
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(terminal_table([row(), row(mode="int8", speedup=None, agreement=None)], "title"))
    text = console.export_text()
    for figure in ("1,234", "5.60 M", "7,890", "50.00%", "100.00%", "2.000", "3.000", "1.00x", "n/a"):
        assert figure in text


def test_markdown_table_has_one_cell_a_column():
    lines = markdown_table([row()]).splitlines()
    assert len(lines) == 3
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 1}


def test_plot_has_a_point_a_file():
    rows = [row(), row(mode="int8", p50_ms=1.0), row(model="other", mode=None, p50_ms=5.0)]
    (axes,) = draw_accuracy_latency(rows).axes
    points = {tuple(offset) for collection in axes.collections for offset in collection.get_offsets().tolist()}
    assert points == {(2.0, 0.5), (1.0, 0.5), (5.0, 0.5)}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.images, self.cells, self.tags = [], [], 0, set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        attributes = dict(attrs)
        self.cells += tag == "td"
        if tag == "img":
            self.images.append(attributes["src"])
        if tag == "a":
            self.links.append(attributes["href"])


def test_page_is_self_contained_and_escapes_names(tmp_path):
    rows = [row(model="<script>alert(1)</script>"), row(mode="int8", file="int8.tflite")]
    write_page(
        tmp_path / "report.html", title="A & B", summary=["one < two"], rows=rows, figures={"empty": Figure()},
        environment=describe_environment(),
    )  # fmt: skip
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert "A &amp; B" in text
    assert "one &lt; two" in text
    assert page.cells == len(rows) * len(COLUMNS)
    assert page.links == ["net.tflite", "int8.tflite"]
    assert [image[:18] for image in page.images] == ["data:image/svg+xml"]
    assert not re.search(r"(src|href)=.(https?:)?//", text)
    assert list(tmp_path.iterdir()) == [tmp_path / "report.html"]


def test_environment_names_what_measured():
    environment = describe_environment()
    assert {"processor", "cores", "python", "keras", "ai-edge-litert"} <= set(environment)
    assert all(environment.values())
