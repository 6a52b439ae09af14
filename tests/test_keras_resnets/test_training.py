"""compile, fit, save and load, on whichever backend Keras runs."""

import keras
import numpy as np
import pytest
from tiny import FIRST, TINY, build_tiny, randomize, run


@pytest.mark.parametrize(
    "tiny", [pytest.param(key, marks=[] if key in FIRST else pytest.mark.once) for key in sorted(TINY)], indirect=True
)
def test_every_weight_learns(tiny):
    """One step must change every trainable weight, and BatchNorm must update its statistics."""
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(8, *tiny.input_shape[1:])).astype("float32"), np.arange(8) % 4
    before = [np.array(keras.ops.convert_to_numpy(weight)) for weight in tiny.weights]
    # For one step TensorFlow and torch are sooner done layer by layer, JAX in one compiled piece.
    how = {"jit_compile": True} if keras.backend.backend() == "jax" else {"run_eagerly": True}
    tiny.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy", **how)
    tiny.fit(images, labels, batch_size=8, epochs=1, verbose=0)
    still = [
        weight.path
        for weight, old in zip(tiny.weights, before, strict=True)
        if np.array_equal(keras.ops.convert_to_numpy(weight), old) and not _redundant(weight.path)
    ]
    assert not still


def _redundant(path: str) -> bool:
    """Seed generators do not learn; a shift that reaches a BatchNorm linearly has no gradient but for rounding.

    Such are a convolution's bias, and the beta of a BatchNorm that no activation follows in front of the next one.
    """
    return "seed" in path or path.endswith(("stem_conv/bias", "conv1/bias", "conv2/bias", *LINEAR_BETAS))


LINEAR_BETAS = ("depthwise_bn/beta", "project_bn/beta")


@pytest.mark.once
def test_file_keeps_the_network(tiny, tmp_path):
    images = np.random.default_rng(0).normal(size=(2, *tiny.input_shape[1:])).astype("float32")
    path = tmp_path / "model.keras"
    tiny.save(path)
    loaded = keras.models.load_model(path)  # in safe mode: nothing in the file may be code
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in tiny.layers]
    np.testing.assert_allclose(run(loaded, images), run(tiny, images), atol=1e-6)


def test_normalisation_survives_the_file(tmp_path):
    model = randomize(build_tiny("plain", pixel_stats=([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])))
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(run(loaded, images), run(model, images), atol=1e-6)
