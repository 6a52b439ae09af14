"""Training that shares every batch among devices or processes of this machine."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_resnets import UsageError
from recipes._backend import Spread, spread
from recipes.batches import cut, join, parts
from recipes.config import TrainConfig
from recipes.train import _test_size, train

TESTS = Path(__file__).parents[1]
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--rdzv-backend", "c10d")


def trained(out, how, *launcher):
    environment = os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}", "OMP_NUM_THREADS": "1"}
    environment["KERAS_BACKEND"] = keras.backend.backend()
    command = [sys.executable, *launcher, str(TESTS / "distributed.py"), str(out), how]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(out) as found:
        return {key: found[key] for key in found.files}


@pytest.mark.slow
def test_the_weights_are_those_of_one_device(tmp_path):
    launcher = TORCHRUN if keras.backend.backend() == "torch" else ()
    alone, together = trained(tmp_path / "alone.npz", "alone"), trained(tmp_path / "spread.npz", "spread", *launcher)
    assert alone.keys() == together.keys()
    for key, value in alone.items():
        np.testing.assert_allclose(together[key], value, atol=1e-4, rtol=1e-4, err_msg=key)


@pytest.mark.parametrize("option", [{"clip": 1.0}, {"accumulate": 2}, {"precision": "mixed_float16"}])
def test_what_keras_does_on_each_device_for_itself_is_refused(data, option):
    over = Spread(devices=2, apart=True)
    with pytest.raises(UsageError, match="take JAX or PyTorch"):
        train(TrainConfig(model="resnet8", batch_size=32, **option), data, over=over)


def test_one_device_is_nothing_to_spread_over():
    with pytest.raises(UsageError, match=r"^distribute: "):
        spread()


def test_processes_cut_a_batch_without_parting_partners():
    batch = {"images": np.arange(24)}, np.arange(24)
    pieces = cut(batch, 3)
    assert sorted(np.concatenate([labels for _, labels in pieces])) == list(range(24))
    for inputs, labels in pieces:
        np.testing.assert_array_equal(inputs["images"], labels)
        np.testing.assert_array_equal(labels + labels[::-1], 23)  # as in the whole batch
    inputs, labels = join(pieces)
    np.testing.assert_array_equal(labels[8:16], pieces[1][1])
    np.testing.assert_array_equal(inputs["images"], labels)


def test_batches_divide_among_devices():
    assert [(one.start, one.stop) for one in parts(40, 16, 8)] == [(0, 16), (16, 32), (32, 40)]
    assert [(one.start, one.stop) for one in parts(44, 16, 8)] == [(0, 16), (16, 32), (32, 40)]
    assert [(one.start, one.stop) for one in parts(36, 16, 8)] == [(0, 16), (16, 32)]
    assert (_test_size(10_000, 128, 1), _test_size(10_000, 128, 8), _test_size(40, 128, 4)) == (128, 80, 40)
    with pytest.raises(UsageError, match="10,001 test images do not divide among 4 devices"):
        _test_size(10_001, 128, 4)
