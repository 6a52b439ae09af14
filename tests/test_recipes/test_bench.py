"""`keras-resnets bench`, `compare` and `choose`, from what a user names to the report."""

import csv
import hashlib
import json
import shutil

import numpy as np
import pytest

from export import quantize_aware, to_tflite
from export.recipe import recipe_path
from export.results import Failure, read_results
from export.runtimes import Runtime
from export.runtimes.litert import LiteRT
from keras_resnets import UsageError, get_variant
from recipes import bench as module
from recipes.bench import SUITES, bench, choose_runtimes, suite
from recipes.candidates import SPREAD
from recipes.data import load

pytestmark = pytest.mark.once


class Counting(Runtime):
    """A runtime that runs every other file."""

    name = "tflm"

    def check(self):
        pass

    def measure(self, subjects, on_step):
        self.subjects = list(subjects)
        for _ in subjects:
            on_step()
        return [Failure(reason=f"file {index}") for index, _ in enumerate(subjects)]


def run(words, tmp_path, **changes):
    options = {"runtimes": [Counting()], "source": None, "modes": ("float32", "int8"), "io": "uint8"}
    options |= {"reference": None, "seed": 0}
    return bench([str(word) for word in words], out=tmp_path / "out", **options | changes)


@pytest.fixture
def model_file(trained, blobs_file, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    trained.save(folder / "model.keras")
    (folder / "config.json").write_text(json.dumps({"data": str(blobs_file)}))
    return folder / "model.keras"


def test_a_model_is_exported_and_classifies_the_data_it_was_trained_on(model_file, tmp_path, blobs_file):
    runtime = Counting()
    results = run([model_file], tmp_path, runtimes=[runtime])
    assert results.data == str(blobs_file)
    assert [entry.mode for entry in results.entries] == ["float32", "int8, uint8 io"]
    assert [entry.input.type for entry in results.entries] == ["float32", "uint8"]
    assert [entry.tflm.reason for entry in results.entries] == ["file 0", "file 1"]
    for entry, subject in zip(results.entries, runtime.subjects, strict=True):
        assert subject.path == tmp_path / "out" / "files" / entry.file
        assert entry.bytes == subject.path.stat().st_size
        assert entry.trained
        assert entry.accuracy > 0.9
        assert entry.agreement > 0.9
        assert entry.images == len(subject.images) == 40
        assert subject.arithmetic == ("float32" if entry.mode == "float32" else "int8")
        assert subject.macs == entry.macs > 0
    assert results.entries[1].quantization["calibration"]["source"] == str(blobs_file)


def test_a_network_that_nobody_trained_has_costs_and_no_accuracy(tmp_path, blobs_file):
    results = run(["ResNet8"], tmp_path, source=str(blobs_file), modes=("int8",))
    (entry,) = results.entries
    assert not entry.trained
    assert entry.accuracy is entry.agreement is entry.images is None
    assert entry.parameters == 78_186
    assert entry.float_operations == 0


def test_the_signal_of_random_weights_reaches_the_logits(tmp_path):
    (entry,) = run(["mobilenetv2_x0_5_cifar"], tmp_path, modes=("float32",)).entries
    images = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3)).astype("float32")
    outputs = np.stack(list(LiteRT(tmp_path / "out" / "files" / entry.file).predict(images)))
    assert np.ptp(outputs, axis=0).max() > 0.01
    assert np.log(outputs).std(axis=1).mean() == pytest.approx(SPREAD, rel=0.5)


def test_a_file_is_told_with_its_reference(model_file, tmp_path, data, calibration):
    path = tmp_path / "a.tflite"
    to_tflite(str(model_file), path, mode="int8", calibration=calibration, io="int8")
    (tmp_path / "bare").mkdir()
    bare = shutil.copy(path, tmp_path / "bare" / "a.tflite")  # no recipe beside it
    results = run([path, bare], tmp_path, source=str(data.name), reference=model_file)
    assert [entry.agreement is not None for entry in results.entries] == [True, True]
    assert [entry.mode for entry in results.entries] == ["int8, int8 io", None]
    assert results.entries[0].input.type == "int8"
    assert len({entry.name for entry in results.entries}) == 2


@pytest.mark.parametrize(
    ("word", "content", "reason"),
    [
        ("broken.tflite", b"no model", "does not run in LiteRT"),
        ("none.tflite", None, "no file"),
        ("broken.keras", b"no model", "cannot be loaded"),
        ("resnte8", None, "did you mean"),
    ],
)
def test_what_cannot_be_measured_is_a_row_with_its_reason(word, content, reason, tmp_path):
    path = tmp_path / word if "." in word else word
    if content:
        path.write_bytes(content)
    results = run([path, "resnet8"], tmp_path, modes=("float32",))
    assert [entry.model for entry in results.entries] == ["resnet8"]
    (rejected,) = results.rejected
    assert rejected.name == str(path)
    assert reason in rejected.reason


def test_a_model_trained_for_int8_is_measured_in_that(trained, data, tmp_path):
    quantize_aware(trained, data.x_train[:40]).save(tmp_path / "aware.keras")
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    results = run([tmp_path / "aware.keras"], tmp_path, source=str(data.name), modes=("float32", "int8"))
    assert [entry.mode for entry in results.entries] == ["int8, QAT native, uint8 io"]
    assert results.entries[0].labels == ("a", "b", "c", "d")
    assert not results.rejected
    for others in (b"a\nb\n", b"\xff\xfe"):
        (tmp_path / "labels.txt").write_bytes(others)
        results = run([tmp_path / "aware.keras"], tmp_path, source=str(data.name))
        assert results.entries[0].labels is None


def test_a_mode_that_fails_leaves_the_others(trained, data, tmp_path, monkeypatch):
    trained.save(tmp_path / "a.keras")
    real = to_tflite

    def refuse(model, out, *, mode, **options):
        if mode == "float32":
            raise UsageError("not today")
        return real(model, out, mode=mode, **options)

    monkeypatch.setattr("recipes.candidates.to_tflite", refuse)
    results = run([tmp_path / "a.keras"], tmp_path, source=str(data.name), modes=("float32", "int8"))
    assert [entry.mode for entry in results.entries] == ["int8, uint8 io"]
    assert [(one.name, one.reason) for one in results.rejected] == [(f"{tmp_path / 'a.keras'} float32", "not today")]


def test_images_of_another_size_are_told(tmp_path, blobs_file):
    run(["resnet8"], tmp_path, modes=("float32",))
    file = tmp_path / "out" / "files" / "resnet8_float32.tflite"
    file.with_name(f"{file.name}.json").unlink()  # nothing says that its weights are random
    with pytest.raises(UsageError, match=r"takes images of shape \(32, 32, 3\)"):
        run([file], tmp_path, source=str(blobs_file))


def test_models_of_different_data_are_one_line(model_file, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(model_file, other / "model.keras")
    (other / "config.json").write_text('{"data": "digits"}')
    with pytest.raises(UsageError, match="measure those of one at a time"):
        run([model_file, other / "model.keras"], tmp_path)


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        ([], {}, "name at least one"),
        (["resnet8"], {"modes": ["int3"]}, "no mode named 'int3'"),
        (["resnet8"], {"modes": []}, "name at least one mode"),
        (["resnet8"], {"modes": ["mixed"]}, "mode mixed needs a plan"),
        (["resnet8"], {"seed": -1}, "seed must be from 0"),
        (["none.tflite", "resnte8"], {}, "no file none.tflite.*; no model named"),
    ],
)
def test_nothing_to_measure_is_one_line(words, options, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        run(words, tmp_path, **options)


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_holds_every_small_network_of_its_size(name):
    names = suite(name)
    shape, _ = SUITES[name]
    assert all(get_variant(one).data.input_shape == shape for one in names)
    baselines = ("mobilenetv1", "mobilenetv2", "mobilenetv3", "shufflenetv1", "shufflenetv2", "squeezenet")
    for family in baselines:
        assert any(one.startswith(family) for one in names), family


def test_the_suite_of_cifar_compares_residual_and_plain_nets():
    assert {"resnet8", "resnet20", "plain20", "preactresnet20", "seresnet20", "densenetbc40_12"} <= set(suite("cifar"))
    assert "resnet110" not in suite("cifar")


def test_runtimes_that_are_not_there_are_said_and_left_out(monkeypatch, capsys):
    def absent(self):
        raise UsageError("not here: install it[edge]")

    for runtime in ("TFLiteMicro", "Vela", "Browser", "Android"):
        monkeypatch.setattr(getattr(module, runtime), "check", absent)
    assert [runtime.name for runtime in choose_runtimes(None, (1,))] == ["litert"]
    printed = capsys.readouterr().out
    for name in ("tflm", "vela", "browser", "android"):
        assert f"without {name}: not here: install it[edge]" in printed
    with pytest.raises(UsageError, match="not here"):
        choose_runtimes(["vela"], (1,))


@pytest.mark.slow
def test_three_commands_from_a_model_to_a_choice(cli, model_file, tmp_path):
    out = tmp_path / "bench"
    code, printed, err = cli("bench", model_file, "--runtime", "litert", "--threads", 1, "--out", out)
    assert (code, err) == (0, "")
    assert "report.html" in printed
    results = read_results(out / "results.json")
    assert all(f"{entry.bytes:,}" in printed for entry in results.entries)
    with (out / "results.csv").open(newline="") as lines:
        assert [row["name"] for row in csv.DictReader(lines)] == [entry.name for entry in results.entries]
    assert {path.name for path in out.iterdir()} == {"files", "report.html", "report.md", "results.csv", "results.json"}

    code, printed, err = cli("compare", out / "results.json", out / "results.json")
    assert (code, err) == (0, "")
    assert "0 worse" in printed
    slower = json.loads((out / "results.json").read_text())
    slower["entries"][0]["litert"]["timings"][0]["rounds_ms"] = [1e3] * 20
    (tmp_path / "slower.json").write_text(json.dumps(slower))
    code, printed, _ = cli("compare", out / "results.json", tmp_path / "slower.json")
    assert code == 1
    assert "worse" in printed

    code, printed, err = cli("choose", "--max-bytes", "1MB", out / "results.json")
    assert (code, err) == (0, "")
    assert results.entries[1].name in printed


def test_accuracy_is_that_of_a_run_by_hand(model_file, tmp_path, blobs_file):
    (entry,) = run([model_file], tmp_path, modes=("float32",)).entries
    import keras

    data = load(str(blobs_file))
    named = keras.models.load_model(model_file).predict(data.x_test, verbose=0).argmax(-1)
    assert entry.accuracy == pytest.approx(np.mean(named == data.y_test))


def test_two_models_of_one_name_and_a_file_in_the_way_keep_their_files(model_file, tmp_path):
    other = tmp_path / "b" / "own"
    shutil.copytree(model_file.parent, other)
    mine = tmp_path / "out" / "files" / "own_float32.tflite"
    to_tflite(str(model_file), mine)
    results = run([mine, model_file, other / "model.keras"], tmp_path, modes=("float32",))
    assert len({entry.file for entry in results.entries}) == len({entry.name for entry in results.entries}) == 3
    for entry in results.entries:
        content = (tmp_path / "out" / "files" / entry.file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry.sha256


def test_files_of_one_name_are_told_apart_by_their_folders_in_any_order(trained, tmp_path):
    paths = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        paths.append(to_tflite(trained, tmp_path / folder / "net.tflite", min_agreement=0).path)
        recipe_path(paths[-1]).unlink()
    results = run(paths, tmp_path)
    names = {entry.word: entry.name for entry in results.entries}
    assert names == {str(path): f"net ({path})" for path in paths}
    assert {entry.word: entry.name for entry in run(paths[::-1], tmp_path).entries} == names
    for report in ("report.html", "report.md", "results.csv"):
        text = (tmp_path / "out" / report).read_text().replace("\\", "")
        assert all(str(path) in text for path in paths), report


def test_what_was_measured_before_an_interruption_is_not_lost(trained, tmp_path):
    class Stopped(Counting):
        name = "vela"

        def measure(self, subjects, on_step):
            raise KeyboardInterrupt

    path = to_tflite(trained, tmp_path / "net.tflite", min_agreement=0).path
    with pytest.raises(KeyboardInterrupt):
        run([path], tmp_path, runtimes=[Counting(), Stopped()])
    (entry,) = read_results(tmp_path / "out" / "results.json").entries
    assert entry.tflm == Failure(reason="file 0")
    assert "1 file of 1 network" in (tmp_path / "out" / "report.html").read_text()


def test_a_name_that_json_cannot_hold_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="no UTF-8"):
        run(["\udcff.tflite"], tmp_path)


def test_a_file_of_random_weights_stays_untrained(tmp_path):
    (first,) = run(["resnet8"], tmp_path, modes=("float32",)).entries
    (again,) = run([tmp_path / "out" / "files" / first.file], tmp_path).entries
    assert not again.trained
    assert again.word.endswith(first.file)


def test_a_recipe_of_another_file_or_a_broken_one_is_not_believed(tmp_path):
    run(["resnet8"], tmp_path, modes=("float32", "int8"))
    files = tmp_path / "out" / "files"
    (tmp_path / "b.tflite").write_bytes((files / "resnet8_int8.tflite").read_bytes())
    for recipe in ((files / "resnet8_float32.tflite.json").read_text(), '{"schema": 2, "model": 5}', "[]"):
        (tmp_path / "b.tflite.json").write_text(recipe)
        (entry,) = run([tmp_path / "b.tflite"], tmp_path).entries
        assert (entry.mode, entry.parameters, entry.model) == (None, None, "b")


def test_a_failing_operation_is_a_row_with_its_reason(tmp_path, monkeypatch):
    def fail(self):
        raise UsageError(f"{self.path} does not run in LiteRT: index out of bounds")

    run(["resnet8"], tmp_path, modes=("float32",))
    monkeypatch.setattr(LiteRT, "invoke", fail)
    with pytest.raises(UsageError, match="out of bounds"):
        run([tmp_path / "out" / "files" / "resnet8_float32.tflite"], tmp_path)


def test_data_that_is_gone_leaves_latency(model_file, tmp_path, capsys):
    (model_file.parent / "config.json").write_text('{"data": "gone.npz"}')
    (entry,) = run([model_file], tmp_path, modes=("float32",)).entries
    assert entry.accuracy is None
    assert "config.json says gone.npz" in capsys.readouterr().out
