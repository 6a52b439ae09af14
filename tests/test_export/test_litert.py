"""The LiteRT runtime on files made here with TensorFlow, so that every input and output type is covered."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from export import measure, pick_calibration
from export.flatbuffer import read, write
from export.runtimes import Subject
from export.runtimes.litert import ROUNDS, RUNS, LiteRT, OnLiteRT, decode, encode, summarize
from export.runtimes.matmul import PRODUCT_MACS, SHAPE, write_products
from export.verification import verify
from keras_resnets import UsageError

pytestmark = pytest.mark.once

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


@pytest.mark.parametrize("labels", [np.zeros((20, 1), int), np.zeros(1, int), np.zeros(0, int)])
def test_labels_that_numpy_would_compare_with_every_prediction_are_one_line(tmp_path, labels):
    path = convert(tmp_path / "a.tflite")
    with pytest.raises(UsageError, match=r"20 images and labels of shape .*: give one class an image"):
        measure([path], IMAGES, labels)
    with pytest.raises(UsageError, match="give one class an image"):
        verify(path, IMAGES, reference(IMAGES), labels=labels)
    with pytest.raises(UsageError, match="give one class an image"):
        pick_calibration(IMAGES, labels, "made up")


def test_scores_that_are_no_numbers_name_no_class(tmp_path):
    runner = LiteRT(convert(tmp_path / "a.tflite", function=lambda x: tf.reshape(x, (1, -1))[:, :3] * np.nan))
    np.testing.assert_array_equal(runner.classify(IMAGES), -1)


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


def test_an_image_of_any_size_is_one_line(tmp_path):
    model = read(convert(tmp_path / "a.tflite").read_bytes())
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shapeSignature = [1, -1, -1, 2]
    (tmp_path / "a.tflite").write_bytes(write(model))
    with pytest.raises(UsageError, match=r"any size \(1x\?x\?x2\): export it with a fixed input shape"):
        LiteRT(tmp_path / "a.tflite")


def test_an_input_that_is_no_image_is_one_line(tmp_path):
    model = read(convert(tmp_path / "a.tflite").read_bytes())
    graph = model.subgraphs[0]
    entry = schema.TensorT()
    entry.name, entry.shape, entry.type, entry.buffer = "ids", [1, 4, 4, 2], schema.TensorType.INT32, 0
    cast = schema.OperatorCodeT()
    cast.builtinCode = cast.deprecatedBuiltinCode = schema.BuiltinOperator.CAST
    first = schema.OperatorT()
    graph.tensors.append(entry)
    model.operatorCodes.append(cast)
    first.opcodeIndex, first.inputs, first.outputs = (
        len(model.operatorCodes) - 1,
        [len(graph.tensors) - 1],
        graph.inputs,
    )
    graph.operators.insert(0, first)
    graph.inputs = first.inputs
    model.signatureDefs = []
    (tmp_path / "a.tflite").write_bytes(write(model))
    with pytest.raises(UsageError, match="takes int32, not an image"):
        LiteRT(tmp_path / "a.tflite")


def test_an_unknown_operation_is_one_line_that_names_it(tmp_path):
    model = read(convert(tmp_path / "a.tflite").read_bytes())
    for code in model.operatorCodes:
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = "Hologram"
    for operator in model.subgraphs[0].operators:
        operator.builtinOptions = None
    (tmp_path / "a.tflite").write_bytes(write(model))
    with pytest.raises(UsageError, match=r"does not run in LiteRT.*Hologram"):
        LiteRT(tmp_path / "a.tflite")


def test_ends_are_those_of_the_file(tmp_path):
    runner = LiteRT(convert(tmp_path / "a.tflite", io=tf.uint8))
    assert (runner.input.shape, runner.input.type) == ((1, 4, 4, 2), "uint8")
    assert runner.input.scale == pytest.approx(IMAGES.max() / 255, rel=0.02)
    assert runner.input.zero_point == 0
    floats = LiteRT(convert(tmp_path / "b.tflite"))
    assert (floats.output.type, floats.output.scale, floats.output.zero_point) == ("float32", None, None)


def test_files_are_timed_at_each_number_of_threads(tmp_path):
    path = convert(tmp_path / "a.tflite")
    runtime, steps = OnLiteRT((1, 2)), []
    runtime.check()
    subjects = [Subject(path, IMAGES, 96, "float32"), Subject(path, IMAGES, None, "float32")]
    known, unknown = runtime.measure(subjects, lambda: steps.append(1))
    assert len(steps) == runtime.steps(2)
    for found in (known, unknown):
        assert [timing.threads for timing in found.timings] == [1, 2]
        for timing in found.timings:
            assert 0 < timing.p50_ms <= timing.p90_ms <= timing.p99_ms
            assert len(timing.rounds_ms) == ROUNDS
            assert RUNS[0] * ROUNDS <= timing.runs <= RUNS[1] * ROUNDS
        assert found.init_ms > 0
        assert found.first_ms > 0
        assert found.memory_bytes is None or found.memory_bytes < 2_000_000, "with the kernels' code it is 4 MB"
    assert unknown.peak_share is None
    assert known.peak_share == pytest.approx(2 * 96 / (known.timings[0].p50_ms * 1e6) / runtime.peak.float32_gops)
    assert runtime.peak.int8_gops > 0


@pytest.mark.parametrize("threads", [(), (0,), (1, -1)])
def test_no_threads_is_one_line(threads):
    with pytest.raises(UsageError, match="threads must be at least 1"):
        OnLiteRT(threads).check()


def test_figures_are_those_of_all_runs_and_the_interval_that_of_the_rounds():
    seconds = np.random.default_rng(0).gamma(3.0, 1e-3, (20, 11))
    timing = summarize(seconds, 3)
    assert timing.p50_ms == pytest.approx(1e3 * np.median(seconds))
    assert timing.p99_ms == pytest.approx(1e3 * np.quantile(seconds, 0.99))
    assert timing.mean_ms == pytest.approx(1e3 * seconds.mean())
    assert timing.rounds_ms == pytest.approx([1e3 * np.median(one) for one in seconds])
    inside = [timing.p50_low_ms <= one <= timing.p50_high_ms for one in timing.rounds_ms]
    assert sum(inside) == 18


def test_other_work_in_some_rounds_does_not_put_the_truth_outside_of_the_interval():
    seconds = np.full((20, 11), 1e-3)
    seconds[3:] *= 1.4  # seventeen rounds shared the processor
    timing = summarize(seconds, 1)
    assert timing.p50_low_ms <= 1.0 <= timing.p50_high_ms


def run(path, image):
    """What a file makes of integers, as real numbers."""
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(entry["index"], image[None].astype(entry["dtype"]))
    interpreter.invoke()
    return decode(interpreter.get_tensor(end["index"])[0], end)


def test_the_matrix_products_are_what_they_say(tmp_path):
    image = np.random.default_rng(0).integers(-128, 128, SHAPE).astype("float32")
    floats, integers = (run(path, image) for path in write_products(tmp_path))
    kernel = np.random.default_rng(0).integers(-127, 128, (SHAPE[2], SHAPE[2]))
    expected = (image.astype("int64").reshape(-1, SHAPE[2]) @ kernel.T).reshape(SHAPE)
    assert expected.size * SHAPE[2] == PRODUCT_MACS
    np.testing.assert_allclose(floats, expected, rtol=1e-5)
    np.testing.assert_allclose(integers, np.clip(expected, -128 * 256, 127 * 256), atol=129)


def test_an_output_that_is_no_row_of_classes_is_one_line(tmp_path):
    path = convert(tmp_path / "a.tflite", function=lambda x: x + 1.0)
    with pytest.raises(UsageError, match=r"its output is of shape \(1x4x4x2\), not \(1, classes\)"):
        LiteRT(path)


def test_a_class_instead_of_scores_is_one_line(tmp_path):
    path = convert(tmp_path / "a.tflite", function=lambda x: tf.reshape(tf.argmax(tf.reshape(x, (1, -1)), -1), (1, 1)))
    with pytest.raises(UsageError, match="gives int64, not the scores"):
        LiteRT(path)


def test_pixels_that_are_stored_as_they_are_go_in_as_they_are():
    tensor = {"dtype": np.uint8, "quantization": (0.0, 0)}
    pixels = np.array([0.0, 3.4, 255.0, 300.0])
    np.testing.assert_array_equal(encode(pixels, tensor), [0, 3, 255, 255])
    np.testing.assert_array_equal(decode(np.array([0, 3, 255], np.uint8), tensor), [0, 3, 255])
