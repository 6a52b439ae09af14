from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from keras_resnets import UsageError, create_model
from keras_resnets.families.inception import INCEPTION_V3_2015
from keras_resnets.weights.state_dict import block_names
from keras_resnets.weights.torch_names import NAMINGS
from recipes import generation
from recipes.config import DcganConfig, GanConfig
from recipes.data import load
from recipes.generation import (
    Scorer,
    check,
    draw,
    in_bytes,
    inception_features,
    read_scorer,
    scaled,
    train_scorer,
    white_of,
)
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


def test_a_scorer_of_images_from_0_to_1_scores_alike(data):
    sized = {"input_shape": data.image_shape, "classes": data.classes}
    bytewise, unit = (create_model("lenet5", pixel_stats=([0.0] * 3, [white] * 3), **sized) for white in (255.0, 1.0))
    bytewise.layers[-1].bias.assign([0.0, 0.0, 0.0, 0.1])  # what dim images are named by
    unit.set_weights(bytewise.get_weights())
    samples = data.x_train[:40]
    first, second = Scorer(bytewise).score(samples, data), Scorer(unit, white=1).score(samples, data)
    assert first["shares"] == second["shares"]
    assert first["fid"] == pytest.approx(second["fid"], rel=1e-3)
    named = replace(data, y_test=bytewise.predict(data.x_test, verbose=0).argmax(1))
    assert [white_of(one, named, 1) for one in (bytewise, unit)] == [255, 1]


def test_a_scorer_of_other_data_is_refused(data, tmp_path):
    classifier(data).save(tmp_path / "blobs.keras")
    with pytest.raises(UsageError, match=r"takes \(16, 16, 3\) and names \(4,\); digits has images of \(32, 32, 1\)"):
        read_scorer(tmp_path / "blobs.keras", load("digits"))


@pytest.mark.once
@pytest.mark.slow
def test_features_of_inception(data, tmp_path):
    network = create_model("inceptionv3", classes=1008, blocks=INCEPTION_V3_2015)
    naming = next(naming for naming in NAMINGS if naming.title == "pytorch-fid InceptionV3")
    keys = {"kernel": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    state = {}
    for name, known in block_names(network).items():
        for weight in network.get_layer(name).weights:
            array = keras.ops.convert_to_numpy(weight)
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            state[f"{naming.rename(known)}.{keys.get(weight.name, weight.name)}"] = np.ascontiguousarray(array)
    save_file(state, tmp_path / "inception.safetensors")
    inception = inception_features(tmp_path / "inception.safetensors", data.image_shape)
    found = Scorer(classifier(data), inception).score(data.x_test[:8], data)
    assert found["features"] == "Inception of December 2015, the published distance"
    assert found["images"] == 8
    assert found["fid"] == pytest.approx(0, abs=1e-3)
    enlarged = keras.ops.image.resize(data.x_test[:2].astype("float32"), (299, 299)) / 127.5 - 1
    pooled = keras.Model(network.input, network.get_layer("head_dense").input).predict(enlarged, verbose=0)
    np.testing.assert_allclose(inception.predict(data.x_test[:2], verbose=0), pooled, rtol=1e-4, atol=1e-5)


@pytest.mark.once
def test_inception_of_another_network_is_refused(data, tmp_path):
    save_file({"fc.weight": np.zeros((1000, 2048), "float32")}, tmp_path / "torchvision.safetensors")
    with pytest.raises(UsageError, match=r"does not fit inceptionv3: .*fc.weight .* instead of \(2048, 1008\)"):
        inception_features(tmp_path / "torchvision.safetensors", data.image_shape)


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
