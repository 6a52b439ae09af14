import importlib
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from tiny import TINY, build_tiny

from export import (
    FAST_MODES,
    MODES,
    Calibration,
    Verification,
    export_modes,
    pick_calibration,
    quantize_aware,
    to_tflite,
    verify,
)
from export.convert import load_model, predict_classes
from export.files import ensure_folder, replacing
from export.flatbuffer import describe, read, write
from export.layers import takes_pixels
from export.recipe import read_recipe, recipe_path
from export.runtimes.litert import LiteRT
from keras_resnets import UsageError, count_macs, count_parameters


@pytest.fixture(scope="module")
def exported(trained, data, tmp_path_factory):
    """The trained model in every mode that needs no plan."""
    folder = tmp_path_factory.mktemp("exported")
    calibration = pick_calibration(data.x_train, data.y_train, "blobs", count=40)
    outs = {name: folder / f"{name}.tflite" for name, mode in MODES.items() if not mode.needs_plan}
    files = export_modes(trained, outs, calibration=calibration, test=data.x_test, labels=data.y_test)
    with pytest.warns(UserWarning, match="no fast kernels") as warned:
        found = {file.mode: file for file in files}
    slow = [one for one in warned if "no fast kernels" in str(one.message)]  # backends warn of their own
    assert len(slow) == len(outs) - len(FAST_MODES)
    return found


def converted_to(content):
    """Stands in for the conversion: whatever the modes, this file comes out."""
    return lambda model, modes, *_: ((mode, "converter", content) for mode in modes)


def test_every_mode_agrees_with_the_trained_model(exported, trained, data):
    expected = trained.predict(data.x_test, verbose=0)
    assert (expected.argmax(-1) == data.y_test).mean() > 0.9, "the model must have learned something to agree on"
    for mode, file in exported.items():
        outputs = np.stack(list(LiteRT(file.path).predict(data.x_test)))
        assert file.verification.agreement == (outputs.argmax(-1) == expected.argmax(-1)).mean() >= 0.95, mode
        np.testing.assert_allclose(file.verification.max_error, np.abs(outputs - expected).max(), rtol=1e-5)
        assert file.verification.images == len(data.x_test)


def test_float32_is_exact_to_rounding(exported):
    assert exported["float32"].verification.max_error < 1e-4
    assert exported["float16"].verification.max_error < 1e-2


def test_int8_leaves_no_float_operation(exported):
    assert exported["int8"].verification.float_operations == 0
    assert exported["float32"].verification.float_operations > 5


def test_files_shrink_in_the_order_of_their_weights(exported):
    sizes = {mode: file.path.stat().st_size for mode, file in exported.items()}
    assert sizes == {mode: file.bytes for mode, file in exported.items()}
    assert max(sizes["dynamic"], sizes["int8"]) < sizes["float16"] < sizes["float32"]


def test_the_recipe_says_what_was_done(exported, trained):
    recipe = json.loads(recipe_path(exported["int8"].path).read_text())
    assert recipe == read_recipe(exported["int8"].path)
    assert recipe["mode"]["name"] == "int8"
    assert recipe["parameters"] == count_parameters(trained)
    assert recipe["macs"] == count_macs(trained)
    assert recipe["calibration"]["source"] == "blobs"
    on_calibration = recipe["on_calibration"]
    assert (on_calibration["source"], on_calibration["images"], on_calibration["accuracy"]) == ("calibration", 40, None)
    assert len(recipe["calibration"]["indices"]) == recipe["calibration"]["images"] == 40
    assert recipe["verification"]["agreement"] == exported["int8"].verification.agreement
    assert recipe["versions"]["keras"] == keras.__version__
    twin = keras.Model.from_config(recipe["config"]["config"])
    assert [layer.name for layer in twin.layers] == [layer.name for layer in trained.layers]
    assert read_recipe(exported["float32"].path)["calibration"] is None


@pytest.mark.once
def test_a_foreign_json_is_no_recipe(tmp_path):
    (tmp_path / "a.tflite.json").write_text("[1]")
    (tmp_path / "b.tflite.json").write_text("{broken")
    (tmp_path / "c.tflite.json").write_text('{"schema": 99}')
    assert read_recipe(tmp_path / "a.tflite") == read_recipe(tmp_path / "b.tflite") == {}
    assert read_recipe(tmp_path / "c.tflite") == read_recipe(tmp_path / "none.tflite") == {}


@pytest.mark.once
def test_a_path_exports_like_the_model(exported, trained, tmp_path):
    trained.save(tmp_path / "model.keras")
    file = to_tflite(tmp_path / "model.keras", tmp_path / "model.tflite")
    assert file.path.read_bytes() == exported["float32"].path.read_bytes()


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("key", sorted(TINY))
def test_every_family_converts_with_builtin_operations(key, tmp_path):
    model = build_tiny(key, classifier_activation=None)  # logits: a softmax could saturate and hide every error
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        if weight.name.endswith("kernel"):  # variance 2 / fan-in: no layer is dead, or int8 coarse
            depthwise = weight.shape[-1] == 1
            weight.assign(rng.normal(0, np.sqrt(2 / np.prod(weight.shape[: 2 if depthwise else -1])), weight.shape))
    images = np.random.default_rng(0).normal(size=(32, *model.input_shape[1:])).astype("float32")
    outs = {mode: tmp_path / f"{mode}.tflite" for mode in ("float32", "int8")}
    files = {file.mode: file for file in export_modes(model, outs, calibration=images, min_agreement=0)}
    expected = model.predict(images, verbose=0)
    between_images = np.abs(expected - np.roll(expected, 1, axis=0)).mean()
    assert files["float32"].verification.max_error < 1e-3 * between_images
    assert files["float32"].verification.agreement == 1
    assert files["int8"].verification.float_operations == 0
    # An untrained network names classes by a hair, so the outputs are compared: rounding must change them less than
    # another image does.
    assert files["int8"].verification.mean_error < between_images, key
    kinds = set(files["float32"].verification.operations) | set(files["int8"].verification.operations)
    assert not {kind for kind in kinds if kind.startswith(("CUSTOM", "FLEX"))}


@pytest.mark.once
def test_a_file_below_the_floor_is_not_written(trained, data, tmp_path):
    noise = np.random.default_rng(0).integers(0, 3, (32, 16, 16, 3)).astype(np.uint8)  # ranges far too narrow
    with pytest.raises(UsageError, match=r"not written: it agrees .* below 100.0%"):
        to_tflite(trained, tmp_path / "a.tflite", mode="int8", calibration=noise, test=data.x_test, min_agreement=1.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.once
def test_without_images_a_wrong_file_is_refused_all_the_same(trained, tmp_path, monkeypatch):
    other = to_tflite(build_tiny("plain"), tmp_path / "other.tflite").path.read_bytes()
    monkeypatch.setattr("export.convert._convert", converted_to(other))
    with pytest.raises(UsageError, match=r"a\.tflite not written: "):
        to_tflite(trained, tmp_path / "a.tflite")
    assert not (tmp_path / "a.tflite").exists()
    assert to_tflite(trained, tmp_path / "a.tflite", min_agreement=0).verification.source == "noise"


@pytest.mark.once
def test_a_float_file_that_names_the_same_classes_with_other_outputs_is_refused(trained, data, tmp_path, monkeypatch):
    other = keras.models.clone_model(trained)
    other.set_weights(trained.get_weights())
    other.get_layer("head_dense").kernel.assign(0.9 * trained.get_layer("head_dense").get_weights()[0])
    content = to_tflite(other, tmp_path / "other.tflite").path.read_bytes()
    monkeypatch.setattr("export.convert._convert", converted_to(content))
    with pytest.raises(UsageError, match="more than float32 explains"):
        to_tflite(trained, tmp_path / "a.tflite", test=data.x_test)
    assert not (tmp_path / "a.tflite").exists()


def test_a_file_whose_outputs_are_not_finite_is_refused_whatever_is_asked(trained, data, tmp_path, monkeypatch):
    model = read(to_tflite(trained, tmp_path / "good.tflite").path.read_bytes())
    graph = model.subgraphs[0]
    dense = next(one for one in graph.operators if b"head_dense" in graph.tensors[one.outputs[0]].name)
    bias = model.buffers[graph.tensors[dense.inputs[2]].buffer]
    bias.data = np.full(4, np.inf, np.float32).view(np.uint8)
    monkeypatch.setattr("export.convert._convert", converted_to(write(model)))
    with pytest.raises(UsageError, match="outputs are not finite on test images"):
        to_tflite(trained, tmp_path / "a.tflite", test=data.x_test, min_agreement=0)
    assert not (tmp_path / "a.tflite").exists()


def test_a_diverged_model_is_refused(tmp_path):
    model = build_tiny("plain")
    model.get_layer("head_dense").bias.assign([np.nan] * 4)
    with pytest.raises(UsageError, match="not finite"):
        to_tflite(model, tmp_path / "a.tflite")
    assert list(tmp_path.iterdir()) == []


def test_a_subclassed_model_is_one_line(tmp_path):
    class Net(keras.Model):
        def call(self, x):
            return x

    for model in (Net(), keras.Sequential([keras.layers.Flatten()])):
        with pytest.raises(UsageError, match=r"a functional model, which .* is not, or not yet: give it an Input"):
            to_tflite(model, tmp_path / "a.tflite")


def test_what_goes_in_and_out_is_told(tmp_path):
    image, vector = keras.Input((4, 4, 3)), keras.Input((20,))
    flat = keras.layers.Flatten()(image)
    for model, message in (
        (keras.Model(image, {"scores": flat}), "names them in a dictionary"),
        (keras.Model([image, vector], flat), "has 2 and 1"),
        (keras.Model(vector, keras.layers.Dense(3)(vector)), r"goes from \(20,\) to \(3,\)"),
        (keras.Model(image, keras.layers.Flatten(name="two words")(image)), "no model or layer called 'two words'"),
    ):
        with pytest.raises(UsageError, match=message):
            to_tflite(model, tmp_path / "a.tflite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.once
def test_an_operation_that_litert_lacks_is_one_line(tmp_path):
    inputs = keras.Input((8, 8, 2))
    spectrum, _ = keras.ops.fft2((inputs[..., 0], inputs[..., 1]))
    model = keras.Model(inputs, keras.layers.Flatten()(spectrum))
    with pytest.raises(UsageError, match="cannot be converted to float32") as caught:
        to_tflite(model, tmp_path / "a.tflite")
    assert "\n" not in str(caught.value)


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"mode": "int4"},
            f"no mode named 'int4'; choose one of {', '.join(MODES)}",
        ),
        ({"mode": "int8"}, "needs training images"),
        ({"mode": "int8", "calibration": np.zeros((0, 16, 16, 3))}, "needs training images"),
        ({"calibration": np.zeros((2, 8, 8, 3))}, "calibration images of shape"),
        ({"test": np.zeros((2, 16, 16, 1))}, "test images of shape"),
        ({"out": "model.bin"}, "suffix .tflite"),
        ({"io": "int8"}, "io='int8' is for mode int8; a file of mode float32 takes and gives float32"),
        ({"io": "int16"}, "io='int16': choose one of float32, uint8, int8"),
        ({"clipping": "max"}, "clipping='max': choose one of minmax, percentile, mse"),
        ({"labels": np.zeros(2)}, "labels are those of test images"),
        ({"test": np.zeros((2, 16, 16, 3)), "labels": np.zeros((2, 1))}, r"labels of shape \(2, 1\): give one class"),
        ({"test": np.zeros((0, 16, 16, 3))}, "test images are none"),
        ({"calibration": np.full((2, 16, 16, 3), np.nan)}, "calibration images are infinite or NaN in places"),
        (
            {"test": np.zeros((2, 16, 16, 3)), "labels": np.array([0, 4])},
            "labels from 0 to 4, and the model has 4 classes",
        ),
        ({"test": np.zeros((2, 16, 16, 3)), "labels": np.array([-1, 0])}, "labels from -1 to 0"),
        ({"test": np.zeros((2, 16, 16, 3)), "labels": np.array(["a", "b"])}, "that are no whole numbers"),
        ({"test": np.full((2, 16, 16, 3), "a")}, "test images are of type <U1; give numbers"),
        ({"calibration": "digits"}, "calibration is an array of images or what pick_calibration returns, not 'digits'"),
    ],
)
def test_a_wrong_request_is_one_line_and_writes_nothing(trained, tmp_path, options, message):
    out = tmp_path / options.pop("out", "model.tflite")
    with pytest.raises(UsageError, match=message) as caught:
        to_tflite(trained, out, **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.once
def test_a_model_of_unknown_size_is_refused(tmp_path):
    model = build_tiny("plain", input_shape=(None, None, 3))
    with pytest.raises(UsageError, match=f"layer {model.inputs[0].name} takes images of any size"):
        to_tflite(model, tmp_path / "a.tflite")


@pytest.mark.once
def test_two_modes_do_not_share_a_file(trained, tmp_path):
    outs = {"float32": tmp_path / "a.tflite", "float16": tmp_path / "." / "a.tflite"}
    with pytest.raises(UsageError, match="two modes would be written to one file"):
        list(export_modes(trained, outs))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.once
def test_what_is_infinite_in_a_model_does_not_stop_its_recipe(tmp_path):
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, keras.layers.Flatten()(keras.ops.clip(inputs, 0.0, float("inf"))))
    file = to_tflite(model, tmp_path / "a.tflite")
    assert "Infinity" in json.dumps(read_recipe(file.path)["config"])


@pytest.mark.once
def test_a_loop_has_no_ranges(tmp_path):
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, keras.layers.GRU(3)(keras.layers.Reshape((4, 4))(inputs)))
    with pytest.raises(UsageError, match="use a mode that needs no images"):
        to_tflite(model, tmp_path / "a.tflite", mode="int8", calibration=np.zeros((32, 4, 4, 1)))


@pytest.mark.once
def test_a_folder_cannot_be_the_file(trained, tmp_path):
    (tmp_path / "a.tflite").mkdir()
    with pytest.raises(UsageError, match="it is a folder"):
        to_tflite(trained, tmp_path / "a.tflite")


@pytest.mark.once
@pytest.mark.parametrize("content", [None, b"", b"not a zip archive"])
def test_what_is_no_model_is_one_line(tmp_path, content):
    path = tmp_path / "model.keras"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=str(path)) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def user_layer(tmp_path, monkeypatch, module, computes):
    """The class of a layer that a user's own module defines."""
    (tmp_path / f"{module}.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable(package='user')\n"
        "class UserLayer(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        f"        return {computes}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module(module).UserLayer


def test_user_layers_travel_to_the_converting_process(tmp_path, monkeypatch):
    """A layer registered in a user's module must be known where the conversion runs, whatever the backend."""
    double = user_layer(tmp_path, monkeypatch, "doubling", "2 * x")
    inputs = keras.Input((4, 4, 1))
    outputs = keras.layers.GlobalAveragePooling2D()(double()(inputs))
    file = to_tflite(keras.Model(inputs, outputs), tmp_path / "double.tflite")
    (output,) = LiteRT(file.path).predict(np.ones((1, 4, 4, 1)))
    assert output.tolist() == [2.0]


def test_what_layers_are_built_with_travels_too(tmp_path, monkeypatch):
    (tmp_path / "halving.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable('user')\n"
        "def half(x):\n"
        "    return x / 2\n"
        "@keras.saving.register_keras_serializable('user')\n"
        "class Heavy(keras.regularizers.L2):\n"
        "    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    halving = importlib.import_module("halving")
    inputs = keras.Input((1, 1, 1))
    dense = keras.layers.Dense(1, halving.half, kernel_initializer="ones", kernel_regularizer=halving.Heavy())
    file = to_tflite(keras.Model(inputs, dense(keras.layers.Flatten()(inputs))), tmp_path / "half.tflite")
    (output,) = LiteRT(file.path).predict(np.ones((1, 1, 1, 1)))
    assert output.tolist() == [0.5]


@pytest.mark.once
def test_a_file_is_held_against_the_calibration_images_and_the_test_images(trained, data, calibration, tmp_path):
    options = {"mode": "int8", "calibration": calibration.images}
    to_tflite(trained, tmp_path / "a.tflite", test=data.x_test, **options)
    model = keras.models.clone_model(trained)
    model.set_weights(trained.get_weights())
    real = model.predict

    def spoiled(images, **how):  # on the calibration images alone
        outputs = real(images, **how)
        return np.roll(outputs, 1, axis=-1) if images is calibration.images else outputs

    model.predict = spoiled
    with pytest.raises(UsageError, match="of 40 calibration images, below"):
        to_tflite(model, tmp_path / "b.tflite", test=data.x_test, **options)
    assert not (tmp_path / "b.tflite").exists()


def test_verification_measures_what_it_says(exported, trained, data):
    expected = trained.predict(data.x_test, verbose=0)
    wrong = np.roll(expected, 1, axis=-1)
    found = verify(exported["float32"].path, data.x_test, wrong)
    assert isinstance(found, Verification)
    assert found.agreement < 0.1
    assert found.max_error > 0.1
    assert 0 < found.mean_error < found.max_error


def test_operations_are_counted_by_kind(exported):
    contents = describe(exported["float32"].path.read_bytes())
    assert contents.operations["CONV_2D"] == 7  # stem, three blocks of two
    assert contents.operations["FULLY_CONNECTED"] == 1
    assert contents.float_operations == sum(contents.operations.values())
    assert contents.select_tf_operations == contents.dynamic_dimensions == 0


@pytest.mark.once
def test_calibration_is_balanced_seeded_and_in_range():
    labels = np.repeat([0, 1, 2], [50, 9, 3])
    images = np.arange(len(labels)).reshape(-1, 1, 1, 1)
    picked = pick_calibration(images, labels, "made", count=15, seed=1)
    assert np.bincount(labels[list(picked.indices)]).tolist() == [6, 6, 3]
    assert picked.images.ravel().tolist() == list(picked.indices)
    assert pick_calibration(images, labels, "made", count=15, seed=1).indices == picked.indices
    assert pick_calibration(images, labels, "made", count=15, seed=2).indices != picked.indices
    assert len(pick_calibration(images, labels, "made", count=999).indices) == len(labels)
    assert isinstance(picked, Calibration)
    for wrong in ({"count": 0}, {"seed": -1}):
        with pytest.raises(UsageError, match="cannot pick"):
            pick_calibration(images, labels, "made", **wrong)


@pytest.mark.once
def test_replacing_writes_all_or_nothing(tmp_path):
    path = tmp_path / "a" / "file.txt"
    with replacing(path) as part:
        part.write_text("first")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), replacing(path) as part:
        part.write_text(f"half {1 / 0}")
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]
    mode = path.stat().st_mode & 0o777
    reference = tmp_path / "plain.txt"
    reference.write_text("")
    assert mode == reference.stat().st_mode & 0o777


@pytest.mark.once
def test_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError, match="No space") as stop, replacing(tmp_path / "a.npz"):
        raise OSError(28, "No space left on device")
    assert stop.value.filename == str(tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.once
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(UsageError, match=r"cannot write into .*file/runs"):
        ensure_folder(blocker / "runs")
    assert Path(blocker).read_text() == ""


def test_what_cannot_be_exported_is_an_error_that_names_the_layer(tmp_path, monkeypatch):
    spectral = user_layer(tmp_path, monkeypatch, "spectral", "keras.ops.fft2((x, keras.ops.zeros_like(x)))[0]")
    backends_own = {
        "tensorflow": "keras.ops.convert_to_tensor(__import__('numpy').asarray(x))",
        "jax": "__import__('jax').numpy.sort(x)",
        "torch": "__import__('torch').sort(x)[0]",
    }
    own = user_layer(tmp_path, monkeypatch, "of_a_backend", backends_own[keras.backend.backend()])
    own.compute_output_shape = lambda self, shape: shape
    inputs = keras.Input((4, 4, 1))
    double = keras.layers.Lambda(lambda x: 2 * x, name="spectrum")
    for layer in (spectral(name="spectrum"), double, own(name="spectrum")):
        model = keras.Model(inputs, keras.layers.Flatten()(layer(inputs)))
        with pytest.raises(UsageError, match="spectrum") as caught:
            to_tflite(model, tmp_path / "net.tflite", test=np.ones((1, 4, 4, 1)))
        assert "\n" not in str(caught.value)
        assert "InputLayer" not in str(caught.value)
    assert not (tmp_path / "net.tflite").exists()


def test_pixels_go_in_where_a_normalisation_stands_before_all_weights():
    inputs, layers = keras.Input((8, 8, 3)), keras.layers
    convolved = layers.Conv2D(3, 1)(inputs)
    cut = layers.Rescaling(1 / 255)(layers.ZeroPadding2D()(layers.RandomFlip()(inputs)))
    nested = keras.Sequential([keras.Input((8, 8, 3)), layers.CenterCrop(4, 4), layers.Rescaling(1 / 255)])
    assert takes_pixels(keras.Model(inputs, cut))
    assert takes_pixels(nested)
    assert takes_pixels(keras.Model(inputs, layers.Conv2D(1, 1)(nested(inputs))))
    assert not takes_pixels(keras.Model(inputs, layers.Add()([inputs, layers.Rescaling(0.2)(convolved)])))
    assert not takes_pixels(keras.Model(inputs, convolved + 2 * inputs))  # operations, and no layers


def test_a_model_of_mixed_precision_becomes_a_float32_file(tmp_path, data):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_tiny("cifar_a", pixel_stats=data.pixel_stats)
    finally:
        keras.config.set_dtype_policy("float32")
    file = to_tflite(model, tmp_path / "a.tflite", test=data.x_test)
    assert file.verification.max_error < 1e-4
    assert {layer.compute_dtype for layer in quantize_aware(model, data.x_train[:40]).layers} == {"float32"}
    inputs = keras.Input((4, 4, 1))
    scaled = keras.layers.Flatten(dtype="mixed_bfloat16")(
        2 * inputs[:, ::2] / 3
    )  # operations have no type of their own
    file = to_tflite(keras.Model(inputs, keras.layers.Dense(2)(scaled)), tmp_path / "c.tflite")
    assert file.verification.max_error < 1e-4

    class Typeless(keras.layers.Layer):
        def __init__(self, name=None):
            super().__init__(name=name, dtype="mixed_bfloat16")

        def call(self, x):
            return x

    with pytest.raises(UsageError, match=r"typeless \(Typeless\) cannot be built in float32"):
        to_tflite(keras.Model(model.input, Typeless(name="typeless")(model.output)), tmp_path / "d.tflite")
    code = keras.layers.Lambda(lambda x: x, name="code", dtype="mixed_bfloat16")(model.output)
    with pytest.raises(UsageError, match="code holds Python code"):
        to_tflite(keras.Model(model.input, code), tmp_path / "b.tflite")


@pytest.mark.once
def test_a_single_score_names_one_of_two_classes(tmp_path):
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(keras.layers.Flatten()(inputs)))
    images = np.random.default_rng(0).normal(size=(40, 4, 4, 1)).astype(np.float32)
    classes = predict_classes(model, images)
    assert 0 < classes.mean() < 1
    file = to_tflite(model, tmp_path / "a.tflite", test=images, labels=classes)
    assert (file.verification.agreement, file.verification.accuracy) == (1.0, 1.0)
    wrong = verify(file.path, images, 1 - model.predict(images, verbose=0), labels=classes)
    assert (wrong.agreement, wrong.accuracy, wrong.model_accuracy) == (0.0, 1.0, 0.0)


@pytest.mark.once
def test_only_class_scores_are_exported(tmp_path):
    inputs = keras.Input((4, 4, 1))
    with pytest.raises(UsageError, match=r"to class scores, \(classes,\); .* goes from \(4, 4, 1\) to \(4, 4, 2\)"):
        to_tflite(keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs)), tmp_path / "a.tflite")
