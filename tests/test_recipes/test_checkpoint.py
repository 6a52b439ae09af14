"""What a killed run leaves behind, and what goes on from it."""

import os
import signal
import subprocess
import sys
import time
from typing import ClassVar

import keras
import numpy as np
import pytest
from games import tiny_game

from keras_resnets import UsageError
from recipes.checkpoint import (
    Checkpoints,
    Progress,
    is_begun,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
    state_of,
)
from recipes.config import DcganConfig, GanConfig
from recipes.gan import batches
from recipes.generation import build, draw, sampled_generator, scaled
from recipes.runs import open_runs


def state(model):
    return [keras.ops.convert_to_numpy(one.value).copy() for one in (*model.variables, *model.optimizer.variables)]


def assert_same(left, right):
    assert len(left) == len(right)
    assert all(np.array_equal(*pair) for pair in zip(left, right, strict=True))


class TestFile:
    def test_brings_everything_back(self, tmp_path):
        model, data = tiny_game("conv")
        model.fit(data, steps_per_epoch=2, shuffle=False, verbose=0)
        before = state(model)
        save_checkpoint(tmp_path / "a.npz", state_of(model), Progress(3, {"d_loss": [1.0, 0.5, 0.25]}))
        other, _ = tiny_game("conv")
        other.compile({name: keras.optimizers.Adam(0.1, beta_1=0.5) for name in other.players}, jit_compile=False)
        progress = load_checkpoint(tmp_path / "a.npz", other)
        assert progress == Progress(3, {"d_loss": [1.0, 0.5, 0.25]})
        assert_same(state(other), before)

    def test_a_damaged_one_changes_nothing(self, tmp_path):
        path = tmp_path / "a.npz"
        model, _ = tiny_game("dense")
        save_checkpoint(path, state_of(model), Progress(1, {}))
        whole = path.read_bytes()
        for content in (whole[: len(whole) // 2], b"", b"no zip"):
            path.write_bytes(content)
            before = state(model)
            with pytest.raises(UsageError, match=r"a\.npz cannot be read: .*--overwrite"):
                load_checkpoint(path, model)
            assert_same(state(model), before)

    def test_the_one_before_stays(self, tmp_path):
        path = tmp_path / "a.npz"
        model, data = tiny_game("dense")
        save_checkpoint(path, state_of(model), Progress(1))
        first = state(model)
        model.fit(data, steps_per_epoch=1, shuffle=False, verbose=0)
        save_checkpoint(path, state_of(model), Progress(2))
        assert load_checkpoint(path, model).epoch == 2
        path.write_bytes(b"half")
        assert load_checkpoint(path, model).epoch == 1
        assert_same(state(model), first)
        path.unlink()  # killed between the two renamings
        assert is_begun(path)
        assert load_checkpoint(path, model).epoch == 1
        remove_checkpoint(path)
        assert not is_begun(path)

    def test_of_another_network(self, tmp_path):
        save_checkpoint(tmp_path / "a.npz", state_of(tiny_game("dense")[0]), Progress(1, {}))
        with pytest.raises(UsageError, match="another network"):
            load_checkpoint(tmp_path / "a.npz", tiny_game("conv")[0])


class Kill(keras.callbacks.Callback):
    """Ends a run in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch, self.now = epoch, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now == self.epoch and batch == 1:
            raise KeyboardInterrupt


CONFIGS = {
    "gan": GanConfig(batch_size=16, latent=4, dropout=0.5),
    "dcgan": DcganConfig(batch_size=16, latent=4, width=4, ema=0.9),
    "spectral": DcganConfig(batch_size=16, latent=4, width=4, spectral=True, packing=2),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_interrupted_run_ends_like_one_that_was_not(kind, data, tmp_path):
    config = CONFIGS[kind]
    images = scaled(data.x_train[:64], config)

    def fit(path, *callbacks):
        model = build(config, data.image_shape)
        before = load_checkpoint(path, model) if path.exists() else Progress()
        saved = Checkpoints(path, before, config.seed)
        stream = batches(images, config.latent, config.batch_size, 1, config.seed, before.epoch)
        model.fit(
            stream,
            steps_per_epoch=4,
            epochs=3,
            initial_epoch=before.epoch,
            shuffle=False,
            verbose=0,
            callbacks=[saved, *callbacks],
        )
        return model, saved.progress.history

    model, history = fit(tmp_path / "whole.npz")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "parts.npz", Kill(1))
    again, resumed = fit(tmp_path / "parts.npz")
    samples = [draw(sampled_generator(one, config), config, 5) for one in (model, again)]
    assert np.array_equal(*samples)
    assert_same(state(again), state(model))  # and drawing has used up nothing
    assert resumed == history
    assert [len(values) for values in history.values()] == [3, 3]


def test_a_loss_that_is_no_number_keeps_the_epoch_before(tmp_path):
    model, data = tiny_game("conv")

    def poisoned():
        for step in range(100):
            images, latents = next(data)
            yield images * (np.nan if step == 6 else 1), latents

    with pytest.raises(UsageError, match=r"d_loss is nan in epoch 2, step 3; .*a\.npz keeps epoch 1"):
        model.fit(
            poisoned(),
            steps_per_epoch=4,
            epochs=3,
            shuffle=False,
            verbose=0,
            callbacks=[Checkpoints(tmp_path / "a.npz", Progress(), seed=0)],
        )
    other, _ = tiny_game("conv")
    assert load_checkpoint(tmp_path / "a.npz", other).epoch == 1
    assert all(np.isfinite(values).all() for values in state(other))


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    model, data = tiny_game("conv")

    class Poison(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                model.players["generator"].trainable_variables[0].assign_add(np.nan)

    saved = Checkpoints(tmp_path / "a.npz", Progress(), seed=0)
    with pytest.raises(UsageError, match="holds no numbers after epoch 2, which is not saved"):
        model.fit(data, steps_per_epoch=2, epochs=3, shuffle=False, verbose=0, callbacks=[Poison(), saved])
    assert load_checkpoint(tmp_path / "a.npz", tiny_game("conv")[0]).epoch == 1


def test_within_an_epoch_neither(tmp_path):
    model, data = tiny_game("conv")

    class Poison(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model.players["generator"].trainable_variables[0].assign_add(np.nan)

    saved = Checkpoints(tmp_path / "a.npz", Progress(), seed=0, every=1)
    with pytest.raises(UsageError, match=r"holds no numbers after step 2 of epoch 1, which is not saved"):
        model.fit(data, steps_per_epoch=4, epochs=1, shuffle=False, verbose=0, callbacks=[Poison(), saved])
    assert load_checkpoint(tmp_path / "a.npz", tiny_game("conv")[0]).step == 1


def test_a_moving_average_is_sampled_when_asked_for(data):
    config = CONFIGS["dcgan"]
    model = build(config, data.image_shape)
    generator = model.players["generator"]
    average: list[np.ndarray] = []
    stream = batches(scaled(data.x_train, config), config.latent, config.batch_size, 1, 0)
    for _ in range(3):
        model.train_on_batch(*next(stream))
        now = [keras.ops.convert_to_numpy(one.value) for one in generator.trainable_variables]
        average = [0.9 * old + 0.1 * new for old, new in zip(average or now, now, strict=True)]  # starts at the first
    copy = sampled_generator(model, config)
    for found, expected in zip(copy.trainable_variables, average, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(found.value), expected, rtol=1e-5, atol=1e-6)
    before, norms = (
        [layer for layer in one.layers if isinstance(layer, keras.layers.BatchNormalization)]
        for one in (generator, copy)
    )
    assert [norm.momentum for norm in norms] == [norm.momentum for norm in before]
    latents = np.random.default_rng(5).standard_normal((500, config.latent), np.float32)
    for norm in norms:  # statistics of the averaged weights, not of those that trained
        seen = keras.Model(copy.input, norm.input).predict(latents, verbose=0)
        axes = tuple(range(seen.ndim - 1))
        mean, variance = (keras.ops.convert_to_numpy(one) for one in (norm.moving_mean, norm.moving_variance))
        assert np.abs(mean - seen.mean(axes)).max() < 0.2 * seen.std(axes).max()
        np.testing.assert_allclose(variance, seen.var(axes), rtol=0.4)


class TestRuns:
    config: ClassVar = {"data": "digits", "epochs": 3, "seed": 0}

    def open(self, out, config=None, seeds=(0,), **options):
        asked = {"resume": False, "overwrite": False, "defaults": {}} | options
        return open_runs(out, config or self.config, seeds, prolongs=["epochs"], **asked)

    def test_folders(self, tmp_path):
        assert self.open(tmp_path / "one") == {0: tmp_path / "one"}
        assert self.open(tmp_path / "two", seeds=[4, 5]) == {
            4: tmp_path / "two" / "seed4",
            5: tmp_path / "two" / "seed5",
        }

    def test_a_run_is_neither_lost_nor_mixed(self, tmp_path):
        self.open(tmp_path)
        with pytest.raises(UsageError, match="--resume to go on, --overwrite to start again"):
            self.open(tmp_path)
        self.open(tmp_path, self.config | {"epochs": 9}, resume=True)
        with pytest.raises(UsageError, match="data = digits, not mnist"):
            self.open(tmp_path, self.config | {"data": "mnist"}, resume=True)
        with pytest.raises(UsageError, match="give one of them"):
            self.open(tmp_path, resume=True, overwrite=True)
        longer = self.config | {"epochs": 9}
        with pytest.raises(UsageError, match=r"smoothing = 0\.0, not 0\.1"):
            self.open(tmp_path, longer | {"smoothing": 0.1}, resume=True, defaults={"smoothing": 0.0})
        # of an earlier version, which had no such setting
        self.open(tmp_path, longer | {"smoothing": 0.0}, resume=True, defaults={"smoothing": 0.0})
        (tmp_path / "config.json").write_text("[")
        with pytest.raises(UsageError, match="does not say what decides"):
            self.open(tmp_path, resume=True)

    def test_starting_again_leaves_nothing_of_more_seeds(self, tmp_path):
        for folder in self.open(tmp_path, seeds=[0, 1]).values():
            (folder / "source_model").mkdir(parents=True)
            for place in (folder, folder / "source_model"):
                (place / "checkpoint.npz").touch()
        (tmp_path / "seeds_of_another_study").mkdir()
        (tmp_path / "seeds_of_another_study" / "curves.png").touch()
        self.open(tmp_path, overwrite=True)
        assert not list(tmp_path.rglob("*.npz"))
        assert (tmp_path / "seeds_of_another_study" / "curves.png").exists()
        assert self.open(tmp_path, resume=True) == {0: tmp_path}

    def test_one_seed_is_not_resumed_as_several_nor_several_as_one(self, tmp_path):
        self.open(tmp_path / "one")
        with pytest.raises(UsageError, match=r"seeds = \[0\], not \[0, 1\]"):
            self.open(tmp_path / "one", seeds=[0, 1], resume=True)
        self.open(tmp_path / "two", seeds=[0, 1])
        with pytest.raises(UsageError, match=r"seeds = \[0, 1\], not \[0\]"):
            self.open(tmp_path / "two", resume=True)
        assert len(self.open(tmp_path / "two", seeds=[0, 1, 2], resume=True)) == 3

    def test_starting_again_forgets_the_state(self, tmp_path):
        self.open(tmp_path)
        (tmp_path / "checkpoint.npz").write_bytes(b"old")
        self.open(tmp_path, overwrite=True)
        assert not (tmp_path / "checkpoint.npz").exists()


@pytest.mark.once
@pytest.mark.slow
def test_a_killed_process_goes_on(blobs_file, scorer_file, tmp_path):
    def command(out, *more):
        options = ["--data", blobs_file, "--epochs", 6, "--width", 4, "--batch-size", 16, "--seed", 3]
        options += ["--scorer", scorer_file, "--out", out]
        return [sys.executable, "-m", "recipes", "dcgan", *map(str, (*options, *more))]

    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    subprocess.run(command(whole), check=True, capture_output=True, env=environment)
    with subprocess.Popen(
        command(parts), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not (parts / "checkpoint.npz").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (parts / "metrics.json").exists()
    subprocess.run(command(parts, "--resume"), check=True, capture_output=True, env=environment)
    weights = [keras.models.load_model(out / "generator.keras").get_weights() for out in (whole, parts)]
    assert_same(*weights)
    grids = [(out / "samples" / "epoch_0006.png").read_bytes() for out in (whole, parts)]
    assert grids[0] == grids[1]
