"""Ranges, clipping, and the types that a quantized file takes and gives."""

import keras
import numpy as np
import pytest
from PIL import Image
from tiny import build_tiny

from export import read_photos, to_tflite
from export._quantizer import LEAST_WEIGHTS
from export.calibrate import PHOTOS
from export.flatbuffer import SIGNATURE, describe, operations
from export.ranges import SHARES, STEPS, _percentile, least_error, logits_of, observe, range_of_logits
from export.recipe import read_recipe
from export.runtimes.litert import LiteRT
from keras_resnets import UsageError, create_model


@pytest.fixture(scope="module")
def floats(trained, tmp_path_factory):
    return to_tflite(trained, tmp_path_factory.mktemp("floats") / "float32.tflite").path


@pytest.mark.once
def test_ranges_are_those_of_the_keras_layers(trained, floats, calibration):
    ranges = observe(floats.read_bytes(), calibration.images, "minmax").ranges
    stem = trained.get_layer("stem_relu").output
    outputs = type(trained)(trained.inputs, [stem, *trained.outputs]).predict(calibration.images, verbose=0)
    assert ranges["image"] == (calibration.images.min(), calibration.images.max())
    (found,) = (ends for name, ends in ranges.items() if "stem_relu" in name)
    np.testing.assert_allclose(found, (0, outputs[0].max()), rtol=1e-4)
    assert any(np.allclose(ends, (outputs[1].min(), outputs[1].max()), atol=1e-5) for ends in ranges.values())


@pytest.mark.once
@pytest.mark.parametrize("clipping", ["percentile", "mse"])
def test_clipped_ranges_lie_within_the_full_ones_but_for_the_ends(floats, calibration, clipping):
    full = observe(floats.read_bytes(), calibration.images, "minmax").ranges
    clipped = observe(floats.read_bytes(), calibration.images, clipping).ranges
    assert clipped.keys() == full.keys()
    assert clipped["image"] == full["image"]
    for name, (least, largest) in clipped.items():
        assert min(0, full[name][0]) <= least <= largest <= max(0, full[name][1]), name
    assert sum(clipped[name] != full[name] for name in full) > len(full) / 3


@pytest.mark.once
def test_percentile_cuts_what_one_value_in_a_hundred_thousand_reaches():
    values = np.random.default_rng(0).uniform(0, 1, 200_000)
    values[0] = 50.0
    least, largest = _percentile(values, 0.0, 50.0)
    assert least == 0
    assert 1.0 <= largest < 1.1


@pytest.mark.once
def test_mse_finds_the_range_of_least_error():
    """Against a search over the values themselves."""
    values = np.random.default_rng(0).laplace(size=50_000)
    values = np.where(values < 0, values / 3, values)
    ends = float(values.min()), float(values.max())
    found = least_error(values, *ends)

    def error(*shares):
        low, high = np.multiply(ends, shares)
        step = (high - low) / STEPS
        return np.square(values - np.clip(np.rint((values - low) / step), 0, STEPS) * step - low).mean()

    best = min(error(low, high) for low in SHARES[:-1:3] for high in SHARES[:-1:3])
    assert error(found[0] / ends[0], found[1] / ends[1]) < 1.01 * best < 0.95 * error(1.0, 1.0)


@pytest.mark.once
def test_logits_are_clipped_where_their_probabilities_suffer_least():
    logits = np.random.default_rng(0).normal(0, 6, (500, 10))
    logits[:, 0] -= 60  # a class that is never meant takes most of the full range
    least, largest = range_of_logits(logits)

    def ties(low, high):
        best = np.sort(np.rint((np.clip(logits, low, high) - low) * STEPS / (high - low)))
        return np.mean(best[:, -1] == best[:, -2])

    full = logits.min(), logits.max()
    assert full[0] / 3 < least <= 0 < largest <= full[1]
    assert ties(least, largest) < ties(*full) / 2


@keras.saving.register_keras_serializable("keras_resnets_tests")
class Loudness(keras.layers.Layer):
    """An image times the mean of its pixels, a number without dimensions."""

    def call(self, inputs):
        return inputs * keras.ops.mean(keras.ops.abs(inputs))


@pytest.mark.once
def test_an_activation_may_be_one_number(data, tmp_path):
    inputs = keras.Input(data.image_shape)
    outputs = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(Loudness()(inputs)))
    images = data.x_train.astype("float32") / 255
    file = to_tflite(keras.Model(inputs, outputs), tmp_path / "a.tflite", mode="int8", calibration=images)
    assert file.verification.float_operations == 0


@pytest.mark.once
def test_logits_that_are_flattened_have_one_range(calibration, data, tmp_path):
    inputs = keras.Input(data.image_shape)
    x = keras.layers.Conv2D(4, data.image_shape[:2], name="classes")(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Softmax()(keras.layers.Flatten()(x)))
    file = to_tflite(model, tmp_path / "a.tflite").path.read_bytes()
    names = logits_of(operations(file))
    assert len(names) == 2
    assert len({observe(file, calibration.images).ranges[name] for name in names}) == 1


@pytest.mark.once
def test_only_logits_of_a_softmax_are_clipped(trained, floats, data, calibration, tmp_path):
    headless = build_tiny("cifar_a", pixel_stats=data.pixel_stats, classifier_activation=None)
    headless.set_weights(trained.get_weights())
    for path in (floats, to_tflite(headless, tmp_path / "a.tflite").path):
        (*_, last) = operations(path.read_bytes())
        name = (last.inputs if last.kind == "SOFTMAX" else last.outputs)[0].name
        full, clipped = (observe(path.read_bytes(), calibration.images, how).ranges[name] for how in ("minmax", "mse"))
        assert (clipped != full) == (last.kind == "SOFTMAX")


@pytest.mark.once
@pytest.mark.parametrize("io", ["float32", "uint8", "int8"])
def test_input_and_output_have_the_type_asked_for_and_say_the_same(trained, data, calibration, tmp_path, io):
    arguments = {"mode": "int8", "calibration": calibration, "test": data.x_test}
    file = to_tflite(trained, tmp_path / "io.tflite", io=io, **arguments)
    base = to_tflite(trained, tmp_path / "base.tflite", **arguments)
    runner = LiteRT(file.path)
    assert {np.dtype(tensor["dtype"]).name for tensor in (runner._input, runner._output)} == {io}
    found, expected = (np.stack(list(LiteRT(one.path).predict(data.x_test))) for one in (file, base))
    np.testing.assert_array_equal(found, expected)
    assert runner._interpreter.get_signature_list() == {SIGNATURE: {"inputs": ["image"], "outputs": ["output"]}}
    assert read_recipe(file.path)["io"] == io
    assert describe(file.path.read_bytes()).float_operations == 0


@pytest.mark.once
def test_the_recipe_says_engine_clipping_and_accuracy(trained, data, calibration, tmp_path):
    file = to_tflite(
        trained,
        tmp_path / "a.tflite",
        mode="int8",
        calibration=calibration,
        clipping="mse",
        test=data.x_test,
        labels=data.y_test,
    )
    recipe = read_recipe(file.path)
    assert (recipe["engine"], recipe["clipping"]) == ("quantizer", "mse")
    outputs = np.stack(list(LiteRT(file.path).predict(data.x_test)))
    assert recipe["verification"]["accuracy"] == (outputs.argmax(-1) == data.y_test).mean()
    expected = trained.predict(data.x_test, verbose=0)
    assert recipe["verification"]["model_accuracy"] == (expected.argmax(-1) == data.y_test).mean()


@pytest.mark.once
def test_the_same_inputs_give_the_same_bytes(trained, calibration, tmp_path):
    first, second = (
        to_tflite(trained, tmp_path / name, mode="int8", calibration=calibration, min_agreement=0).path.read_bytes()
        for name in ("a.tflite", "b.tflite")
    )
    assert first == second


@pytest.mark.once
def test_what_only_the_converter_quantizes_cannot_be_clipped(tmp_path):
    model = build_tiny("alexnet")  # its local response normalisation takes a logarithm
    images = np.random.default_rng(0).normal(size=(32, *model.input_shape[1:])).astype("float32")
    file = to_tflite(model, tmp_path / "a.tflite", mode="int8", calibration=images, min_agreement=0)
    recipe = read_recipe(file.path)
    assert (recipe["engine"], recipe["clipping"]) == ("converter", "minmax")
    assert file.verification.float_operations == 0
    with pytest.raises(UsageError, match="operations that only TensorFlow's converter quantizes"):
        to_tflite(model, tmp_path / "b.tflite", mode="int8", calibration=images, clipping="mse", min_agreement=0)
    assert not (tmp_path / "b.tflite").exists()


@pytest.mark.once
def test_what_neither_engine_quantizes_is_written_by_the_one_that_clips(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.sin(x))  # for which there is no integer kernel
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    images = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("float32")
    file = to_tflite(model, tmp_path / "a.tflite", mode="int8", calibration=images, clipping="mse", min_agreement=0)
    recipe = read_recipe(file.path)
    assert (recipe["engine"], recipe["clipping"]) == ("quantizer", "mse")
    assert file.verification.float_operations > 0


@pytest.mark.once
def test_depthwise_convolutions_keep_their_fast_float_kernel_in_dynamic(tmp_path):
    model = create_model("mobilenetv1_x0_5_cifar")
    kinds = to_tflite(model, tmp_path / "a.tflite", mode="dynamic", min_agreement=0).verification.operations
    depthwise = [layer for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
    large = [layer for layer in depthwise if layer.kernel.shape[2] * 9 >= LEAST_WEIGHTS]
    assert 0 < len(large) < len(depthwise) == kinds["DEPTHWISE_CONV_2D"]
    assert kinds["DEQUANTIZE"] == len(large), "their weights alone are stored in 8 bits"


@pytest.mark.once
def test_few_images_warn(trained, data, tmp_path):
    with pytest.warns(UserWarning, match="ranges from 4 calibration images are a guess; give at least 32"):
        to_tflite(trained, tmp_path / "a.tflite", mode="int8", calibration=data.x_train[:4], min_agreement=0)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for number, suffix in enumerate(PHOTOS):
        place = folder / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20 + number, 40, 3), dtype=np.uint8)).save(place / f"{number}{suffix}")
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.mark.once
def test_photos_become_images_of_the_models_shape(photos):
    picked = read_photos(str(photos), (16, 12, 3), count=4, seed=1)
    assert picked.images.shape == (4, 16, 12, 3)
    assert picked.images.dtype == np.uint8
    assert len(set(picked.indices)) == 4
    assert max(picked.indices) < len(PHOTOS)
    again = read_photos(photos, (16, 12, 3), count=4, seed=1)
    np.testing.assert_array_equal(picked.images, again.images)
    assert read_photos(photos, (16, 12, 3), count=4, seed=2).indices != picked.indices
    assert read_photos(photos, (16, 12, 1)).images.shape == (len(PHOTOS), 16, 12, 1)


@pytest.mark.once
def test_photos_are_taken_from_all_folders_alike(tmp_path):
    for folder, count in (("cats", 20), ("dogs", 3)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            Image.new("RGB", (8, 8)).save(tmp_path / folder / f"{number:02}.png")
    picked = read_photos(tmp_path, (8, 8, 3), count=6)
    assert sum(index >= 20 for index in picked.indices) == 3, "dogs come behind cats"


@pytest.mark.once
def test_a_photo_is_covered_not_squeezed(tmp_path):
    """Twice as wide as high, red in the middle half: the middle is what is left."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 10:30] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    (image,) = read_photos(tmp_path, (20, 20, 3)).images
    assert (image == (255, 0, 0)).all()


@pytest.mark.once
def test_mistakes_with_photos_are_one_line(photos, tmp_path):
    (photos / "broken.png").write_text("no photo")
    (photos / "empty.jpg").write_text("")
    Image.fromarray(np.full((8, 8), 60_000, np.uint16)).save(photos / "sixteen.png")
    with pytest.raises(UsageError, match=r"cannot read .*broken.png, .*empty.jpg, .*sixteen.png as photos of 8 bits"):
        read_photos(photos, (16, 16, 3))
    with pytest.raises(UsageError, match="no photos in"):
        read_photos(tmp_path / "none", (16, 16, 3))
    with pytest.raises(UsageError, match="the model's image has 2"):
        read_photos(photos, (16, 16, 2))
