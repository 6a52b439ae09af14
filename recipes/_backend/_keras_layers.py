"""Layers as Keras has them, and networks whose layers others stand in for."""

from collections.abc import Callable

import keras

Kind = type[keras.layers.Layer]


def native(network: keras.Model) -> keras.Model:
    """The network itself."""
    return network


def portable(network: keras.Model) -> keras.Model:
    """The network itself."""
    return network


def made_of(network: keras.Model, kind_of: Callable[[Kind], Kind]) -> keras.Model:
    """A network of other layers with the weights of this one.

    Args:
        network: A functional model.
        kind_of: The layer to take in a layer's place.
    """
    made = keras.models.clone_model(
        network, clone_function=lambda layer: kind_of(type(layer)).from_config(layer.get_config())
    )
    made.set_weights(network.get_weights())
    return made
