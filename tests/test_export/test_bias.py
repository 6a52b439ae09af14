"""The mean of what int8 layers compute, with biases corrected for their rounded weights."""

import keras
import numpy as np
import pytest
from keras import layers

import export._quantizer as module
from export import to_tflite
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
