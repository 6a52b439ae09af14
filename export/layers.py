"""What the layers of a model say: where they are defined, and whether pixels go in."""

from collections.abc import Iterable
from typing import Any

import keras

from keras_resnets import UsageError, iter_layers
from keras_resnets.graph import walk

PIXELS = (0.0, 255.0)


def layer_modules(model: keras.Model) -> list[str]:
    """Modules outside Keras that define the model's layers; importing them registers the layers."""
    modules = {type(layer).__module__: type(layer).__name__ for layer in iter_layers(model)}
    if "__main__" in modules:
        raise UsageError(f"{model.name} has a layer {modules['__main__']} defined in a script; move it into a module")
    return sorted(module for module in modules if module.split(".")[0] != "keras")


def in_float32(model: keras.Model) -> keras.Model:
    """A model that computes in float32 with these weights, or the model itself: files have types of their own.

    Mixed precision has float32 weights, and its float16 or bfloat16 values are a matter of the accelerator.
    """
    if all(layer.compute_dtype == "float32" for layer in iter_layers(model)):
        return model

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config(layer.get_config() | {"dtype": "float32"})

    same = keras.models.clone_model(model, clone_function=clone, recursive=True)
    same.set_weights(model.get_weights())
    return same


def takes_pixels(model: keras.Model) -> bool:
    """Whether a model normalises its images itself, before any weight sees them, so that pixels from 0 to 255 go in."""
    chain: Iterable[tuple[Any, list[str]]] = (
        walk(model)
        if not isinstance(model, keras.Sequential)
        else zip(model.layers, [[], *([layer.name] for layer in model.layers)], strict=False)
    )  # a Sequential's configuration says nothing of what feeds what
    images: set[str] = set()  # layers out of which the image comes as it is, or cut, padded or turned
    for layer, feeding in chain:
        if not images.issuperset(feeding):
            continue
        if isinstance(layer, keras.layers.Normalization | keras.layers.Rescaling):
            return True
        if (isinstance(layer, keras.Sequential) or hasattr(layer, "operations")) and takes_pixels(layer):
            return True
        if isinstance(layer, keras.layers.Layer) and not layer.weights:
            images.add(layer.name)
    return False
