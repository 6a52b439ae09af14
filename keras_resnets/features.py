"""Feature maps of every stage, for detection, style transfer and metric learning."""

import re
from collections.abc import Sequence
from typing import Any

import keras

from keras_resnets.errors import UsageError
from keras_resnets.graph import walk
from keras_resnets.layers import deep_graphs


def feature_extractor(model: keras.Model, stages: str | Sequence[str] | None = None) -> keras.Model:
    """Cuts a network of this package open at the end of each stage.

    The result shares its layers with the network; both may be trained. It adds an attribute `strides`, a dict from
    stage to the number of input pixels per pixel of its map in one direction. A `.keras` file of it does not keep that.

    Args:
        model: A network of this package, with or without its top, built or loaded from a `.keras` file.
        stages: Names of the stages wanted, such as ("stage2", "stage4"), or None for all.

    Returns:
        A functional model: (batch, height, width, channels) -> {stage: (batch, h, w, c)}.

    Raises:
        UsageError: If the model has no stages, or not those that are asked for.
    """
    found = stage_outputs(model) if hasattr(model, "inputs") and not isinstance(model, keras.Sequential) else {}
    if not found:
        name = getattr(model, "name", repr(model))
        raise UsageError(f"{name} has no layers named stage1_..., as the networks of this package have")
    wanted = [stages] if isinstance(stages, str) else list(found if stages is None else stages)
    unknown = [stage for stage in wanted if stage not in found]
    if unknown or not wanted:
        missing = ", ".join(map(str, unknown)) or "among those asked for"
        raise UsageError(f"{model.name} has no stage {missing}; its stages are {', '.join(found)}")
    strides = layer_strides(model)
    outputs = {stage: model.get_layer(found[stage]).output for stage in wanted}
    with deep_graphs():
        extractor = keras.Model(model.input, outputs, name=f"{model.name}_features")
    extractor.strides = {stage: strides[found[stage]] for stage in wanted}
    return extractor


def stage_outputs(model: keras.Model) -> dict[str, str]:
    """Name of the last layer of each stage, in order."""
    last = {}
    for layer, _ in walk(model):
        stage = re.match(r"(stem|stage\d+)_", layer.name)
        if stage:
            last[stage[1]] = layer.name
    return last


def layer_strides(model: keras.Model) -> dict[str, int]:
    """Product of the strides on the way to each layer."""
    strides: dict[str, int] = {}
    for layer, before in walk(model):
        own: Any = getattr(layer, "strides", None) or getattr(layer, "stride", 1)  # the layer of shortcut A has one
        strides[layer.name] = max((strides[name] for name in before), default=1) * (
            own[0] if isinstance(own, tuple | list) else own
        )
    return strides
