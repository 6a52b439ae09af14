"""Pruning, clustering and quantization-aware training by tensorflow-model-optimization, from whatever backend runs."""

import json
import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from tiny import ROUNDED, TINY, build_tiny

from export import TfmotModel, cluster, prune, quantize_aware, to_tflite
from export.flatbuffer import operations, weigh
from export.recipe import read_recipe
from keras_resnets import UsageError
from keras_resnets.layers import LocalResponseNorm


def kernels(model):
    return {
        layer.name: layer.get_weights()[0]
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    }


def stored(content):
    """The stored weights of each convolution of a file, by the tensor's name, a row an output."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.CONV_2D:
            tensor = graph.tensors[operator.inputs[1]]
            rows = np.asarray(model.buffers[tensor.buffer].data, np.uint8).reshape(tensor.shape[0], -1)
            yield tensor.name.decode(), rows


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


def test_the_state_of_another_is_refused_and_leaves_the_model_as_it_was(pruned, data):
    started, _ = pruned
    before, state = started.predict(data.x_test), started.state()
    for wrong in (state[:-1], [*state[1:], state[0]], [one.astype("float16") for one in state]):
        with pytest.raises(UsageError, match="the state is of another model"):
            started.set_state(wrong)
    np.testing.assert_array_equal(started.predict(data.x_test), before)
    started.set_state([np.zeros_like(one) for one in state])
    assert not np.array_equal(started.predict(data.x_test), before)
    started.set_state(state)
    np.testing.assert_array_equal(started.predict(data.x_test), before)
    for one, other in zip(started.state(), state, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.once
def test_a_layer_with_fewer_weights_of_a_sign_than_values_is_not_clustered(trained, data):
    sparse = keras.models.clone_model(trained)
    sparse.set_weights(trained.get_weights())
    layer = next(one for one in sparse.layers if isinstance(one, keras.layers.Conv2D))
    kernel = np.zeros(layer.kernel.shape, "float32")
    kernel.flat[:7] = np.linspace(0.1, 0.7, 7)
    layer.set_weights([kernel, *layer.get_weights()[1:]])
    started = cluster(sparse, 8, keep="sparsity")
    fine_tuned(started, data)
    assert len(np.unique(kernels(started.strip())[layer.name])) == 8  # and zero


def test_pruning_makes_zeros_and_leaves_the_source_alone(trained, pruned, data):
    before = trained.get_weights()
    started, history = pruned
    stripped = started.strip()
    sizes = {name: np.abs(kernel) for name, kernel in kernels(trained).items()}
    threshold = np.quantile(np.concatenate([size.ravel() for size in sizes.values()]), 0.5)
    found = kernels(stripped)
    for name, kernel in found.items():
        share = np.mean(sizes[name] <= threshold)
        assert np.mean(kernel == 0) == pytest.approx(share, abs=1 / kernel.size), name
    zeros = sum(np.sum(kernel == 0) for kernel in found.values())
    assert zeros == pytest.approx(sum(kernel.size for kernel in found.values()) / 2, abs=len(found))
    assert len(history["loss"]) == len(history["accuracy"]) == 2
    assert accuracy(stripped, data) > 0.9
    np.testing.assert_allclose(stripped.predict(data.x_test, verbose=0), started.predict(data.x_test), atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(before, trained.get_weights(), strict=True))
    assert stripped.to_json() == trained.to_json()


@pytest.mark.once
def test_frozen_layers_are_not_pruned(data):
    model = build_tiny("plain")
    model.get_layer("stem_conv").trainable = False
    pruned = prune(model, 0.5, steps=1)
    pruned.compile()
    pruned.fit(data.x_train, data.y_train)
    stripped = pruned.strip()
    zeros = {layer.name: np.mean(layer.get_weights()[0] == 0) for layer in stripped.layers if "conv" in layer.name}
    assert zeros.pop("stem_conv") == 0
    assert min(zeros.values()) > 0


@pytest.mark.once
def test_pruning_two_of_four(trained, data):
    started = prune(trained, 0.5, steps=6, pattern=(2, 4))
    fine_tuned(started, data)
    found = [kernel for kernel in kernels(started.strip()).values() if kernel.ndim == 4 and kernel.shape[2] % 4 == 0]
    assert found
    for kernel in found:
        groups = np.moveaxis(kernel, 2, -1).reshape(-1, 4)
        assert (np.count_nonzero(groups, axis=1) <= 2).all()


@pytest.mark.once
def test_zeros_and_clusters_stay_through_what_follows(pruned, data, tmp_path):
    started = cluster(pruned[0].strip(), 8, keep="sparsity")
    fine_tuned(started, data)
    clustered = started.strip()
    zeros = {name: np.sum(kernel == 0) for name, kernel in kernels(pruned[0].strip()).items()}
    for name, kernel in kernels(clustered).items():
        assert len(np.unique(kernel)) <= 9, name  # and zero
        assert np.sum(kernel == 0) >= zeros[name] > 0, name
    aware = quantize_aware(clustered, data.x_train[:40], engine="tfmot", keep="sparsity and clusters")
    aware.compile(keras.optimizers.SGD(1e-5))
    aware.fit(data.x_train, data.y_train, batch_size=16)
    exported = to_tflite(aware, tmp_path / "small.tflite", mode="int8", test=data.x_test)
    content = exported.path.read_bytes()
    found = weigh(content)
    assert found.nonzero <= 0.51 * found.count
    for _, rows in stored(content):
        for values in rows:  # int8 scales each output of a layer for itself
            assert len(np.unique(values)) <= 9


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


@pytest.mark.once
def test_logits_are_clipped_as_those_of_a_calibrated_file(tmp_path):
    inputs = keras.Input((8, 8, 3))
    head = keras.layers.Dense(4, "softmax", name="head")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    model = keras.Model(inputs, head(keras.layers.GlobalAveragePooling2D()(x)))
    head.bias.assign([-60.0, 0.0, 1.0, 2.0])  # a class that is never meant takes most of the full range
    images, labels = np.random.default_rng(0).uniform(size=(64, 8, 8, 3)).astype("float32"), np.arange(64) % 4
    aware = quantize_aware(model, images, engine="tfmot")
    aware.compile(keras.optimizers.SGD(1e-4), "sparse_categorical_crossentropy")
    aware.fit(images, labels)
    file = to_tflite(aware, tmp_path / "a.tflite", mode="int8", test=images)
    interpreter = Interpreter(str(file.path))
    (name,) = (step.inputs[0].name for step in operations(file.path.read_bytes()) if step.kind == "SOFTMAX")
    (scale,) = (one["quantization"][0] for one in interpreter.get_tensor_details() if one["name"] == name)
    assert 0 < scale * 255 < 20
    assert file.verification.max_error < 0.01


@pytest.mark.once
def test_a_large_cluster_steps_no_further_than_one_weight_would():
    inputs = keras.Input((8, 8, 4))
    outputs = keras.layers.Dense(10, "softmax", use_bias=False)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, outputs)
    kernel = np.full((256, 10), 0.01, np.float32)
    kernel[:, 0] = -0.01  # a cluster of its own, and the class of all images: its gradients have one sign
    model.layers[-1].set_weights([kernel])
    started = cluster(model, 2)
    started.compile(keras.optimizers.SGD(0.1))
    started.fit(np.random.default_rng(0).random((16, 8, 8, 4), np.float32), np.zeros(16, int), batch_size=16)
    moved = np.abs(started.strip().layers[-1].get_weights()[0] - kernel).max()
    assert 0.01 < moved < 0.1 + 0.02  # the rate times a gradient of at most 1, and a weight may change its cluster


@pytest.mark.once
def test_weight_decay_spares_normalisation_and_biases(trained, data):
    """After one step with it and one without, from the same weights on the same images."""
    ends = []
    for decay in (None, 2.0):
        started = prune(trained, 0.5, steps=10)
        started.compile(keras.optimizers.SGD(0.1, weight_decay=decay))
        started.fit(data.x_train[:16], data.y_train[:16], batch_size=16)
        ends.append(started.strip())
    for one, other in zip(*(end.weights for end in ends), strict=True):
        before, after = (keras.ops.convert_to_numpy(weight) for weight in (one, other))
        if one.name == "kernel":
            assert np.abs(after).sum() < 0.9 * np.abs(before).sum(), one.path
        else:
            np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6, err_msg=one.path)


@pytest.mark.once
def test_the_process_ends_with_its_model(trained, data):
    started = cluster(trained, 4)
    process, folder = started._process, started._folder
    assert process.poll() is None
    assert folder.is_dir()
    del started
    assert process.poll() is not None
    assert not folder.exists()


@pytest.mark.once
def test_constants_stay_and_products_of_three_are_integers(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    x = LocalResponseNorm(alpha=1.0, name="respond")(x)
    frozen = keras.layers.Conv2D(8, 1, name="frozen", trainable=False)(x)
    separable = keras.layers.SeparableConv2D(8, 1, name="apart", trainable=False)(x)
    x = keras.layers.Multiply()([frozen, separable, keras.layers.Conv2D(8, 1, name="free")(x)])
    model = keras.Model(inputs, keras.layers.Dense(4, "softmax")(keras.layers.GlobalAveragePooling2D()(x)))
    images = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("float32")
    kernels = []
    for rate in (0.0, 10.0):
        aware = quantize_aware(model, images, engine="tfmot")
        aware.compile(keras.optimizers.SGD(rate))
        aware.fit(images, np.arange(32) % 4)
        file = to_tflite(aware, tmp_path / "a.tflite", mode="int8", test=images, min_agreement=0)
        assert file.verification.float_operations == 0
        kernels.append(dict(stored(file.path.read_bytes())))
    for part, moves in (("frozen", False), ("apart", False), ("window", False), ("free", True)):
        (name,) = (one for one in kernels[0] if part in one)
        assert (kernels[0][name] != kernels[1][name]).any() == moves, part


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
        assert one["floats"] == one["swishes"] == 0, one
        # Random networks multiply what rounding does to them; a wire in the wrong place makes it 0.5.
        assert one["off"] < 0.1, one
        assert one["trained"] < 0.1, one


@pytest.mark.once
def test_mistakes(trained, data):
    for sparsity in (0, 1):
        with pytest.raises(UsageError, match="sparsity"):
            prune(trained, sparsity, steps=1)
    with pytest.raises(UsageError, match="steps"):
        prune(trained, 0.5, steps=0)
    with pytest.raises(UsageError, match="keep 'zeros'"):
        quantize_aware(trained, data.x_train[:40], engine="tfmot", keep="zeros")
    with pytest.raises(UsageError, match="keep 'clusters'"):
        cluster(trained, 4, keep="clusters")
    with pytest.raises(UsageError, match=r"\(2, 4\)"):
        prune(trained, 0.75, steps=1, pattern=(2, 4))
    with pytest.raises(UsageError, match="at least 2"):
        cluster(trained, 1)
    with pytest.raises(UsageError, match="native and tfmot"):
        quantize_aware(trained, data.x_train[:40], engine="other")
    with pytest.raises(UsageError, match="native engine cannot keep clusters"):
        quantize_aware(trained, data.x_train[:40], keep="clusters")
    inputs = keras.Input((8, 8, 4))
    with pytest.raises(UsageError, match="not a layer"):
        cluster(keras.Model(inputs, keras.ops.add(inputs, 1.0)), 4)
    with pytest.raises(UsageError, match=r"functional model, .* not yet: give it an Input"):
        cluster(keras.Sequential([keras.layers.Flatten()]), 4)
    frozen = build_tiny("plain")
    frozen.trainable = False
    with pytest.raises(UsageError, match="nothing to cluster"):
        cluster(frozen, 4)
    wide = keras.Model(inputs, keras.layers.DepthwiseConv2D(1)(inputs))
    with pytest.raises(UsageError, match="nothing to prune"):
        prune(wide, 0.5, steps=1)
    normed = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.layers.GroupNormalization(2)(inputs)))
    with pytest.raises(UsageError, match="group_normalization"):
        cluster(normed, 4)


@pytest.mark.once
def test_mistakes_in_training(trained, data, tmp_path):
    started = cluster(trained, 4)
    with pytest.raises(UsageError, match="compile"):
        started.fit(data.x_train, data.y_train)
    with pytest.raises(UsageError, match="loss scale"):
        started.compile(keras.optimizers.SGD(1e-3, gradient_accumulation_steps=2))
    started.compile()
    with pytest.raises(UsageError, match="one class an image"):
        started.fit(data.x_train, data.y_train[:-1])
    with pytest.raises(UsageError, match=r"images of shape \(8, 8, 3\) do not fit"):
        started.fit(data.x_train[:, :8, :8], data.y_train)
    with pytest.raises(UsageError, match=r"labels from 0 to 4: .* has 4 classes"):
        started.fit(data.x_train, np.where(data.y_train == 3, 4, data.y_train), batch_size=len(data.x_train))
    with pytest.raises(UsageError, match=r"labels of shape \(32, 4\) .* sparse_categorical_crossentropy takes shape"):
        started.fit(data.x_train, np.eye(4)[data.y_train])
    with pytest.raises(UsageError, match=r"images of shape \(8, 8, 3\) do not fit"):
        started.predict(data.x_train[:, :8, :8])
    started.compile(loss=keras.losses.CategoricalCrossentropy())
    with pytest.raises(UsageError, match=r"labels of shape \(32,\) .* CategoricalCrossentropy takes shape \(32, 4\)"):
        started.fit(data.x_train, data.y_train)
    started.compile()
    with pytest.raises(UsageError, match="end with strip"):
        to_tflite(started, tmp_path / "net.tflite", mode="int8")
    with pytest.raises(UsageError, match="or an object of a class of keras"):
        started.compile(loss="mse")
    with pytest.raises(UsageError, match="no optimizer Muon"):
        started.compile(keras.optimizers.Muon())
    started.compile(keras.optimizers.SGD(1e30))
    with pytest.raises(UsageError, match="diverged"):
        started.fit(data.x_train, data.y_train, batch_size=16)


@pytest.mark.once
def test_what_is_always_the_same_and_not_zero_keeps_its_range():
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    saturated = layers.Conv2D(4, 1, bias_initializer=keras.initializers.Constant(50.0), name="saturated")(inputs)
    pooled = layers.GlobalAveragePooling2D()(layers.ReLU(6.0)(saturated))
    model = keras.Model(inputs, layers.Dense(3)(pooled))
    images = np.random.default_rng(0).random((32, 8, 8, 3), np.float32)
    started = quantize_aware(model, images, engine="tfmot")
    np.testing.assert_allclose(started.predict(images), model.predict(images, verbose=0), rtol=0.05, atol=0.1)


@pytest.mark.once
def test_a_single_score_learns_two_classes():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")])
    started = prune(model, 0.5, steps=2)
    started.compile("sgd", "binary_crossentropy")
    assert started.fit(np.ones((8, 8, 8, 3), "float32"), np.arange(8) % 2)["loss"][0] > 0


@pytest.mark.once
def test_a_sequential_is_clustered():
    layers = [keras.layers.Conv2D(8, 3, activation="relu"), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    started = cluster(model, 4)
    started.compile(keras.optimizers.SGD(1e-3), keras.losses.MeanSquaredError())
    started.fit(np.ones((8, 8, 8, 3), "float32"), np.ones((8, 3), "float32"), epochs=1)
    smaller = started.strip()
    assert [len(np.unique(layer.get_weights()[0])) for layer in (smaller.layers[1], smaller.layers[3])] == [4, 4]


@pytest.mark.once
def test_layers_used_twice_are_refused():
    shared = keras.layers.Conv2D(3, 1, name="shared")
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(UsageError, match="shared more than once"):
        cluster(keras.Model(inputs, shared(shared(inputs))), 4)


@pytest.mark.once
def test_a_process_that_is_broken_off_says_so(trained, data):
    started = cluster(trained, 4)
    started._process.kill()
    with pytest.raises(RuntimeError, match="without an answer"):
        started.predict(data.x_test)
    with pytest.raises(UsageError, match="start anew"):
        started.strip()


class Breaking(keras.utils.PyDataset):
    """Batches, of which the third cannot be made."""

    def __init__(self, data, error):
        super().__init__()
        self._data, self._error = data, error

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if index == 2:
            raise self._error
        return self._data.x_train[:8], self._data.y_train[:8]


@pytest.mark.once
def test_a_batch_that_cannot_be_made_leaves_a_process_in_step(trained, data):
    started = cluster(trained, 4)
    started.compile()
    with pytest.raises(ValueError, match="no such image"):
        started.fit(Breaking(data, ValueError("no such image")))
    assert started.predict(data.x_test).shape == (len(data.x_test), 4)
    with pytest.raises(KeyboardInterrupt):
        started.fit(Breaking(data, KeyboardInterrupt()))
    with pytest.raises(UsageError, match="start anew"):
        started.predict(data.x_test)


@pytest.mark.once
def test_separable_convolutions_are_pruned(data):
    model = build_tiny("xception")
    started = prune(model, 0.5, steps=1)
    started.compile(keras.optimizers.SGD(1e-3))
    height, width, _ = model.input_shape[1:]
    images = np.zeros((4, height, width, 3), "float32")
    started.fit(images, np.arange(4), epochs=3)
    stripped = started.strip()
    separable = [layer for layer in stripped.layers if isinstance(layer, keras.layers.SeparableConv2D)]
    assert separable
    for layer in separable:
        depthwise, pointwise = layer.get_weights()
        assert np.all(depthwise)
        assert np.any(pointwise == 0)
    pruned = [*kernels(stripped).values(), *(layer.get_weights()[1] for layer in separable)]
    share = sum(np.sum(one == 0) for one in pruned) / sum(one.size for one in pruned)
    assert share == pytest.approx(0.5, abs=0.01)


@pytest.mark.once
@pytest.mark.parametrize("mode", ["float32", "float16", "dynamic", "int8", "int8-weights", "int4-weights"])
def test_every_stored_weight_is_counted(trained, calibration, tmp_path, mode):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of slow modes
        file = to_tflite(trained, tmp_path / "net.tflite", mode=mode, calibration=calibration, min_agreement=0)
    found = weigh(file.path.read_bytes())
    assert found.count == sum(kernel.size for kernel in kernels(trained).values())
    assert 0.5 * found.count < found.nonzero <= found.count
    assert found.most_values <= {"int8": 255, "dynamic": found.count, "int8-weights": 255, "int4-weights": 16}.get(
        mode, found.count
    )
