"""Quantization-aware training: what the model computes under rounding is what the int8 file computes."""

import keras
import numpy as np
import pytest
from tiny import FIRST, ROUNDED, build_tiny, randomize

from export import pick_calibration, quantize_aware, to_tflite
from export.layers import in_float32
from export.qat import strip
from export.recipe import read_recipe
from export.rounding import RoundedActivation, RoundedConv2D, RoundedDense, RoundedDepthwiseConv2D
from export.runtimes.litert import LiteRT
from keras_resnets import UsageError
from keras_resnets.layers import LocalResponseNorm


@pytest.fixture(scope="module")
def aware(trained, data):
    return quantize_aware(trained, data.x_train[:40])


def on_a_grid(values, steps):
    """Whether the values are whole multiples of a step that fits so many into their range."""
    step = np.abs(values).max() / steps
    return np.allclose(values / step, np.rint(values / step), atol=1e-3)


def test_weights_are_rounded_for_each_channel():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 5, 5, 6)).astype("float32")
    for layer in (RoundedConv2D(8, 3), RoundedConv2D(8, 3, groups=2), RoundedDepthwiseConv2D(3), RoundedDense(7)):
        layer(x)
        kernel = np.asarray(keras.ops.convert_to_numpy(layer.kernel))
        rounded = np.asarray(keras.ops.convert_to_numpy(layer.rounded))
        columns = [
            values.reshape(
                -1, np.prod(kernel.shape[2:]) if layer.name.startswith("rounded_depth") else kernel.shape[-1]
            )
            for values in (kernel, rounded)
        ]
        for full, few in zip(columns[0].T, columns[1].T, strict=True):
            assert on_a_grid(few, 127)
            assert np.abs(full - few).max() <= np.abs(full).max() / 127 / 2 * 1.01
        assert np.abs(kernel - rounded).max() > 0


def test_activations_are_rounded_and_clipped_to_their_range():
    rounding = RoundedActivation()
    x = np.linspace(-1, 3, 1000).astype("float32")
    rounding.build(x.shape)
    rounding.set_weights([np.array(-1.0), np.array(3.0)])
    y = np.asarray(keras.ops.convert_to_numpy(rounding(x)))
    assert len(np.unique(y)) == 256
    assert np.abs(x - y).max() < 4 / 255
    wide = np.asarray(keras.ops.convert_to_numpy(rounding(2 * x)))
    assert -1.02 < wide.min() < -0.98
    assert 2.98 < wide.max() < 3.02


@pytest.mark.parametrize("key", sorted({*FIRST, *ROUNDED}))
@pytest.mark.once
def test_the_file_of_every_family_computes_what_was_trained(key, tmp_path):
    keras.utils.set_random_seed(0)
    model = randomize(build_tiny(key, classifier_activation=None))
    images = np.random.default_rng(0).normal(size=(32, *model.input_shape[1:])).astype("float32")
    rounded = quantize_aware(model, images)
    expected = rounded.predict(images, verbose=0)
    between_images = np.abs(expected - np.roll(expected, 1, axis=0)).mean()
    assert np.abs(expected - model.predict(images, verbose=0)).mean() < between_images, "rounding is no other network"
    file = to_tflite(rounded, tmp_path / "a.tflite", mode="int8", test=images, min_agreement=0)
    assert file.verification.float_operations == 0
    assert file.verification.mean_error < 0.5 * between_images


def joined(x):
    """Both branches are computed for nothing but the concatenation."""
    return keras.layers.Concatenate()([keras.layers.Conv2D(4, 1, activation="relu")(x), keras.layers.Conv2D(4, 1)(x)])


WIDE = keras.initializers.RandomNormal(0, 2, seed=0)  # so that images differ by more than rounding

LAYERS = {
    "depthwise, dilated": lambda x: keras.layers.DepthwiseConv2D(3, dilation_rate=2)(x),
    "separable, dilated": lambda x: keras.layers.SeparableConv2D(8, 3, depth_multiplier=2, dilation_rate=2)(x),
    "separable, with an activation": lambda x: keras.layers.SeparableConv2D(8, 3, activation="relu")(x),
    "hard sigmoid in front of a kernel": lambda x: keras.layers.Conv2D(8, 3)(
        keras.layers.Conv2D(8, 3, activation="hard_sigmoid", kernel_initializer=WIDE)(x)
    ),
    "hard sigmoid in front of a kernel for each channel": lambda x: keras.layers.DepthwiseConv2D(3)(
        keras.layers.Activation("hard_sigmoid")(keras.layers.Conv2D(8, 1, kernel_initializer=WIDE)(x))
    ),
    "hard swish in front of a kernel": lambda x: keras.layers.Conv2D(8, 1)(
        keras.layers.Conv2D(8, 1, activation="hard_silu", kernel_initializer=WIDE)(x)
    ),
    "dense on every pixel": lambda x: keras.layers.Dense(8)(keras.layers.Conv2D(8, 1)(x)),
    "names that are taken": lambda x: keras.layers.ReLU(name="a_relu")(
        keras.layers.DepthwiseConv2D(1, name="b_depthwise")(
            keras.layers.SeparableConv2D(8, 3, name="b", depthwise_initializer=WIDE)(
                keras.layers.Conv2D(8, 1, activation="relu", name="a", kernel_initializer=WIDE)(x)
            )
        )
    ),
    "silu": lambda x: keras.layers.Conv2D(8, 1, activation="silu")(x),
    "hard swish": lambda x: keras.layers.Activation("hard_silu")(x),
    "joined": joined,
    "joined twice": lambda x: keras.layers.Concatenate()([joined(x), joined(x)]),
    "product of three": lambda x: keras.layers.Multiply()([x, keras.layers.Conv2D(8, 1)(x), x]),
    "product of three and then of two": lambda x: keras.layers.Multiply(name="multiply_1")(
        [keras.layers.Multiply(name="multiply")([x, keras.layers.Conv2D(8, 1)(x), x]), x]
    ),
    "product of one": lambda x: keras.layers.Multiply()([x]),
    "joined with nothing": lambda x: keras.layers.Concatenate()([x]),
    "grouped": lambda x: keras.layers.Conv2D(8, 1, activation="relu")(
        keras.layers.Conv2D(8, 1, groups=2, use_bias=False)(x)
    ),
    "two activations": keras.layers.ReLU(),
    "called by keyword": lambda x: keras.layers.Add()(inputs=[x, keras.layers.Conv2D(8, 1)(x)]),
    "called image": lambda x: keras.layers.Conv2D(8, 1, activation="relu")(keras.layers.Conv2D(8, 1, name="image")(x)),
    "local response": lambda x: LocalResponseNorm(alpha=2.0, bias=0.5)(x),
    "normalised the other way": keras.layers.Normalization(
        mean=np.arange(8) / 9, variance=np.full(8, 2.0), invert=True
    ),
}


def around(layer):
    """A small network with this in its middle."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = layer(keras.layers.Conv2D(8, 3, padding="same", activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x)))
    for place, weight in enumerate(model.weights):
        if len(weight.shape) == 1:
            weight.assign(np.random.default_rng(place).normal(0, 0.3, weight.shape))
    return model


@pytest.mark.once
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_a_layer_under_rounding_is_the_layer_and_the_file_has_its_values(layer, tmp_path):
    model = around(layer)
    images = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("float32")
    aware = quantize_aware(model, images)
    expected = aware.predict(images, verbose=0)
    between_images = np.abs(expected - np.roll(expected, 1, axis=0)).mean()
    assert np.abs(expected - model.predict(images, verbose=0)).mean() < 0.1 * between_images
    file = to_tflite(aware, tmp_path / "a.tflite", mode="int8", test=images, min_agreement=0)
    assert file.verification.float_operations == 0
    assert file.verification.mean_error < 0.05 * between_images


@pytest.mark.once
@pytest.mark.parametrize("activation", ["relu6", "hard_sigmoid"])
def test_scores_keep_the_range_that_they_have(activation, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(5, activation)(pooled))
    images = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("float32")
    aware = quantize_aware(model, images)
    expected = aware.predict(images, verbose=0)
    file = to_tflite(aware, tmp_path / "a.tflite", mode="int8", io="int8", min_agreement=0)
    noise = np.square(np.stack(list(LiteRT(file.path).predict(images))) - expected).sum()
    assert noise < 1e-4 * np.square(expected).sum(), "40 dB"


def test_an_activation_of_the_users_own_is_not_taken_for_one_of_its_name():
    def relu(x):
        return keras.ops.clip(x, 0, 0.3)

    with pytest.raises(UsageError, match="activation relu of test_qat"):
        quantize_aware(around(lambda x: keras.layers.Conv2D(8, 1, activation=relu)(x)), np.zeros((40, 8, 8, 3)))
    same = around(lambda x: keras.layers.Conv2D(8, 1, activation=keras.ops.relu)(x))
    assert quantize_aware(same, np.zeros((40, 8, 8, 3), "float32")).built


@pytest.mark.once
def test_a_sequential_is_the_functional_model_that_it_is(tmp_path):
    model = around(lambda x: x)
    sequential = keras.Sequential([keras.Input((8, 8, 3)), *model.layers[1:]])
    images = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("float32")
    files = [
        to_tflite(quantize_aware(one, list(images)), tmp_path / f"{place}.tflite", mode="int8", min_agreement=0).path
        for place, one in enumerate([model, sequential])
    ]
    first, second = (np.stack(list(LiteRT(file).predict(images))) for file in files)
    np.testing.assert_array_equal(first, second)


@pytest.mark.once
@pytest.mark.parametrize(("least", "largest"), [(-2, 2), (0, 1), (0, 4095), (-1000, 255)])
@pytest.mark.parametrize("trained_for", [False, True])
def test_images_that_are_no_pixels_keep_the_range_they_have(least, largest, trained_for, tmp_path):
    images = np.random.default_rng(0).uniform(least, largest, (32, 8, 8, 3)).astype("float32")
    normalization = keras.layers.Normalization()
    normalization.adapt(images)
    inner = around(lambda x: x)
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, inner(normalization(inputs)))
    flat = keras.Sequential([inputs, normalization, *inner.layers[1:]])
    source = quantize_aware(flat, images) if trained_for else model
    out = to_tflite(source, tmp_path / "a.tflite", mode="int8", calibration=None if trained_for else images)
    expected = model.predict(images, verbose=0)
    noise = np.square(np.stack(list(LiteRT(out.path).predict(images))) - expected).sum()
    assert noise < 1e-3 * np.square(expected).sum(), "30 dB"


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_an_adapted_normalisation_stays_adapted_in_every_copy(precision):
    """A response is spelled out in a copy of the model, and float32 models are copies of those of mixed precision."""
    images = np.random.default_rng(0).uniform(100, 4000, (32, 8, 8, 3)).astype("float32")
    normalization = keras.layers.Normalization(dtype=precision)
    normalization.adapt(images)
    inputs = keras.Input((8, 8, 3))
    x = LocalResponseNorm(alpha=2.0, dtype=precision)(normalization(inputs))
    x = keras.layers.Conv2D(4, 3, dtype=precision, kernel_initializer=keras.initializers.GlorotUniform(0))(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D(dtype="float32")(x))
    outputs = keras.ops.convert_to_numpy(model(images))
    for copy, error in ((in_float32(model), 0.02), (quantize_aware(model, images), 0.05)):
        found = keras.ops.convert_to_numpy(copy(images))
        assert np.abs(found - outputs).mean() < error * np.abs(outputs).mean()


def test_what_cannot_be_spelled_out_is_said():
    inputs = keras.Input((8, 8, 3))
    images = np.zeros((32, 8, 8, 3), np.float32)
    response = LocalResponseNorm(name="respond")
    for outputs, said in (
        (response(response(inputs)), "uses respond more than once"),
        (keras.layers.ReLU(name="respond_window")(response(inputs)), "a layer is called respond_window"),
        (LocalResponseNorm(beta=0.5)(inputs), "no way is known to train .*LocalResponseNorm"),
    ):
        with pytest.raises(UsageError, match=said):
            quantize_aware(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(outputs)), images)


def test_what_is_frozen_is_not_trained():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.SeparableConv2D(4, 3, trainable=False)(inputs)
    x = keras.layers.BatchNormalization(trainable=False)(keras.layers.Concatenate()([x, x]))
    model = keras.Model(inputs, keras.layers.Dense(2, name="free")(keras.layers.GlobalAveragePooling2D()(x)))
    aware = quantize_aware(model, np.random.default_rng(0).random((32, 8, 8, 3), np.float32))
    assert {weight.path.split("/")[0] for weight in aware.trainable_weights} == {"free"}


@pytest.mark.parametrize("kind", [RoundedConv2D(4, 3), RoundedDepthwiseConv2D(3)])
@pytest.mark.parametrize("first", [False, True])
def test_biases_are_those_of_channels(kind, first):
    layer = type(kind).from_config(kind.get_config() | {"data_format": f"channels_{'first' if first else 'last'}"})
    layer.build((1, 4, 8, 8) if first else (1, 8, 8, 4))
    layer.bias.assign(np.arange(4))
    outputs = keras.ops.convert_to_numpy(layer.biased(keras.ops.zeros((1, 4, 4, 4))))
    assert (np.moveaxis(outputs, 1, -1) if first else outputs)[0, 0, 0].tolist() == [0, 1, 2, 3]


def test_values_that_hardly_differ_have_a_range():
    inputs = keras.Input((8, 8, 3))
    squeezed = keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs)
    gate = keras.layers.Conv2D(3, 1, activation="sigmoid", bias_initializer=keras.initializers.Constant(12.0))(squeezed)
    dead = keras.layers.Conv2D(3, 1, activation="relu", bias_initializer=keras.initializers.Constant(-99.0))(inputs)
    added = keras.layers.Add()([keras.layers.Multiply()([inputs, gate]), dead])
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(added)))
    images = np.random.default_rng(0).uniform(size=(32, 8, 8, 3)).astype("float32")
    aware = quantize_aware(model, images)
    outputs = model.predict(images, verbose=0)
    assert np.abs(aware.predict(images, verbose=0) - outputs).max() < 0.05 * np.abs(outputs).max()
    _, ranges = strip(aware)
    assert (0, 1) in ranges.values(), "room for what is dead to come alive"


@pytest.mark.once
def test_logits_are_clipped_as_those_of_a_calibrated_file():
    inputs = keras.Input((4, 4, 3))
    head = keras.layers.Dense(4, "softmax", name="head")
    model = keras.Model(inputs, head(keras.layers.GlobalAveragePooling2D()(inputs)))
    head.bias.assign([-60.0, 0.0, 1.0, 2.0])  # a class that is never meant takes most of the full range
    images = np.random.default_rng(0).uniform(size=(32, 4, 4, 3)).astype("float32")
    _, ranges = strip(quantize_aware(model, images))
    assert -20 < ranges["head"][0] <= 0 < ranges["head"][1] < 5


def test_norms_are_folded_and_the_function_is_kept(trained, aware, data):
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in aware.layers)
    plain, ranges = strip(aware)
    assert not any(type(layer).__module__.startswith("export") for layer in plain.layers)
    expected = trained.predict(data.x_test, verbose=0)
    assert np.abs(plain.predict(data.x_test, verbose=0) - expected).max() < 0.1  # its weights are rounded
    assert ranges["quantized_image"] == (0, 255)  # pixels go in, whatever these images hold


def test_it_trains_compiled_every_weight_moves_and_the_file_agrees(trained, data, tmp_path):
    keras.utils.set_random_seed(0)
    aware = quantize_aware(trained, data.x_train[:40])
    before = [np.array(keras.ops.convert_to_numpy(weight)) for weight in aware.trainable_weights]
    jit = keras.backend.backend() == "jax"
    aware.compile(keras.optimizers.SGD(1e-3, momentum=0.9), "sparse_categorical_crossentropy", jit_compile=jit)
    aware.fit(data.x_train, data.y_train, batch_size=16, epochs=2, verbose=0)
    after = [np.array(keras.ops.convert_to_numpy(weight)) for weight in aware.trainable_weights]
    assert all((one != other).any() for one, other in zip(before, after, strict=True))
    file = to_tflite(aware, tmp_path / "a.tflite", mode="int8", test=data.x_test, labels=data.y_test, io="int8")
    assert file.verification.float_operations == 0
    assert file.verification.agreement >= 0.95
    assert file.verification.accuracy > 0.9
    recipe = read_recipe(file.path)
    assert recipe["calibration"] is None
    assert recipe["verification"]["source"] == "test"


def test_it_survives_the_keras_file(aware, data, tmp_path):
    aware.save(tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras")
    np.testing.assert_allclose(loaded.predict(data.x_test, verbose=0), aware.predict(data.x_test, verbose=0), atol=1e-5)
    by_path = to_tflite(tmp_path / "a.keras", tmp_path / "a.tflite", mode="int8", test=data.x_test)
    assert by_path.verification.agreement >= 0.95


def test_the_file_is_as_good_as_one_that_was_calibrated(trained, aware, data, tmp_path):
    calibration = pick_calibration(data.x_train, data.y_train, "blobs", count=40)
    after = to_tflite(trained, tmp_path / "a.tflite", mode="int8", calibration=calibration, test=data.x_test)
    trained_for = to_tflite(aware, tmp_path / "b.tflite", mode="int8", test=data.x_test)
    assert abs(trained_for.bytes - after.bytes) < 0.1 * after.bytes
    outputs = [np.stack(list(LiteRT(file.path).predict(data.x_test))) for file in (after, trained_for)]
    assert (outputs[0].argmax(-1) == outputs[1].argmax(-1)).mean() >= 0.95


def test_few_images_are_told(trained, data):
    with pytest.warns(UserWarning, match="ranges from 8 calibration images are a guess"):
        quantize_aware(trained, data.x_train[:8])


def test_mistakes_are_one_line(trained, aware, data, tmp_path):
    with pytest.raises(UsageError, match="do not fit"):
        quantize_aware(trained, np.zeros((2, 4, 4, 3), "float32"))
    with pytest.raises(UsageError, match="do not fit"):
        quantize_aware(trained, data.x_train[:0])
    with pytest.raises(UsageError, match=r"stem_norm \(GroupNormalization\)"):
        quantize_aware(build_tiny("basic", norm="group"), np.zeros((2, 16, 16, 3), "float32"))
    inputs, shared = keras.Input((4, 4, 2)), keras.layers.Conv2D(2, 1, name="shared")
    with pytest.raises(UsageError, match="uses shared more than once"):
        quantize_aware(keras.Model(inputs, shared(shared(inputs))), np.zeros((2, 4, 4, 2), "float32"))
    with pytest.raises(UsageError, match=r"activation \(activation selu\)"):
        quantize_aware(around(keras.layers.Activation("selu", name="activation")), np.zeros((2, 8, 8, 3)))
    vectors = keras.layers.BatchNormalization(name="norm")(keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    with pytest.raises(UsageError, match=r"norm \(BatchNormalization of vectors\)"):
        quantize_aware(keras.Model(inputs, vectors), np.zeros((2, 4, 4, 2), "float32"))
    averaged = keras.layers.Average(name="mean")([keras.layers.Flatten()(inputs), keras.layers.Flatten()(inputs)])
    with pytest.raises(UsageError, match=r"mean \(Average of vectors\)"):
        quantize_aware(keras.Model(inputs, averaged), np.zeros((2, 4, 4, 2), "float32"))
    adapted = around(lambda x: x)
    adapted.layers[-1].enable_lora(2)
    with pytest.raises(UsageError, match=r"\(Dense with LoRA or"):
        quantize_aware(adapted, np.zeros((2, 8, 8, 3)))
    with pytest.raises(UsageError, match=r"takes a Keras model, not 'a\.keras'"):
        quantize_aware("a.keras", np.zeros((2, 8, 8, 3)))
    with pytest.raises(UsageError, match="are no numbers"):
        quantize_aware(trained, data.x_train[:8].astype(str))
    across = keras.layers.BatchNormalization(axis=1, name="across")(inputs)
    with pytest.raises(UsageError, match=r"across \(BatchNormalization over axis 1, not the channels\)"):
        quantize_aware(keras.Model(inputs, across), np.zeros((2, 4, 4, 2), "float32"))
    whole = keras.Input((4, 4, 2), dtype="uint8")
    with pytest.raises(UsageError, match="takes uint8 images"):
        quantize_aware(keras.Model(whole, keras.layers.Rescaling(2.0)(whole)), np.zeros((2, 4, 4, 2), "uint8"))
    with pytest.raises(UsageError, match=r"one input and one output; .* has 1 and 2"):
        quantize_aware(keras.Model(inputs, [inputs, across]), np.zeros((2, 4, 4, 2), "float32"))
    summed = keras.Model(inputs, inputs + keras.layers.Conv2D(2, 1)(inputs))
    with pytest.raises(UsageError, match=r"\(operation Add, not a layer\)"):
        quantize_aware(summed, np.zeros((2, 4, 4, 2), "float32"))
    diverged = around(lambda x: x)
    diverged.layers[1].set_weights([np.full(weight.shape, np.nan) for weight in diverged.layers[1].weights])
    with pytest.raises(UsageError, match="infinite or NaN in places"):
        quantize_aware(build_tiny("plain"), np.full((8, 16, 16, 3), np.inf, "float32"))
    with pytest.raises(UsageError, match="its training has diverged"):
        quantize_aware(diverged, np.ones((2, 8, 8, 3), "float32"))
    with pytest.raises(UsageError, match="was trained for int8: export it with mode int8"):
        to_tflite(aware, tmp_path / "a.tflite", test=data.x_test)
    assert list(tmp_path.iterdir()) == []
