from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

from keras_resnets import UsageError, create_model
from recipes import generation
from recipes.config import DcganConfig, GanConfig
from recipes.data import load
from recipes.generation import Scorer, check, draw, in_bytes, inception_features, read_scorer, scaled, train_scorer
from recipes.samples import draw_grid, write_film


def classifier(data) -> keras.Model:
    return create_model("lenet5", input_shape=data.image_shape, classes=data.classes)


@pytest.mark.parametrize(("config", "low"), [(GanConfig(), 0), (DcganConfig(), -1)])
def test_pixels_go_into_the_generators_range_and_back(config, low):
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    images = scaled(pixels, config)
    assert (images.min(), images.max()) == (low, 1)
    latent, image = keras.Input((config.latent,)), keras.layers.Reshape((16, 16, 1))
    generator = keras.Model(latent, image(keras.layers.Dense(256, use_bias=True)(latent)))
    generator.set_weights([np.zeros((config.latent, 256)), images.reshape(256)])
    assert np.array_equal(draw(generator, config, 3)[2], pixels[0])


def test_samples_of_a_seed_are_the_same_and_start_alike():
    latent = keras.Input((100,))
    generator = keras.Model(latent, keras.layers.Reshape((10, 10, 1))(keras.layers.Activation("sigmoid")(latent)))
    few, many = (draw(generator, GanConfig(), count) for count in (3, 8))
    assert np.array_equal(few, many[:3])
    assert not np.array_equal(few, draw(generator, GanConfig(seed=1), 3))


def test_real_images_score_best(data):
    scorer = Scorer(classifier(data))
    real = scorer.score(data.x_test, data)
    noise = scorer.score(np.random.default_rng(0).integers(0, 256, data.x_test.shape).astype(np.uint8), data)
    assert real["fid"] == pytest.approx(0, abs=1e-3)
    assert (real["precision"], real["recall"]) == (1, 1)
    assert noise["fid"] > real["fid"] + 0.1
    assert sum(real["shares"]) == pytest.approx(1)
    assert real["images"] == real["samples"] == len(data.x_test)
    named = scorer.model.predict(data.x_test, verbose=0).argmax(1)
    assert real["scorer_accuracy"] == pytest.approx(np.mean(named == data.y_test))
    assert "not comparable" in real["features"]


def test_a_scorer_of_other_data_is_refused(data, tmp_path):
    classifier(data).save(tmp_path / "blobs.keras")
    with pytest.raises(UsageError, match=r"takes \(16, 16, 3\) and names \(4,\); digits has images of \(32, 32, 1\)"):
        read_scorer(tmp_path / "blobs.keras", load("digits"))


@pytest.mark.once
@pytest.mark.slow
def test_features_of_inception(data, tmp_path):
    create_model("inceptionv3").save_weights(tmp_path / "inception.weights.h5")
    inception = inception_features(tmp_path / "inception.weights.h5", data.image_shape)
    found = Scorer(classifier(data), inception).score(data.x_test[:8], data)
    assert found["features"] == "InceptionV3, weights given"
    assert found["images"] == 8
    assert found["fid"] == pytest.approx(0, abs=1e-3)


def test_images_become_bytes(data):
    floats = replace(data, x_train=data.x_train / np.float32(255), x_test=data.x_test / np.float32(255))
    for one in (data, floats):
        assert np.array_equal(in_bytes(one).x_train, data.x_train)
        assert np.array_equal(in_bytes(one).x_test, data.x_test)
        assert in_bytes(one).x_train.dtype == np.uint8
    with pytest.raises(UsageError, match="scale both alike"):
        in_bytes(replace(floats, x_test=data.x_test))


def test_too_few_test_images(data):
    few = replace(data, x_test=data.x_test[:3], y_test=data.y_test[:3])
    with pytest.raises(UsageError, match="3 test images"):
        check(GanConfig(), few)


def test_grid_and_film(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (7, 5, 4, 3)).astype(np.uint8)
    grid = draw_grid(images)
    assert grid.width >= 320
    times = grid.width // (3 * 5 + 1)
    small = np.asarray(grid)[times // 2 :: times, times // 2 :: times]
    assert small.shape == (3 * 6 + 1, 3 * 5 + 1, 3)
    assert np.array_equal(small[1:6, 1:5], images[0])
    assert np.array_equal(small[7:12, 6:10], images[4])
    for number in range(3):
        draw_grid(images + np.uint8(number)).save(tmp_path / f"{number}.png")
    write_film([tmp_path / f"{number}.png" for number in range(3)], tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 3
        assert film.size == grid.size
    assert draw_grid(images[..., :1]).mode == "L"


def test_a_scorer_is_trained_once(data, tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "SCORERS", {3: ("lenet5", 1)})
    first, again = (train_scorer(data, tmp_path / "scorer.keras") for _ in range(2))
    for one, other in zip(first.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(one, other)
