"""The graph of a functional model, read off its public configuration."""

from collections.abc import Iterator
from typing import Any

import keras


def walk(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, list[str]]]:
    """Each layer with the names of the layers that feed it, in topological order."""
    layers = {layer.name: layer for layer in model.layers}
    for config in model.get_config()["layers"]:
        yield layers[config["name"]], list(_inbound(config["inbound_nodes"]))


def _inbound(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        if "keras_history" in config:
            yield config["keras_history"][0]
        for value in config.values():
            yield from _inbound(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _inbound(value)
