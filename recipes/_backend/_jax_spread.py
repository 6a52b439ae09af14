"""All devices of this host, by keras.distribution: one program, whose BatchNorms see the whole batch."""

import keras

from keras_resnets import UsageError
from recipes._backend._spread import Spread


def spread() -> Spread:
    """See `recipes._backend`."""
    devices = keras.distribution.list_devices()
    if len(devices) < 2:
        raise UsageError(f"distribute: JAX has {devices[0]} alone; leave the option away")
    return Spread(devices=len(devices), scope=lambda: keras.distribution.DataParallel(devices=devices).scope())
