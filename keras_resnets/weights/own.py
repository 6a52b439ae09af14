"""Weights that `model.save_weights` wrote for the same network."""

import re
import warnings
from collections import Counter
from pathlib import Path

import h5py
import keras

from keras_resnets.errors import UsageError


def load(model: keras.Model, path: Path) -> None:
    """Loads a `.weights.h5` file into the model.

    Raises:
        UsageError: If the file is missing, of another kind, damaged, or of another network. The model may then
            hold some of it: it is not handed out.
    """
    if not path.name.endswith(".weights.h5"):
        # A .keras file holds a whole model: loading only its weights would silently leave its normalisation behind.
        raise UsageError(f"weights: {path} is no .weights.h5 file; a .keras file is loaded by keras.models.load_model")
    check_exists(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns of layers that the file does not hold
            model.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"weights: {path} does not fit {model.name}: {reason}") from error


def check_exists(path: Path) -> None:
    """Raises a UsageError if there is no such file."""
    if not path.is_file():
        raise UsageError(f"weights: no file {path}; give the path of a weights file, or None")


def has_layers_of(model: keras.Model, path: Path) -> bool:
    """Whether a `.weights.h5` file was written by a model with as many layers of each class.

    Keras files a layer under its class and a running number, whatever its name: two networks with equal counts and
    shapes would load each other's weights without a word.
    """
    try:
        with h5py.File(path) as file:
            found = Counter(re.sub(r"_\d+$", "", key) for key in file.get("layers", ()))
    except OSError:
        return False
    return found == Counter(snake_case(type(layer).__name__) for layer in model.layers)


def snake_case(name: str) -> str:
    """A class's name as Keras writes it in the names of layers: DepthwiseConv2D -> depthwise_conv2d."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
