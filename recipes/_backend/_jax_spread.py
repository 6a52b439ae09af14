"""All devices of all hosts, by keras.distribution: one program, whose BatchNorms see the whole batch."""

import os
from collections.abc import Sequence

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from keras_resnets import UsageError
from recipes._backend._spread import Spread

HOSTS = "KERAS_DISTRIBUTION_JOB_ADDRESSES"  # as keras.distribution.initialize reads it, with the two others


def spread() -> Spread:
    """See `recipes._backend`."""
    if HOSTS in os.environ:
        try:
            keras.distribution.initialize()
        except (RuntimeError, ValueError) as error:
            raise UsageError(f"distribute: the hosts of ${HOSTS} do not come together: {error}") from error
    devices = keras.distribution.list_devices()
    if len(devices) < 2:
        raise UsageError(
            f"distribute: JAX has {devices[0]} alone; leave the option away, or set ${HOSTS}, "
            f"$KERAS_DISTRIBUTION_NUM_PROCESSES and $KERAS_DISTRIBUTION_PROCESS_ID on every host"
        )
    return Spread(
        rank=jax.process_index(),
        processes=jax.process_count(),
        devices=jax.local_device_count(),
        scope=lambda: keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False).scope(),
        barrier=lambda: multihost_utils.sync_global_devices("keras-resnets"),
        agree=_agree,
    )


def _agree(numbers: Sequence[int]) -> bool:
    everywhere = np.asarray(multihost_utils.process_allgather(np.array(numbers)))
    return bool((everywhere == np.array(numbers)).all())
