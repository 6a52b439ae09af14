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
from recipes.schedules import optimizer_of
from recipes.train import CHECKPOINT, check, check_folder, close_run, is_finished, open_run, save, train

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


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_accuracy_is_that_of_the_model_that_is_written(smoothing, data):
    config = TrainConfig(model="resnet8", epochs=1, precision="mixed_bfloat16", label_smoothing=smoothing)
    run = train(config, data)
    assert run.model.dtype_policy.name == "float32"
    assert not run.model.compiled
    predicted = run.model.predict(data.x_test, verbose=0).argmax(-1)
    assert run.accuracy == pytest.approx(np.mean(predicted == data.y_test))


def test_the_model_takes_raw_pixels(run, data):
    layer = run.model.get_layer("normalize")
    mean, std = data.pixel_stats
    image = data.x_test[:1].astype("float32")
    found = keras.ops.convert_to_numpy(layer(image))
    np.testing.assert_allclose(found, (image - mean) / std, atol=1e-4)


def test_even_a_single_step_trains(data):
    run = train(TrainConfig(model="resnet8", epochs=1, batch_size=len(data.x_train)), data)
    assert np.abs(run.model.get_layer("head_dense").get_weights()[1]).max() > 0


def test_weight_decay_spares_normalisation_and_biases(run):
    optimizer = optimizer_of(run.config, 10)
    optimizer.build(run.model.trainable_variables)
    spared = {w.path for w in run.model.trainable_weights if not optimizer._use_weight_decay(w)}
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
        for augment in ((), ("crop", "flip"), ("distort",))
    ]
    assert np.isfinite(losses).all()
    assert np.diff(sorted(losses)).min() > 1e-3


def test_a_run_is_four_files(run, data, tmp_path):
    save(run, data, tmp_path)
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
    assert config["last_epoch"]["val_accuracy"] == run.history["val_accuracy"][-1]
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
        ({"warmup": 2.0}, "warmup must be a share"),
        ({"mixup": -1.0}, "mixup must be a number from 0"),
        ({"cutmix": float("inf")}, "cutmix must be a number from 0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be from 0 to below 1"),
        ({"drop_path": 1.0}, "drop_path must be from 0 to below 1"),
        ({"ema": 1.0}, "ema must be from 0 to below 1"),
        ({"clip": 0.0}, "clip must be a number above 0"),
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"image_size": 4}, "image_size must be at least 8"),
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


SMALL = TrainConfig(model="resnet8", epochs=3, batch_size=32, augment=("crop", "flip"))


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


RESUMED = {
    "crops": (SMALL, None),
    "within an epoch": (replace(SMALL, ema=0.9, mixup=0.2, accumulate=2), 2),
    "adamw": (replace(SMALL, augment=(), optimizer="adamw", schedule="onecycle", clip=1.0, label_smoothing=0.1), 1),
}


@pytest.mark.parametrize("kind", RESUMED)
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(kind, data, tmp_path, monkeypatch):
    config, every = RESUMED[kind]
    config = replace(config, drop_path=0.3)  # random numbers in the graph, too
    whole = train(config, data, folder=tmp_path / "whole", every=every)
    out = tmp_path / "run"
    open_run(config, out, resume=False, overwrite=False)
    with monkeypatch.context() as patched:
        patched.setattr("recipes.train.FitProgress", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, data, folder=out, every=every)
    open_run(config, out, resume=True, overwrite=False)
    resumed = train(config, data, folder=out, resume=True, every=every)
    for one, other in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert resumed.history == whole.history
    assert (out / "history.csv").read_text() == (tmp_path / "whole" / "history.csv").read_text()
    close_run(out)
    assert [path.name for path in out.iterdir()] == ["history.csv"]


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(data, tmp_path, capsys):
    whole = train(SMALL, data, folder=tmp_path)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:1000])
    resumed = train(SMALL, data, folder=tmp_path, resume=True)
    assert "checkpoint.npz cannot be read" in capsys.readouterr().out
    for one, other in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_averaged_weights_are_tested_and_kept(data):
    config = replace(SMALL, model="lenet5", ema=0.9, epochs=2)
    averaged, plain = train(config, data), train(replace(config, ema=0.0), data)
    averaged.model.compile(loss="sparse_categorical_crossentropy", jit_compile=False)
    loss = averaged.model.evaluate(data.x_test, data.y_test, verbose=0)
    assert loss == pytest.approx(averaged.history["val_loss"][-1], rel=1e-3)
    assert averaged.history["loss"] == pytest.approx(plain.history["loss"], rel=1e-3), "it trains as without"
    assert averaged.history["val_loss"] != pytest.approx(plain.history["val_loss"], rel=1e-3)


def test_a_network_is_kept_in_float32(data):
    config = replace(SMALL, epochs=1, precision="mixed_bfloat16")
    run = train(config, data)
    assert run.model.dtype_policy.name == keras.config.dtype_policy().name == "float32"
    assert {layer.compute_dtype for layer in run.model.layers} == {"float32"}
    full = train(replace(config, precision="float32"), data)
    assert run.history["loss"] == pytest.approx(full.history["loss"], rel=0.05)
    assert run.history["loss"] != full.history["loss"]


def test_images_that_are_mixed_learn_from_both_labels(data):
    config = replace(SMALL, model="lenet5", epochs=6, augment=(), label_smoothing=0.1, mixup=0.2, cutmix=1.0)
    run = train(config, data)
    assert run.history["val_accuracy"][-1] > 0.9
    entropy = -np.mean(np.log(run.model.predict(data.x_test, verbose=0)[np.arange(40), data.y_test]))
    assert run.history["val_loss"][-1] == pytest.approx(entropy, rel=1e-3)


def test_an_option_that_a_network_has_not_is_one_line(data):
    with pytest.raises(UsageError, match="drop_path"):
        train(replace(SMALL, model="lenet5", drop_path=0.5), data)


@pytest.mark.parametrize("said", ["RESOURCE_EXHAUSTED: Out of memory allocating 1 TiB", "OOM when allocating tensor"])
def test_memory_that_runs_out_is_one_line(said, data, tmp_path, monkeypatch):
    def full(*_, **__):
        raise RuntimeError(said)

    monkeypatch.setattr(keras.Model, "fit", full)
    with pytest.raises(UsageError, match=r"out of memory .*no epoch was done; take a smaller --batch-size"):
        train(SMALL, data, folder=tmp_path)


def test_randaugment_is_for_bytes(data):
    config = replace(SMALL, augment=("randaugment",))
    check(config, data)
    with pytest.raises(UsageError, match="randaugment is for pixels from 0 to 255"):
        check(config, replace(data, x_train=data.x_train / np.float32(255)))


def test_a_run_that_would_change_no_weight_is_refused(data):
    check(replace(SMALL, accumulate=9), data)  # 96 images in batches of 32, three times
    with pytest.raises(UsageError, match="accumulate=10: the run has 9 batches"):
        check(replace(SMALL, accumulate=10), data)


def test_labels_of_a_run_before_are_not_those_of_this_one(run, data, tmp_path):
    save(run, replace(data, names=("a", "b", "c", "d")), tmp_path)
    assert (tmp_path / "labels.txt").read_text() == "a\nb\nc\nd\n"
    save(run, data, tmp_path)
    assert not (tmp_path / "labels.txt").exists()


def test_events_for_tensorboard(data, tmp_path):
    train(replace(SMALL, epochs=2), data, folder=tmp_path, tensorboard=True)
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    for tag in (b"training/loss", b"validation/accuracy", b"training/learning_rate"):
        assert content.count(tag) == 2
    open_run(SMALL, tmp_path, resume=False, overwrite=True)
    assert not list((tmp_path / "tensorboard").iterdir())


def test_an_interrupted_run_is_not_lost(tmp_path):
    path = tmp_path / CHECKPOINT
    open_run(SMALL, tmp_path, resume=False, overwrite=False)
    open_run(SMALL, tmp_path, resume=True, overwrite=False)  # no epoch was done: it starts
    path.write_bytes(b"precious")
    with pytest.raises(UsageError, match="holds an interrupted run"):
        open_run(SMALL, tmp_path, resume=False, overwrite=False)
    with pytest.raises(UsageError, match=r"says learning_rate = None, not 0\.1"):
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
    open_run(SMALL, tmp_path, resume=False, overwrite=True)
    (tmp_path / CHECKPOINT).touch()
    open_run(SMALL, tmp_path, resume=True, overwrite=False)
    assert (tmp_path / "model.keras").read_text() == "precious"


def test_a_run_that_replaces_one_goes_on_where_it_was_killed_before_its_first_checkpoint(tmp_path):
    (tmp_path / "model.keras").write_text("old")
    open_run(SMALL, tmp_path, resume=False, overwrite=True)
    open_run(SMALL, tmp_path, resume=True, overwrite=False)
    with pytest.raises(UsageError, match="already holds a trained model"):
        open_run(SMALL, tmp_path, resume=False, overwrite=False)
    with pytest.raises(UsageError, match="says checkpoint_steps = None, not 5"):
        open_run(SMALL, tmp_path, 5, resume=True, overwrite=False)


def test_a_finished_run_is_known_by_its_settings(data, tmp_path):
    config = replace(SMALL, epochs=1)
    assert not is_finished(config, tmp_path)
    save(train(config, data), data, tmp_path)
    assert is_finished(config, tmp_path)
    assert not is_finished(replace(config, epochs=2), tmp_path)
    open_run(config, tmp_path, resume=False, overwrite=True)
    assert not is_finished(config, tmp_path), "it is being replaced"
    close_run(tmp_path)
    (tmp_path / "model.keras").unlink()
    assert not is_finished(config, tmp_path), "its model is gone"


def test_a_damaged_checkpoint_is_one_line(data, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"half")
    with pytest.raises(UsageError, match=r"cannot be read.*--overwrite"):
        train(SMALL, data, folder=tmp_path, resume=True)


def test_a_run_whose_loss_is_no_number_keeps_its_checkpoint(data, tmp_path):
    config = replace(SMALL, model="plain20", learning_rate=1e20)
    with pytest.raises(UsageError, match=r"epoch 1(, step|, which is not saved).*--learning-rate"):
        train(config, data, folder=tmp_path)
