"""Weights that `model.save_weights` wrote for the same network."""

import re
import warnings
from collections.abc import Collection
from pathlib import Path

import h5py
import keras

from keras_resnets.errors import UsageError

Shapes = tuple[tuple[int, ...], ...]  # of the weights of a layer

# Layers without weights that a caller adds or leaves out in front of the network or after it.
AROUND = ("global_average_pooling2d", "global_max_pooling2d", "input_layer", "normalization")


def check_path(path: Path) -> None:
    """Checks that a path is that of a weights file of Keras.

    Raises:
        UsageError: If it is of another kind, or not there.
    """
    if path.suffix == ".keras":
        # It holds a whole model: loading only its weights would silently leave its normalisation behind.
        raise UsageError(f"weights: {path} is no .weights.h5 file; a .keras file is loaded by keras.models.load_model")
    if path.suffix in (".pth", ".pt", ".th", ".safetensors"):
        raise UsageError(f"weights: {path} is torch's; build the network, then call load_torch_weights(model, path)")
    if path.suffix != ".h5":
        raise UsageError(f"weights={str(path)!r}: give None, 'imagenet' or the path of a .weights.h5 or .h5 file")
    check_exists(path)


def check_exists(path: Path) -> None:
    """Raises a UsageError if there is no such file."""
    if not path.is_file():
        raise UsageError(f"weights: no file {path}; give the path of a weights file, or None")


def load(model: keras.Model, path: Path, top: Collection[str] = ()) -> None:
    """Loads a `.weights.h5` file into the model; see `has_layers_of`.

    Raises:
        UsageError: If the file is damaged, or of another network. The model may then hold some of it.
    """
    if not has_layers_of(model, path, top):
        raise UsageError(
            f"weights: {path} does not fit {model.name}: it is damaged, or of a network with other layers; "
            f"build the network that wrote it, with the same options, classes and classifier_activation"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns of layers that the file does not hold
            model.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"weights: {path} does not fit {model.name}: {reason}") from error


def has_layers_of(model: keras.Model, path: Path, top: Collection[str] = ()) -> bool:
    """Whether a `.weights.h5` file was written by a model with the same layers of each class, by their shapes.

    Keras files a layer under its class and a running number, whatever its name: a network with other layers could load
    what happens to fit without a word. Layers without weights count, too: they tell paddings and droppings apart, and
    these move the running numbers. Networks that differ in a layer's settings alone look the same.

    Args:
        model: The network.
        path: The file.
        top: Classes of layers of which the file may have more after those of the model, which Keras passes over.
    """
    found: dict[str, list[tuple[int, Shapes]]] = {}
    try:
        with h5py.File(path) as file:
            for key, layer in file.get("layers", {}).items():
                kind, number = re.fullmatch(r"(.+?)(?:_(\d+))?", key).groups()  # type: ignore[union-attr]
                shapes = tuple(array.shape for _, array in sorted(layer.get("vars", {}).items()))
                found.setdefault(kind, []).append((int(number or 0), shapes))
    except (OSError, AttributeError):
        return False
    expected: dict[str, list[Shapes]] = {}
    for layer in model.layers:
        shapes = tuple(tuple(weight.shape) for weight in layer.weights)
        expected.setdefault(snake_case(type(layer).__name__), []).append(shapes)
    for kind in (found.keys() | expected.keys()) - set(AROUND):
        theirs, ours = [shapes for _, shapes in sorted(found.get(kind, []))], expected.get(kind, [])
        if theirs[: len(ours)] != ours or (len(theirs) > len(ours) and kind not in top):
            return False
    return True


def snake_case(name: str) -> str:
    """A class's name as Keras writes it in the names of layers: DepthwiseConv2D -> depthwise_conv2d."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
