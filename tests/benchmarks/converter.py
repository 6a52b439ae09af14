"""A trained ResNet-8 as int8 file of this package, beside TensorFlow's converter on the same graph in plain layers.

    python tests/benchmarks/converter.py runs/trained/resnet8/model.keras cifar10

prints bytes, accuracy and the ratio of the medians in LiteRT, 1 thread, in turns, and writes `converter.json`. The
graph is MLPerf Tiny's, written here with keras.layers alone (Banbury et al. 2021, arXiv:2106.07597); it gets the
model's weights, and the converter the same training images to calibrate on.
"""

import json
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from export import load_model, pick_calibration, to_tflite
from export.environment import describe_environment
from export.runtimes.litert import LiteRT, time_in_turns
from recipes.data import load

OUT = Path(__file__).with_name("converter.json")
REPEATS = 5


def plain_resnet8(normalize: layers.Normalization) -> keras.Model:
    """MLPerf Tiny's reference network on pixels; its layers bear the names that they have in the package."""

    def conv(x, width, name, size=3, stride=1):
        return layers.Conv2D(width, size, stride, "same", name=name)(x)

    def bn(x, name):
        return layers.BatchNormalization(name=name)(x)

    image = layers.Input((32, 32, 3), batch_size=1)
    x = layers.ReLU()(bn(conv(normalize(image), 16, "stem_conv"), "stem_bn"))
    for stage, (width, stride) in enumerate(((16, 1), (32, 2), (64, 2)), 1):
        block = f"stage{stage}_block1"
        y = layers.ReLU()(bn(conv(x, width, f"{block}_conv1", stride=stride), f"{block}_bn1"))
        y = bn(conv(y, width, f"{block}_conv2"), f"{block}_bn2")
        shortcut = x if stride == 1 else conv(x, width, f"{block}_proj_conv", 1, stride)
        x = layers.ReLU()(layers.Add()([y, shortcut]))
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    return keras.Model(image, layers.Dense(10, "softmax", name="head_dense")(x))


def convert(model: keras.Model, images: np.ndarray) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None].astype("float32")] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def main(path: str, source: str) -> None:
    model, data = load_model(path), load(source)
    twin = plain_resnet8(model.get_layer("normalize"))
    for layer in twin.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    few = data.x_test[:100]
    outputs = [net.predict(few, batch_size=1, verbose=0) for net in (model, twin)]
    np.testing.assert_allclose(*outputs, atol=1e-4, err_msg="the graphs differ")
    calibration = pick_calibration(data.x_train, data.y_train, source, count=500)
    with tempfile.TemporaryDirectory() as folder:
        own, plain = Path(folder) / "own.tflite", Path(folder) / "plain.tflite"
        to_tflite(model, own, mode="int8", io="int8", calibration=calibration)
        plain.write_bytes(convert(twin, calibration.images))
        runners = [LiteRT(own), LiteRT(plain)]
        found = {
            name: {
                "bytes": runner.path.stat().st_size,
                "accuracy": float(np.mean(runner.classify(data.x_test) == data.y_test)),
            }
            for name, runner in zip(("own", "plain"), runners, strict=True)
        }
        ratios = []
        for _ in range(REPEATS):
            ours, theirs = (float(np.median(one)) for one in time_in_turns(runners, lambda: None))
            ratios.append(ours / theirs)
    found |= {"ratio": float(np.median(ratios)), "ratios": ratios, "environment": describe_environment()}
    print(json.dumps({key: found[key] for key in ("own", "plain", "ratio")}, indent=2))
    OUT.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
