"""The game itself: its losses against formulas written here, its steps against each other and across backends."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from games import KINDS, losses_of_steps, numbered, tiny_game

from keras_resnets import UsageError
from recipes.adversarial import Adversarial, Collapse, OptimizerGroup, discriminator_loss, generator_loss, one_logit
from recipes.gan import GAN, batches, packed

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "adversarial.json").read_text())


def number(x) -> float:
    return float(keras.ops.convert_to_numpy(x))


def array(x) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def column(values):
    return keras.ops.convert_to_tensor(np.asarray(values, "float32")[:, None])


class TestTheory:
    """On distributions over four points, as samples in proportion to their probabilities."""

    def value_at_best(self, real, fake):
        logits = np.log(np.array(real) / np.array(fake))  # of the optimal D = p / (p + q)
        return -number(discriminator_loss(column(np.repeat(logits, real)), column(np.repeat(logits, fake))))

    def test_equal_distributions_reach_minus_log_4(self):
        assert self.value_at_best([1, 2, 3, 2], [1, 2, 3, 2]) == pytest.approx(-np.log(4), abs=1e-6)

    @pytest.mark.parametrize("fake", [[2, 2, 2, 2], [5, 1, 1, 1], [3, 2, 1, 2]])
    def test_others_reach_twice_their_divergence_more(self, fake):
        real = [1, 2, 3, 2]
        p, q = np.array(real) / 8, np.array(fake) / 8
        middle = (p + q) / 2
        divergence = (np.sum(p * np.log(p / middle)) + np.sum(q * np.log(q / middle))) / 2
        assert divergence > 0.01
        assert self.value_at_best(real, fake) == pytest.approx(2 * divergence - np.log(4), abs=1e-6)

    def test_no_other_discriminator_has_a_higher_value(self):
        real, fake = [1, 2, 3, 2], [5, 1, 1, 1]
        best = self.value_at_best(real, fake)
        logits = np.log(np.array(real) / np.array(fake))
        for change in np.random.default_rng(0).normal(0, 0.5, (20, 4)):
            other = logits + change
            assert -number(discriminator_loss(column(np.repeat(other, real)), column(np.repeat(other, fake)))) < best


class TestLosses:
    real, fake = np.random.default_rng(0).normal(0, 3, (2, 50))

    def test_discriminator_by_binary_cross_entropy(self):
        entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        for smoothing in (0, 0.1):
            expected = entropy(np.full((50, 1), 1 - smoothing), column(self.real)) + entropy(
                np.zeros((50, 1)), column(self.fake)
            )
            found = discriminator_loss(column(self.real), column(self.fake), smoothing)
            assert number(found) == pytest.approx(number(expected), rel=1e-5)

    def test_two_logits_are_softmax_cross_entropy_and_the_same_as_one(self):
        two = np.random.default_rng(1).normal(0, 2, (2, 50, 2)).astype("float32")
        entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        expected = entropy(np.ones(50), two[0]) + entropy(np.zeros(50), two[1])
        as_two = discriminator_loss(*map(keras.ops.convert_to_tensor, two))
        as_one = discriminator_loss(*(column(logits[:, 1] - logits[:, 0]) for logits in two))
        assert number(as_two) == pytest.approx(number(expected), rel=1e-5)
        assert number(as_two) == pytest.approx(number(as_one), rel=1e-6)
        assert tuple(one_logit(keras.ops.convert_to_tensor(two[0])).shape) == (50,)

    def test_generator(self):
        probability = 1 / (1 + np.exp(-self.fake))
        assert number(generator_loss(column(self.fake))) == pytest.approx(-np.log(probability).mean(), rel=1e-5)
        assert number(generator_loss(column(self.fake), "minimax")) == pytest.approx(
            np.log(1 - probability).mean(), rel=1e-5
        )

    def test_far_logits_stay_finite(self):
        far = column([-1e4, 1e4])
        for loss in (discriminator_loss(far, far), generator_loss(far), generator_loss(far, "minimax")):
            assert np.isfinite(number(loss))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_twenty_losses_are_the_same_on_every_backend(kind):
    np.testing.assert_allclose(losses_of_steps(kind, len(GOLDEN[kind])), GOLDEN[kind], atol=1e-4)


def test_neighbours_are_packed_as_channels():
    images = np.random.default_rng(0).normal(size=(6, 4, 5, 2)).astype("float32")
    packs = array(packed(keras.ops.convert_to_tensor(images), 3))
    for place in range(2):
        np.testing.assert_array_equal(packs[place], np.concatenate(list(images[3 * place : 3 * place + 3]), -1))
    assert packed(images, 1) is images


def test_every_optimizer_counts_its_steps():
    model, data = tiny_game("dense", discriminator_steps=3)
    history = model.fit(data, steps_per_epoch=4, epochs=2, shuffle=False, verbose=0).history
    assert {name: int(member.iterations) for name, member in model.optimizer.members.items()} == {
        "discriminator": 24,
        "generator": 8,
    }
    assert {name: len(values) for name, values in history.items()} == {"d_loss": 2, "g_loss": 2}


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras compiles no step on PyTorch unless asked to")
def test_compiled_and_eager_steps_are_the_same():
    found = [losses_of_steps("conv", 3, run_eagerly=eager) for eager in (False, True)]
    np.testing.assert_allclose(*found, atol=1e-5)


def test_a_player_moves_its_own_weights_alone():
    class OneSided(GAN):
        def adversarial_step(self, data):
            images, latents = data[:2]
            fake = self.players["generator"](latents[: images.shape[0]], training=True)
            loss = self._discriminate(images, fake)
            return {"d_loss": loss, "g_loss": loss}

    model, data = tiny_game("conv", OneSided)
    before = {
        name: [array(w.value).copy() for w in player.trainable_variables] for name, player in model.players.items()
    }
    model.train_on_batch(*next(data))
    for name, player in model.players.items():
        moved = [
            not np.array_equal(array(w.value), old)
            for w, old in zip(player.trainable_variables, before[name], strict=True)
        ]
        assert all(moved) if name == "discriminator" else not any(moved)
    if keras.backend.backend() == "torch":
        assert all(w.value.grad is None for w in model.variables)


def test_an_optimizer_for_each_player():
    model, _ = tiny_game("dense")
    adam = keras.optimizers.Adam()
    for optimizers in ({"generator": adam}, {"generator": adam, "discriminator": adam}):
        with pytest.raises(UsageError, match="discriminator, generator needs an optimizer of its own"):
            Adversarial.compile(model, optimizers)
    with pytest.raises(TypeError, match="minimize"):
        OptimizerGroup({}).apply([])


def test_a_game_without_a_step_says_so():
    class Unruly(Adversarial):
        losses_of_step = ("d_loss",)

    with pytest.raises(NotImplementedError, match="Unruly is a game without rules; define adversarial_step"):
        Unruly({}).step(None)


def test_a_weight_that_the_loss_misses_stays():
    class Partial(GAN):
        def adversarial_step(self, data):
            first = self.players["generator"].trainable_variables[0]
            loss = self.minimize(lambda: keras.ops.mean(first**2), "generator")
            return {"d_loss": loss, "g_loss": loss}

    model, data = tiny_game("dense", Partial)
    before = [array(weight.value).copy() for weight in model.players["generator"].trainable_variables]
    model.train_on_batch(*next(data))
    moved = [
        not np.array_equal(array(weight.value), old)
        for weight, old in zip(model.players["generator"].trainable_variables, before, strict=True)
    ]
    assert moved == [True] + [False] * (len(before) - 1)


def test_what_would_do_nothing_fails():
    model, data = tiny_game("dense")
    change = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.0)
    with pytest.raises(ValueError, match="learning_rate"):
        model.fit(data, steps_per_epoch=1, shuffle=False, verbose=0, callbacks=[change])
    keras.config.set_dtype_policy("mixed_float16")
    try:
        with pytest.raises(UsageError, match="mixed_bfloat16"):
            model.compile({name: keras.optimizers.Adam() for name in model.players})
    finally:
        keras.config.set_dtype_policy("float32")


class TestCollapse:
    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_of_either_side(self, smoothing):
        best = np.log((1 - smoothing) / max(smoothing, 1e-30))
        least = number(discriminator_loss(column([best]), column([-1e4]), smoothing))
        watch = Collapse(smoothing)
        watch.on_epoch_end(0, {"d_loss": least + 0.1})
        with pytest.raises(UsageError, match="in epoch 3, which is not saved: its opponent has nothing to learn from"):
            watch.on_epoch_end(2, {"d_loss": least + 1e-5})
        with pytest.raises(UsageError, match="it has lost all it knew"):
            watch.on_epoch_end(2, {"d_loss": 40.0})
        watch.on_epoch_end(2, {"d_loss": np.nan})  # a checkpoint's callback names its step


def test_batches_are_decided_by_seed_and_epoch():
    images = numbered(50)
    first = batches(images, 4, 8, 2, seed=1)
    epochs = [[next(first) for _ in range(3)] for _ in range(2)]
    resumed = batches(images, 4, 8, 2, seed=1, epoch=1)
    for expected in epochs[1]:
        for left, right in zip(next(resumed), expected, strict=True):
            assert np.array_equal(left, right)
    assert not np.array_equal(epochs[0][0][0], epochs[1][0][0])
    assert [len(part) for part in epochs[0][0]] == [16, 24]
    shown = np.concatenate([batch[0][:, 0, 0, 0] for batch in epochs[0]])
    assert len(set(shown)) == 48
