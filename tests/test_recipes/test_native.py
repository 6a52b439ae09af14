"""A network to train is the same network, on every backend."""

import keras
import numpy as np
import pytest
from keras import ops
from tiny import build_tiny, randomize

from keras_resnets.layers import ChannelSplit, deep_graphs
from recipes._backend import Adam, native, portable

SHAPE = (8, 16, 16, 3)
IMAGES = np.random.default_rng(0).normal(size=SHAPE).astype("float32")
LABELS = np.arange(8) % 4


def exchanges(network):
    """Whether this backend has layers of its own for a network."""
    kinds = {"jax": {keras.layers.DepthwiseConv2D}, "tensorflow": set()}.get(keras.backend.backend())
    return kinds is None or any(type(layer) in kinds for layer in network.layers)


def test_a_network_deeper_than_python_may_call():
    inputs = keras.Input((4,))
    with deep_graphs():
        x = inputs
        for _ in range(1500):
            x = keras.layers.Activation("relu")(x)
        deep = keras.Model(inputs, x)
    assert len(native(deep).layers) == len(portable(deep).layers) == len(deep.layers)


def test_it_computes_the_same(tiny):
    fast = native(tiny)
    if not exchanges(tiny):
        assert fast is tiny
        return
    assert [weight.path for weight in fast.weights] == [weight.path for weight in tiny.weights]
    assert type(fast).__name__ == ("Network" if keras.backend.backend() == "torch" else "Functional")
    assert {type(layer) for layer in fast.layers} != {type(layer) for layer in tiny.layers}
    images = np.random.default_rng(0).normal(size=(2, *tiny.input_shape[1:])).astype("float32")
    compare(fast, tiny, images, training=False)


def compare(fast, plain, images, training):
    """The same results of the same tensors; NumPy's arrays would take Keras's way through a network."""
    images = keras.tree.map_structure(ops.convert_to_tensor, images)
    ours, theirs = (keras.tree.flatten(model(images, training=training)) for model in (fast, plain))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(one), ops.convert_to_numpy(other), rtol=1e-4, atol=2e-5)


def steps(model, count):
    """Weights and losses of some steps of SGD."""
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    batch = [ops.convert_to_tensor(one) for one in (IMAGES, LABELS)]
    losses = [float(model.train_on_batch(*batch)) for _ in range(count)]
    return model.get_weights(), losses


@pytest.mark.parametrize("kind", ["cifar_a", "densenet_bc", "preact", "shufflenetv2"])
def test_it_learns_the_same(kind):
    plain = randomize(build_tiny(kind))
    fast = native(plain)
    if not exchanges(plain):
        assert fast is plain
        return
    (ours, our_losses), (theirs, their_losses) = steps(fast, 1), steps(plain, 1)
    np.testing.assert_allclose(our_losses, their_losses, rtol=1e-4)
    for weight, one, other in zip(plain.weights, ours, theirs, strict=True):
        assert np.abs(one - other).max() < 2e-3 * max(1e-3, np.abs(other).max()), weight.path


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Conv2D(6, 3, padding="same", activation="relu"),
        keras.layers.Conv2D(6, (3, 5), strides=2, padding="same"),
        keras.layers.Conv2D(6, 3, dilation_rate=2, padding="same", groups=3),
        keras.layers.Conv2D(6, 2, padding="same", use_bias=False),
        keras.layers.Conv2D(6, 3, strides=2, padding="valid"),
        keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
        keras.layers.DepthwiseConv2D(3, strides=2, padding="valid", use_bias=False),
        keras.layers.DepthwiseConv2D(3, padding="same", activation="relu"),
        keras.layers.DepthwiseConv2D((3, 2), strides=2, padding="same"),
        keras.layers.DepthwiseConv2D((2, 3), dilation_rate=2, padding="same"),
        keras.layers.DepthwiseConv2D(5, padding="same"),
        keras.layers.DepthwiseConv2D(3, padding="same", dtype="mixed_bfloat16"),
        keras.layers.BatchNormalization(momentum=0.7, epsilon=1e-3),
        keras.layers.BatchNormalization(center=False),
        keras.layers.BatchNormalization(scale=False),
        keras.layers.AveragePooling2D(3, strides=2, padding="same"),
        keras.layers.AveragePooling2D(3, strides=2),
        keras.layers.MaxPooling2D(3, strides=2, padding="same"),
        keras.layers.MaxPooling2D((2, 3)),
        keras.layers.ZeroPadding2D(((0, 1), (2, 3))),
        keras.layers.GlobalAveragePooling2D(keepdims=True),
        keras.layers.Reshape((8, -1)),
        keras.layers.LeakyReLU(0.2),
        keras.layers.Dense(6, activation="relu"),
    ],
    ids=str,
)
def test_a_layer_is_keras_s(layer):
    check_layer(layer, IMAGES)


@pytest.mark.parametrize(
    "layer", [keras.layers.BatchNormalization(momentum=0.7), keras.layers.Dense(5), keras.layers.Dense(5, "relu")]
)
def test_a_layer_of_vectors_is_keras_s(layer):
    check_layer(layer, IMAGES.reshape(8, -1)[:, :6])


@pytest.mark.parametrize("options", [{}, {"amsgrad": True}, {"gradient_accumulation_steps": 2}], ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_adam_is_keras_s(options, transposed):
    random = np.random.default_rng(0)
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 20)
    start = [random.normal(size=shape).astype("float32") for shape in ((3, 4, 5), (7,))]
    sides = []
    for kind in (Adam, keras.optimizers.Adam):
        variables = [keras.Variable(value) for value in start]
        if transposed and keras.backend.backend() == "torch":  # as of initial values that are, such as orthogonal ones
            variables[0]._value.data = variables[0].value.data.permute(2, 1, 0).contiguous().permute(2, 1, 0)
        sides.append((kind(schedule, beta_1=0.5, use_ema=True, **options), variables))
        sides[-1][0].build(variables)
    for _ in range(6):
        # the first variable's as of a transposed kernel; small ones are where epsilon counts
        gradients = [
            ops.transpose(ops.convert_to_tensor(random.normal(0, scale, shape).astype("float32")), axes)
            for scale, shape, axes in ((1, (5, 4, 3), (2, 1, 0)), (1e-6, (7,), (0,)))
        ]
        for optimizer, variables in sides:
            optimizer.apply(gradients, variables)
    (ours, _), (theirs, _) = sides
    for one, other in zip(ours.variables + sides[0][1], theirs.variables + sides[1][1], strict=True):
        one_s, other_s = (ops.convert_to_numpy(variable.value) for variable in (one, other))
        assert np.abs(one_s - other_s).max() <= 3e-6 * np.abs(other_s).max(), one.path


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="compares gradients that JAX takes")
@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.DepthwiseConv2D(3, padding="same"),
        keras.layers.DepthwiseConv2D(3, padding="same", dtype="mixed_bfloat16"),
        keras.layers.DepthwiseConv2D((3, 2), strides=2, padding="same"),
        keras.layers.DepthwiseConv2D((2, 3), dilation_rate=2, padding="same"),
        keras.layers.DepthwiseConv2D(3, strides=2, padding="valid", use_bias=False),
    ],
    ids=str,
)
def test_gradients_of_depthwise_convolutions_are_keras_s(layer):
    import jax

    inputs = keras.Input(SHAPE[1:])
    plain = randomize(keras.Model(inputs, layer(inputs)))
    kernel = [variable.value for variable in plain.trainable_variables]

    def gradients(model):
        def loss(values, images):
            outputs, _ = model.stateless_call(values, [], images)
            return ops.sum(ops.sin(ops.cast(outputs, "float32")))

        return jax.grad(loss, (0, 1))(kernel, ops.convert_to_tensor(IMAGES))

    limit = 2e-3 if plain.layers[1].compute_dtype == "bfloat16" else 1e-5  # half of what bfloat16 rounds
    for one, other in zip(*map(jax.tree.leaves, map(gradients, (native(plain), plain))), strict=True):
        assert np.linalg.norm(one - other) <= limit * np.linalg.norm(other)


def check_layer(layer, images):
    inputs = keras.Input(images.shape[1:])
    plain = keras.Model(inputs, layer(inputs))
    fast = native(plain)
    for training in (True, False):
        compare(fast, plain, images, training)
    for one, other in zip(fast.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_what_is_saved_has_layers_of_keras_alone(tmp_path):
    network = randomize(build_tiny("shufflenetv2"))
    saved = portable(native(network))
    saved.save(tmp_path / "model.keras")
    assert [type(layer) for layer in (saved, *saved.layers)] == [type(layer) for layer in (network, *network.layers)]
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(*(model.predict(IMAGES, verbose=0) for model in (loaded, network)))


def graph(kind):
    """A network, and the images that it takes."""
    first, second = (keras.Input((16, 16, 3)) for _ in range(2))
    conv = keras.layers.Conv2D(4, 3, name="conv")
    x = conv(first)
    if kind == "inputs":
        return keras.Model([first, second], keras.layers.Add()([x, conv(second)])), [IMAGES, IMAGES]
    if kind == "named inputs":
        return keras.Model({first.name: first}, x), {first.name: IMAGES}
    results = {
        "arguments": lambda: keras.layers.BatchNormalization(name="fixed")(x, training=False),
        "calls": lambda: keras.layers.Add()([x, conv(keras.layers.ReLU()(first))]),
        "list": lambda: keras.layers.Concatenate()([x]),
        "operation": lambda: x * 2,
        "outputs": lambda: {"a": x, "b": keras.layers.ReLU()(x)},
        "split": lambda: keras.layers.Concatenate()(ChannelSplit(1)(x)[::-1]),
    }
    return keras.Model(first, results[kind]()), IMAGES


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("arguments", True),
        ("calls", False),
        ("inputs", False),
        ("list", True),
        ("named inputs", False),
        ("operation", False),
        ("outputs", False),
        ("split", True),
    ],
)
def test_every_graph_computes_the_same(kind, own):
    plain, images = graph(kind)
    fast = native(randomize(plain))
    assert (type(fast).__name__ == "Network") == (own and keras.backend.backend() == "torch")
    for training in (True, False):
        compare(fast, plain, images, training)
