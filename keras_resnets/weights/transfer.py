"""Arrays by name into a model: all of them, after all of them have been checked."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_resnets.errors import UsageError

Arrays = dict[str, np.ndarray]  # "layer/weight" -> array in Keras's layout, such as "stem_conv/kernel"


def assign(
    model: keras.Model, arrays: Mapping[str, np.ndarray], source: str, entries: Mapping[str, str] | None = None
) -> None:
    """Gives every weight of the model the array of its name.

    Args:
        model: The model.
        arrays: Arrays by "layer/weight".
        source: What they come from, for the error.
        entries: What "layer/weight" is called there, for the error.

    Raises:
        UsageError: If an array is missing, left over, of another shape or not finite; it lists all of them, and the
            model stays as it was.
    """
    weights = dict(_named_weights(model))
    known = {key: f"{entry} ({key})" for key, entry in (entries or {}).items()}
    faults = [f"{known.get(key, key)} is missing" for key in weights if key not in arrays]
    faults += [f"{known.get(key, key)} is left over" for key in arrays if key not in weights]
    for key in weights.keys() & arrays.keys():
        expected, found = tuple(weights[key].shape), arrays[key].shape
        if expected != found:
            faults.append(f"{known.get(key, key)} has shape {found} instead of {expected}")
        elif not np.isfinite(arrays[key]).all():
            faults.append(f"{known.get(key, key)} holds values that are not finite")
    if faults:
        raise misfit(source, model, faults)
    for key, weight in weights.items():
        weight.assign(arrays[key])


def misfit(source: str, model: keras.Model, faults: list[str]) -> UsageError:
    """The error that lists what does not fit."""
    return UsageError(f"weights: {source} does not fit {model.name}: {'; '.join(sorted(faults))}")


def _named_weights(model: keras.Model) -> Iterator[tuple[str, Any]]:
    for layer in weighted_layers(model):
        for weight in layer.weights:
            yield f"{layer.name}/{weight.name}", weight


def weighted_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers that hold learned weights."""
    return [layer for layer in model.layers if layer.weights]


def norm_after(name: str) -> str:
    """Name of the BatchNorm after the convolution of that name."""
    return name.replace("conv", "bn")


def absorb_biases(model: keras.Model, arrays: Arrays) -> None:
    """Moves biases that the model has no place for into the BatchNorm after their convolution.

    BatchNorm subtracts its moving mean: (x + b) - mean = x - (mean - b), exactly.
    """
    own = {f"{layer.name}/{weight.name}" for layer in model.layers for weight in layer.weights}
    for key in [key for key in arrays if key.endswith("/bias") and key not in own]:
        mean = f"{norm_after(key.removesuffix('/bias'))}/moving_mean"
        if mean in arrays and arrays[mean].shape == arrays[key].shape:
            arrays[mean] = arrays[mean] - arrays.pop(key)


def absorb_epsilons(model: keras.Model, arrays: Arrays, epsilons: Mapping[str, float]) -> None:
    """Moves another BatchNorm epsilon into the moving variance: variance + epsilon stays what it was.

    Args:
        model: The model.
        arrays: Arrays by "layer/weight"; changed in place.
        epsilons: Epsilon that each BatchNorm layer of the model had where its arrays come from.
    """
    for name, epsilon in epsilons.items():
        key = f"{name}/moving_variance"
        difference = epsilon - model.get_layer(name).epsilon
        if key in arrays and difference:
            arrays[key] = (arrays[key].astype("float64") + difference).astype("float32")


def absorb_scales(model: keras.Model, arrays: Arrays) -> None:
    """Moves the scales of BatchNorms that have none in the model into their moving variance.

    scale / sqrt(variance + epsilon) = 1 / sqrt((variance + epsilon) / scale^2), exactly, where the scale is positive;
    another stays, and is left over.
    """
    for layer in weighted_layers(model):
        if not isinstance(layer, keras.layers.BatchNormalization) or layer.scale:
            continue
        scale, variance = f"{layer.name}/gamma", f"{layer.name}/moving_variance"
        if not {scale, variance} <= arrays.keys():
            continue
        if arrays[scale].shape == arrays[variance].shape and (arrays[scale] > 0).all():
            whole = (arrays[variance].astype("float64") + layer.epsilon) / arrays.pop(scale).astype("float64") ** 2
            arrays[variance] = (whole - layer.epsilon).astype("float32")
