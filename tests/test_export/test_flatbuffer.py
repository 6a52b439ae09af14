"""Reading a file into objects and writing it back."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from tiny import build_tiny, randomize

from export import export_modes, to_tflite
from export.flatbuffer import arithmetic, operations, read, write
from export.runtimes.litert import LiteRT

pytestmark = pytest.mark.once


def test_numbers_that_occur_often_are_stored_once_and_nothing_else_changes(tmp_path, data, calibration):
    path = tmp_path / "net.tflite"
    to_tflite(build_tiny("plain"), path, mode="int8", calibration=calibration, min_agreement=0.0)
    content = path.read_bytes()
    plain = bytes(flatbuffer_utils.convert_object_to_bytearray(read(content)))
    assert len(content) < 0.95 * len(plain)
    assert write(read(content)) == content, "the same objects give the same bytes"
    (tmp_path / "plain.tflite").write_bytes(plain)
    outputs = [np.stack(list(LiteRT(tmp_path / name).predict(data.x_test))) for name in ("net.tflite", "plain.tflite")]
    np.testing.assert_array_equal(*outputs)
    points = [tensor.quantization.zeroPoint for tensor in read(content).subgraphs[0].tensors if tensor.quantization]
    assert any(len(point) > 1 for point in points if point is not None), "no tensor has a zero point for each channel"


def test_tensors_that_nothing_uses_are_left_out(tmp_path, data):
    path = tmp_path / "net.tflite"
    to_tflite(build_tiny("preact"), path, min_agreement=0.0)
    content = path.read_bytes()
    model = read(content)
    dead = schema.TensorT()
    dead.name, dead.shape, dead.type, dead.buffer = "dead", [1000], schema.TensorType.FLOAT32, len(model.buffers)
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.ones(4000, np.uint8)
    graph = model.subgraphs[0]
    graph.tensors.insert(0, dead)
    for owner in (graph, *graph.operators):
        owner.inputs = [index + (index >= 0) for index in owner.inputs]
        owner.outputs = [index + 1 for index in owner.outputs]
    for end in (*model.signatureDefs[0].inputs, *model.signatureDefs[0].outputs):
        end.tensorIndex += 1
    assert len(write(model)) < len(content) + 100


@pytest.mark.parametrize("mode", ["float32", "int8"])
def test_every_tensor_and_kind_of_an_exported_file_is_used(mode, tmp_path, calibration):
    """A BatchNorm in front of a convolution is rewritten, and so is the normalisation of the image."""
    path = tmp_path / "net.tflite"
    model = randomize(build_tiny("preact", pixel_stats=([1.0] * 3, [2.0] * 3)))
    to_tflite(model, path, mode=mode, calibration=calibration, min_agreement=0.0)
    stored = read(path.read_bytes())
    graph = stored.subgraphs[0]
    kinds = [(code.builtinCode, code.version) for code in stored.operatorCodes]
    assert len(kinds) == len(set(kinds)), "a kind is listed twice"
    assert {operator.opcodeIndex for operator in graph.operators} == set(range(len(kinds)))
    used = {int(index) for one in (graph, *graph.operators) for index in (*one.inputs, *one.outputs)}
    assert used - {-1} == set(range(len(graph.tensors)))


@pytest.mark.filterwarnings("ignore:.*no fast kernels")
def test_arithmetic_is_that_of_the_kernels(tmp_path, calibration):
    outs = {mode: tmp_path / f"{mode}.tflite" for mode in ("float32", "float16", "dynamic", "int8", "int16x8")}
    model = build_tiny("plain", widths=(32, 64))  # wide enough for dynamic to take its convolutions
    list(export_modes(model, outs, calibration=calibration, min_agreement=0.0))
    found = {mode: arithmetic(path.read_bytes()) for mode, path in outs.items()}
    assert found["float32"] == found["float16"] == "float32"
    assert found["int8"] == "int8"
    assert found["dynamic"] != "float32"
    assert found["int16x8"] is None


def test_tensors_without_names_and_with_odd_ones_are_read(tmp_path, trained):
    model = read(to_tflite(trained, tmp_path / "a.tflite", min_agreement=0).path.read_bytes())
    known = [step.kind for step in operations(write(model))]
    model.subgraphs[0].tensors[0].name = b"\xff"
    for tensor in model.subgraphs[0].tensors[1:]:
        tensor.name = None
    steps = operations(write(model))
    assert [step.kind for step in steps] == known
    assert {tensor.name for step in steps for tensor in step.inputs} == {"\N{REPLACEMENT CHARACTER}", ""}
