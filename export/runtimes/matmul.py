"""A large matrix product as `.tflite` files: what a processor's kernels reach where nothing holds them up."""

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.flatbuffer import make_operator, write

SHAPE = (32, 32, 256)  # image; the product is of 1024 x 256 and 256 x 256, whose operands fit into a core's cache
PRODUCT_MACS = SHAPE[0] * SHAPE[1] * SHAPE[2] ** 2
INPUT, KERNEL, BIAS, OUTPUT = range(4)


def write_products(folder: Path) -> tuple[Path, Path]:
    """Writes a 1x1 convolution of `SHAPE` with random weights in float32 and in int8 and returns the two paths."""
    paths = folder / "product_float32.tflite", folder / "product_int8.tflite"
    for path, integer in zip(paths, (False, True), strict=True):
        path.write_bytes(write(_model(integer)))
    return paths


def _model(integer: bool) -> Any:
    random, channels = np.random.default_rng(0), SHAPE[2]
    kernel = random.integers(-127, 128, (channels, 1, 1, channels))
    bias = np.zeros(channels)
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT() for _ in range(4)]
    model.buffers[KERNEL].data = _bytes(kernel.astype(np.int8 if integer else np.float32))
    model.buffers[BIAS].data = _bytes(bias.astype(np.int32 if integer else np.float32))
    graph = schema.SubGraphT()
    real = schema.TensorType.INT8 if integer else schema.TensorType.FLOAT32
    wide = schema.TensorType.INT32 if integer else schema.TensorType.FLOAT32
    graph.tensors = [
        _tensor("image", (1, *SHAPE), real, INPUT),
        _tensor("kernel", kernel.shape, real, KERNEL),
        _tensor("bias", bias.shape, wide, BIAS),
        _tensor("output", (1, *SHAPE), real, OUTPUT),
    ]
    if integer:
        scales = {INPUT: np.ones(1), KERNEL: np.ones(channels), BIAS: np.ones(channels), OUTPUT: np.full(1, 256.0)}
        for index, scale in scales.items():
            graph.tensors[index].quantization = _quantization(scale)
    model.operatorCodes, model.subgraphs = [], [graph]
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    version = 3 if integer else 1  # 3 knows a scale for each channel
    product = make_operator(
        model, schema.BuiltinOperator.CONV_2D, [INPUT, KERNEL, BIAS], [OUTPUT], options=options, version=version
    )
    graph.inputs, graph.outputs, graph.operators = [INPUT], [OUTPUT], [product]
    return model


def _tensor(name: str, shape: tuple[int, ...], kind: int, buffer: int) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, buffer
    return tensor


def _quantization(scale: np.ndarray) -> Any:
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = scale.tolist(), [0] * len(scale)
    return quantization


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.frombuffer(values.tobytes(), np.uint8)
