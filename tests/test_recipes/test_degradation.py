"""The experiment of plain against residual networks."""

import json
from dataclasses import replace

import pytest

from keras_resnets import UsageError, create_model, model_info
from recipes import degradation as module
from recipes.config import DegradationConfig
from recipes.degradation import Network, Outcome, degradation, degradations, networks, sentences
from recipes.train import CHECKPOINT, Run, check_folder

pytestmark = pytest.mark.once

HISTORY = {"loss": [1.0], "accuracy": [0.6], "val_loss": [1.1], "val_accuracy": [0.5]}


def outcome(kind, depth, loss=1.0, accuracy=0.6, test=0.5, **options):
    history = {"loss": [2.0, loss], "accuracy": [0.1, accuracy], "val_loss": [2.0, 1.0], "val_accuracy": [0.1, test]}
    return Outcome(Network(kind, depth, options), 1000, 1_000_000, history, 1.0)


def test_a_plain_and_a_residual_network_of_every_depth():
    assert [one.label for one in networks(DegradationConfig())] == ["plain20", "resnet20", "plain56", "resnet56"]


def test_only_what_is_compared_is_in_a_name_and_plain_networks_have_no_branch():
    config = DegradationConfig(depths=(20,), shortcut=("A", "B"), norm=("batch", "group"), drop_path=(0.5,))
    assert [one.label for one in networks(config)] == [
        "plain20 norm=batch",
        "plain20 norm=group",
        "resnet20 shortcut=A norm=batch drop_path=0.5",
        "resnet20 shortcut=A norm=group drop_path=0.5",
        "resnet20 shortcut=B norm=batch drop_path=0.5",
        "resnet20 shortcut=B norm=group drop_path=0.5",
    ]


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_plain_and_residual_networks_cost_the_same(depth):
    plain, residual = (model_info(Network(kind, depth, {}).model) for kind in ("plain", "residual"))
    assert (plain.parameters, plain.macs, plain.depth) == (residual.parameters, residual.macs, residual.depth)


def test_every_option_is_one_of_the_networks():
    config = DegradationConfig(depths=(20,), shortcut=("C",), norm=("layer", "instance"), drop_path=(0.0, 0.3))
    for network in networks(config):
        create_model(network.model, **network.options)


def test_degradation_is_deepest_minus_shallowest_for_each_kind_and_option():
    outcomes = [
        outcome("plain", 56, 0.9, 0.7, 0.65),
        outcome("plain", 20, 0.5, 0.8, 0.75),
        outcome("plain", 32, 9.0),
        outcome("residual", 20, 0.5, 0.8, 0.75, shortcut="B"),
        outcome("residual", 56, 0.4, 0.85, 0.74, shortcut="B"),
        outcome("residual", 20, shortcut="C"),
    ]
    plain, residual = degradations(outcomes)
    assert (plain.label, plain.shallow, plain.deep) == ("plain", 20, 56)
    assert (plain.loss, plain.error, plain.test_error) == pytest.approx((0.4, 0.1, 0.1))
    assert residual.label == "residual shortcut=B"
    assert (residual.loss, residual.error, residual.test_error) == pytest.approx((-0.1, -0.05, 0.01))
    worse, better = sentences(outcomes)
    assert "plain: 56 layers train worse than 20: training loss +0.4000, training error +10.00 points" in worse
    assert "train no worse" in better


@pytest.fixture
def trained(monkeypatch):
    """Notes what is trained instead of training it."""
    done = []

    def train(config, data, folder, resume, **options):
        (folder / CHECKPOINT).touch()
        done.append((config.model, options))
        return Run(config, create_model("resnet8", input_shape=(16, 16, 3)), HISTORY, 0.5, 1.0, options)

    monkeypatch.setattr(module, "train", train)
    return done


def test_an_interrupted_experiment_goes_on(trained, blobs_file, tmp_path):
    config = DegradationConfig(data=str(blobs_file), depths=(20,), shortcut=("A", "B"), epochs=1)
    whole = degradation(config, tmp_path, resume=False, overwrite=False)
    assert trained == [("plain20", {}), ("resnet20", {"shortcut": "A"}), ("resnet20", {"shortcut": "B"})]
    results = (tmp_path / "degradation.json").read_text()
    for name in ("degradation.json", "resnet20-shortcut-B/outcome.json"):
        (tmp_path / name).unlink()
    del trained[:]
    again = degradation(config, tmp_path, resume=True, overwrite=False)
    assert trained == [("resnet20", {"shortcut": "B"})]
    assert again == whole
    assert json.loads((tmp_path / "degradation.json").read_text())["networks"] == json.loads(results)["networks"]


def test_what_was_there_is_no_result_of_an_experiment_that_replaces_it(trained, blobs_file, tmp_path, monkeypatch):
    config = DegradationConfig(data=str(blobs_file), depths=(20,), epochs=1)
    degradation(config, tmp_path, resume=False, overwrite=False)
    again = replace(config, epochs=2)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            degradation(again, tmp_path, resume=False, overwrite=True)
    assert not (tmp_path / "degradation.json").exists()
    del trained[:]
    degradation(again, tmp_path, resume=True, overwrite=False)
    assert [name for name, _ in trained] == ["plain20", "resnet20"]


def test_an_experiment_is_not_lost(trained, blobs_file, tmp_path):
    config = DegradationConfig(data=str(blobs_file), depths=(20,), epochs=1)
    degradation(config, tmp_path, resume=False, overwrite=False)
    with pytest.raises(UsageError, match="already holds an experiment"):
        degradation(config, tmp_path, resume=False, overwrite=False)
    with pytest.raises(UsageError, match="says epochs = 1, not 2"):
        degradation(replace(config, epochs=2), tmp_path, resume=True, overwrite=False)
    with pytest.raises(UsageError, match="give one of them"):
        degradation(config, tmp_path, resume=True, overwrite=True)
    del trained[:]
    degradation(replace(config, epochs=2), tmp_path, resume=False, overwrite=True)
    assert len(trained) == 2
    with pytest.raises(UsageError, match=r"already holds the config\.json of another run"):
        check_folder(tmp_path, overwrite=False)


def test_a_model_that_is_there_is_not_replaced(trained, blobs_file, tmp_path):
    (tmp_path / "plain20").mkdir()
    (tmp_path / "plain20" / "model.keras").write_text("precious")
    config = DegradationConfig(data=str(blobs_file), depths=(20,), epochs=1)
    with pytest.raises(UsageError, match="plain20 already holds a trained model"):
        degradation(config, tmp_path, resume=False, overwrite=False)
    assert trained == []


def test_what_was_trained_is_said_beside_each_model(trained, blobs_file, tmp_path):
    config = DegradationConfig(data=str(blobs_file), depths=(20,), norm=("group",), drop_path=(0.5,), epochs=1)
    degradation(config, tmp_path, resume=False, overwrite=False)
    said = json.loads((tmp_path / "resnet20-norm-group-drop_path-0.5" / "config.json").read_text())
    assert said["options"] == {"norm": "group", "drop_path": 0.5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": ()}, "depths must be given"),
        ({"depths": (20, 20)}, "depths must be different values"),
        ({"depths": (18,)}, "depths must be of 20, 32, 44, 56, 110, got"),
        ({"drop_path": (1.0,)}, "drop_path must be shares from 0"),
        ({"epochs": 0}, "epochs must be at least 1"),
    ],
)
def test_a_mistake_is_one_line(changes, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        degradation(replace(DegradationConfig(), **changes), tmp_path / "out", resume=False, overwrite=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_trains_and_draws(cli, blobs_file, tmp_path):
    options = ("--depths", 20, "--data", blobs_file, "--epochs", 1, "--out", tmp_path / "out")
    code, printed, err = cli("degradation", *options)
    assert (code, err) == (0, "")
    results = json.loads((tmp_path / "out" / "degradation.json").read_text())
    assert [one["label"] for one in results["networks"]] == ["plain20", "resnet20"]
    for one in results["networks"]:
        assert f"{one['history']['val_accuracy'][-1]:.2%}" in printed
    assert (tmp_path / "out" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "plain20" / "model.keras").exists()


def test_the_command_states_the_degradation(cli, trained, blobs_file, tmp_path):
    code, printed, err = cli("degradation", "--data", blobs_file, "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert "plain: 56 layers train no worse than 20: training loss +0.0000" in printed
    assert [model for model, _ in trained] == ["plain20", "resnet20", "plain56", "resnet56"]
