"""The command line as a user meets it: what it prints, what it leaves behind, how it fails."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import export
from export import Calibration
from export.report.columns import speedup
from export.results import read_results
from keras_resnets import list_models
from recipes.commands import COMMANDS
from recipes.commands.exporting import Export


def test_help_names_every_command(cli):
    code, out, _ = cli("--help")
    assert code == 0
    for command in COMMANDS:
        assert command in out


@pytest.mark.once
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_every_option(cli, command):
    code, out, _ = cli(command, "--help")
    assert code == 0
    for field in COMMANDS[command].__dataclass_fields__:
        flag, positional = f"--{field.replace('_', '-')}", f"│ {field.upper()}"
        assert flag in out or positional in out


def test_list_prints_names_and_papers(cli):
    code, out, _ = cli("list", "resnet*")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list_models("resnet*")
    assert "He et al. 2015" in out


def test_info_prints_what_a_network_costs(cli):
    code, out, _ = cli("info", "resnet20")
    assert code == 0
    for fact in ("269,722", "40,551,040", "20 layers, as the paper counts them", "Table 6", "32 x 32 x 3", "shortcut"):
        assert fact in out


@pytest.mark.slow
def test_three_steps(cli, blobs_file, tmp_path):
    folder, file = tmp_path / "r20", tmp_path / "r20.tflite"
    train = ("train", "--model", "resnet20", "--data", blobs_file, "--epochs", 6, "--out", folder, "--batch-size", 16)
    code, out, err = cli(*train)
    assert (code, err) == (0, "")
    assert "test accuracy" in out
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "curves.png", "history.csv", "model.keras"]

    code, _, err = cli(*train)
    assert code == 2
    assert "--overwrite" in err

    code, out, err = cli("export", folder / "model.keras", "--mode", "int8", "--data", blobs_file, "--out", file)
    assert (code, err) == (0, "")
    assert "0 float operations" in out
    recipe = json.loads(file.with_name("r20.tflite.json").read_text())
    assert recipe["calibration"]["indices"]

    options = (
        "--mode",
        "mixed",
        "--budget",
        0.05,
        "--images",
        40,
        "--data",
        blobs_file,
        "--out",
        tmp_path / "mixed.tflite",
    )
    code, out, err = cli("export", folder / "model.keras", *options)
    assert (code, err) == (0, "")
    assert "plan: " in out

    code, out, err = cli("diagnose", folder / "model.keras", file, "--data", blobs_file, "--plot", tmp_path / "a.png")
    assert (code, err) == (0, "")
    assert "noise entered" in out
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")

    options = ("--reference", folder / "model.keras", "--runtime", "litert", "--out", tmp_path / "bench")
    code, out, err = cli("bench", file, "--data", blobs_file, *options)
    assert (code, err) == (0, "")
    assert "int8" in out
    assert f"{file.stat().st_size:,}" in out
    assert f"{recipe['verification']['agreement']:.2%}" in out


@pytest.mark.once
def test_photos_that_calibrate_take_no_image_from_the_search(data, monkeypatch):
    searched = []
    monkeypatch.setattr(export, "search_plan", lambda model, calibration, images, *_, **__: searched.append(images))
    command = Export(Path("a.keras"), Path("a.tflite"), mode="mixed", budget=0.1, data="blobs", photos=Path("photos"))
    photos = Calibration(np.zeros((len(data.x_train), *data.image_shape)), "photos", tuple(range(len(data.x_train))))
    command._search_plan(None, data, photos)
    assert len(searched[0]) == len(data.x_train)


@pytest.mark.slow
@pytest.mark.once
def test_quickstart_leaves_report_results_and_files(cli, blobs_file, tmp_path):
    out = tmp_path / "quick"
    options = ("--data", blobs_file, "--models", "resnet8", "plain20", "--epochs", 2, "--seed", 5)
    code, printed, err = cli("quickstart", *options, "--out", out)
    assert (code, err) == (0, "")
    results = read_results(out / "results.json")
    assert (results.seed, results.environment["training"].split(",")[0]) == (5, "2 epochs")
    assert [(entry.model, entry.mode) for entry in results.entries] == [
        (model, mode) for model in ("resnet8", "plain20") for mode in ("float32", "float16", "dynamic", "int8")
    ]
    faster = speedup(results.entries)
    for entry in results.entries:
        assert (out / entry.file).stat().st_size == entry.bytes
        assert entry.images == 40
        for figure in (f"{entry.bytes:,}", f"{entry.accuracy:.2%}", f"{entry.agreement:.2%}", faster.text(entry)):
            assert figure in printed
        assert (entry.float_operations == 0) == (entry.mode == "int8")
    page = (out / "report.html").read_text()
    assert "(96 images of 16x16x3) for 2 epochs with seed 5, and exported 4 ways; timed in LiteRT" in page
    assert page.count("data:image/svg+xml") == 1  # the training's curves
    assert "Accuracy against latency" in page
    code, printed, err = cli("choose", out / "results.json", "--max-bytes", "10M")
    assert (code, err) == (0, "")
    assert "model.keras" in printed


@pytest.fixture
def broken(tmp_path, blobs_file):
    """Files that a user might hand over by mistake."""
    data = dict(np.load(blobs_file))
    np.savez(tmp_path / "keys.npz", images=data["x_train"])
    np.savez(tmp_path / "labels.npz", **data | {"y_test": data["y_test"] + 9})
    np.savez(tmp_path / "small.npz", **data | {key: data[key][:, :3, :3] for key in ("x_train", "x_test")})
    five = {key: np.append(data[key], np.uint8(4)) for key in ("y_train", "y_test")}
    five |= {key: np.concatenate([data[key], data[key][:1]]) for key in ("x_train", "x_test")}
    np.savez(tmp_path / "five.npz", **five)
    np.savez(tmp_path / "grey.npz", **data | {key: data[key][..., :1] for key in ("x_train", "x_test")})
    (tmp_path / "broken.keras").write_text("no model")
    (tmp_path / "broken.tflite").write_text("no model")
    (tmp_path / "file").write_text("a file where a folder should be")
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


MISTAKES = {
    "no models": (["quickstart", "--out", "x", "--models"], "at least one model"),
    "negative seed": (["export", "MODEL", "--out", "x.tflite", "--data", "grey.npz", "--seed", "-1"], "seed from 0"),
    "impossible agreement": (["export", "MODEL", "--out", "x.tflite", "--min-agreement", "2"], "from 0 to 1"),
    "no threads": (["bench", "broken.tflite", "--threads", "0"], "threads must be at least 1"),
    "a model in the way": (["quickstart", "--models", "resnet20", "--out", "."], "already holds a trained model"),
    "a folder in the way": (["quickstart", "--models", "resnet8", "--out", "."], "report.html: it is a folder"),
    "no command": ([], "Expected one of"),
    "unknown command": (["fly"], "fly"),
    "unknown option": (["list", "--colour"], "colour"),
    "no model": (["train", "--out", "x"], "--model"),
    "not a number": (["train", "--model", "resnet8", "--out", "x", "--epochs", "many"], "many"),
    "no epochs": (["train", "--model", "resnet8", "--out", "x", "--epochs", "0"], "epochs must be at least 1"),
    "unknown model": (["train", "--model", "resnte20", "--out", "x"], "did you mean resnet20"),
    "unknown model to show": (["info", "lenet"], "no model named 'lenet'"),
    "nothing listed": (["list", "nothing*"], "no model matches 'nothing*'"),
    "unknown model in quickstart": (["quickstart", "--models", "resnet8", "lenet", "--out", "x"], "'lenet'"),
    "unknown data": (
        ["train", "--model", "resnet8", "--out", "x", "--data", "imagenot"],
        "no data set named 'imagenot'",
    ),
    "missing data file": (["quickstart", "--out", "x", "--data", "no.npz"], "no data file no.npz"),
    "wrong keys": (["train", "--model", "resnet8", "--out", "x", "--data", "keys.npz"], "it holds images"),
    "labels outside": (["train", "--model", "resnet8", "--out", "x", "--data", "labels.npz"], "y_test holds class"),
    "images too small": (["train", "--model", "resnet8", "--out", "x", "--data", "small.npz"], "at least 4x4 pixels"),
    "too small for one": (["quickstart", "--models", "resnet8", "--out", "x", "--data", "small.npz"], "4x4 pixels"),
    "folder not writable": (["train", "--model", "resnet8", "--out", "file/x"], "cannot write into file/x"),
    "report not writable": (["quickstart", "--models", "resnet8", "--out", "file"], "cannot write into file"),
    "missing model file": (["export", "no.keras", "--out", "x.tflite"], "no model file no.keras"),
    "broken model file": (["export", "broken.keras", "--out", "x.tflite"], "cannot be loaded"),
    "unknown mode": (["export", "no.keras", "--out", "x.tflite", "--mode", "int3"], "no mode named 'int3'"),
    "half a plan": (["export", "MODEL", "--out", "x.tflite", "--mode", "mixed", "--plan", "stem"], "--plan stem"),
    "budget without data": (["export", "MODEL", "--out", "x.tflite", "--mode", "mixed", "--budget", "0"], "--budget"),
    "no labels": (["export", "MODEL", "--out", "x.tflite", "--labels", "none.txt"], "--labels none.txt cannot be read"),
    "author without labels": (
        ["export", "MODEL", "--out", "x.tflite", "--author", "me"],
        "--author goes into the file",
    ),
    "no photos": (["export", "MODEL", "--out", "x.tflite", "--mode", "int8", "--photos", "none"], "no photos in none"),
    "diagnosis of nothing": (["diagnose", "MODEL", "no.tflite", "--data", "grey.npz"], "no file no.tflite"),
    "plot of no kind": (
        ["diagnose", "MODEL", "no.tflite", "--data", "grey.npz", "--plot", "a.txt"],
        "--plot a.txt: give it the suffix .png, .svg or .pdf",
    ),
    "more classes than the model": (
        ["compress", "MODEL", "--data", "five.npz", "--out", "x"],
        "resnet20 has 4 classes, five.npz has 5",
    ),
    "nobody's model to sweep": (["sweep", "MODEL", "--out", "x"], "not a model as `keras-resnets train` leaves it"),
    "int8 without data": (["export", "MODEL", "--out", "x.tflite", "--mode", "int8"], "needs training images"),
    "wrong data to export": (["export", "MODEL", "--out", "x.tflite", "--data", "grey.npz"], "do not fit"),
    "wrong suffix": (["export", "MODEL", "--out", "x"], "suffix .tflite"),
    "export not writable": (["export", "MODEL", "--out", "file/x.tflite"], "cannot write into file"),
    "nothing to measure": (["bench"], "at least one .tflite file"),
    "missing file to measure": (["bench", "no.tflite"], "no file no.tflite"),
    "broken file to measure": (["bench", "broken.tflite"], "does not run in LiteRT"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(cli, broken, trained, monkeypatch, mistake):
    arguments, message = MISTAKES[mistake]
    monkeypatch.chdir(broken)
    trained.save("model.keras")
    if mistake == "a model in the way":
        Path("resnet20").mkdir()
        Path("resnet20/model.keras").write_text("precious")
    if mistake == "a folder in the way":
        Path("report.html").mkdir()
    before = contents(broken)
    code, out, err = cli(*("model.keras" if word == "MODEL" else word for word in arguments))
    assert code == 2
    assert err.startswith("keras-resnets: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert "Traceback" not in out + err
    assert contents(broken) == before


@pytest.mark.once
def test_a_mistake_has_its_exit_code_and_line_in_a_real_process():
    command = [sys.executable, "-m", "recipes", "info", "lenet"]
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    found = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.startswith("keras-resnets: error: no model named 'lenet'")
    assert found.stderr.count("\n") == 1


@pytest.mark.once
def test_an_unknown_backend_is_one_line():
    command = [sys.executable, "-m", "recipes", "list"]
    found = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"KERAS_BACKEND": "abacus"}, check=False
    )
    assert found.returncode == 2
    assert "KERAS_BACKEND='abacus'" in found.stderr
    assert found.stderr.count("\n") == 1


@pytest.mark.once
def test_a_closed_pipe_is_no_mistake():
    script = f"{sys.executable} -m recipes list | true; exit ${{PIPESTATUS[0]}}"
    found = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, check=False)
    assert found.returncode == 0
    assert "keras-resnets: error" not in found.stderr


@pytest.mark.once
def test_help_does_not_wait_for_keras():
    code = "import sys; import recipes.__main__; assert 'keras' not in sys.modules; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.once
def test_a_terminated_export_leaves_nothing_behind(tmp_path, trained):
    folder = tmp_path / "temporary"
    folder.mkdir()
    trained.save(tmp_path / "model.keras")
    command = ["export", tmp_path / "model.keras", "--mode", "float32", "--out", tmp_path / "a.tflite"]
    export = subprocess.Popen(
        [sys.executable, "-m", "recipes", *command],
        env=os.environ | {"TMPDIR": str(folder), "KERAS_BACKEND": "jax"},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not any(folder.glob("*/wanted.json")):  # what the process that converts is told
        assert export.poll() is None, "it ends before the converter begins"
        time.sleep(0.01)
    export.terminate()
    _, error = export.communicate(timeout=60)
    assert (export.returncode, error.splitlines()[-1]) == (143, "keras-resnets: error: terminated")
    assert not [*folder.iterdir(), *tmp_path.glob("*a.tflite*")]


def test_a_terminated_training_ends_at_its_next_step_with_its_checkpoint(tmp_path, blobs_file):
    command = ["train", "--model", "resnet8", "--data", blobs_file, "--epochs", "100000", "--out", tmp_path / "run"]
    training = subprocess.Popen(
        [sys.executable, "-m", "recipes", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "run" / "checkpoint.npz").exists():
        assert training.poll() is None, "it ends before its first epoch"
        time.sleep(0.05)
    time.sleep(1)  # anywhere in an epoch
    training.terminate()
    _, error = training.communicate(timeout=60)
    assert (training.returncode, error.splitlines()[-1]) == (143, "keras-resnets: error: terminated")
    assert (tmp_path / "run" / "checkpoint.npz").exists()


@pytest.mark.once
def test_a_training_waits_for_no_export():
    code = (
        "import sys; from recipes import adda, degradation, generation, train; "
        "assert not {'ai_edge_litert', 'ai_edge_quantizer', 'tensorflow'} & set(sys.modules)"
    )
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, stderr=subprocess.DEVNULL)
