from dataclasses import replace

import keras
import numpy as np
import pytest
from games import tiny_game
from tiny import run

import recipes.adda as module
from keras_resnets import UsageError, create_model
from recipes.adda import adapt, alike, encoder_of, pairs, steps_of, with_classifier, with_statistics_of
from recipes.checkpoint import Checkpoints
from recipes.config import AddaConfig
from recipes.data import load
from recipes.plots import draw_embedding


def values(model):
    return [keras.ops.convert_to_numpy(weight.value).copy() for weight in model.weights]


def test_source_stands_still_and_target_starts_from_it():
    model, data = tiny_game("adda")
    source, target = model.source, model.players["target"]
    assert not {id(weight) for weight in source.weights} & {id(weight) for weight in target.weights}
    before = values(source)
    assert all(np.array_equal(*pair) for pair in zip(before, values(target), strict=True))
    model.fit(data, steps_per_epoch=3, epochs=1, shuffle=False, verbose=0)
    assert all(
        np.array_equal(*pair) for pair in zip(before, values(source), strict=True)
    )  # BatchNorm's statistics, too
    assert not any(np.array_equal(*pair) for pair in zip(before, values(target), strict=True))


def test_classifier_is_encoder_and_head():
    classifier = create_model("lenet5", input_shape=(28, 28, 1), classes=4)
    encoder = encoder_of(classifier)
    assert encoder.output_shape == (None, 84)
    images = np.random.default_rng(0).normal(size=(3, 28, 28, 1)).astype("float32")
    whole, parts = (run(one, images) for one in (classifier, with_classifier(encoder, classifier)))
    np.testing.assert_allclose(whole, parts, atol=1e-6)


def test_features_of_another_shape_are_refused():
    inputs = keras.Input((4, 4, 3))
    with pytest.raises(UsageError, match="needs vectors"):
        encoder_of(keras.Model(inputs, keras.layers.Dense(2)(inputs)))


def test_pairs_show_the_larger_domain_once_and_the_smaller_again():
    source, target = np.arange(40), np.arange(100)
    stream = pairs(source, target, 10, seed=0)
    epochs = [[next(stream) for _ in range(steps_of(source, target, 10))] for _ in range(2)]
    assert sorted(np.concatenate([one[1] for one in epochs[0]])) == list(range(100))
    assert set(np.bincount(np.concatenate([one[0] for one in epochs[0]]))) == {2, 3}
    resumed = pairs(source, target, 10, seed=0, epoch=1)
    for expected in epochs[1]:
        assert all(np.array_equal(*pair) for pair in zip(next(resumed), expected, strict=True))
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(*epochs, strict=True))


class TestAlike:
    def test_larger_size_and_more_channels(self, data):
        digits = load("digits")
        grey = replace(digits, x_train=digits.x_train[:8, ::4, ::4], x_test=digits.x_test[:8, ::4, ::4], classes=4)
        first, second = alike(data, grey)
        assert first is not data
        assert np.array_equal(first.x_train, data.x_train)
        assert second.image_shape == data.image_shape
        assert second.x_train.dtype == np.uint8
        assert np.array_equal(second.x_train[..., 0], second.x_train[..., 2])
        np.testing.assert_allclose(second.x_train[..., 0].mean(), grey.x_train.mean(), rtol=0.05)

    def test_pixels_of_another_range(self, data):
        other = replace(data, name="floats", x_train=data.x_train.astype("float32") / 255)
        both = replace(other, x_test=data.x_test.astype("float32") / 255)
        bits = replace(data, name="bits", x_train=data.x_train // 200, x_test=data.x_test // 200)
        for one in (other, both, bits):
            with pytest.raises(UsageError, match=rf"blobs\.npz has pixels from 0 to 255.*{one.name} from 0 to 1"):
                alike(data, one)
        sixteen = replace(data, x_train=data.x_train // 16, x_test=data.x_test // 16)
        with pytest.raises(UsageError, match="give images from 0 to 255 or from 0 to 1"):
            alike(data, sixteen)

    def test_channels_first(self, data):
        turned = replace(data, x_train=data.x_train.transpose(0, 3, 1, 2), x_test=data.x_test.transpose(0, 3, 1, 2))
        with pytest.raises(UsageError, match=r"images of shape \(3, 16, 16\); give \(height, width, channels\)"):
            alike(data, turned)

    def test_other_classes(self, data):
        with pytest.raises(UsageError, match="4 classes, digits 10"):
            alike(data, load("digits"))


def darker(data):
    return replace(data, name="darker", x_train=data.x_train // 2, x_test=data.x_test // 2)


def test_target_starts_from_the_source_and_its_own_statistics(data):
    config, target = AddaConfig(model="lenet5"), darker(data)
    classifier = create_model("lenet5", input_shape=(16, 16, 3), classes=4, pixel_stats=data.pixel_stats)
    start = with_statistics_of(target, config, classifier)
    (mean, std), (own_mean, own_std) = data.pixel_stats, target.pixel_stats
    as_source = (target.x_test - np.array(own_mean)) / own_std * std + mean
    np.testing.assert_allclose(run(start, target.x_test), run(classifier, as_source.astype("float32")), atol=1e-5)


def test_a_network_of_raw_pixels_has_no_statistics_to_take(data):
    classifier = create_model("resnet8", input_shape=(16, 16, 3), classes=4)
    start = with_statistics_of(darker(data), AddaConfig(model="resnet8"), classifier)
    images = data.x_test.astype("float32")
    np.testing.assert_allclose(run(start, images), run(classifier, images), atol=1e-5)


def test_a_class_has_one_colour_in_both_domains(data):
    features = np.random.default_rng(0).normal(size=(40, 5)).astype("float32")
    few, all_of_them = np.arange(40) % 2, np.arange(40) % 4
    figure = draw_embedding({key: [features, features + 1] for key in "ab"}, [few, all_of_them], ["few", "all"])
    circles, crosses = figure.axes[0].collections
    np.testing.assert_array_equal(circles.to_rgba(np.array([1])), crosses.to_rgba(np.array([1])))
    assert len(np.unique(crosses.to_rgba(np.arange(4)), axis=0)) == 4


def test_a_dropout_in_front_of_the_head_is_no_part_of_the_encoder():
    x = inputs = keras.Input((4,))
    features = keras.layers.Dense(3, name="features")(x)
    outputs = keras.layers.Dense(2)(keras.layers.Dropout(0.5)(features))
    encoder = encoder_of(keras.Model(inputs, outputs))
    assert encoder.layers[-1].name == "features"


@pytest.mark.once
class TestAdapt:
    config = AddaConfig(data=("blobs", "darker"), source_epochs=1, epochs=2, batch_size=16)

    @pytest.fixture
    def adapted(self, data, monkeypatch):
        """Runs `adapt` between blobs, with other labels of the target's training images where given."""

        def run_with(out, labels=None, **options):
            target = darker(data)
            target = target if labels is None else replace(target, y_train=labels)
            monkeypatch.setattr(module, "domains", lambda config: (data, target))
            monkeypatch.setattr(module, "EMBEDDED", 20)  # t-SNE of all would take longer than the training
            adapt(self.config, out, **options)
            return keras.models.load_model(out / "target_model.keras").get_weights()

        return run_with

    def test_labels_of_the_target_change_nothing(self, adapted, data, tmp_path):
        right = adapted(tmp_path / "right")
        wrong = adapted(tmp_path / "wrong", labels=np.roll(data.y_train, 1))
        assert all(np.array_equal(*pair) for pair in zip(right, wrong, strict=True))

    def test_an_interrupted_one_ends_like_one_that_was_not(self, adapted, tmp_path, monkeypatch):
        whole = adapted(tmp_path / "whole")

        class Interrupt(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(module, "Collapse", Interrupt)
            with pytest.raises(KeyboardInterrupt):
                adapted(tmp_path / "parts")
        keras.utils.set_random_seed(99)  # what a new process draws is no matter
        parts = adapted(tmp_path / "parts", resume=True)
        assert all(np.array_equal(*pair) for pair in zip(whole, parts, strict=True))

    def test_an_interrupted_supervised_training_goes_on(self, adapted, tmp_path, monkeypatch):
        monkeypatch.setattr(self.__class__, "config", replace(self.config, source_epochs=2))
        whole = adapted(tmp_path / "whole")
        real = Checkpoints.on_epoch_end

        def interrupt(self, *arguments):
            real(self, *arguments)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Checkpoints, "on_epoch_end", interrupt)
            with pytest.raises(KeyboardInterrupt):
                adapted(tmp_path / "parts")
        begun = (tmp_path / "parts" / "source_model" / "checkpoint.npz").read_bytes()
        parts = adapted(tmp_path / "parts", resume=True)
        assert begun
        assert not list((tmp_path / "parts").glob("*_model/checkpoint*"))
        assert len((tmp_path / "parts" / "source_model" / "history.csv").read_text().splitlines()) == 3
        assert all(np.array_equal(*pair) for pair in zip(whole, parts, strict=True))


def test_shifted_digits_are_other_images_of_the_same_classes():
    digits, shifted = load("digits"), load("digits_shifted")
    assert np.array_equal(digits.y_train, shifted.y_train)
    assert digits.x_train.shape == shifted.x_train.shape
    assert not np.array_equal(digits.x_train, shifted.x_train)
    ink = shifted.x_train[..., 0].astype(int).max(axis=(1, 2))
    assert 150 < ink.min() <= ink.max() == 200


@pytest.mark.once
@pytest.mark.slow
def test_adaptation_learns_shifted_digits_without_their_labels(tmp_path, monkeypatch):
    config = AddaConfig(source_epochs=4, epochs=8)
    asked = []

    def spied(first, second, *rest):
        asked.append((first, second))
        return pairs(first, second, *rest)

    monkeypatch.setattr(module, "pairs", spied)
    monkeypatch.setattr(module, "EMBEDDED", 50)
    scores = adapt(config, tmp_path)
    digits, shifted = load("digits"), load("digits_shifted")
    assert np.array_equal(asked[0][0], digits.x_train)
    assert np.array_equal(asked[0][1], shifted.x_train)
    assert scores["source_only"] < 0.85
    assert scores["adapted"] > scores["source_only"] + 0.1
    assert scores["target_supervised"] > 0.9
    model = keras.models.load_model(tmp_path / "target_model.keras")
    named = model.predict(shifted.x_test, verbose=0).argmax(1)
    assert float((named == shifted.y_test).mean()) == pytest.approx(scores["adapted"])
    assert (tmp_path / "embedding.png").read_bytes().startswith(b"\x89PNG")


def test_augmentation_that_is_for_other_pixels_is_told_before_any_training(data, monkeypatch):
    unit = replace(data, x_train=data.x_train / np.float32(255), x_test=data.x_test / np.float32(255))
    monkeypatch.setattr(module, "domains", lambda config: (unit, unit))
    module.check(AddaConfig(augment=("flip",)))
    with pytest.raises(UsageError, match="randaugment is for pixels from 0 to 255"):
        module.check(AddaConfig(augment=("randaugment",)))
