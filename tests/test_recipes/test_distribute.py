"""Training that shares every batch among devices or processes of this machine."""

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest

import recipes.train
from keras_resnets import UsageError
from recipes._backend import Spread, spread
from recipes.batches import cut, join, parts, slices
from recipes.config import TrainConfig
from recipes.train import _test_size, train

TESTS = Path(__file__).parents[1]
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--rdzv-backend", "c10d")


def start(out, how, *launcher, **variables):
    environment = os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}", "OMP_NUM_THREADS": "1"}
    environment |= {"KERAS_BACKEND": keras.backend.backend()} | variables
    command = [sys.executable, *launcher, str(TESTS / "distributed.py"), str(out), how]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def trained(out, *processes):
    for process in processes:
        said, _ = process.communicate(timeout=500)
        assert process.returncode == 0, said[-3000:]
    with np.load(out) as found:
        return {key: found[key] for key in found.files}


def compare(alone, together):
    assert alone.keys() == together.keys()
    for key, value in alone.items():
        np.testing.assert_allclose(together[key], value, atol=1e-4, rtol=1e-4, err_msg=key)


@pytest.mark.slow
def test_the_weights_are_those_of_one_device(tmp_path):
    launcher = TORCHRUN if keras.backend.backend() == "torch" else ()
    one, many = tmp_path / "alone.npz", tmp_path / "spread.npz"
    compare(trained(one, start(one, "alone")), trained(many, start(many, "spread", *launcher)))


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="hosts are of JAX: torchrun has its own, tested above")
def test_the_weights_of_two_hosts_are_those_of_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = {
        "VIRTUAL": "2",
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    }
    one, many = tmp_path / "alone.npz", tmp_path / "spread.npz"
    hosts = [start(many, "spread", KERAS_DISTRIBUTION_PROCESS_ID=str(rank), **shared) for rank in range(2)]
    compare(trained(one, start(one, "alone")), trained(many, *hosts))


def test_the_trained_network_is_built_and_tested_by_each_process_for_itself(data, monkeypatch):
    inside = []

    @contextmanager
    def scope():
        inside.append(True)
        yield
        inside.clear()

    real = recipes.train._accuracy

    def accuracy(*arguments):
        assert not inside, "there JAX spreads the outputs over the hosts, and none has all of them"
        return real(*arguments)

    monkeypatch.setattr(recipes.train, "_accuracy", accuracy)
    config = TrainConfig(model="resnet8", epochs=1, batch_size=32, precision="mixed_bfloat16")
    assert train(config, data, over=Spread(scope=scope)).accuracy >= 0


def test_hosts_that_find_different_checkpoints_are_one_line(data, tmp_path):
    over = Spread(agree=lambda numbers: False)
    with pytest.raises(UsageError, match=r"find different checkpoints in .*: give all of them the same folder"):
        train(TrainConfig(model="resnet8", epochs=1), data, folder=tmp_path, over=over)


@pytest.mark.parametrize("option", [{"clip": 1.0}, {"accumulate": 2}, {"precision": "mixed_float16"}])
def test_what_keras_does_on_each_device_for_itself_is_refused(data, option):
    over = Spread(devices=2, apart=True)
    with pytest.raises(UsageError, match="take JAX or PyTorch"):
        train(TrainConfig(model="resnet8", batch_size=32, **option), data, over=over)
    with pytest.raises(UsageError, match="XLA compiles for one device"):
        train(TrainConfig(model="resnet8", batch_size=32, jit="on"), data, over=over)


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


def test_hosts_of_one_step_take_a_batch_one_behind_the_other():
    pieces = slices(({"images": np.arange(24)}, np.arange(24)), 3)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in pieces]), np.arange(24))
    np.testing.assert_array_equal(pieces[1][0]["images"], pieces[1][1])


def test_batches_divide_among_devices():
    assert [(one.start, one.stop) for one in parts(40, 16, 8)] == [(0, 16), (16, 32), (32, 40)]
    assert [(one.start, one.stop) for one in parts(44, 16, 8)] == [(0, 16), (16, 32), (32, 40)]
    assert [(one.start, one.stop) for one in parts(36, 16, 8)] == [(0, 16), (16, 32)]
    assert (_test_size(10_000, 128, 1), _test_size(10_000, 128, 8), _test_size(40, 128, 4)) == (128, 80, 40)
    with pytest.raises(UsageError, match="10,001 test images do not divide among 4 devices"):
        _test_size(10_001, 128, 4)
