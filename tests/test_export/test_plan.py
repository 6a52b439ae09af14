"""Mixed files: what a plan says is what the file holds, and the search keeps within its budget."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from export import search_plan, to_tflite
from export.flatbuffer import operations, read
from export.plan import Layers, check_plan, resolve
from export.recipe import read_recipe
from export.runtimes.litert import LiteRT
from keras_resnets import UsageError


def mixed(trained, data, calibration, out, plan):
    return to_tflite(trained, out, mode="mixed", plan=plan, calibration=calibration, test=data.x_test, min_agreement=0)


@pytest.mark.once
def test_what_the_plan_keeps_in_float_is_float_and_the_rest_is_not(trained, data, calibration, tmp_path):
    file = mixed(trained, data, calibration, tmp_path / "a.tflite", {"stage2_*": "float32", "*_bn2": "int8"})
    names = {layer.name for layer in trained.layers}
    steps = [step for step in operations(file.path.read_bytes()) if step.kind == "CONV_2D"]
    layers = Layers([step.outputs[0].name for step in steps], names)
    found = {layer: step for step in steps for layer in layers.of(step.outputs[0].name)}
    assert found["stage2_block1_conv1"].outputs[0].is_float
    assert not found["stage2_block1_conv2"].outputs[0].is_float, "a later pattern overrules an earlier one"
    assert not found["stage1_block1_conv1"].outputs[0].is_float
    assert file.verification.float_operations > 0
    assert read_recipe(file.path)["plan"] == {"stage2_*": "float32", "*_bn2": "int8"}
    assert LiteRT(file.path)._input["dtype"] == np.float32


@pytest.mark.once
def test_four_bits_halve_the_weights(trained, data, calibration, tmp_path):
    eight = mixed(trained, data, calibration, tmp_path / "a.tflite", {"stem_*": "int8"})
    four = mixed(trained, data, calibration, tmp_path / "b.tflite", {"stage2_*conv*": "int4"})
    saved = sum(layer.count_params() for layer in trained.layers if "stage2" in layer.name and "conv" in layer.name) / 2
    assert saved * 0.9 < eight.bytes - four.bytes < saved * 1.1
    assert eight.verification.float_operations == four.verification.float_operations == 0


@pytest.mark.once
def test_all_in_float32_is_the_model_itself(trained, data, calibration, tmp_path):
    file = mixed(trained, data, calibration, tmp_path / "a.tflite", {"*": "float32"})
    assert file.verification.agreement == 1
    assert file.verification.max_error < 1e-5


@pytest.mark.once
def test_grouped_convolutions_follow_their_plan_though_the_converter_drops_their_names(calibration, data, tmp_path):
    inputs = keras.Input(data.image_shape)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="first")(keras.layers.Rescaling(1 / 255)(inputs))
    for name, groups in (("two", 2), ("four", 4), ("one", 1)):
        x = keras.layers.Add(name=f"{name}_sum")([x, keras.layers.Conv2D(8, 1, groups=groups, name=name)(x)])
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))
    for name in ("two", "four", "one"):
        file = mixed(model, data, calibration, tmp_path / f"{name}.tflite", {name: "float32"})
        steps = [step for step in operations(file.path.read_bytes()) if step.kind == "CONV_2D"]
        floats = [step.outputs[0].is_float for step in steps]
        assert floats == [one == name for one in ("first", "two", "four", "one")]


@pytest.mark.once
@pytest.mark.parametrize("activation", [None, "softmax", "behind"])
def test_the_last_layer_follows_its_plan_though_the_converter_names_its_tensor(calibration, data, tmp_path, activation):
    inputs = keras.Input(data.image_shape)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Dense(4, None if activation == "behind" else activation, name="scores")(x)
    if activation == "behind":  # layers that leave no operation
        x = keras.layers.Activation("linear", name="out")(keras.layers.Dropout(0.5)(x))
    model = keras.Model(inputs, x)
    kinds = {}
    for choice in ("int8", "float32", "int4"):
        file = mixed(model, data, calibration, tmp_path / f"{choice}.tflite", {"scores": choice})
        content = file.path.read_bytes()
        dense = next(step for step in operations(content) if step.kind == "FULLY_CONNECTED")
        kinds[choice] = read(content).subgraphs[0].tensors[dense.inputs[1].index].type
    types = schema.TensorType
    assert kinds == {"int8": types.INT8, "float32": types.FLOAT32, "int4": types.INT4}
    labels = model.predict(data.x_test, verbose=0).argmax(-1)
    assert "scores" in search_plan(model, calibration, data.x_test, labels, budget=1.0)


@pytest.mark.once
def test_the_search_keeps_within_the_budget(trained, data, calibration, tmp_path):
    labels = trained.predict(data.x_test, verbose=0).argmax(-1)  # so that float32 is right about all of them
    steps = []
    plan = search_plan(trained, calibration, data.x_test, labels, budget=0.05, on_step=lambda: steps.append(1))
    assert "int4" in plan.values()
    assert len(steps) >= len(plan)
    small = mixed(trained, data, calibration, tmp_path / "a.tflite", plan)
    eight = to_tflite(trained, tmp_path / "b.tflite", mode="int8", calibration=calibration, test=data.x_test)
    assert small.verification.agreement >= 0.95
    assert small.bytes < eight.bytes


@pytest.mark.once
def test_the_search_keeps_noisy_layers_in_float(trained, data, tmp_path):
    narrow = (data.x_train[:40] // 16).astype(np.uint8)  # ranges far too narrow: int8 alone must fail
    labels = trained.predict(data.x_test, verbose=0).argmax(-1)
    plan = search_plan(trained, narrow, data.x_test, labels, budget=0.02)
    assert "float32" in plan.values()
    assert mixed(trained, data, narrow, tmp_path / "a.tflite", plan).verification.agreement >= 0.98


@pytest.mark.once
def test_mistakes_are_one_line(trained, data, calibration, tmp_path):
    for options, message in (
        ({"mode": "mixed"}, "a plan goes with mode mixed"),
        ({"mode": "int8", "plan": {}}, "a plan goes with mode mixed"),
        ({"mode": "mixed", "plan": {"stage9_*": "int4"}}, r"no layer matches 'stage9_\*'"),
        ({"mode": "mixed", "plan": {"stem_*": "int2"}}, "choose one of float32, int8, int4"),
        ({"mode": "mixed", "plan": {"stem_*": "int8"}, "io": "int8"}, "io='int8' is for mode int8"),
    ):
        with pytest.raises(UsageError, match=message):
            to_tflite(trained, tmp_path / "a.tflite", calibration=calibration, **options)
    with pytest.raises(UsageError, match="budget=-1"):
        search_plan(trained, calibration, data.x_test, data.y_test, budget=-1)
    with pytest.raises(UsageError, match=r"calibration images of shape \(3, 3, 3\) do not fit"):
        search_plan(trained, np.zeros((9, 3, 3, 3)), data.x_test, data.y_test)
    with pytest.raises(UsageError, match="calibration images are infinite or NaN in places"):
        search_plan(trained, np.full((9, *data.image_shape), np.nan), data.x_test, data.y_test)
    with pytest.raises(UsageError, match="give one class an image"):
        search_plan(trained, calibration, data.x_test, data.y_test[:3])
    with pytest.raises(UsageError, match="labels from 4 to 7, and the model has 4 classes"):
        search_plan(trained, calibration, data.x_test, data.y_test + 4)
    with pytest.raises(UsageError, match="budget=nan"):
        search_plan(trained, calibration, data.x_test, data.y_test, budget=float("nan"))
    infinite = data.x_test.astype("float32")
    infinite[-1] = np.nan
    with pytest.raises(UsageError, match="held-out images are infinite or NaN in places"):
        search_plan(trained, calibration, infinite, data.y_test)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.once
def test_layers_are_found_in_the_names_that_tensorflow_makes_of_them():
    names = {"stem_conv", "stem_relu", "stem_bn", "stage1_block1_conv1"}
    fused = "net_1/stem_relu_1/Relu;net_1/stem_bn_1/batchnorm/add_1;net_1/stem_conv_1/convolution;"
    assert Layers([fused], names).of(fused) == ["stem_relu", "stem_bn", "stem_conv"]
    plain = Layers(["net/stage1_block1_conv1/convolution", "net/stem_conv/convolution"], names)
    assert plain.of("net/stage1_block1_conv1/convolution") == ["stage1_block1_conv1"]
    assert plain.of("StatefulPartitionedCall:0") == []


@pytest.mark.once
def test_a_numbered_name_is_told_from_the_layer_of_that_name():
    names = {"conv2d", "conv2d_1", "conv2d_2"}
    met_again = Layers(["net_1/conv2d_1/x", "net_1/conv2d_1_1/x", "net_1/conv2d_2_1/x"], names)
    assert met_again.of("net_1/conv2d_1/x;net_1/conv2d_1_1/x") == ["conv2d", "conv2d_1"]
    as_they_are = Layers(["net/conv2d/x", "net/conv2d_1/x", "net/conv2d_2/x"], names)
    assert as_they_are.of("net/conv2d_1/x;net/conv2d/x") == ["conv2d_1", "conv2d"]
    shared = Layers(["net/conv2d/x", "net/conv2d_1/x", "net/conv2d_2/x", "net/conv2d_2_1/x"], names)
    assert shared.of("net/conv2d_1/x;net/conv2d_2_1/x") == ["conv2d_1", "conv2d_2"], "a layer that is called twice"


@pytest.mark.once
def test_names_of_tensorflow_are_not_taken_for_those_of_layers():
    names = {"add", "add_1", "batch_normalization", "batch_normalization_1"}
    tensors = ["net_1/batch_normalization_1/batchnorm/add_1", "net_1/add_1/Add;net_1/batch_normalization_1_1/x/add_1"]
    layers = Layers(tensors, names)
    assert layers.of(tensors[0]) == ["batch_normalization"]
    assert layers.of(tensors[1]) == ["add", "batch_normalization_1"]


def kinds_by_layer(model, folder, *layers):
    """The kinds of operations that a plan for each of some layers finds."""
    content = to_tflite(model, folder / "a.tflite").path.read_bytes()
    kinds = {step.outputs[0].name: step.kind for step in operations(content)}
    return [[kinds[tensor] for tensor in resolve({layer: "float32"}, content, model)] for layer in layers]


@pytest.mark.once
def test_a_model_may_be_called_like_one_of_its_layers(data, tmp_path):
    inputs = keras.Input(data.image_shape)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3, name="conv")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(4, name="classifier")(x), name="classifier")
    assert kinds_by_layer(model, tmp_path, "conv", "classifier") == [["CONV_2D"], ["FULLY_CONNECTED"]]


@pytest.mark.once
def test_a_plan_finds_layers_of_default_names(data, tmp_path):
    keras.backend.clear_session()  # names that start at add, as a user's script gives them
    x = inputs = keras.Input(data.image_shape)
    for _ in range(2):
        y = keras.layers.BatchNormalization(beta_initializer="ones")(keras.layers.Conv2D(3, 3, padding="same")(x))
        x = keras.layers.ReLU()(keras.layers.Add()([x, y]))
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))
    assert kinds_by_layer(model, tmp_path, "add", "conv2d_1") == [["ADD"], ["CONV_2D"]]


@pytest.mark.once
def test_plans_are_checked_and_resolved_to_tensors(trained, tmp_path):
    check_plan({"stem_*": "float32"}, [layer.name for layer in trained.layers])
    data = to_tflite(trained, tmp_path / "a.tflite").path.read_bytes()
    found = resolve({"stem_*": "float32", "head_dense": "int4"}, data, trained)
    assert sorted(found.values()) == ["float32", "int4", "int4"]  # the dense layer has two tensors
    assert resolve({"*": "float32", "stage*": "int8", "head*": "int8"}, data, trained).keys() < {
        step.outputs[0].name for step in operations(data)
    }
