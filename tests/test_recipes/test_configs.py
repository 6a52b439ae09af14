"""The settings of published results."""

import re
import shutil
from pathlib import Path

import pytest

import recipes.configs
from keras_resnets import UsageError, get_variant
from recipes.config import TrainConfig
from recipes.configs import find_config, list_configs
from recipes.sources import made_up

pytestmark = pytest.mark.once


@pytest.mark.parametrize("name", list_configs())
def test_a_file_says_what_it_is_to_reach_and_how(name):
    config = find_config(name)
    config.check()
    get_variant(config.model)
    text = (Path(recipes.configs.__file__).parent / f"{name}.py").read_text()
    assert re.search(rf"^    keras-resnets train --config {name} (--data imagenet )?--out runs/{name}$", text, re.M)
    assert re.search(r"^Expected: ", text, re.M)
    assert re.search(r"^Takes: .* (minutes|hours|days) on ", text, re.M)
    assert re.search(r"^Source: ", text, re.M)
    assert list_configs()[name]


def test_a_config_gives_the_defaults_of_the_command(cli, tmp_path):
    options = ("--config", "resnet8_cifar10", "--epochs", "7", "--smoke")
    code, out, err = cli("train", *options, "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    assert "on images that are made up" in out
    assert '"model": "resnet8"' in (tmp_path / "run" / "smoke" / "config.json").read_text()
    code, out, _ = cli("train", "--config=resnet8_cifar10", "--help")
    assert code == 0
    assert re.search(r"default:\W+resnet8\)", out)


def test_noise_has_the_shape_of_the_data(tmp_path, monkeypatch, blobs_file):
    def shape(data):
        _, found = made_up(TrainConfig(model="resnet8", data=str(data), image_size=64))
        return *found.image_shape, found.classes

    monkeypatch.delenv("KERAS_RESNETS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert shape("cifar100") == (32, 32, 3, 100)
    assert shape("imagenet") == (64, 64, 3, 1000)
    assert shape(blobs_file) == (16, 16, 3, 4)
    (tmp_path / "mnist").mkdir()  # a folder of that name is no data set
    assert shape("mnist") == (28, 28, 1, 10)
    for name in "abc":
        (tmp_path / "photos" / "train" / name).mkdir(parents=True)
    assert shape(tmp_path / "photos") == (64, 64, 3, 3)
    monkeypatch.setenv("KERAS_RESNETS_DATA", str(tmp_path))
    for name in ("cifar100", "own"):
        shutil.copy(blobs_file, tmp_path / f"{name}.npz")
        assert shape(name) == (16, 16, 3, 4)
    with pytest.raises(UsageError, match="no data set named 'none'"):
        shape("none")


def test_an_unknown_config_is_one_line(cli):
    code, _, err = cli("train", "--config", "resnet9", "--out", "x")
    assert code == 2
    assert "no settings named 'resnet9'; `keras-resnets configs` lists them" in err


def test_the_list(cli):
    code, out, _ = cli("configs")
    assert code == 0
    assert re.search(r"^resnet20_cifar10 +ResNet-20 on CIFAR-10: 91\.25% in the paper\.$", out, re.M)
    assert "_cifar " not in out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seresnet20_cifar10", "mobilenetv2_x0_5_cifar10"])
def test_smoke(cli, tmp_path, name):
    code, _, err = cli("train", "--config", name, "--smoke", "--out", tmp_path)
    assert (code, err) == (0, "")
