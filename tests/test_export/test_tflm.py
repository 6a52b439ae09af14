"""TFLite Micro: memory against the interpreter itself and a formula, outputs against LiteRT's reference kernels."""

import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tiny import build_tiny, randomize

from export import to_tflite
from export.flatbuffer import read, set_io, write
from export.results import Failure
from export.runtimes import Subject
from export.runtimes.tflm import IMAGES, TFLiteMicro
from keras_resnets import UsageError

micro = pytest.importorskip("tflite_micro", reason="TFLite Micro is not installed").runtime
pytestmark = pytest.mark.once

PHOTOS = np.random.default_rng(0).uniform(0, 255, (40, 16, 16, 3)).astype("float32")
STATS = ((125.0, 123.0, 114.0), (63.0, 62.0, 67.0))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """MLPerf Tiny's ResNet-8 in miniature: in int8 with three types of input and output, in float32 and "dynamic"."""
    folder = tmp_path_factory.mktemp("tflm")
    model = randomize(build_tiny("mlperf_tiny", pixel_stats=STATS))
    found = {}
    for mode, io in (("int8", "int8"), ("float32", "float32"), ("dynamic", "float32")):
        name = mode if mode != "int8" else "int8 int8"
        found[name] = folder / f"{name}.tflite"
        to_tflite(model, found[name], mode=mode, io=io, calibration=PHOTOS, min_agreement=0)
    for io in ("uint8", "float32"):
        found[f"int8 {io}"] = folder / f"int8 {io}.tflite"
        found[f"int8 {io}"].write_bytes(set_io(found["int8 int8"].read_bytes(), io))
    return found


def convert(path, function):
    """A file made here with TensorFlow."""
    import tensorflow as tf

    module = tf.Module()
    module.f = tf.function(function, input_signature=[tf.TensorSpec((1, 16, 16, 3), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.f.get_concrete_function()], module)
    path.write_bytes(converter.convert())
    return path


def measure(*paths, images=PHOTOS):
    subjects = [Subject(path=path, images=images, macs=None, arithmetic="int8") for path in paths]
    steps = []
    runtime = TFLiteMicro()
    runtime.check()
    found = runtime.measure(subjects, lambda: steps.append(None))
    assert len(steps) == runtime.steps(len(paths)) == len(found)
    return found


def stored_outputs(path, images, **options):
    """What LiteRT gives, as the file stores it."""
    interpreter = Interpreter(model_path=str(path), num_threads=1, **options)
    interpreter.allocate_tensors()
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    stored = images[:, None]
    if entry["dtype"] != np.float32:
        scale, zero_point = entry["quantization"]
        limits = np.iinfo(entry["dtype"])
        stored = np.clip(np.round(stored / scale + zero_point), limits.min, limits.max)
    for image in stored.astype(entry["dtype"]):
        interpreter.set_tensor(entry["index"], image)
        interpreter.invoke()
        yield interpreter.get_tensor(end["index"])[0].astype(float), end["quantization"][0]


@pytest.mark.parametrize("name", ["int8 int8", "int8 uint8", "int8 float32", "float32"])
def test_the_difference_is_that_of_reference_kernels_from_fast_ones(files, name):
    (figures,) = measure(files[name])
    assert 1 <= figures.images <= IMAGES
    images = PHOTOS[: figures.images]
    reference = stored_outputs(files[name], images, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    pairs = list(zip(reference, stored_outputs(files[name], images), strict=True))
    largest = max(np.abs(one - other).max() for (one, _), (other, _) in pairs)
    scale = pairs[0][0][1] or 1
    assert figures.largest_difference == (None if name.endswith("float32") else largest)
    assert figures.largest_error == pytest.approx(largest * scale, rel=1e-5)


@pytest.mark.parametrize("name", ["int8 int8", "int8 uint8", "float32"])
def test_the_arena_is_the_smallest_that_works(files, name):
    (figures,) = measure(files[name])
    content = files[name].read_bytes()
    micro.Interpreter.from_bytes(content, arena_size=figures.arena_bytes).invoke()
    with pytest.raises(RuntimeError):
        micro.Interpreter.from_bytes(content, arena_size=figures.arena_bytes - 16)
    assert sum(figures.arena.values()) == figures.arena_bytes
    assert min(figures.arena.values()) >= 0
    assert figures.flash_bytes == len(content)


def largest_moment(content):
    """Bytes of the activations that are needed at the same time, at the operation where they are most."""
    model = read(content)
    graph = model.subgraphs[0]
    sizes = {schema.TensorType.FLOAT32: 4, schema.TensorType.INT8: 1, schema.TensorType.UINT8: 1}
    born = {int(index): -1 for index in graph.inputs}
    dies = {int(index): len(graph.operators) for index in graph.outputs}
    for step, operator in enumerate(graph.operators):
        born |= {int(index): step for index in operator.outputs}
        dies |= {int(index): max(step, dies.get(int(index), 0)) for index in operator.inputs}

    def size(index):
        tensor = graph.tensors[index]
        return -(-int(np.prod(tensor.shape)) * sizes[tensor.type] // 16) * 16  # in whole lines of 16 bytes

    moments = range(len(graph.operators))
    return max(sum(size(index) for index in born if born[index] <= step <= dies[index]) for step in moments)


@pytest.mark.parametrize("name", ["int8 int8", "int8 float32", "float32"])
def test_the_head_holds_what_is_needed_at_the_same_time(files, name):
    (figures,) = measure(files[name])
    assert figures.arena["head"] == largest_moment(files[name].read_bytes())


def test_what_it_cannot_run_is_a_failure_and_not_the_end(files, tmp_path):
    import tensorflow as tf

    lacking = convert(tmp_path / "gelu.tflite", lambda x: tf.nn.gelu(tf.reduce_mean(x, (1, 2)), approximate=False))
    infinite = convert(tmp_path / "infinite.tflite", lambda x: tf.reduce_mean(x, (1, 2)) * 3e38)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(files["float32"].read_bytes()[:400])
    hybrid, good = files["dynamic"], files["int8 int8"]
    found = measure(lacking, infinite, broken, hybrid, good)
    assert not isinstance(found[-1], Failure)
    assert [one.reason for one in found[:2]] == [
        "TFLite Micro lacks GELU",
        "TFLite Micro runs it, but its outputs are not finite",
    ]
    assert found[2].reason.startswith("does not run in LiteRT: ")
    assert found[3].reason == (
        "TFLite Micro cannot prepare operation 6, CONV_2D: Hybrid models are not supported on TFLite Micro."
    )


def test_a_custom_operation_is_named(files, tmp_path, monkeypatch):
    content = read(files["int8 int8"].read_bytes())
    code = content.operatorCodes[content.subgraphs[0].operators[0].opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"Rotate"
    path = tmp_path / "custom.tflite"
    path.write_bytes(write(content))
    monkeypatch.setattr("export.runtimes.tflm.Interpreter", lambda **_: Interpreter(model_path=str(files["int8 int8"])))
    (failure,) = measure(path)
    assert failure.reason == "TFLite Micro lacks CUSTOM Rotate"


def test_a_crash_is_a_failure_that_names_the_operation(files, tmp_path):
    content = read(files["int8 float32"].read_bytes())
    graph = content.subgraphs[0]
    *_, dense, softmax, _ = graph.operators
    assert content.operatorCodes[softmax.opcodeIndex].builtinCode == schema.BuiltinOperator.SOFTMAX
    # Logits that hardly differ: LiteRT runs them, a check in TFLite Micro's native code ends the process.
    for index in [*dense.inputs[1:], *dense.outputs]:
        quantization = graph.tensors[index].quantization
        quantization.scale = [scale * 1e-8 for scale in quantization.scale]
    path = tmp_path / "crash.tflite"
    path.write_bytes(write(content))
    crash, good = measure(path, files["int8 int8"])
    assert not isinstance(good, Failure)
    count = len(graph.operators)
    assert crash.reason == (
        f"TFLite Micro crashes (SIGABRT) at operation {count - 1} of {count}, SOFTMAX, without saying why"
    )


def test_few_images_are_compared(files, monkeypatch):
    monkeypatch.setattr("export.runtimes.tflm.IMAGES", 3)
    (figures,) = measure(files["int8 int8"])
    assert figures.images == 3
    (figures,) = measure(files["int8 int8"], images=PHOTOS[:1])
    assert figures.images == 1


@pytest.mark.usefixtures("hanging")
def test_a_program_that_hangs_is_a_failure(files):
    (failure,) = measure(files["int8 int8"])
    assert failure.reason == "TFLite Micro does not run it: it did not end within 0.2 s"


def test_without_the_package_it_says_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    with pytest.raises(UsageError, match=r"pip install 'keras-resnets\[edge\]'"):
        TFLiteMicro().check()
