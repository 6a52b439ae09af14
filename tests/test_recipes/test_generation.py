import keras
import numpy as np
import pytest
from PIL import Image

from keras_resnets import UsageError, create_model
from recipes import generation
from recipes.adversarial import Collapse
from recipes.config import DcganConfig, GanConfig
from recipes.data import load
from recipes.generation import Scorer, draw, prepare_scorer, scaled
from recipes.samples import draw_grid, write_film


def classifier(data) -> keras.Model:
    return create_model("lenet5", input_shape=data.image_shape, classes=data.classes)


@pytest.mark.parametrize(("config", "low"), [(GanConfig(), 0), (DcganConfig(), -1)])
def test_pixels_go_into_the_generators_range_and_back(config, low):
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    images = scaled(pixels, config)
    assert (images.min(), images.max()) == (low, 1)
    np.testing.assert_allclose(images, scaled(pixels / np.float32(255), config), atol=1e-6)
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
    scorer = Scorer(classifier(data), "a lenet")
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
        prepare_scorer(load("digits"), tmp_path, tmp_path / "blobs.keras", None)


@pytest.mark.once
@pytest.mark.slow
def test_features_of_inception(data, tmp_path):
    classifier(data).save(tmp_path / "blobs.keras")
    create_model("inceptionv3").save_weights(tmp_path / "inception.weights.h5")
    scorer = prepare_scorer(data, tmp_path, tmp_path / "blobs.keras", tmp_path / "inception.weights.h5")
    found = scorer.score(data.x_test[:8], data)
    assert found["features"] == "InceptionV3, weights given"
    assert found["images"] == 8
    assert found["fid"] == pytest.approx(0, abs=1e-3)


def test_a_discriminator_that_wins_stops_the_run():
    Collapse().on_epoch_end(0, {"d_loss": 0.5})
    with pytest.raises(UsageError, match="in epoch 3: its opponent has nothing to learn from"):
        Collapse().on_epoch_end(2, {"d_loss": 1e-5})


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
    first = prepare_scorer(data, tmp_path, None, None)
    again = prepare_scorer(data, tmp_path, None, None)
    assert (tmp_path / "scorer.keras").exists()
    for one, other in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        assert np.array_equal(one, other)
