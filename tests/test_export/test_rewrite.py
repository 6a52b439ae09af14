"""Rewritten files have other operations and compute the same."""

import keras
import numpy as np
import pytest
from keras import layers

from export import to_tflite
from export.flatbuffer import operations
from export.runtimes.litert import LiteRT

pytestmark = pytest.mark.once  # the file is changed, whatever backend the model is from


def norm():
    values = np.random.default_rng(1)
    layer = layers.BatchNormalization(epsilon=1e-5)
    layer.build((None, 8, 8, 3))
    layer.set_weights([values.normal(size=3), values.normal(size=3), values.normal(size=3), values.uniform(0.5, 2, 3)])
    return layer


def in_a_row(x):
    return norm()(x)


def with_its_rectifier(x):
    return layers.ReLU()(norm()(x))


def image_statistics(x):
    return layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.5, 1.0, 2.0])(x)


def one_scale_for_all(x):
    return layers.Rescaling(1 / 127.5, offset=-1)(x)


def four_in_a_row(x):
    return image_statistics(layers.Rescaling(1 / 2, offset=-1)(x))


def read_in_between(x):
    scaled = layers.Rescaling(2.0)(x)
    return layers.Add()([layers.Rescaling(1.0, offset=0.5)(scaled), scaled])


def bent_in_between(x):
    return layers.Rescaling(0.5)(layers.ReLU()(x + 1.0))


def of_two_images(x):
    return layers.Multiply()([x, layers.MaxPooling2D(3, 1, "same")(x)]) + 1.0


def of_rows(x):
    x = layers.Conv2D(8, 1)(x)  # as many channels as rows
    return x * np.arange(8, dtype="float32").reshape(1, 8, 1, 1) + 1.0


def kinds_of(compute, path):
    """The operations of the file of a computation, which must say what Keras says, in front of the classifier."""
    inputs = keras.Input((8, 8, 3))
    outputs = layers.Dense(4)(layers.GlobalAveragePooling2D()(compute(inputs)))
    model = keras.Model(inputs, outputs)
    file = to_tflite(model, path / "a.tflite")
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    found = np.stack(list(LiteRT(file.path).predict(images)))
    np.testing.assert_allclose(found, model.predict(images, verbose=0), rtol=1e-5, atol=1e-5)
    steps = operations(file.path.read_bytes())
    return {step.kind: step.activation for step in steps if step.kind not in ("CONV_2D", "MEAN", "FULLY_CONNECTED")}


@pytest.mark.parametrize("compute", [in_a_row, image_statistics, one_scale_for_all, four_in_a_row])
def test_several_operations_become_one(compute, tmp_path):
    assert kinds_of(compute, tmp_path) == {"DEPTHWISE_CONV_2D": "NONE"}


def test_the_activation_behind_them_goes_along(tmp_path):
    assert kinds_of(with_its_rectifier, tmp_path) == {"DEPTHWISE_CONV_2D": "RELU"}


@pytest.mark.parametrize("compute", [read_in_between, bent_in_between, of_two_images, of_rows])
def test_what_is_no_scale_and_shift_of_channels_stays(compute, tmp_path):
    assert "DEPTHWISE_CONV_2D" not in kinds_of(compute, tmp_path)


def bent(path, images, **options):
    """An int8 file of hard-swishes over images and over vectors, and its model."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Activation("hard_silu", name="of_images")(layers.Conv2D(4, 3)(inputs))
    x = layers.Activation("hard_silu", name="of_vectors")(layers.Dense(6)(layers.Flatten()(x)))
    model = keras.Model(inputs, layers.Dense(4)(x))
    file = to_tflite(model, path / "a.tflite", calibration=images, min_agreement=0, **options)
    return model, file


def test_int8_knows_no_hard_swish(tmp_path):
    images = np.random.default_rng(0).normal(0, 3, (200, 8, 8, 3)).astype("float32")
    model, file = bent(tmp_path, images, mode="int8", clipping="minmax")
    assert "HARD_SWISH" not in file.verification.operations
    assert file.verification.float_operations == 0
    found = np.stack(list(LiteRT(file.path).predict(images)))
    expected = model.predict(images, verbose=0)
    assert np.abs(found - expected).mean() < 0.02 * np.abs(expected).max()


@pytest.mark.parametrize(("choice", "left"), [("float32", 1), ("int4", None)])
def test_only_a_hard_swish_in_float32_stays_one(tmp_path, choice, left):
    images = np.random.default_rng(0).normal(size=(40, 8, 8, 3)).astype("float32")
    _, file = bent(tmp_path, images, mode="mixed", plan={"of_images": choice})
    assert file.verification.operations.get("HARD_SWISH") == left
