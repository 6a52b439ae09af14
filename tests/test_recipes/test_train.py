import csv
import json
from dataclasses import replace

import keras
import numpy as np
import pytest

from keras_resnets import UsageError
from recipes.config import TrainConfig
from recipes.data import load
from recipes.plots import draw_curves
from recipes.train import CHECKPOINT, check, check_folder, close_run, open_run, save, train

EPOCHS = 10


@pytest.fixture(scope="module")
def data(blobs_file):
    return load(str(blobs_file))


@pytest.fixture(scope="module")
def run(data):
    return train(TrainConfig(model="resnet20", epochs=EPOCHS, batch_size=16), data)


def test_training_learns(run, data):
    assert run.history["val_accuracy"][-1] > 0.9
    predicted = run.model.predict(data.x_test, verbose=0).argmax(-1)
    assert np.mean(predicted == data.y_test) == pytest.approx(run.history["val_accuracy"][-1])


def test_the_model_takes_raw_pixels(run, data):
    layer = run.model.get_layer("normalize")
    mean, std = data.pixel_stats
    image = data.x_test[:1].astype("float32")
    found = keras.ops.convert_to_numpy(layer(image))
    np.testing.assert_allclose(found, (image - mean) / std, atol=1e-4)


def test_the_schedule_warms_up_and_decays_to_zero(run, data):
    steps = EPOCHS * 6
    rates = [float(run.model.optimizer._learning_rate(step)) for step in (0, steps // 10, steps)]
    assert rates == pytest.approx([0.05 / (steps // 10), 0.05, 0.0], abs=1e-6)


def test_even_a_single_step_trains(data):
    run = train(TrainConfig(model="resnet8", epochs=1, batch_size=len(data.x_train)), data)
    assert np.abs(run.model.get_layer("head_dense").get_weights()[1]).max() > 0


def test_weight_decay_spares_normalisation_and_biases(run):
    spared = {w.path for w in run.model.trainable_weights if not run.model.optimizer._use_weight_decay(w)}
    assert spared == {w.path for w in run.model.trainable_weights if not w.path.endswith("kernel")}


def test_a_diverged_run_is_one_line(data):
    with pytest.raises(UsageError, match=r"diverged in epoch .*lower the learning rate"):
        train(TrainConfig(model="plain20", epochs=2, batch_size=16, learning_rate=1e20), data)


def test_a_seed_decides_the_run(data):
    config = TrainConfig(model="lenet5", epochs=1, batch_size=32, seed=3)
    first, second = train(config, data), train(config, data)
    assert first.history["loss"] == pytest.approx(second.history["loss"], rel=1e-3)
    other = train(TrainConfig(model="lenet5", epochs=1, batch_size=32, seed=4), data)
    assert other.history["loss"] != pytest.approx(first.history["loss"], rel=1e-3)


def test_augmented_images_are_what_it_learns_from(data):
    losses = [
        train(TrainConfig(model="lenet5", epochs=1, batch_size=32, augment=augment), data).history["loss"][0]
        for augment in ("none", "crops", "distortions")
    ]
    assert np.isfinite(losses).all()
    assert np.diff(sorted(losses)).min() > 1e-3


def test_a_run_is_four_files(run, data, tmp_path):
    save(run, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "curves.png",
        "history.csv",
        "model.keras",
    ]
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        loaded.predict(data.x_test, verbose=0), run.model.predict(data.x_test, verbose=0), atol=1e-6
    )
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(1, EPOCHS + 1)]
    assert [float(row["val_accuracy"]) for row in rows] == run.history["val_accuracy"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model"] == "resnet20"
    assert config["batch_size"] == 16
    assert config["backend"] == keras.backend.backend()
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_trained_model_is_not_overwritten_by_accident(tmp_path):
    (tmp_path / "model.keras").write_text("precious")
    with pytest.raises(UsageError, match="--overwrite"):
        check_folder(tmp_path, overwrite=False)
    check_folder(tmp_path, overwrite=True)
    assert (tmp_path / "model.keras").read_text() == "precious"


@pytest.mark.parametrize(("small", "expected"), [(1000, 32), (96, 128)])
def test_batch_size_follows_the_size_of_the_set(data, monkeypatch, small, expected):
    monkeypatch.setattr("recipes.train.SMALL_SET", small)
    assert train(TrainConfig(model="resnet8", epochs=1), data).config.batch_size == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number above 0"),
        ({"weight_decay": -1.0}, "weight_decay must be a number from 0"),
        ({"seed": -1}, "seed must be from 0"),
    ],
)
def test_a_wrong_setting_is_one_line(data, options, message):
    with pytest.raises(UsageError, match=message):
        check(TrainConfig(model="resnet8", **options), data)


def test_curves_show_training_and_test_of_every_model():
    history = {"loss": [2.0, 1.0], "accuracy": [0.1, 0.6], "val_loss": [2.5, 1.5], "val_accuracy": [0.1, 0.5]}
    loss, accuracy = draw_curves({"a": history, "b": history}).axes
    assert [line.get_ydata().tolist() for line in loss.lines] == [[2.0, 1.0], [2.5, 1.5]] * 2
    assert [line.get_ydata().tolist() for line in accuracy.lines] == [[0.1, 0.6], [0.1, 0.5]] * 2


SMALL = TrainConfig(model="resnet8", epochs=3, batch_size=32, augment="crops")


class Interrupted(keras.callbacks.Callback):
    """Ends a run in the middle of its second epoch, as a killed process would."""

    def __init__(self, *_):
        super().__init__()
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 1):
            raise KeyboardInterrupt


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, augment="none")], ids=["crops", "none"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(config, data, tmp_path, monkeypatch):
    options = {"drop_path": 0.3}  # random numbers in the graph, too
    whole = train(config, data, checkpoint=tmp_path / "whole.npz", **options)
    path = open_run(config, tmp_path / "run", resume=False, overwrite=False)
    with monkeypatch.context() as patched:
        patched.setattr("recipes.train.FitProgress", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, data, checkpoint=path, **options)
    assert open_run(config, tmp_path / "run", resume=True, overwrite=False) == path
    resumed = train(config, data, checkpoint=path, resume=True, **options)
    for one, other in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert resumed.history == whole.history
    close_run(path)
    assert not list((tmp_path / "run").iterdir())


def test_an_interrupted_run_is_not_lost(tmp_path):
    path = open_run(SMALL, tmp_path, resume=False, overwrite=False)
    assert path == open_run(SMALL, tmp_path, resume=True, overwrite=False), "no epoch was done: it starts"
    path.write_bytes(b"precious")
    with pytest.raises(UsageError, match="holds an interrupted run"):
        open_run(SMALL, tmp_path, resume=False, overwrite=False)
    with pytest.raises(UsageError, match=r"says learning_rate = 0\.05, not 0\.1"):
        open_run(replace(SMALL, learning_rate=0.1), tmp_path, resume=True, overwrite=False)
    with pytest.raises(UsageError, match="give one of them"):
        open_run(SMALL, tmp_path, resume=True, overwrite=True)
    assert path.read_bytes() == b"precious"
    path.with_suffix(".json").write_text("no json")
    with pytest.raises(UsageError, match="does not say what"):
        open_run(SMALL, tmp_path, resume=True, overwrite=False)
    open_run(SMALL, tmp_path, resume=False, overwrite=True)
    assert not path.exists()


def test_a_finished_run_stays_while_it_is_replaced(tmp_path):
    (tmp_path / "model.keras").write_text("precious")
    path = open_run(SMALL, tmp_path, resume=False, overwrite=True)
    path.touch()
    open_run(SMALL, tmp_path, resume=True, overwrite=False)
    assert (tmp_path / "model.keras").read_text() == "precious"


def test_a_damaged_checkpoint_is_one_line(data, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"half")
    with pytest.raises(UsageError, match=r"cannot be read.*--overwrite"):
        train(SMALL, data, checkpoint=tmp_path / CHECKPOINT, resume=True)


def test_a_run_whose_loss_is_no_number_keeps_its_checkpoint(data, tmp_path):
    config = replace(SMALL, model="plain20", learning_rate=1e20)
    with pytest.raises(UsageError, match=r"epoch 1(, step|, which is not saved).*--learning-rate"):
        train(config, data, checkpoint=tmp_path / CHECKPOINT)
