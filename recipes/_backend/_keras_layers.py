"""Layers as Keras has them, and networks whose layers others stand in for."""

from collections.abc import Callable

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
def made_of(
    network: keras.Model, kind_of: Callable[[Kind], Kind] = lambda kind: kind, *, synchronized: bool = False
) -> keras.Model:
    """A network of other layers with the weights of this one.

    Args:
        network: A functional model.
        kind_of: The layer to take in a layer's place.
        synchronized: Whether BatchNorms are to see the batch of all devices.
    """

    def make(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if synchronized and isinstance(layer, keras.layers.BatchNormalization):
            config["synchronized"] = True
        return kind_of(type(layer)).from_config(config)

    made = keras.models.clone_model(network, clone_function=make)
    made.set_weights(network.get_weights())
    return made
