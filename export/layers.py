"""What the layers of a model say: where they are defined, what they compute, and whether that is of pixels."""

import re
import reprlib
from collections import Counter
from typing import Any

import keras
import numpy as np

from keras_resnets import UsageError, iter_layers
from keras_resnets.graph import walk

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
PIXELS = (0.0, 255.0)
BRIGHT = 32.0  # the least that the brightest of a set of photos reaches
NAME = re.compile(r"[A-Za-z0-9_.\\/>-]+")  # what TensorFlow takes


def layer_modules(model: keras.Model) -> list[str]:
    """Modules outside Keras that define the model's layers and what they are built with; importing registers these."""
    modules = {type(layer).__module__: type(layer).__name__ for layer in iter_layers(model)}
    registered = keras.saving.get_custom_objects()
    for layer in iter_layers(model):
        for name in _registered_names(layer.get_config()) & registered.keys():
            modules[registered[name].__module__] = getattr(registered[name], "__name__", name)
    if "__main__" in modules:
        raise UsageError(f"{model.name} has {modules['__main__']}, defined in a script; move it into a module")
    return sorted(module for module in modules if module.split(".")[0] != "keras")


def _registered_names(config: Any) -> set[str]:
    """The names under which the parts of a configuration say that they are registered."""
    if isinstance(config, dict):
        own = {name for key in ("registered_name", "config") if isinstance(name := config.get(key), str)}
        return own.union(*map(_registered_names, config.values()))
    return set().union(*map(_registered_names, config)) if isinstance(config, list | tuple) else set()


def in_float32(model: keras.Model) -> keras.Model:
    """A model that computes in float32 with these weights, or the model itself: files have types of their own.

    Mixed precision has float32 weights, and its float16 or bfloat16 values are a matter of the accelerator.
    """
    if all(layer.compute_dtype == "float32" for layer in iter_layers(model)):
        return model

    def clone(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):  # an operation, which takes the type of its inputs
            return type(layer).from_config(layer.get_config())
        try:
            return type(layer).from_config(layer.get_config() | {"dtype": "float32"})
        except TypeError as error:
            raise UsageError(
                f"{model.name}: {layer.name} ({type(layer).__name__}) cannot be built in float32: {error}; let it take "
                f"dtype, as keras.layers.Layer does"
            ) from error

    return with_weights_of(model, keras.models.clone_model(model, clone_function=clone, recursive=True))


def with_weights_of(model: keras.Model, made: keras.Model) -> keras.Model:
    """A clone of a model, which may have further layers, with the model's weights.

    Keras's own `set_weights` leaves a Normalization that was adapted as it was before.
    """
    for layer in model.layers:
        if layer.weights:
            made.get_layer(layer.name).set_weights(layer.get_weights())
    for layer in iter_layers(made):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return made


def takes_pixels(model: keras.Model) -> bool:
    """Whether a model normalises its images itself, before any weight sees them, so that pixels from 0 to 255 go in."""
    images: set[str] = set()  # layers out of which the image comes as it is, or cut, padded or turned
    for layer, feeding in walk(model):
        if not images.issuperset(feeding):
            continue
        if isinstance(layer, keras.layers.Normalization | keras.layers.Rescaling):
            return True
        if (isinstance(layer, keras.Sequential) or hasattr(layer, "operations")) and takes_pixels(layer):
            return True
        if isinstance(layer, keras.layers.Layer) and not layer.weights:
            images.add(layer.name)
    return False


def are_pixels(model: keras.Model, images: np.ndarray) -> bool:
    """Whether these are pixels from 0 to 255 that a model normalises: others go from 0 to 1, or to 65,535."""
    return takes_pixels(model) and images.min() >= 0 and BRIGHT <= images.max() <= PIXELS[1]


def check_graph(model: keras.Model, taker: str) -> None:
    """Checks that a model is a graph from one input to one output.

    Raises:
        UsageError: If it is not, or not built yet, or one of its layers has a name that TensorFlow does not take.
    """
    if not isinstance(model, keras.Model):
        raise UsageError(f"{taker} a Keras model, not {reprlib.repr(model)}")
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if not inputs or not outputs:
        raise UsageError(f"{taker} a functional model, which {model.name} is not, or not yet: give it an Input")
    named = any(isinstance(getattr(model, ends, None), dict) for ends in ("input", "output"))
    if len(inputs) != 1 or len(outputs) != 1 or named:
        found = "names them in a dictionary" if named else f"has {len(inputs)} and {len(outputs)}"
        raise UsageError(f"{taker} a model of one input and one output; {model.name} {found}")
    strange = [one.name for one in (model, *iter_layers(model)) if not NAME.fullmatch(one.name)]
    if strange:
        raise UsageError(
            f"{model.name}: TensorFlow takes no model or layer called {strange[0]!r}; name it in letters and digits"
        )


def as_functional(model: keras.Model) -> keras.Model:
    """A Sequential as the functional model that it is; any other model itself."""
    return keras.Model(model.inputs, model.outputs, name=model.name) if isinstance(model, keras.Sequential) else model


def activation_name(layer: keras.layers.Layer) -> str:
    """Name of what a layer computes last; "linear" where that is nothing."""
    if isinstance(layer, keras.layers.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        return {None: "relu", 6: "relu6"}.get(layer.max_value, "other") if plain else "other"
    function = getattr(layer, "activation", None)
    if not function:
        return "linear"
    name = str(getattr(function, "__name__", type(function).__name__))
    is_keras_s = any(getattr(module, name, None) is function for module in (keras.activations, keras.ops))
    return name if is_keras_s else f"{name} of {function.__module__}"  # a user's own may be called so


def scale_and_shift(layer: keras.layers.Layer) -> tuple[np.ndarray, np.ndarray]:
    """What a normalisation does to each channel at inference."""
    if isinstance(layer, keras.layers.Rescaling):
        return np.atleast_1d(array(layer.scale)), np.atleast_1d(array(layer.offset))
    if isinstance(layer, keras.layers.Normalization):
        mean, variance = (array(values).ravel() for values in (layer.mean, layer.variance))
        deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
        return (deviation, mean) if layer.invert else (1 / deviation, -mean / deviation)
    values = {weight.name: array(weight) for weight in layer.weights}
    scale = values.get("gamma", 1.0) / np.sqrt(values["moving_variance"] + layer.epsilon)
    return scale, values.get("beta", 0.0) - values["moving_mean"] * scale


def foldable_norms(model: keras.Model) -> dict[str, str]:
    """The BatchNorms that a convolution in front can take in, being all that reads it: its name by theirs."""
    by_name = {layer.name: layer for layer in model.layers}
    before = {layer.name: names for layer, names in walk(model)}
    read = Counter(name for names in before.values() for name in names)
    return {
        name: sources[0]
        for name, sources in before.items()
        if isinstance(by_name[name], keras.layers.BatchNormalization)
        and isinstance(by_name[sources[0]], CONVOLUTIONS)
        and activation_name(by_name[sources[0]]) == "linear"
        and read[sources[0]] == 1
    }


def array(values: Any) -> np.ndarray:
    """A weight, or a number, in double precision."""
    return np.asarray(keras.ops.convert_to_numpy(values), np.float64)
