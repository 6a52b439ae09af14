"""Noise that was put into one layer is found there."""

import keras
import numpy as np
import pytest
from tiny import build_tiny

from export import diagnose, pick_calibration, quantize_aware, to_tflite
from export.diagnosis import NO_NOISE, draw_diagnosis, noise_table
from export.flatbuffer import read, write
from keras_resnets import UsageError

pytestmark = pytest.mark.once  # what is compared are .tflite files, wherever their model was trained


@pytest.fixture(scope="module")
def int8(trained, data, tmp_path_factory):
    calibration = pick_calibration(data.x_train, data.y_train, "blobs", count=40)
    path = tmp_path_factory.mktemp("int8") / "a.tflite"
    return to_tflite(trained, path, mode="int8", calibration=calibration, test=data.x_test).path


def test_every_layer_is_there_in_order_with_its_noise(trained, int8, data):
    found = diagnose(trained, int8, data.x_train[:8])
    named = [layer for one in found for layer in one.layers]
    assert [name for name in named if "_add" in name] == [x.name for x in trained.layers if x.name.endswith("_add")]
    assert all(10 < one.snr < NO_NOISE for one in found)
    assert {one.operation for one in found} >= {"CONV_2D", "ADD", "SOFTMAX"}
    assert found[-1].layers == ("head_dense",)  # whose logits are judged by their probabilities


def test_a_file_that_was_trained_for_is_compared_with_its_weights(trained, int8, data, tmp_path):
    aware = quantize_aware(trained, data.x_train[:40])
    path = to_tflite(aware, tmp_path / "a.tflite", mode="int8", test=data.x_test).path
    found = diagnose(aware, path, data.x_train[:8])
    assert sum(one.operation == "CONV_2D" for one in found) == 7
    assert all(one.snr > 10 for one in found)


def test_a_float_file_has_no_noise(trained, data, tmp_path):
    path = to_tflite(trained, tmp_path / "a.tflite", test=data.x_test).path
    assert {one.snr for one in diagnose(trained, path, data.x_train[:4])} == {NO_NOISE}


def test_a_file_of_halved_weights_has_little(trained, data, tmp_path):
    path = to_tflite(trained, tmp_path / "a.tflite", mode="float16", test=data.x_test).path
    found = diagnose(trained, path, data.x_train[:4])
    assert all(one.snr > 40 for one in found)
    assert {"ADD", "SOFTMAX"} <= {one.operation for one in found}


def test_the_layer_that_was_spoiled_is_named(trained, int8, data, tmp_path):
    model = read(int8.read_bytes())
    graph = model.subgraphs[0]
    spoiled = next(o for o in graph.operators if b"stage2_block1_bn2" in graph.tensors[o.outputs[0]].name)
    kernel = model.buffers[graph.tensors[spoiled.inputs[1]].buffer]
    kernel.data = np.random.default_rng(0).permutation(kernel.data)
    path = tmp_path / "spoiled.tflite"
    path.write_bytes(write(model))
    found = diagnose(trained, path, data.x_train[:8])
    worst = max(found, key=lambda one: one.entered)
    assert "stage2_block1_conv2" in worst.layers
    assert worst.entered > 0.5
    text = noise_table(found, 3, "title").columns[0]._cells
    assert "stage2_block1_conv2" in text[0]
    assert len(text) == 3
    labels = [text.get_text() for text in draw_diagnosis(found).axes[0].texts]
    assert any("stage2_block1" in label for label in labels)


def test_a_foreign_file_is_one_line(trained, data, tmp_path):
    (tmp_path / "broken.tflite").write_text("no model")
    with pytest.raises(UsageError, match="does not run in LiteRT"):
        diagnose(trained, tmp_path / "broken.tflite", data.x_train[:4])
    with pytest.raises(UsageError, match="no file"):
        diagnose(trained, tmp_path / "none.tflite", data.x_train[:4])
    with pytest.raises(UsageError, match="given images are none"):
        diagnose(trained, tmp_path / "broken.tflite", data.x_train[:0])


def test_a_file_of_another_model_is_one_line(trained, int8, data, tmp_path):
    other = keras.models.clone_model(trained)  # with other weights
    with pytest.raises(UsageError, match="was not exported from this"):
        diagnose(other, int8, data.x_train[:4])
    nine = build_tiny("cifar_a", classes=9)
    file = to_tflite(nine, tmp_path / "nine.tflite").path
    file.with_name(f"{file.name}.json").unlink()  # it says so itself
    with pytest.raises(UsageError, match="was not exported from this"):
        diagnose(trained, file, data.x_train[:4])


def test_a_sequential_is_diagnosed(data, calibration, tmp_path):
    layers = [keras.layers.Conv2D(4, 3, activation="relu", name="first"), keras.layers.Flatten(), keras.layers.Dense(4)]
    model = keras.Sequential([keras.Input(data.image_shape), *layers])
    file = to_tflite(model, tmp_path / "a.tflite", mode="int8", calibration=calibration, min_agreement=0)
    assert diagnose(model, file.path, data.x_test)[0].layers == ("first",)
