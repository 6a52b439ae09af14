"""The only place that runs TensorFlow's converter; also a program, for models trained on another backend.

    KERAS_BACKEND=tensorflow python -m export._tensorflow FOLDER MODE...

reads FOLDER/model.keras and FOLDER/images.npy and writes FOLDER/MODE.tflite for each mode.
"""

import importlib
import json
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import keras
import numpy as np

from export.flatbuffer import add_signature
from export.quantize import MODES, Mode
from keras_resnets.errors import UsageError, first_line
from keras_resnets.layers import deep_graphs


def convert(model: keras.Model, modes: Iterable[Mode], images: np.ndarray | None) -> Iterator[tuple[Mode, bytes]]:
    """Converts a model to one flatbuffer a mode, batch size 1, built-in operations only.

    Args:
        model: A model with one image input, on the TensorFlow backend.
        modes: Modes wanted.
        images: Calibration images, shape (n, height, width, channels), for the modes that need them.

    Yields:
        Mode and the bytes of its `.tflite` file.

    Raises:
        UsageError: If the model holds an operation that LiteRT lacks.
    """
    import tensorflow as tf

    image = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")
    serve = tf.function(lambda image: model(image, training=False), input_signature=[image])
    function = serve.get_concrete_function()
    for mode in modes:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
        converter.experimental_lower_to_saved_model = False  # frozen in memory: a fifth of the time of a SavedModel's
        if mode.optimize:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if mode.weights == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if mode.calibrated and images is not None:
            converter.representative_dataset = lambda: ([image[None].astype(np.float32)] for image in images)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Statistics for quantized inputs", UserWarning)  # images give them
                data = converter.convert()
        except Exception as error:  # the converter's own class is not public
            raise UsageError(
                f"{model.name} cannot be converted to {mode.name} with built-in operations: {first_line(error)}"
            ) from error
        yield mode, add_signature(data)


def main(folder: Path, modes: list[str]) -> None:
    """Converts FOLDER/model.keras, importing first the modules that define its layers."""
    for module in json.loads((folder / "modules.json").read_text()):
        importlib.import_module(module)
    images = np.load(folder / "images.npy", allow_pickle=False) if (folder / "images.npy").exists() else None
    with deep_graphs():
        model = keras.models.load_model(folder / "model.keras", compile=False)
    for mode, data in convert(model, [MODES[name] for name in modes], images):
        (folder / f"{mode.name}.tflite").write_bytes(data)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except UsageError as mistake:
        (Path(sys.argv[1]) / "mistake.txt").write_text(str(mistake))
        sys.exit(2)
