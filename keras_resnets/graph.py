"""The graph of a functional model, read off its public configuration."""

from collections.abc import Iterator
from typing import Any

import keras


def walk(model: keras.Model) -> Iterator[tuple[Any, list[str]]]:
    """Each layer, or operation of a user's model, with the names of those that feed it, in topological order."""
    if isinstance(model, keras.Sequential):  # whose configuration says nothing of what feeds what
        names = [layer.name for layer in model.layers]
        yield from zip(model.layers, [[], *([name] for name in names)], strict=False)
        return
    operations = {operation.name: operation for operation in model.operations}
    for config in model.get_config()["layers"]:
        yield operations[config["name"]], list(_inbound(config["inbound_nodes"]))


def _inbound(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        if "keras_history" in config:
            yield config["keras_history"][0]
        for value in config.values():
            yield from _inbound(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _inbound(value)
