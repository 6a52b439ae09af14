"""Pruning, clustering and quantization-aware training by tensorflow-model-optimization, from whatever backend runs."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from tiny import TINY

from export import TfmotModel, cluster, prune, quantize_aware, to_tflite
from export.flatbuffer import weigh
from export.recipe import read_recipe
from keras_resnets import UsageError

# One of each kind of layer that rounding has a rule of its own for.
ROUNDED = (
    "cifar_a",  # zero-padded shortcut
    "densenet_bc",  # BatchNorm before the convolution, concatenation
    "fractal_two_columns",  # average of paths
    "googlenet_torchvision",
    "mobilenetv3_cifar",  # hard swish, squeeze-excite
    "preact",
    "resnext",
    "se_basic",
    "shufflenetv1",
    "shufflenetv2_imagenet",  # split, shuffle
    "squeezenet1_1",
    "vgg_bn",
    "xception",  # separable convolutions
)


def kernels(model):
    return {
        layer.name: layer.get_weights()[0]
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    }


def fine_tuned(model: TfmotModel, data, epochs=1):
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(1e-3, 50), momentum=0.9, nesterov=True))
    return model.fit(data.x_train, data.y_train, batch_size=16, epochs=epochs)


def accuracy(model, data):
    return np.mean(model.predict(data.x_test).argmax(-1) == data.y_test)


@pytest.fixture(scope="module")
def pruned(trained, data):
    """Half of the weights gone; with the history of its training."""
    started = prune(trained, 0.5, steps=6)
    history = fine_tuned(started, data, epochs=2)
    return started, history


def test_pruning_makes_zeros_and_leaves_the_source_alone(trained, pruned, data):
    before = trained.get_weights()
    started, history = pruned
    stripped = started.strip()
    for name, kernel in kernels(stripped).items():
        assert np.mean(kernel == 0) == pytest.approx(0.5, abs=1 / kernel.size), name
    assert len(history["loss"]) == len(history["accuracy"]) == 2
    assert accuracy(stripped, data) > 0.9
    np.testing.assert_allclose(stripped.predict(data.x_test, verbose=0), started.predict(data.x_test), atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(before, trained.get_weights(), strict=True))
    assert stripped.to_json() == trained.to_json()


def test_pruning_two_of_four(trained, data):
    started = prune(trained, 0.5, steps=6, pattern=(2, 4))
    fine_tuned(started, data)
    kernel = kernels(started.strip())["stage2_block1_conv2"]
    groups = np.moveaxis(kernel, 2, -1).reshape(-1, 4)
    assert (np.count_nonzero(groups, axis=1) <= 2).all()


def test_zeros_and_clusters_stay_through_what_follows(pruned, data, tmp_path):
    started = cluster(pruned[0].strip(), 8, keep="sparsity")
    fine_tuned(started, data)
    clustered = started.strip()
    for name, kernel in kernels(clustered).items():
        assert len(np.unique(kernel)) <= 9, name  # and zero
        assert np.mean(kernel == 0) >= 0.5 - 1 / kernel.size, name
    aware = quantize_aware(clustered, data.x_train[:40], engine="tfmot", keep="sparsity and clusters")
    aware.compile(keras.optimizers.SGD(1e-5))
    aware.fit(data.x_train, data.y_train, batch_size=16)
    exported = to_tflite(aware, tmp_path / "small.tflite", mode="int8", test=data.x_test)
    found = weigh(exported.path.read_bytes())
    assert found.nonzero <= 0.51 * found.count


def test_a_model_trained_for_int8_becomes_a_file_without_calibration(trained, data, tmp_path):
    aware = quantize_aware(trained, data.x_train[:40], engine="tfmot")
    assert accuracy(aware, data) > 0.9  # the ranges are right before the first step
    history = fine_tuned(aware, data)
    assert history["accuracy"][-1] > 0.9
    exported = to_tflite(aware, tmp_path / "aware.tflite", mode="int8", test=data.x_test, labels=data.y_test)
    assert exported.verification.float_operations == 0
    assert exported.verification.agreement > 0.95  # with the model that was trained
    assert exported.verification.accuracy > 0.9
    recipe = read_recipe(exported.path)
    assert (recipe["engine"], recipe["aware"], recipe["calibration"]) == ("tfmot", "tfmot", None)


def test_the_process_ends_with_its_model(trained, data):
    started = cluster(trained, 4)
    process, folder = started._process, started._folder
    assert process.poll() is None
    assert folder.is_dir()
    del started
    assert process.poll() is not None
    assert not folder.exists()


@pytest.mark.once
def test_every_family_is_rebuilt_and_rounded():
    environment = {"KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tfmot_families", *ROUNDED]
    child = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    found = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{")]
    assert [one["key"] for one in found] == sorted(TINY)
    for one in found:
        assert one["copied"] < 1e-4, one  # a softmax: at most 1
    rounded = [one for one in found if one["key"] in ROUNDED]
    assert len(rounded) == len(ROUNDED)
    for one in rounded:
        assert one["floats"] == 0, one
        assert one["off"] < 0.02, one
        assert one["trained"] < 0.03, one


def test_mistakes(trained, data):
    for sparsity in (0, 1):
        with pytest.raises(UsageError, match="sparsity"):
            prune(trained, sparsity, steps=1)
    with pytest.raises(UsageError, match=r"\(2, 4\)"):
        prune(trained, 0.75, steps=1, pattern=(2, 4))
    with pytest.raises(UsageError, match="at least 2"):
        cluster(trained, 1)
    with pytest.raises(UsageError, match="native and tfmot"):
        quantize_aware(trained, data.x_train[:4], engine="other")
    with pytest.raises(UsageError, match="native engine cannot keep clusters"):
        quantize_aware(trained, data.x_train[:4], keep="clusters")
    inputs = keras.Input((8, 8, 4))
    normed = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.layers.GroupNormalization(2)(inputs)))
    with pytest.raises(UsageError, match="group_normalization"):
        cluster(normed, 4)


def test_mistakes_in_training(trained, data):
    started = cluster(trained, 4)
    with pytest.raises(UsageError, match="compile"):
        started.fit(data.x_train, data.y_train)
    with pytest.raises(UsageError, match="loss scale"):
        started.compile(keras.optimizers.SGD(1e-3, gradient_accumulation_steps=2))
    started.compile()
    with pytest.raises(UsageError, match="one class an image"):
        started.fit(data.x_train, data.y_train[:-1])
    with pytest.raises(UsageError, match="take strip"):
        started.convert()
    started.compile(keras.optimizers.SGD(1e30))
    with pytest.raises(UsageError, match="diverged"):
        started.fit(data.x_train, data.y_train, batch_size=16)


def test_layers_used_twice_are_refused():
    shared = keras.layers.Conv2D(3, 1, name="shared")
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(UsageError, match="shared more than once"):
        cluster(keras.Model(inputs, shared(shared(inputs))), 4)
