"""Vela: its table against what it prints for people, and against bounds from the network and the hardware."""

import re
import subprocess
import sys

import numpy as np
import pytest
from tiny import build_tiny, randomize

from export import to_tflite
from export.flatbuffer import describe, set_io
from export.results import Failure
from export.runtimes import Subject
from export.runtimes.vela import SETUPS, Vela
from keras_resnets import UsageError, count_macs

pytest.importorskip("ethosu.vela", reason="Vela is not installed")
pytestmark = pytest.mark.once

PHOTOS = np.random.default_rng(0).uniform(0, 255, (40, 16, 16, 3)).astype("float32")
STATS = ((125.0, 123.0, 114.0), (63.0, 62.0, 67.0))
NAMES = [setup.accelerator for setup in SETUPS]


@pytest.fixture(scope="module")
def model():
    """MLPerf Tiny's ResNet-8 in miniature."""
    return randomize(build_tiny("mlperf_tiny", pixel_stats=STATS))


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """It in int8 with three types of input and output, and in float32."""
    folder = tmp_path_factory.mktemp("vela")
    found = {name: folder / f"{name}.tflite" for name in ("int8", "uint8", "ends", "float32")}
    to_tflite(model, found["int8"], mode="int8", io="int8", calibration=PHOTOS, min_agreement=0)
    to_tflite(model, found["float32"], min_agreement=0)
    found["uint8"].write_bytes(set_io(found["int8"].read_bytes(), "uint8"))
    found["ends"].write_bytes(set_io(found["int8"].read_bytes(), "float32"))
    return found


@pytest.fixture(scope="module")
def measured(files):
    return dict(zip(files, measure(*files.values()), strict=True))


def measure(*paths):
    subjects = [Subject(path=path, images=PHOTOS, macs=None, arithmetic="int8") for path in paths]
    steps = []
    runtime = Vela()
    runtime.check()
    found = runtime.measure(subjects, lambda: steps.append(None))
    assert len(steps) == runtime.steps(len(paths)) == len(found)
    return found


def run_vela(path, folder, *options):
    """What Vela prints."""
    command = [sys.executable, "-P", "-m", "ethosu.vela", str(path), "--output-dir", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_int8_files_are_on_the_npu_as_a_whole(files, measured):
    for name in ("int8", "uint8"):
        operations = sum(describe(files[name].read_bytes()).operations.values())
        assert [one.accelerator for one in measured[name].accelerators] == NAMES
        assert [one.npu_operations for one in measured[name].accelerators] == [operations] * len(SETUPS)
        assert [one.cpu_operations for one in measured[name].accelerators] == [{}] * len(SETUPS)


def test_ends_of_another_type_fall_back(measured):
    for whole, ends in zip(measured["int8"].accelerators, measured["ends"].accelerators, strict=True):
        assert ends.cpu_operations == {"QUANTIZE": 1, "DEQUANTIZE": 1}
        assert ends.npu_operations == whole.npu_operations
        assert ends.cycles == whole.cycles  # the processor's time is not in them


def test_the_figures_are_those_that_vela_prints(files, measured, tmp_path):
    for setup, figures in zip(SETUPS, measured["int8"].accelerators, strict=True):
        # No system is named: what is printed is that of Vela's default.
        folder = tmp_path / setup.accelerator
        printed = run_vela(files["int8"], folder, "--accelerator-config", setup.accelerator, "--verbose-cycle-estimate")
        assert f"Using a default of {setup.system}." in printed
        assert f"Using a default of {setup.memory}." in printed
        found = dict(re.findall(r"^(.+?)  +([\d.]+) (?:KiB|MHz|ms|cycles/batch)", printed, re.MULTILINE))
        assert figures.sram_bytes / 1024 == pytest.approx(float(found["Total SRAM used"]), abs=0.01)
        assert figures.dram_bytes / 1024 == pytest.approx(float(found.get("Total DRAM used", 0)), abs=0.01)
        assert figures.clock_mhz == float(found["Accelerator clock"])
        assert figures.cycles == int(found["Total cycles"])
        assert figures.ms == pytest.approx(float(found["Batch Inference time"]), abs=0.01)
        assert figures.ms == pytest.approx(figures.cycles / figures.clock_mhz / 1000)
        (written,) = folder.glob("*.tflite")
        assert figures.flash_bytes == written.stat().st_size


def test_no_npu_is_faster_than_its_multipliers(model, measured):
    macs = count_macs(model)
    for figures in measured["int8"].accelerators:
        per_cycle = int(figures.accelerator.rsplit("-", 1)[1])
        assert macs / per_cycle < figures.cycles < macs


def test_floats_and_what_vela_refuses_are_failures_and_not_the_end(files, measured, tmp_path):
    assert measured["float32"] == Failure(
        reason="no operation of it runs on an Ethos-U, which computes in int8: export with mode int8"
    )
    contents = {"empty": b"", "garbage": b"garbage" * 100, "truncated": files["int8"].read_bytes()[:4000]}
    paths = [tmp_path / f"{name}.tflite" for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        path.write_bytes(content)
    *found, good = measure(*paths, files["int8"])
    assert not isinstance(good, Failure)
    for failure in found:
        assert failure.reason.startswith("Vela for ethos-u55-128: ")
        assert "\n" not in failure.reason


def test_a_crash_is_a_failure(files, tmp_path, monkeypatch):
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -FPE $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crashing))
    (failure,) = measure(files["int8"])
    assert failure.reason == "Vela for ethos-u55-128: crashes (SIGFPE) without saying why"


@pytest.mark.usefixtures("hanging")
def test_a_program_that_hangs_is_a_failure(files):
    (failure,) = measure(files["int8"])
    assert failure.reason == "Vela for ethos-u55-128: it did not end within 0.2 s"


def test_without_the_package_it_says_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ethosu", None)
    with pytest.raises(UsageError, match=r"pip install 'keras-resnets\[edge\]'"):
        Vela().check()
