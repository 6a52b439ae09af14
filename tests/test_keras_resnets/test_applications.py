"""Published Keras weights: every variant that has them equals keras.applications, given its file."""

import h5py
import keras
import numpy as np
import pytest
from tiny import assert_equal, randomize, run

from keras_resnets import UsageError, create_model, get_variant, list_models
from keras_resnets.weights import applications
from keras_resnets.weights.applications import PUBLISHED

# Deeper ones repeat the blocks of others, under names that the golden files hold
DEEPER = {"resnet101", "resnet101v2", "resnet152", "resnet152v2", "densenet169", "densenet201", "vgg19"}
SIZES = {"vgg16": 224}  # with their top; the others take any image that their strides allow


def build_twin(name: str, **arguments) -> keras.Model:
    """The network of keras.applications, every weight and statistic where a test can see it."""
    published = PUBLISHED[name]
    return randomize(getattr(keras.applications, published.builder)(weights=None, **(published.arguments | arguments)))


def noise(size: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, size, size, 3)).astype("float32")


@pytest.mark.slow
@pytest.mark.once  # names are the same on every backend; that what is computed is, test_oracle.py says
@pytest.mark.parametrize("name", [name for name in PUBLISHED if name not in DEEPER])
def test_file_of_keras_applications_gives_the_same_network(name, tmp_path):
    size = SIZES.get(name, 96)
    shape = {"input_shape": (size, size, 3), "classifier_activation": None}
    twin = build_twin(name, **shape)
    path = tmp_path / ("twin.weights.h5" if list(PUBLISHED).index(name) % 2 else "twin.h5")
    (twin.save_weights if path.name.endswith(".weights.h5") else twin.save)(path)
    ours = create_model(name, weights=path, **shape)
    assert_equal(run(ours, noise(size)), run(twin, noise(size)))
    biases = [layer.name for layer in ours.layers if getattr(layer, "use_bias", False) and "bn" not in layer.name]
    assert len(biases) < 20 or "vgg" in name or "mobilenetv3" in name, "biases in front of a BatchNorm are absorbed"
    keras.backend.clear_session()


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", ["resnet50", "resnet50v2", "mobilenetv2_x0_35", "vgg16"])
def test_headless_file_of_keras_applications_gives_the_same_features(name, tmp_path):
    twin = build_twin(name, include_top=False, input_shape=(64, 64, 3))
    twin.save(tmp_path / "twin.h5")
    ours = create_model(name, weights=tmp_path / "twin.h5", include_top=False, input_shape=(64, 64, 3))
    assert_equal(run(ours, noise(64)), run(twin, noise(64)))


@pytest.mark.once
@pytest.mark.parametrize("file", ["twin.h5", "twin.weights.h5"])
@pytest.mark.parametrize("name", ["mobilenetv1_x0_25", pytest.param("resnet50v2", marks=pytest.mark.slow)])
def test_a_file_with_a_top_gives_the_features_of_one_without(name, file, tmp_path):
    twin = build_twin(name)
    (twin.save_weights if file.endswith(".weights.h5") else twin.save)(tmp_path / file)
    ours = create_model(name, weights=tmp_path / file, include_top=False, input_shape=(64, 64, 3))
    bare = build_twin(name, include_top=False, input_shape=(64, 64, 3))
    for layer in bare.layers:
        layer.set_weights(twin.get_layer(layer.name).get_weights() if layer.weights else [])
    assert_equal(run(ours, noise(64)), run(bare, noise(64)))


@pytest.mark.parametrize("name", ["resnet50", "mobilenetv1_x0_25", pytest.param("densenet121", marks=pytest.mark.once)])
def test_raw_pixels_are_normalised_as_the_weights_were_trained(name, tmp_path):
    """One network a kind of normalisation; "caffe" swaps red and blue."""
    twin = build_twin(name, include_top=False, input_shape=(64, 64, 3), pooling="avg")
    twin.save(tmp_path / "twin.h5")
    raw = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("float32")
    expected = run(twin, keras.applications.imagenet_utils.preprocess_input(raw.copy(), mode=PUBLISHED[name].pixels))
    ours = create_model(
        name,
        weights=tmp_path / "twin.h5",
        include_top=False,
        input_shape=(64, 64, 3),
        pooling="avg",
        include_preprocessing=True,
    )
    assert_equal(run(ours, raw), expected)


def assert_same(first: keras.Model, second: keras.Model) -> None:
    np.testing.assert_array_equal(run(first, noise(64)), run(second, noise(64)))


@pytest.mark.once
@pytest.mark.parametrize("name", ["resnet50v2", "mobilenetv1_x0_25", "densenet121"])
def test_own_file_of_a_network_trained_on_from_published_weights_is_that_network(name, tmp_path):
    """Its options come back with it: Keras's padding, Keras's form."""
    shape = {"include_top": False, "input_shape": (64, 64, 3)}
    build_twin(name, **shape).save(tmp_path / "twin.h5")
    first = create_model(name, weights=tmp_path / "twin.h5", **shape)
    first.save_weights(tmp_path / "own.weights.h5")
    assert_same(create_model(name, weights=tmp_path / "own.weights.h5", **shape), first)
    pooled = create_model(name, weights=tmp_path / "own.weights.h5", pooling="avg", **shape)
    np.testing.assert_allclose(run(pooled, noise(64)), run(first, noise(64)).mean((1, 2)), rtol=1e-4, atol=1e-4)
    if PUBLISHED[name].pixels != "torch":
        with pytest.raises(UsageError, match="give pixel_stats"):
            create_model(name, weights=tmp_path / "own.weights.h5", include_preprocessing=True, **shape)
        stats = {"pixel_stats": ([120.0] * 3, [60.0] * 3)}
        (tmp_path / "junk.weights.h5").write_bytes(b"junk")
        with pytest.raises(UsageError, match="does not fit"):
            create_model(name, weights=tmp_path / "junk.weights.h5", **stats, **shape)
        build_twin(name, **shape).save_weights(tmp_path / "twin.weights.h5")
        with pytest.raises(UsageError, match="include_preprocessing=True instead of pixel_stats"):
            create_model(name, weights=tmp_path / "twin.weights.h5", **stats, **shape)
    mine = create_model(name, **shape)
    mine.save_weights(tmp_path / "mine.weights.h5")
    assert_same(create_model(name, weights=tmp_path / "mine.weights.h5", **shape), mine)


def test_every_published_network_is_ours():
    assert set(PUBLISHED) <= set(list_models())
    for name, published in PUBLISHED.items():
        assert hasattr(keras.applications, published.builder)
        assert set(published.options) <= set(get_variant(name).options)


def test_imagenet_asks_keras_applications_for_the_file(monkeypatch, tmp_path):
    """The download itself is Keras's; here its answer is replaced by a file that lies there already."""
    build_twin("mobilenetv1_x0_25", include_top=False).save(tmp_path / "twin.h5")
    asked = []

    def download(**arguments):
        asked.append(arguments["weights"])
        return keras.applications.MobileNet(**(arguments | {"weights": str(tmp_path / "twin.h5")}))

    monkeypatch.setattr(applications, "_builder", lambda name: download)
    model = create_model("mobilenetv1_x0_25", weights="imagenet", include_top=False, input_shape=(32, 32, 3))
    assert asked == ["imagenet"]

    def offline(weights, **arguments):
        raise Exception("URL fetch failure on x.h5: no network")  # as Keras does

    monkeypatch.setattr(applications, "_builder", lambda name: offline)
    with pytest.raises(UsageError, match=r"URL fetch failure .*download the file elsewhere and give its path"):
        create_model("mobilenetv1_x0_25", weights="imagenet", include_top=False, input_shape=(32, 32, 3))
    assert np.isfinite(run(model, noise(32))).all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet20", {"weights": "imagenet"}, "Keras publishes none for resnet20; it does for .*resnet50"),
        ("resnet50v2", {"weights": "imagenet", "form": "paper"}, "published weights need form='keras'"),
        ("resnet50", {"weights": "imagenet", "stride_in_3x3": True}, "need stride_in_3x3=False"),
        ("mobilenetv1_x0_25", {"weights": "imagenet", "padding": "symmetric"}, "need padding='same'"),
        ("resnet50", {"weights": "imagenet", "pixel_stats": ([0], [1])}, "include_preprocessing=True instead"),
        ("resnet50", {"weights": "imagenet", "classes": 7}, "have 1000 classes, not 7: give include_top=False"),
        ("resnet50", {"weights": "imagenet", "depths": [3, 4, 6, 4]}, r"weights need depths=\(3, 4, 6, 3\), not "),
        ("resnet50", {"weights": "nowhere.h5"}, "no file nowhere.h5"),
    ],
)
def test_a_request_that_published_weights_cannot_meet_is_one_line(name, options, message):
    with pytest.raises(UsageError, match=message) as caught:
        create_model(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["truncated", "foreign", "other network", "empty"])
def test_a_damaged_or_foreign_file_is_one_line(damage, tmp_path):
    path = tmp_path / "twin.h5"
    if damage == "other network":
        build_twin("mobilenetv1_x0_5", include_top=False).save(path)
    elif damage == "foreign":
        with h5py.File(path, "w") as file:
            file["something"] = np.zeros(3)
    else:
        build_twin("mobilenetv1_x0_25", include_top=False).save(path)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    with pytest.raises(UsageError, match=r"weights: .*twin\.h5") as caught:
        create_model("mobilenetv1_x0_25", weights=path, include_top=False)
    assert "\n" not in str(caught.value)
