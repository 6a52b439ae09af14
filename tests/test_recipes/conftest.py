"""The command line in this process."""

import sys

import pytest

from keras_resnets import create_model
from recipes.__main__ import main


def run(monkeypatch, capfd, *arguments):
    """Runs a command in this process; returns exit code, stdout and stderr."""
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)  # a user has not set it
    monkeypatch.setattr(sys, "argv", ["keras-resnets", *map(str, arguments)])
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    captured = capfd.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="session")
def scorer_file(data, tmp_path_factory):
    """A classifier of the blobs, untrained: it scores images, if not well, in no time."""
    path = tmp_path_factory.mktemp("scorer") / "scorer.keras"
    create_model("lenet5", input_shape=data.image_shape, classes=data.classes).save(path)
    return path


@pytest.fixture
def cli(monkeypatch, capfd):
    return lambda *arguments: run(monkeypatch, capfd, *arguments)
