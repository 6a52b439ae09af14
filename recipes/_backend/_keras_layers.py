"""Layers as Keras has them, and networks whose layers others stand in for."""

from collections.abc import Callable
from typing import Any

import keras

from keras_resnets.layers import deep_graphs

Kind = type[keras.layers.Layer]


def native(network: keras.Model) -> keras.Model:
    """The network itself."""
    return network


def portable(network: keras.Model) -> keras.Model:
    """The network itself."""
    return network


@deep_graphs()
def made_of(network: keras.Model, kind_of: Callable[[Kind], Kind] = lambda kind: kind, **norms: Any) -> keras.Model:
    """A network of other layers with the weights of this one.

    Args:
        network: A functional model.
        kind_of: The layer to take in a layer's place.
        **norms: What the configuration of a BatchNorm is to have.
    """

    def make(layer: keras.layers.Layer) -> keras.layers.Layer:
        changed = norms if isinstance(layer, keras.layers.BatchNormalization) else {}
        return kind_of(type(layer)).from_config(layer.get_config() | changed)

    made = keras.models.clone_model(network, clone_function=make)
    made.set_weights(network.get_weights())
    return made
