"""results.json: what is written is read back, and what has another form is refused."""

import json

import pytest
from bench_results import entry, results

from export.results import SCHEMA, Failure, Peak, Rejected, json_schema, read_results, write_results
from keras_resnets import UsageError

pytestmark = pytest.mark.once

FULL = results(
    entry(),
    entry("other float32", litert=Failure(reason="no"), tflm=None, quantization={"engine": "quantizer", "plan": None}),
    peak=Peak(float32_gops=100.0, int8_gops=400.0),
    rejected=(Rejected(name="x.tflite", reason="broken"),),
)


@pytest.fixture
def path(tmp_path):
    write_results(FULL, tmp_path / "results.json")
    return tmp_path / "results.json"


def test_results_are_read_back_as_they_were(path):
    assert read_results(path) == FULL
    assert json.loads(path.read_text())["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        (("schema",), 2, "schema"),
        (("seed",), "zero", "seed"),
        (("entries", 0, "bytes"), "many", "entries.0.bytes"),
        (("entries", 0, "accuracy"), 12.5, "entries.0.accuracy"),
        (("entries", 0, "litert", "timings", 0, "rounds_ms"), [], "rounds_ms"),
        (("entries", 0, "litert", "timings", 0, "p50_ms"), 0.0, "p50_ms"),
        (("entries", 0, "litert", "timings", 0, "p50_ms"), float("nan"), "p50_ms"),
        (("colour",), "red", "colour"),
        (("entries", 1, "name"), "net int8", "twice"),
        (("entries", 0, "input", "shape"), None, "entries.0.input.shape"),
    ],
)
def test_another_form_is_one_line_that_names_the_place(path, place, value, named):
    content = json.loads(path.read_text())
    part = content
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=named.replace(".", r"\.")) as caught:
        read_results(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema": 1}'])
def test_what_is_no_results_file_is_one_line(path, content):
    path.write_text(content)
    with pytest.raises(UsageError, match=r"no results\.json of this version"):
        read_results(path)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_results(tmp_path / "none.json")


def test_the_schema_explains_every_form():
    schema = json_schema()
    for name, form in {"Results": schema, **schema["$defs"]}.items():
        assert "Attributes:" in form["description"], name
        for field in form["properties"]:
            assert f"    {field}: " in form["description"], f"{name}.{field}"
