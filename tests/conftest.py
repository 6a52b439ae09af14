"""Fixtures that every room's tests use."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # tests compile much and run little: four times sooner
if "PYTEST_XDIST_WORKER" in os.environ:  # the processors are shared out already
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, "1")

import keras
import numpy as np
import pytest
from tiny import TINY, blobs, build_tiny, randomize

from keras_resnets import list_models


@pytest.fixture(params=sorted(TINY))
def tiny(request) -> keras.Model:
    """Each tiny network in turn, with random weights and statistics."""
    keras.utils.set_random_seed(0)
    return randomize(build_tiny(request.param))


@pytest.fixture(params=list_models())
def name(request) -> str:
    """Each registered name in turn."""
    return request.param


@pytest.fixture
def hanging(tmp_path, monkeypatch):
    """Programs that a runtime starts with this Python do not end, and it waits a fifth of a second for them."""
    python = tmp_path / "hanging"
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr("export.runtimes.PATIENCE", 0.2)


@pytest.fixture(scope="session")
def blobs_file(tmp_path_factory):
    """A `.npz` of 96 training and 40 test images in four classes."""
    path = tmp_path_factory.mktemp("data") / "blobs.npz"
    x_train, y_train = blobs(96, 0)
    x_test, y_test = blobs(40, 1)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


@pytest.fixture(scope="session")
def data(blobs_file):
    """The blobs as a data set."""
    from recipes.data import load

    return load(str(blobs_file))


@pytest.fixture(scope="session")
def calibration(data):
    """Forty of its training images."""
    from export import pick_calibration

    return pick_calibration(data.x_train, data.y_train, "blobs", count=40)


@pytest.fixture(scope="session")
def trained(data) -> keras.Model:
    """MLPerf Tiny's ResNet-8 in miniature, trained until it names the bright quarter."""
    keras.utils.set_random_seed(0)
    model = build_tiny("cifar_a", pixel_stats=data.pixel_stats)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(data.x_train, data.y_train, batch_size=16, epochs=6, verbose=0)
    return model
