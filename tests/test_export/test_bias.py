"""The mean of what int8 layers compute, with biases corrected for their rounded weights."""

import keras
import numpy as np
import pytest
from keras import layers

import export._quantizer as module
from export import to_tflite
from export.bias import _layers as own_layers
from export.flatbuffer import read, stored
from export.runtimes.litert import LiteRT

pytestmark = pytest.mark.once  # the file is changed, whatever backend the model is from

IMAGES = np.random.default_rng(0).uniform(0, 3, (64, 8, 8, 4)).astype("float32") ** 2


def convolution(x):
    return layers.Conv2D(6, 3)(x)


def in_groups(x):
    return layers.Conv2D(8, 3, groups=2)(x)


def depthwise(x):
    return layers.DepthwiseConv2D(3)(x)


def twice_depthwise(x):
    return layers.DepthwiseConv2D(3, depth_multiplier=2)(x)


def dense(x):
    return layers.Dense(5)(layers.Flatten()(x))


def coarse(model):
    """The model with weights that int8 rounds badly: in each output one is a hundred times the others."""
    for layer in model.layers:
        if weights := layer.get_weights():
            weights[0] = np.random.default_rng(1).normal(0.5, 0.2, weights[0].shape)
            weights[0].reshape(-1, weights[0].shape[-1])[0] = 60.0
            layer.set_weights([weights[0].astype("float32"), np.full(weights[1].shape, 0.1, "float32")])
    return model


def mean_error(path, model):
    found = np.stack(list(LiteRT(path).predict(IMAGES)))
    return np.abs((found - model.predict(IMAGES, verbose=0)).mean(0))


@pytest.mark.parametrize("compute", [convolution, in_groups, depthwise, twice_depthwise, dense])
def test_outputs_keep_their_mean(compute, tmp_path, monkeypatch):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 4))
    x = compute(inputs)
    outputs = x if x.ndim == 2 else layers.GlobalAveragePooling2D()(x)
    model = coarse(keras.Model(inputs, outputs))
    options = {"mode": "int8", "calibration": IMAGES, "min_agreement": 0}
    corrected = to_tflite(model, tmp_path / "corrected.tflite", **options).path
    with monkeypatch.context() as patched:
        patched.setattr(module, "correct_biases", lambda floats, quantized, means: quantized)
        rounded = to_tflite(model, tmp_path / "rounded.tflite", **options).path
    assert mean_error(corrected, model).mean() < mean_error(rounded, model).mean() / 3


def test_layers_without_a_bias_are_corrected_each(tmp_path, monkeypatch):
    inputs = x = keras.Input((8, 8, 4))
    for place in range(3):  # TensorFlow gives all of them the same zeros
        x = layers.Conv2D(4, 1, use_bias=False, name=f"conv{place}")(layers.ReLU()(x))
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(x))
    for layer in model.layers:
        if weights := layer.get_weights():
            weights[0] = np.random.default_rng(1).normal(0.5, 0.2, weights[0].shape)
            weights[0][0, 0, 0] = 9.0
            layer.set_weights([weights[0].astype("float32")])
    moved = []
    correct = module.correct_biases

    def watched(floats, quantized, means):
        corrected = correct(floats, quantized, means)
        for before, after in zip(*(list(own_layers(read(one))) for one in (quantized, corrected)), strict=True):
            moved.append(not np.array_equal(stored(read(quantized), before.bias), stored(read(corrected), after.bias)))
        return corrected

    monkeypatch.setattr(module, "correct_biases", watched)
    to_tflite(model, tmp_path / "a.tflite", mode="int8", calibration=IMAGES, min_agreement=0)
    assert moved == [True, True, True]


KERNEL = keras.initializers.GlorotUniform(seed=0)  # of a range whose steps are below the tolerance


@pytest.mark.parametrize("in_front", [layers.ReLU(), layers.Conv2D(4, 1, use_bias=False, kernel_initializer=KERNEL)])
def test_a_channel_that_a_norm_scales_to_nothing_keeps_its_shift(in_front, tmp_path):
    norm = layers.BatchNormalization(epsilon=1e-5)
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(norm(in_front(inputs))))
    norm.set_weights([np.array([0, 1e-7, 1e-4, 1]), np.full(4, 0.5), np.zeros(4), np.ones(4)])
    file = to_tflite(model, tmp_path / "a.tflite", mode="int8", calibration=IMAGES, min_agreement=0)
    found = np.stack(list(LiteRT(file.path).predict(IMAGES)))
    np.testing.assert_allclose(found[:, :3], 0.5, atol=0.03)


def test_a_layer_used_twice_in_two_types(tmp_path):
    shared = layers.Conv2D(4, 3, padding="same", name="shared")
    inputs = keras.Input((8, 8, 4))
    x = layers.ReLU(name="first")(shared(inputs))
    x = layers.ReLU(name="second")(shared(x))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    options = {"mode": "mixed", "calibration": IMAGES, "min_agreement": 0.5}
    for plan in ({"first": "int4"}, {"second": "float32"}, {"second": "int4"}):
        assert to_tflite(model, tmp_path / "a.tflite", plan=plan, **options).verification.agreement > 0.5
