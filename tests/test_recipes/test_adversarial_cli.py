"""`gan`, `dcgan` and `adda` as commands: what they leave behind, how they fail."""

import json

import keras
import numpy as np
import pytest
from tiny import blobs

from keras_resnets import UsageError
from recipes.config import AddaConfig, GanConfig
from recipes.data import load
from recipes.generation import check


@pytest.fixture
def darker_file(tmp_path):
    """The blobs at half the brightness."""
    arrays = {
        f"{axis}_{part}": values // 2 if axis == "x" else values
        for part, (count, seed) in {"train": (96, 2), "test": (40, 3)}.items()
        for axis, values in zip("xy", blobs(count, seed), strict=True)
    }
    np.savez(tmp_path / "darker.npz", **arrays)
    return tmp_path / "darker.npz"


@pytest.mark.once
@pytest.mark.slow
def test_gan_of_two_seeds(cli, blobs_file, scorer_file, tmp_path):
    out = tmp_path / "gan"
    options = (
        "--data",
        blobs_file,
        "--epochs",
        2,
        "--batch-size",
        16,
        "--seeds",
        2,
        "--scorer",
        scorer_file,
        "--out",
        out,
    )
    code, printed, err = cli("gan", *options)
    assert (code, err) == (0, "")
    assert "FID" in printed
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["seeds"] == [0, 1]
    values = [run["fid"] for run in metrics["runs"]]
    assert metrics["fid"] == {"mean": pytest.approx(np.mean(values)), "std": pytest.approx(np.std(values, ddof=1))}
    assert metrics["runs"][0]["images"] == 40
    assert sum(metrics["runs"][0]["shares"]) == pytest.approx(1)
    for seed in (0, 1):
        assert {path.name for path in (out / f"seed{seed}").iterdir()} == {
            "checkpoint.before.npz",
            "checkpoint.npz",
            "curves.png",
            "film.gif",
            "generator.keras",
            "samples",
        }
    generator = keras.models.load_model(out / "seed1" / "generator.keras")
    assert generator.output_shape == (None, 16, 16, 3)

    code, _, err = cli("gan", *options)
    assert code == 2
    assert "--resume" in err
    code, _, err = cli("gan", *options, "--resume", "--latent", 7)
    assert code == 2
    assert "latent = 100, not 7" in err
    code, _, err = cli(
        "gan", "--data", blobs_file, "--epochs", 3, "--batch-size", 16, "--out", out, "--resume", "--seeds", 2
    )
    assert (code, err) == (0, "")
    assert [run["epoch"] for run in json.loads((out / "metrics.json").read_text())["runs"]] == [3, 3]


@pytest.mark.once
@pytest.mark.slow
def test_adda_and_the_way_to_a_file(cli, blobs_file, darker_file, tmp_path):
    out = tmp_path / "adda"
    options = ("--data", blobs_file, darker_file, "--source-epochs", 4, "--epochs", 4, "--out", out)
    code, printed, err = cli("adda", *options)
    assert (code, err) == (0, "")
    metrics = json.loads((out / "metrics.json").read_text())
    for key in ("source only", "adapted", "target supervised"):
        assert f"{metrics[key.replace(' ', '_')]['mean']:.2%}" in printed
    file = tmp_path / "target.tflite"
    code, printed, err = cli(
        "export", out / "target_model.keras", "--mode", "int8", "--data", darker_file, "--out", file
    )
    assert (code, err) == (0, "")
    assert "0 float operations" in printed


class TestMistakes:
    def test_of_the_command_line(self, cli, blobs_file, tmp_path):
        for arguments, message in (
            (("gan", "--data", "nothing"), "no data set named 'nothing'"),
            (("gan", "--data", blobs_file, "--batch-size", 999), "lower batch_size"),
            (("dcgan", "--data", blobs_file, "--width", 0), "width must be at least 1"),
            (("dcgan", "--data", blobs_file, "--seeds", 0), "--seeds 0: give at least 1"),
            (("adda", "--data", blobs_file, blobs_file), "data must be two domains"),
            (("adda", "--data", blobs_file, "digits"), "has 4 classes, digits 10"),
            (("adda", "--model", "resnet7"), "resnet7"),
            (("adda", "--model", "squeezenet1_1_cifar"), "ends in no dense layer"),
            (("gan", "--scorer", tmp_path / "typo.keras"), "typo.keras"),
            (("gan", "--seed", 2**32 - 1, "--seeds", 2), "above 2**32 - 1"),
        ):
            code, _, err = cli(*arguments, "--out", tmp_path / "out")
            assert code == 2
            assert message in err
            assert err.count("\n") == 1
        assert not (tmp_path / "out" / "config.json").exists()

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            (GanConfig(dropout=1.0), "dropout"),
            (GanConfig(smoothing=1.0), "smoothing"),
            (GanConfig(packing=3), "packing must be a divisor of batch_size, got 3"),
            (GanConfig(ema=1.0), "ema"),
            (GanConfig(learning_rate=0), "learning_rate"),
            (GanConfig(seed=-1), "seed"),
        ],
    )
    def test_of_a_config(self, config, message):
        with pytest.raises(UsageError, match=message):
            check(config, load("digits"))

    def test_of_adaptation(self):
        with pytest.raises(UsageError, match="units"):
            AddaConfig(units=0).check()
