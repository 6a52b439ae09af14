"""The LiteRT runtime on files made here with TensorFlow, so that every input and output type is covered."""

import numpy as np
import pytest
import tensorflow as tf

from export.runtimes.litert import LiteRT
from keras_resnets import UsageError

IMAGES = np.random.default_rng(0).uniform(0, 255, (20, 4, 4, 2)).astype("float32")
WEIGHTS = np.random.default_rng(1).normal(size=(32, 3)).astype("float32")


def reference(images):
    return images.reshape(len(images), -1) / 255 @ WEIGHTS


def convert(path, *, io=tf.float32, batch=1, inputs=1, function=None):
    specs = [tf.TensorSpec((batch, 4, 4, 2), tf.float32) for _ in range(inputs)]
    function = function or (lambda *x: tf.reshape(x[0], (batch, -1)) / 255 @ WEIGHTS)
    module = tf.Module()
    module.f = tf.function(function, input_signature=specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.f.get_concrete_function()], module)
    if io != tf.float32:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in IMAGES)
        converter.inference_input_type = converter.inference_output_type = io
    path.write_bytes(converter.convert())
    return path


@pytest.mark.parametrize("io", [tf.float32, tf.int8, tf.uint8])
def test_images_go_in_and_come_out_as_floats_whatever_the_file_holds(tmp_path, io):
    runner = LiteRT(convert(tmp_path / "a.tflite", io=io))
    assert runner.input_shape == (4, 4, 2)
    assert runner.classes == 3
    found = np.stack(list(runner.predict(IMAGES)))
    assert found.dtype == np.float32
    span = np.ptp(reference(IMAGES))
    np.testing.assert_allclose(found, reference(IMAGES), atol=1e-5 if io == tf.float32 else 0.03 * span)


def test_invoke_returns_seconds(tmp_path):
    runner = LiteRT(convert(tmp_path / "a.tflite"))
    runner.load(IMAGES[0])
    assert 0 < runner.invoke() < 10


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        LiteRT(tmp_path / "none.tflite")


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_a_broken_file_is_one_line(tmp_path, content):
    path = tmp_path / "broken.tflite"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="does not run in LiteRT") as caught:
        LiteRT(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_one_line(tmp_path):
    path = convert(tmp_path / "a.tflite")
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(UsageError, match="does not run in LiteRT"):
        LiteRT(path)


@pytest.mark.parametrize("options", [{"batch": 2}, {"inputs": 2, "function": lambda a, b: tf.reshape(a + b, (1, -1))}])
def test_what_is_no_classifier_of_one_image_is_one_line(tmp_path, options):
    with pytest.raises(UsageError, match="no image classifier"):
        LiteRT(convert(tmp_path / "a.tflite", **options))
