"""Trains a tiny network on all devices or processes there are, and saves its weights: see test_distribute.py."""

import os
import sys
from pathlib import Path

VIRTUAL = int(os.environ.get("VIRTUAL", "4"))
BACKEND, OUT, IS_SPREAD = os.environ["KERAS_BACKEND"], sys.argv[1], sys.argv[2] == "spread"
if BACKEND == "jax":
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={VIRTUAL}"
if BACKEND == "tensorflow":
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * VIRTUAL)

import numpy as np  # noqa: E402  devices come before any backend
from tiny import TINY, blobs  # noqa: E402

from recipes._backend import spread  # noqa: E402
from recipes.config import TrainConfig  # noqa: E402
from recipes.data import Dataset  # noqa: E402
from recipes.train import train  # noqa: E402


def main() -> None:
    over = spread() if IS_SPREAD else None
    data = Dataset("blobs", *blobs(72, 0), *blobs(40, 1), 4)
    config = TrainConfig(
        model="resnet20",
        epochs=2,
        batch_size=32,
        learning_rate=0.01,
        augment=("crop", "flip"),
        mixup=0.2,
        ema=0.5,
    )
    folder = Path(OUT).with_suffix("")
    folder.mkdir(exist_ok=True)
    run = train(config, data, folder=folder, every=1, over=over, **TINY["cifar_a"].options)
    if over is None or over.rank == 0:
        np.savez(OUT, *run.model.get_weights(), loss=[run.history[key] for key in ("loss", "accuracy", "val_loss")])


main()
