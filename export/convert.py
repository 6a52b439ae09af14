"""A trained model of any backend -> checked `.tflite` files with their recipes beside them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from export import _tensorflow
from export.calibrate import Calibration
from export.files import replacing
from export.quantize import Mode, get_mode
from export.recipe import write_recipe
from export.verify import Verification, verify
from keras_resnets import UsageError, iter_layers
from keras_resnets.layers import deep_graphs

MIN_AGREEMENT = 0.9


@dataclass(frozen=True)
class Exported:
    """A written file.

    Attributes:
        path: The `.tflite` file; its recipe lies beside it with the suffix `.json`.
        mode: Name of the mode.
        bytes: Size of the file.
        verification: Comparison with the Keras model.
    """

    path: Path
    mode: str
    bytes: int
    verification: Verification


def to_tflite(
    model: keras.Model | str | Path,
    out: str | Path,
    *,
    mode: str = "float32",
    calibration: Calibration | np.ndarray | None = None,
    test: np.ndarray | None = None,
    min_agreement: float = MIN_AGREEMENT,
) -> Exported:
    """Writes one `.tflite` file and checks it against the model it came from.

    Args:
        model: A Keras model with one image input, or the path of a `.keras` file, from any backend.
        out: Path of the `.tflite` file.
        mode: One of `MODES`: float32, float16, dynamic, int8.
        calibration: Training images, shape (n, height, width, channels), in the range the model was trained on,
            or a `Calibration`, which also says where they come from; needed by int8.
        test: Images for the check, same shape and range. Defaults to the calibration images; with neither, noise
            is used and only the size of the error counts.
        min_agreement: Share of the images on which file and model must name the same class; a file below is
            not written.

    Returns:
        The file and its verification.

    Raises:
        UsageError: If the model or mode is unknown, the images do not fit, or the agreement is too low.
    """
    return next(export_modes(model, {mode: Path(out)}, calibration=calibration, test=test, min_agreement=min_agreement))


def export_modes(
    model: keras.Model | str | Path,
    outs: Mapping[str, Path],
    *,
    calibration: Calibration | np.ndarray | None = None,
    test: np.ndarray | None = None,
    min_agreement: float = MIN_AGREEMENT,
) -> Iterator[Exported]:
    """Writes one file a mode from one conversion graph; yields each as soon as it is written.

    Arguments and errors as in `to_tflite`; `outs` maps the name of a mode to the path of its file.
    """
    modes = [get_mode(name) for name in outs]
    model = load_model(model) if isinstance(model, str | Path) else model
    if isinstance(calibration, np.ndarray):
        calibration = Calibration(calibration)
    images = None if calibration is None else calibration.images
    _check(model, outs.values(), modes, images, test)
    checked = test if test is not None else images
    floor = min_agreement if checked is not None else 0.0
    checked = _noise(model) if checked is None else checked
    expected = model.predict(checked, verbose=0)
    for mode, data in _convert(model, modes, images):
        out = outs[mode.name]
        with replacing(out) as part:
            part.write_bytes(data)
            verification = verify(part, checked, expected)
            if verification.agreement < floor:
                raise UsageError(
                    f"{out} not written: it agrees with the Keras model on {verification.agreement:.1%} of "
                    f"{len(checked)} images, below {floor:.1%}; train longer, try another mode, or lower "
                    f"min_agreement"
                )
        write_recipe(out, model, mode, calibration, verification)
        yield Exported(out, mode.name, len(data), verification)


def load_model(path: str | Path) -> keras.Model:
    """Loads a `.keras` file without running any code that it might hold.

    Raises:
        UsageError: If there is no such file or it is no Keras model.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"no model file {path}; `keras-resnets train` writes one")
    try:
        with deep_graphs():
            return keras.models.load_model(path, compile=False)
    except Exception as error:  # a foreign file can fail anywhere in Keras
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"{path} cannot be loaded as a Keras model: {reason}") from error


def name_classes(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """The class that a Keras model names for each image: (n, height, width, channels) -> (n,).

    Raises:
        UsageError: If the images do not have the model's input shape.
    """
    _check_fit(model, "test", images)
    return model.predict(images, verbose=0).argmax(-1)


def _check(
    model: keras.Model,
    outs: Iterable[Path],
    modes: list[Mode],
    calibration: np.ndarray | None,
    test: np.ndarray | None,
) -> None:
    for out in outs:
        if out.suffix != ".tflite":
            raise UsageError(f"cannot write {out}: give it the suffix .tflite, its recipe goes beside it as .json")
    if len(model.inputs) != 1 or len(model.outputs) != 1 or None in model.input_shape[1:]:
        raise UsageError(f"{model.name} must have one input of known size and one output to become a .tflite file")
    for mode in modes:
        if mode.calibrated and (calibration is None or not len(calibration)):
            raise UsageError(f"mode {mode.name} needs training images to calibrate on; give calibration or --data")
    for name, images in (("calibration", calibration), ("test", test)):
        if images is not None:
            _check_fit(model, name, images)


def _check_fit(model: keras.Model, name: str, images: np.ndarray) -> None:
    if images.shape[1:] != model.input_shape[1:]:
        raise UsageError(
            f"{name} images of shape {images.shape[1:]} do not fit {model.name}, "
            f"which takes {model.input_shape[1:]}; use the data that it was trained on"
        )


def _noise(model: keras.Model) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(32, *model.input_shape[1:])).astype(np.float32)


def _convert(model: keras.Model, modes: list[Mode], images: np.ndarray | None) -> Iterator[tuple[Mode, bytes]]:
    if keras.backend.backend() == "tensorflow":
        yield from _tensorflow.convert(model, modes, images)
        return
    # Keras exports a SavedModel only from the TensorFlow backend: hand the model over to a process that has it.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder / "model.keras")
        (folder / "modules.json").write_text(json.dumps(_layer_modules(model)))
        if images is not None:
            np.save(folder / "images.npy", images, allow_pickle=False)
        command = [sys.executable, "-m", "export._tensorflow", name, *(mode.name for mode in modes)]
        environment = os.environ | {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": os.pathsep.join(sys.path)}
        child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if child.returncode:
            raise RuntimeError(f"the conversion process failed:\n{child.stderr}")
        for mode in modes:
            yield mode, (folder / f"{mode.name}.tflite").read_bytes()


def _layer_modules(model: keras.Model) -> list[str]:
    """Modules outside Keras that define the model's layers; importing them registers the layers."""
    modules = {type(layer).__module__ for layer in iter_layers(model)}
    return sorted(module for module in modules if module.split(".")[0] != "keras")
