import csv
import io
import itertools
import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from bench_results import browser, entry, litert, results, tflm, timing, vela
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from tiny import build_tiny, randomize

from export import to_tflite
from export.pareto import pareto_front
from export.report.bench import Opening, markdown_table, terminal_table, write_report
from export.report.card import describe
from export.report.columns import columns, latency, plain_columns, short_columns, smallest_accelerator, speedup
from export.report.findings import findings
from export.report.formats import milliseconds, tick
from export.report.scatter import LUMINANCE, MARKERS, choose_style, color, marker_path
from export.report.usage import MICRO_OPERATIONS, micro_method, snippets
from export.results import AndroidFigures, End, Failure, Peak, Rejected, VelaFigures
from export.runtimes.litert import LiteRT

pytestmark = pytest.mark.once

NASTY = "<script>alert(1)</script>"
NASTY_NAME = f'{NASTY} "a" $b$ id="c" url(#d) [red]e[/red] f|g `h` &amp;'
FLOAT_IN = End(name="image", shape=(1, 32, 32, 3), type="float32", scale=None, zero_point=None)
FLOAT_OUT = End(name="output", shape=(1, 10), type="float32", scale=None, zero_point=None)
PHONE = AndroidFigures(
    device="Phone, Android 15", threads=1, mean_ms=1.5, std_ms=0.1, min_ms=1.2, max_ms=2.0, init_ms=3.0, first_ms=2.5,
    memory_bytes=None, runs=50,
)  # fmt: skip
NPU = vela().accelerators[0]
FULL = results(
    entry("net int8", android=PHONE, labels=("cat", NASTY)),
    entry(
        "net float32", mode="float32", file="net.tflite", bytes=300_000, accuracy=0.88, float_operations=12,
        input=FLOAT_IN, output=FLOAT_OUT, litert=litert(3.0), tflm=replace(tflm(90_000), largest_difference=None),
        vela=Failure(reason="computes in floating point; export with mode int8"), browser=Failure(reason="no page"),
    ),
    entry(NASTY_NAME, model=NASTY, mode=None, file=f"{NASTY}.tflite", accuracy=0.5, agreement=0.8, litert=litert(2.0),
          tflm=Failure(reason=f"no {NASTY} here"), parameters=None, macs=None, quantization={"plan": {NASTY: "int8"}}),
    entry("big int8", model="big", trained=False, accuracy=None, agreement=None, images=None, litert=litert(9.0)),
    peak=Peak(float32_gops=100.0, int8_gops=400.0),
    rejected=(Rejected(name=f"{NASTY}.keras", reason=f"no model file {NASTY}"),),
)  # fmt: skip


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.attributes, self.rows, self.text = Counter(), [], [], [], []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag != "td"

    def handle_data(self, data):
        self.text.append(data)
        if self.in_cell:
            self.rows[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(FULL, folder)
    return folder


@pytest.fixture(scope="module")
def text(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def records(folder):
    return list(csv.DictReader(io.StringIO((folder / "results.csv").read_text(encoding="utf-8"))))


def test_front_is_what_no_other_point_beats():
    rng = np.random.default_rng(0)
    for _ in range(300):
        points = [tuple(point) for point in rng.integers(0, 5, (rng.integers(0, 9), 2)).tolist()]
        beaten = {
            one
            for one, other in itertools.permutations(range(len(points)), 2)
            if points[other][0] <= points[one][0]
            and points[other][1] >= points[one][1]
            and points[other] != points[one]
        }
        found = pareto_front(points)
        assert set(found) == set(range(len(points))) - beaten
        assert [points[one][0] for one in found] == sorted(points[one][0] for one in found)


def test_three_files_are_written(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.md", "results.csv"]


def test_page_needs_no_network_and_names_stay_text(text, page):
    assert page.tags["script"] == 1
    assert NASTY not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10
    links = [value for name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert {link[:5] for link in links if not link.startswith("#")} == {"data:"}
    assert not re.search(r"@import|url\((?!#)", text)
    assert [name for name, _ in page.attributes if name.startswith("on")] == []


def test_every_id_is_there_once_and_every_link_leads_somewhere(page):
    assert [one for one, number in Counter(page.ids).items() if number > 1] == []
    targets = [value[1:] for name, value in page.attributes if name in ("href", "xlink:href") and value.startswith("#")]
    assert set(targets) <= set(page.ids)


def test_table_has_a_row_a_file_and_says_why_not(page):
    titles = [column.full_title for column in columns(FULL)]
    rows = [row for row in page.rows if row]
    assert [len(row) for row in rows] == [len(titles)] * 4 + [2]
    cells = [dict(zip(titles, row, strict=True)) for row in rows[:4]]
    assert cells[0]["bytes"] == "98,000"
    assert cells[0]["LiteRT p50 ms, 1 thread"] == "1.000 [0.980, 1.020]"
    assert cells[0]["LiteRT p50 ms, 2 threads"] == "0.600 [0.588, 0.612]"
    assert (cells[0]["TFLite Micro arena"], cells[0]["Ethos-U u55-128 CPU ops"]) == ("50,000", "0")
    assert cells[1]["Ethos-U u55-128 ms"] == "no1"  # with the number of its note
    assert (cells[1]["TFLite Micro difference"], cells[2]["mode"]) == ("n/a", "n/a")
    assert (cells[3]["accuracy"], cells[3]["agreement"]) == ("untrained", "n/a")
    assert "random weights" in cells[3]["model"]
    assert rows[4] == [f"{NASTY}.keras", f"not measured: no model file {NASTY}"]
    shown = "".join(page.text)
    assert "Ethos-U does not run it: computes in floating point; export with mode int8" in shown
    assert f"TFLite Micro does not run it: no {NASTY} here" in shown


def test_columns_are_those_of_the_runtimes_asked_for():
    groups = {column.group for column in columns(results(entry(vela=None, browser=None)))}
    assert groups == {"", "LiteRT", "TFLite Micro"}
    failed = columns(results(entry(litert=None, tflm=None, browser=None, vela=Failure(reason="no"))))
    assert [column.text(entry(vela=Failure(reason="no"))) for column in failed if column.group == "Ethos-U"] == ["no"]


def test_files_of_one_model_and_mode_are_told_apart_by_name():
    assert columns(results(entry("a"), entry("b")))[0].text(entry("a")) == "a"
    assert columns(results(entry("a"), entry("b", mode="float32")))[0].title == "model"


def test_smallest_accelerator_has_the_fewest_macs_a_cycle():
    names = ("ethos-u65-256", "ethos-u55-64", "ethos-u85-128")
    figures = VelaFigures(accelerators=tuple(replace(NPU, accelerator=name) for name in names))
    assert smallest_accelerator([entry(vela=figures)]) == "ethos-u55-64"
    assert smallest_accelerator([entry(vela=None)]) is None


def test_latency_is_that_of_the_first_runtime_with_times():
    assert latency([entry()]).full_title == "LiteRT p50 ms, 1 thread"
    assert latency([entry(litert=None)]).full_title == "LiteRT.js p50 ms"
    assert latency([entry(litert=None, browser=None, android=PHONE)]).full_title == "Android mean ms"
    assert latency([entry(litert=None, browser=None)]).full_title == "Ethos-U u55-128 ms"
    assert latency([entry(litert=None, browser=None, vela=None)]) is None
    assert latency([entry(litert=None, browser=None, vela=vela(fallbacks=1))]) is None, "of a part it is no latency"


def test_findings_name_the_best_files_and_rank_no_random_weights():
    best, front, caveats = findings(FULL)[1:]
    assert "Most accurate: net float32 (88.00%, 3.000 ms, 300,000 bytes)." in best
    assert "Fastest: net int8 (87.00%, 1.000 ms, 98,000 bytes)." in best
    assert front.endswith("net int8 and net float32.")
    assert "With random weights, and not ranked by accuracy: big." in caveats
    assert "Do not ship <script>" in caveats
    lucky = results(entry("lucky", trained=False, accuracy=0.99), entry("real", accuracy=0.5))
    assert "Most accurate: real" in findings(lucky)[1]
    equals = results(entry("slow", litert=litert(9.0), bytes=999), entry("fast", litert=litert(0.1), bytes=9999))
    assert "Most accurate: fast" in findings(equals)[1], "as `choose` has it"


def test_findings_without_accuracy_or_without_files():
    untrained = results(*(replace(one, trained=False, accuracy=None, images=None) for one in FULL.entries), data=None)
    said = " ".join(findings(untrained))
    assert "accurate:" not in said
    assert "All networks have random weights" in said
    assert "Pareto front of bytes and latency" in said
    assert findings(results(rejected=FULL.rejected))[0] == "0 files of 0 networks."
    untimed = results(entry("net", litert=Failure(reason="no")), entry("random", trained=False))
    assert "Pareto" not in " ".join(findings(untimed))


def test_files_whose_intervals_overlap_are_not_told_apart():
    close = results(entry("a", litert=litert(1.0)), entry("b", litert=litert(1.01)), entry("c", litert=litert(2.0)))
    assert "Fastest: a (87.00%, 1.000 ms, 98,000 bytes), not told apart from b." in findings(close)[1]


def test_markdown_has_one_cell_a_column_and_no_markup_of_names(folder):
    text = (folder / "report.md").read_text(encoding="utf-8")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 4 + 1
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {len(columns(FULL)) + 1}
    assert "<" not in text.replace("<br>", "")
    assert "1. Ethos-U: computes in floating point; export with mode int8" in text
    assert "not measured: no model file" in table[-1]


def test_csv_holds_plain_numbers_and_reasons(folder):
    rows = records(folder)
    assert [row["name"] for row in rows] == [*(one.name for one in FULL.entries), f"{NASTY}.keras"]
    assert {len(row) for row in rows} == {len(rows[0])}
    first, second, third, untrained, rejected = rows
    assert float(first["litert_1t_p50_ms"]) == 1.0
    assert float(first["litert_2t_p50_high_ms"]) == pytest.approx(0.612)
    assert (first["tflm_arena_bytes"], first["ethos_u55_128_cpu_operations"]) == ("50000", "0")
    assert (first["trained"], untrained["trained"], untrained["accuracy"]) == ("true", "false", "")
    assert second["ethos_u55_128_ms"] == second["browser_p50_ms"] == ""
    assert second["vela_failure"] == "computes in floating point; export with mode int8"
    assert third["tflm_failure"] == f"no {NASTY} here"
    assert rejected["reason"] == f"no model file {NASTY}"
    assert set(rejected.values()) - {""} == {rejected["name"], rejected["reason"]}


def test_csv_names_do_not_depend_on_the_runtimes(folder, tmp_path):
    write_report(results(entry(litert=None, tflm=None, vela=None, browser=None)), tmp_path)
    missing = set(records(folder)[0]) - set(records(tmp_path)[0])
    assert {name.split("_")[1] for name in missing} == {"1t", "2t", "u55"}


def test_plots_are_drawn_where_there_is_data(text, page):
    assert page.tags["figure"] == 4
    for against in ("latency", "bytes", "MACs", "arena"):
        assert f"<h3>Accuracy against {against}</h3>" in text
    svg = text[text.index("<svg role") : text.index("</figure>")]
    assert "currentColor" in svg
    assert "#0a0b0c" not in text
    assert "net float32: 3.000 [2.940, 3.060], 88.00%" in svg  # a point's title
    assert re.search(r"<text[^>]*>net int8</text>", svg)  # a name on the front
    assert "big int8" not in svg


def test_plots_compare_costs_where_nothing_is_trained(tmp_path):
    write_report(results(*(replace(one, trained=False) for one in FULL.entries)), tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.findall(r"<h3>(.* against .*)</h3>", text) == ["Latency against bytes"]


def test_names_in_plots_stay_as_they_are(tmp_path):
    write_report(results(entry(NASTY_NAME, accuracy=0.99), entry("other")), tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    short = f"{NASTY_NAME[:20]}…{NASTY_NAME[-20:]}"  # beside a point, where a long name hid others
    assert page.count(NASTY_NAME) >= 2
    assert page.count(short) >= 2
    assert not any(len(one) > 41 for one in page if one.startswith(NASTY_NAME[:20]) and "…" in one)


@pytest.mark.parametrize("background", ["#ffffff", "#1b212c"])
def test_colors_are_seen_on_both_backgrounds(background, text):
    assert background in text.replace("#fff;", "#ffffff;")

    def luminance(code):
        parts = np.array([int(code[place : place + 2], 16) / 255 for place in (1, 3, 5)])
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    for turn in np.linspace(0, 1, 24):
        for target in LUMINANCE:
            one, other = sorted((luminance(color(turn, target)), luminance(background)))
            assert (other + 0.05) / (one + 0.05) > 3  # WCAG 2 for what is no text


def test_each_model_has_a_color_and_each_mode_a_marker():
    entries = [entry(f"{m} {q}", model=f"m{m}", mode=f"q{q}") for m in range(30) for q in range(len(MARKERS))]
    style = choose_style(entries)
    assert len(set(style.colors.values())) == 30
    assert len(set(style.markers.values())) == len(MARKERS)
    assert all(marker_path(marker).startswith("M") for marker in MARKERS)


def test_cards_say_how_pixels_go_in():
    def preprocessing(end):
        return dict(describe(entry(input=end), FULL).sections["Input"])["preprocessing"]

    assert "here the pixel - 128" in preprocessing(entry().input)
    assert "here the pixel itself" in preprocessing(replace(entry().input, type="uint8", zero_point=0))
    assert "0 becomes -128, 255 becomes 124" in preprocessing(replace(entry().input, scale=1.01))
    assert "as float32" in preprocessing(FLOAT_IN)


def test_cards_tell_the_recipe_and_what_to_mind(tmp_path):
    recipe = {"engine": "quantizer", "clipping": "mse", "aware": None, "plan": {"stem_*": "float32"},
              "calibration": {"source": "cifar10", "images": 200}}  # fmt: skip
    write_report(results(entry(quantization=recipe, agreement=0.5, float_operations=3)), tmp_path)
    shown = "".join(Page((tmp_path / "report.html").read_text(encoding="utf-8")).text)
    for what in ("ai-edge-quantizer", "mse", "stem_*: float32", "200 images of cifar10", "0.34 points", "not ship",
                 "10,000 test images of cifar10", "3 operations compute in floating point"):  # fmt: skip
        assert what in shown


@pytest.mark.parametrize(("mode", "io"), [("float32", "float32"), ("int8", "int8"), ("int8", "uint8")])
def test_python_snippet_runs_and_agrees_with_litert(tmp_path, monkeypatch, capsys, mode, io):
    model = randomize(build_tiny("cifar_a"))
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.float32)
    path = to_tflite(model, tmp_path / 'a$b "c".tflite', mode=mode, io=io, calibration=images, min_agreement=0).path
    runner = LiteRT(path)
    Image.fromarray(images[0].astype(np.uint8)).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    exec(snippets(entry(file=path.name, input=runner.input, output=runner.output))[0].code, {})  # noqa: S102
    (expected,) = runner.predict(images[:1])
    name, index, _, score = capsys.readouterr().out.split()
    assert (name, int(index)) == ("class", expected.argmax())
    assert float(score) == pytest.approx(expected.max(), abs=1e-6)


def test_python_snippet_normalizes_as_the_file_says(tmp_path, monkeypatch, capsys):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Dense(1, "sigmoid")(keras.layers.GlobalAveragePooling2D()(inputs))
    model = keras.Model(inputs, x)
    photo = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3)).astype(np.float32)
    means, deviations = (127.5, 100.0, 90.0), (127.5, 60.0, 50.0)
    path = to_tflite(model, tmp_path / "a.tflite").path
    runner = LiteRT(path)
    Image.fromarray(photo[0].astype(np.uint8)).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    one = entry(file=path.name, input=runner.input, output=runner.output, mean=means, std=deviations)
    exec(snippets(one)[0].code, {})  # noqa: S102
    (expected,) = runner.predict((photo - means) / np.array(deviations))
    *named, score = capsys.readouterr().out.split()
    assert named == ["class", str(int(expected[0] > 0.5)), "probability", "of", "class", "1"]
    assert float(score) == pytest.approx(expected[0], abs=1e-6)
    facts = describe(one, FULL).sections
    assert "p = (pixel - 127.5, 100.0, 90.0) / 127.5, 60.0, 50.0" in dict(facts["Input"])["preprocessing"]
    assert "above 0.5 it names class 1" in dict(facts["Output"])["meaning"]


def test_a_range_that_holds_no_pixels_is_told():
    narrow = entry(input=replace(entry().input, type="uint8", scale=1 / 255, zero_point=0))
    for note in (snippet.note for snippet in snippets(narrow)):
        assert "real numbers from 0 to 1, not pixels" in note
    assert "255 becomes" not in dict(describe(narrow, FULL).sections["Input"])["preprocessing"]
    assert not any("not pixels" in snippet.note for snippet in snippets(replace(narrow, mean=(0.0,), std=(255.0,))))


def test_the_c_snippet_compiles_with_stand_ins_for_the_interpreter(tmp_path):
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    for folder, name in (("micro", "micro_interpreter"), ("micro", "micro_mutable_op_resolver"), ("schema", "schema")):
        file = tmp_path / "tensorflow" / "lite" / folder / f"{name}{'_generated' if name == 'schema' else ''}.h"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(STAND_INS if name == "micro_interpreter" else "")
    (tmp_path / "é.h").write_text("extern const unsigned char _[];\n")
    float_one = replace(FLOAT_OUT, shape=(1, 1))
    for place, changes in enumerate(
        (
            {},
            {"mean": (1.0,), "std": (2.0,)},
            {"mean": (1.0, 2.0, 3.0), "std": (2.0,), "input": FLOAT_IN, "output": float_one},
            {"output": replace(entry().output, shape=(1, 1))},
        )
    ):
        source = tmp_path / f"{place}.cc"
        kinds = {"CONV_2D": 9, "SOFTMAX": 1}
        source.write_text(snippets(entry(file="é.tflite", operations=kinds, **changes))[3].code)
        command = [compiler, "-std=c++17", "-Wall", "-Werror", "-fsyntax-only", "-I", str(tmp_path), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


# What the code uses of TFLite Micro.
STAND_INS = """
#pragma once
#include <cstdint>
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
#define TF_LITE_ENSURE_STATUS(a) do { if ((a) != kTfLiteOk) return kTfLiteError; } while (0)
struct TfLiteTensor { union { float* f; int8_t* int8; uint8_t* uint8; } data; };
namespace tflite {
struct Model;
inline const Model* GetModel(const void*) { return nullptr; }
template <int n> struct MicroMutableOpResolver {
  TfLiteStatus AddConv2D() { return kTfLiteOk; }
  TfLiteStatus AddSoftmax() { return kTfLiteOk; }
};
struct MicroInterpreter {
  template <class Resolver> MicroInterpreter(const Model*, const Resolver&, uint8_t*, int) {}
  TfLiteStatus AllocateTensors() { return kTfLiteOk; }
  TfLiteStatus Invoke() { return kTfLiteOk; }
  TfLiteTensor* input(int) { return nullptr; }
  TfLiteTensor* output(int) { return nullptr; }
};
}
"""


def test_snippets_name_the_file_as_each_language_writes_it():
    python, kotlin, javascript, cpp = (one.code for one in snippets(entry(file='8 $x"é.tflite')))
    assert "model_path='8 $x\"é.tflite'" in python
    assert '"8 \\$x\\"\\u00e9.tflite"' in kotlin
    assert '"/8%20%24x%22%C3%A9.tflite"' in javascript
    assert "tflite::GetModel(_8__x__)" in cpp


def test_browser_snippet_of_an_int8_file_is_for_its_uint8_twin():
    snippet = snippets(entry())[2]
    assert "no int8 input or output" in snippet.note
    assert "--io uint8" in snippet.note
    assert "[1.0, 0]" in snippet.code  # scale and zero-point: -128 counted from 0
    assert snippets(entry(input=FLOAT_IN, output=FLOAT_OUT))[2].note == ""


def test_micro_snippet_adds_the_operations_of_the_file():
    kinds = {"CONV_2D": 9, "PAD": 1, "FULLY_CONNECTED": 1, "HARD_SWISH": 2}
    code = snippets(entry(operations=kinds, tflm=tflm(50_001)))[3].code
    assert re.findall(r"resolver\.(Add\w+)\(\)", code) == ["AddConv2D", "AddPad", "AddFullyConnected", "AddHardSwish"]
    assert "MicroMutableOpResolver<4>" in code
    assert "kArenaSize = 50016;" in code
    assert "a guess" in snippets(entry(tflm=None))[3].code
    assert "has no CUSTOM Foo" in snippets(entry(operations={"CUSTOM Foo": 1}))[3].note
    assert "did not run here: too big" in snippets(entry(tflm=Failure(reason="too big")))[3].note


def test_micro_operations_are_operations():
    kinds = {name: micro_method(name) for name in vars(schema.BuiltinOperator) if not name.startswith("_")}
    found = {method for method in kinds.values() if method}
    assert found == {f"Add{name}" for name in MICRO_OPERATIONS}
    assert kinds["DEPTHWISE_CONV_2D"] == "AddDepthwiseConv2D"
    assert kinds["STABLEHLO_ADD"] is None


def test_micro_operations_are_those_of_tflite_micro():
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro._runtime", reason="tflite-micro is not installed")
    with open(runtime.__file__, "rb") as file:  # noqa: PTH123 - a module's own path
        symbols = {kind.decode() for kind in re.findall(rb"Register_([A-Z0-9_]+)Ev", file.read())}
    builtin = symbols & {name for name in vars(schema.BuiltinOperator) if not name.startswith("_")}
    assert {f"Add{name}" for name in MICRO_OPERATIONS} == {micro_method(kind) for kind in builtin}


def test_terminal_table_fits_120_columns():
    console = Console(width=120, record=True, file=io.StringIO())
    long = replace(litert(0.123), timings=tuple(timing(0.123, threads) for threads in (1, 2, 16)))
    network = "mobilenetv2_x0_5_cifar"
    longest = entry(f"{network} int8, QAT native", model=network, mode="int8, QAT native", bytes=12_345_678,
                    litert=long, browser=browser(12.3))  # fmt: skip
    shown = results(*FULL.entries, longest, rejected=FULL.rejected)
    console.print(terminal_table(shown, short_columns(shown)))
    text = console.export_text()
    assert "…" not in text
    for what in ("12,345,678", "0.123±0.002", "87.00%", "untrained", "50,000", "no (1)", "12.30", "With random weights",
                 "(1) Ethos-U: computes in floating point", f"not measured: {NASTY}.keras: no model"):  # fmt: skip
        assert what in text


def test_terminal_table_shows_what_was_measured_only():
    shown = results(entry(tflm=Failure(reason="too big"), vela=None, browser=None))
    failed = terminal_table(shown, short_columns(shown))
    assert [column.header for column in failed.columns] == [
        "model", "mode", "bytes", "accuracy", "agree-\nment", "p50 ms\n1 thread", "p50 ms\n2 threads"
    ]  # fmt: skip
    assert "TFLite Micro: too big" in str(failed.caption)
    assert terminal_table(results(), short_columns(results())).row_count == 0


def test_speedup_is_over_the_float32_file_of_the_same_model():
    entries = [
        entry("a float32", mode="float32", litert=litert(4.0)),
        entry("a int8", litert=litert(2.0)),
        entry("b int8", word="b.keras", litert=litert(1.0)),
        entry("a int16x8", litert=Failure(reason="no kernel")),
    ]
    assert [speedup(entries).text(one) for one in entries] == ["1.00x", "2.00x", "n/a", "n/a"]
    assert "speed-up" in [column.title for column in columns(results(*entries))]
    assert "speed-up" not in [column.title for column in columns(results(*entries[1:]))]


def test_plain_table_has_the_figures_of_one_runtime():
    shown = results(entry("a float32", mode="float32", litert=litert(4.0)), entry("a int8", litert=litert(2.0)))
    head, _, *rows = markdown_table(shown, plain_columns(shown)).splitlines()
    assert head == (
        "| model | parameters | MACs | mode | bytes | accuracy | agreement | LiteRT p50 ms | LiteRT p90 ms | "
        "LiteRT speed-up |"
    )
    one = shown.entries[1]
    figures = (one.model, f"{one.parameters:,}", f"{one.macs / 1e6:.2f} M", "int8", f"{one.bytes:,}",
               f"{one.accuracy:.2%}", f"{one.agreement:.2%}", "2.000", "2.200", "2.00x")  # fmt: skip
    assert rows[1] == f"| {' | '.join(figures)} |"


def test_opening_comes_before_the_measurements(tmp_path):
    opening = Opening(title=f"A & {NASTY}", sentence="One < two *stars*.", figures={NASTY: Figure()})
    write_report(results(entry()), tmp_path, opening)
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert page.tags["script"] == 1  # the table's own
    assert "".join(page.text).count(NASTY) == 3  # title, heading, caption
    assert text.index("One &lt; two") < text.index("1 file of 1 network")
    sources = [value for name, value in page.attributes if name == "src"]
    assert [source[:26] for source in sources] == ["data:image/svg+xml;base64,"]
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert lines[0] == r"# A &amp; &lt;script&gt;alert(1)&lt;/script&gt;"
    assert lines[2] == r"One &lt; two \*stars\*."


def test_numbers_keep_about_four_digits():
    assert [milliseconds(time) for time in (0.0834, 9.9, 12.345, 812.49)] == ["0.083", "9.900", "12.35", "812.5"]
    assert [tick(value) for value in (0.5, 5_000, 20_000, 1_500_000, 2e9)] == ["0.5", "5000", "20 k", "1.5 M", "2 G"]


PROBE = """
<script>
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
</script>
"""
TEST = """
<script>
const table = document.getElementById("files");
const heads = [...table.tHead.rows[1].cells];
const column = (title) => heads.findIndex((head) => head.textContent.trim() === title);
const read = (title) => [...table.tBodies[0].rows].map((row) => row.cells[column(title)].textContent.trim());
const sort = (title) => {
  const button = heads[column(title)].querySelector("button");
  button.focus();
  button.click();
  return [document.activeElement === button, heads[column(title)].getAttribute("aria-sort"), read(title)];
};
const outcome = {
  bytes: sort("bytes"), bytesAgain: sort("bytes"), arena: sort("arena"), arenaAgain: sort("arena"), mode: sort("mode"),
  sorted: heads.filter((head) => head.hasAttribute("aria-sort")).length,
  last: table.tBodies[1].rows[0].cells[0].textContent.trim(),
  plots: [...document.querySelectorAll("figure svg")].map((svg) => svg.getBoundingClientRect().width),
  ink: getComputedStyle(document.querySelector("figure svg text")).fill,
  text: getComputedStyle(document.body).color,
  width: document.documentElement.scrollWidth,
};
location.hash = "#card-2";
addEventListener("hashchange", () => setTimeout(() => {
  outcome.open = document.getElementById("card-2").open;
  outcome.errors = errors;
  parent.postMessage(JSON.stringify(outcome), "*");
}));
</script>
"""
FRAME = """
<iframe src="report.html" width="360" height="800" style="border: 0"></iframe><pre id="outcome"></pre>
<script>
addEventListener("message", (event) => { document.getElementById("outcome").textContent = event.data; });
</script>
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, text):
    """What a browser makes of the page on a screen of 360 pixels, as a script inside it tells."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no Chromium on this machine: the page is not opened")
    folder = tmp_path_factory.mktemp("browser")
    tested = text.replace("<head>", f"<head>{PROBE}", 1).replace("</body>", f"{TEST}</body>", 1)
    (folder / "report.html").write_text(tested, encoding="utf-8")
    (folder / "frame.html").write_text(f"<!doctype html><body>{FRAME}</body>", encoding="utf-8")
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
               "--virtual-time-budget=10000", "--dump-dom", (folder / "frame.html").as_uri()]  # fmt: skip
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    (told,) = re.findall(r'<pre id="outcome">(.*?)</pre>', found, re.DOTALL)
    return json.loads(told.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


def test_browser_shows_the_page_without_errors(outcome):
    assert outcome["errors"] == []
    assert len(outcome["plots"]) == 4
    assert outcome["open"]


def test_browser_sorts_numbers_as_numbers_and_missing_ones_last(outcome):
    assert outcome["bytes"] == [True, "ascending", ["98,000", "98,000", "98,000", "300,000"]]
    assert outcome["bytesAgain"] == [True, "descending", ["300,000", "98,000", "98,000", "98,000"]]
    assert outcome["arena"] == [True, "ascending", ["50,000", "50,000", "90,000", "no3"]]
    assert outcome["arenaAgain"] == [True, "descending", ["90,000", "50,000", "50,000", "no3"]]
    assert outcome["mode"] == [True, "ascending", ["float32", "int8", "int8", "n/a"]]
    assert outcome["sorted"] == 1
    assert outcome["last"] == f"{NASTY}.keras"


def test_page_fits_a_phone_and_plots_take_its_ink(outcome):
    assert outcome["width"] <= 360
    assert all(200 < width <= 360 for width in outcome["plots"])
    assert outcome["ink"] == outcome["text"]
