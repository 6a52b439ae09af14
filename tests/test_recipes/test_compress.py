"""`keras-resnets compress` and `sweep`, from a trained model's folder to the numbers."""

import gzip
import io
import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from rich.console import Console

from export import quantize_aware
from keras_resnets import UsageError
from recipes.checkpoint import save_checkpoint
from recipes.compress import completed, compress, fine_tune, table
from recipes.config import CompressConfig
from recipes.progress import console
from recipes.sweep import sweep
from recipes.sweep import table as sweep_table


@pytest.fixture(scope="module")
def path(trained, blobs_file, tmp_path_factory):
    """A model as `train` leaves it."""
    folder = tmp_path_factory.mktemp("runs") / "r8"
    folder.mkdir()
    trained.save(folder / "model.keras")
    (folder / "config.json").write_text(json.dumps({"data": str(blobs_file), "augment": []}))
    return folder / "model.keras"


def test_pruning_and_qat_by_the_native_engine(path, data):
    rows = compress(path, CompressConfig(method=("prune", "qat"), sparsity=0.5, epochs=4))
    original, made = rows
    out = path.parent / "prune-qat"
    assert {file.name for file in out.iterdir()} == {
        "compress.json",
        "config.json",
        "model.keras",
        "original-int8.tflite",
        "original-int8.tflite.json",
        "prune-qat-int8.tflite",
        "prune-qat-int8.tflite.json",
    }
    content = (out / made.file).read_bytes()
    assert made.bytes == len(content)
    assert made.gzip_bytes == len(gzip.compress(content, mtime=0)) < original.gzip_bytes
    assert made.nonzero <= 0.51 * made.weights
    assert original.nonzero > 0.9 * original.weights
    assert made.accuracy > 0.8
    assert made.p50_ms > 0
    with pytest.raises(UsageError, match="--overwrite"):
        compress(path, CompressConfig(method=("prune", "qat")))
    results = json.loads((out / "compress.json").read_text())
    assert results["config"]["augment"] == []
    assert [len(results["history"][method]["loss"]) for method in ("prune", "qat")] == [4, 4]
    aware = keras.models.load_model(out / "model.keras")
    assert np.mean(aware.predict(data.x_test, verbose=0).argmax(-1) == data.y_test) > 0.8
    with console.capture() as shown:
        console.print(table(rows, "title"))
    assert "prune, qat, int8" in shown.get()


@pytest.mark.parametrize(
    ("config", "killed_at_save"),
    [
        (CompressConfig(method=("qat",), epochs=2), 1),
        pytest.param(CompressConfig(method=("prune",), epochs=3, then="float32"), 2, marks=pytest.mark.once),
        pytest.param(CompressConfig(method=("cluster",), epochs=2, then="float32"), 1, marks=pytest.mark.once),
        pytest.param(CompressConfig(method=("qat",), engine="tfmot", epochs=2), 1, marks=pytest.mark.once),
    ],
)
def test_an_interrupted_compression_comes_to_the_same(path, config, killed_at_save, tmp_path, monkeypatch):
    whole = compress(path, config, tmp_path / "whole")
    out, saved = tmp_path / "killed", []

    def save(*args):
        if len(saved) == killed_at_save:
            raise KeyboardInterrupt
        saved.append(args[-1].epoch)
        save_checkpoint(*args)

    with monkeypatch.context() as patched:
        for module in ("compress", "checkpoint"):
            patched.setattr(f"recipes.{module}.save_checkpoint", save)
        with pytest.raises(KeyboardInterrupt):
            compress(path, config, out)
    assert not (out / "compress.json").exists()
    with pytest.raises(UsageError, match="pass --resume to go on"):
        compress(path, config, out)
    with pytest.raises(UsageError, match=r"says epochs = \d, not 9"):
        compress(path, replace(config, epochs=9), out, resume=True)
    resumed = compress(path, config, out, resume=True)
    assert not list(out.glob("checkpoint*"))
    for one, other in zip(whole, resumed, strict=True):
        assert (tmp_path / "whole" / one.file).read_bytes() == (out / other.file).read_bytes()
    histories = [json.loads((folder / "compress.json").read_text())["history"] for folder in (tmp_path / "whole", out)]
    assert histories[0] == histories[1]
    assert not list(out.glob("checkpoint*"))
    assert compress(path, config, out, resume=True) == resumed  # nothing is left to do


@pytest.mark.once
def test_a_compression_that_ended_before_its_results_or_behind_them_is_resumed(path, tmp_path, monkeypatch):
    config = CompressConfig(method=("prune", "cluster"), epochs=1)
    with monkeypatch.context() as patched:
        patched.setattr("recipes.compress.measure", lambda *args, **options: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            compress(path, config, tmp_path)
    kept = {file.name: file.read_bytes() for file in tmp_path.glob("checkpoint*")}
    assert len(kept) == 2
    rows = compress(path, config, tmp_path, resume=True)
    for name, content in kept.items():  # as if it had been killed before it removed them
        (tmp_path / name).write_bytes(content)
    assert compress(path, config, tmp_path, resume=True) == rows
    assert not list(tmp_path.glob("checkpoint*"))
    (tmp_path / "compress.json").write_text('{"files": [{}]}')
    with pytest.raises(UsageError, match=r"compress\.json was not written by this version"):
        compress(path, config, tmp_path, resume=True)


@pytest.mark.once
def test_starting_again_keeps_nothing_that_could_pass_for_its_result(path, tmp_path, monkeypatch):
    config = CompressConfig(method=("qat",), epochs=1)
    compress(path, config, tmp_path)
    monkeypatch.setattr("recipes.compress.start", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        compress(path, config, tmp_path, overwrite=True)
    assert not (tmp_path / "model.keras").exists()
    assert not (tmp_path / "compress.json").exists()


@pytest.mark.once
def test_another_model_is_not_resumed(path, trained, tmp_path):
    config = CompressConfig(
        method=("qat",), epochs=1, data=json.loads(path.with_name("config.json").read_text())["data"]
    )
    other = keras.models.clone_model(trained)
    other.save(tmp_path / "other.keras")
    compress(path, config, tmp_path / "out")
    with pytest.raises(UsageError, match="says model_sha256"):
        compress(tmp_path / "other.keras", config, tmp_path / "out", resume=True)


@pytest.mark.once
def test_what_is_compressed_knows_its_data_and_is_no_model_of_a_sweep(path, tmp_path):
    compress(path, CompressConfig(method=("cluster",), epochs=1), tmp_path / "out")
    again = completed(CompressConfig(), tmp_path / "out" / "model.keras")
    assert again.data == json.loads(path.with_name("config.json").read_text())["data"]
    assert again.weight_decay == 0.0
    with pytest.raises(UsageError, match="not a model as `keras-resnets train` leaves it"):
        sweep([tmp_path / "out" / "model.keras"], ["float32"], [], 1, tmp_path / "sweep")


def test_the_model_itself_is_not_replaced(path, tmp_path):
    with pytest.raises(UsageError, match="the folder of the model itself"):
        compress(path, CompressConfig(), path.parent, overwrite=True)
    (tmp_path / "config.json").write_bytes(path.with_name("config.json").read_bytes())
    (tmp_path / "linked.keras").symlink_to(path)
    with pytest.raises(UsageError, match="the folder of the model itself"):
        compress(tmp_path / "linked.keras", CompressConfig(), path.parent, overwrite=True)


def test_the_training_says_what_the_settings_do_not(path, tmp_path):
    said = {"data": "digits", "augment": ["crop", "flip"], "weight_decay": 5e-3}
    (tmp_path / "config.json").write_text(json.dumps(said))
    found = completed(CompressConfig(), tmp_path / "model.keras")
    assert (found.data, found.augment, found.weight_decay) == ("digits", ("crop", "flip"), 5e-3)
    told = completed(CompressConfig(data="cifar10", augment=(), weight_decay=0.0), tmp_path / "model.keras")
    assert (told.data, told.augment, told.weight_decay) == ("cifar10", (), 0.0)
    for others, decay in (({"weight_decay": None}, 1e-4), ({"optimizer": "adamw"}, 0.0)):
        (tmp_path / "config.json").write_text(json.dumps(said | others))
        assert completed(CompressConfig(), tmp_path / "model.keras").weight_decay == decay
    (tmp_path / "config.json").write_text(json.dumps({"data": "digits", "augment": True}))
    with pytest.raises(UsageError, match=r"config\.json says augment is True; give --augment, any of crop, flip"):
        completed(CompressConfig(), tmp_path / "model.keras")
    (tmp_path / "config.json").write_text(json.dumps({"data": "digits", "weight_decay": "much"}))
    with pytest.raises(UsageError, match=r"config\.json says weight_decay is much; give --weight-decay"):
        completed(CompressConfig(), tmp_path / "model.keras")


def test_a_model_of_logits_is_taught_by_its_probabilities(trained, data):
    bare = keras.models.clone_model(trained)
    bare.set_weights(trained.get_weights())
    bare.layers[-1].activation = keras.activations.linear
    before = bare.predict(data.x_test, verbose=0)
    config = CompressConfig(method=("qat",), epochs=1, augment=(), data="blobs", weight_decay=0.0)
    history = fine_tune(quantize_aware(bare, data.x_train[:40]), "qat", config, data, bare)
    assert 0 < history["loss"][0] < np.log(4) + 0.5
    np.testing.assert_array_equal(bare.predict(data.x_test, verbose=0), before)  # the teacher stays as it is


@pytest.mark.once
def test_clusters(path, tmp_path):
    _, made = compress(path, CompressConfig(method=("cluster",), clusters=16, epochs=1, then="float32"), tmp_path)
    assert made.accuracy > 0.8
    stored = keras.models.load_model(tmp_path / "model.keras")
    for layer in stored.layers:
        if isinstance(layer, keras.layers.Conv2D):
            assert len(np.unique(layer.get_weights()[0])) <= 16


@pytest.mark.once
def test_comparing_modes_and_engines(path, tmp_path):
    rows = sweep([path], ["float32", "int8"], ["native", "tfmot"], 1, tmp_path)
    assert [row.mode for row in rows] == ["float32", "int8", "int8, QAT native", "int8, QAT tfmot"]
    assert all(row.accuracy > 0.8 for row in rows)
    assert [row.float_operations for row in rows[1:]] == [0, 0, 0]
    assert [row.speedup for row in rows] == [rows[0].p50_ms / row.p50_ms for row in rows]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(sweep_table(rows, "title"))
    shown = console.export_text()
    for row in rows:
        figures = (row.mode, f"{row.bytes:,}", f"{row.accuracy:.2%}", f"{row.agreement:.2%}", f"{row.speedup:.2f}x")
        assert all(figure in shown for figure in figures)
    results = json.loads((tmp_path / "sweep.json").read_text())
    first = results["models"]["r8"]
    assert [file["mode"] for file in first["files"]] == [row.mode for row in rows]
    assert first["accuracy"] > 0.8
    other = shutil.copytree(path.parent, tmp_path / "other", ignore=shutil.ignore_patterns("p*"))
    more = sweep([other / "model.keras"], ["float32"], [], 1, tmp_path)  # is added
    assert more[:4] == rows
    assert json.loads((tmp_path / "sweep.json").read_text())["models"]["r8"] == first
    for content in ("{}", "[]", '{"schema": 1}', '{"schema": 1, "data": "d", "models": {"a": {"files": [{}]}}}'):
        (tmp_path / "sweep.json").write_text(content)
        with pytest.raises(UsageError, match="not written by this version"):
            sweep([path], ["float32"], [], 1, tmp_path)


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": ()}, "method must be given"),
        ({"method": ("prune", "prune")}, "each method once"),
        ({"method": ("qat", "prune")}, "qat comes last"),
        ({"method": ("cluster", "prune")}, "prune comes before cluster"),
        ({"method": ("cluster", "qat")}, "tfmot for qat to keep clusters"),
        ({"method": ("qat",), "then": "float16"}, "int8 after qat"),
        ({"sparsity": 1.0}, "sparsity"),
        ({"sparsity": 0.6, "two_of_four": True}, "two_of_four"),
        ({"method": ("cluster",), "clusters": 1}, "clusters"),
        ({"method": ("cluster",), "sparsity": 0.5}, "sparsity must be left out"),
        ({"method": ("qat",), "two_of_four": True}, "two_of_four must be left out"),
        ({"clusters": 16}, "clusters must be left out"),
        ({"engine": "tfmot"}, "engine must be left out"),
        ({"method": ("cluster",), "weight_decay": 1e-3}, "weight_decay must be left out"),
        ({"epochs": 0}, "epochs"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(UsageError, match=message):
        replace(CompressConfig(), **options).check()


@pytest.mark.once
def test_unknown_data(path, trained, tmp_path):
    trained.save(tmp_path / "alone.keras")
    with pytest.raises(UsageError, match="give --data"):
        compress(tmp_path / "alone.keras", CompressConfig())
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UsageError, match="no JSON"):
        compress(tmp_path / "alone.keras", CompressConfig())
    other = tmp_path / "other"
    other.mkdir()
    trained.save(other / "model.keras")
    (other / "config.json").write_text(json.dumps({"data": "digits"}))
    with pytest.raises(UsageError, match="same data"):
        sweep([path, other / "model.keras"], ["float32"], [], 1, tmp_path / "out")
