"""All devices of this host, by MirroredStrategy, with BatchNorms that see the whole batch."""

import os
from functools import partial

import tensorflow as tf

from keras_resnets import UsageError
from recipes._backend._keras_layers import made_of
from recipes._backend._spread import Spread


def spread() -> Spread:
    """See `recipes._backend`."""
    if "TF_CONFIG" in os.environ:
        # `fit` of Keras 3.15 under MultiWorkerMirroredStrategy reduces a batch as if it was one tensor, and then the
        # mean of a metric, which is a scalar, along its first axis
        raise UsageError(
            "distribute: on TensorFlow, Keras trains on one host alone; unset TF_CONFIG, or take JAX, or torchrun"
        )
    devices = [one.name for one in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]
    if len(devices) < 2:
        raise UsageError(f"distribute: TensorFlow has {devices[0]} alone; leave the option away")
    strategy = tf.distribute.MirroredStrategy(devices)
    network = partial(made_of, synchronized=True)
    return Spread(devices=len(devices), apart=True, scope=strategy.scope, network=network)
