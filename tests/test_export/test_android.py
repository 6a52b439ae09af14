"""The Android runtime on a phone made of a folder and an `adb` made of a shell script."""

import shlex

import numpy as np
import pytest

from export.results import AndroidFigures, Failure
from export.runtimes import Subject, android
from export.runtimes.android import Android, parse
from keras_resnets import UsageError

pytestmark = pytest.mark.once

# What the two programs print, in form and order; the numbers are made up.
TFLITE = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Min num runs: [100]
INFO: Num threads: [1]
INFO: Graph: [/data/local/tmp/model.tflite]
INFO: Signature to run: []
INFO: #threads used for CPU inference: [1]
INFO: Loaded model /data/local/tmp/model.tflite
INFO: Initialized TensorFlow Lite runtime.
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 31 out of 31 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions.
INFO: The input model file size (MB): 0.302056
INFO: Initialized session in 5.685ms.
INFO: Running benchmark for at least 10 iterations and at least 1 seconds but terminate if exceeding 60 seconds.
INFO: count=412 first=2761 curr=2385 min=2305 max=3080 avg=2423.58 std=65 p5=2330 median=2401 p95=2531

INFO: Running benchmark for at least 100 iterations and at least 1 seconds but terminate if exceeding 60 seconds.
INFO: count=423 first=2381 curr=2363 min=2205 max=2956 avg=2362.27 std=90 p5=2247 median=2351 p95=2569

INFO: Inference timings in us: Init: 5685, First inference: 2761, Warmup (avg): 2423.58, Inference (avg): 2362.27
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual \
memory footprint of the model at runtime. Take the information at your discretion.
INFO: Memory footprint delta from the start of the tool (MB): init=2.5 overall=3.25
"""
LITERT = """\
INFO: STARTING!
INFO: Num threads: [1]
INFO: [litert/tools/benchmark_litert_model.cc:137] Loading model from: /data/local/tmp/model.tflite
I0000 00:00:1758455104.504065   62590 accelerator_registry.cc:51] RegisterAccelerator: name=CpuAccelerator
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: The input model file size (MB): 0.302056
INFO: Initialized session in 1.2e+03ms.
INFO: Running benchmark for at least 10 iterations and at least 1 seconds but terminate if exceeding 60 seconds.
INFO: count=10 first=1.2125e+06 curr=969000 min=910000 max=1.2125e+06 avg=1.04176e+06 std=68000

INFO: Running benchmark for at least 100 iterations and at least 1 seconds but terminate if exceeding 60 seconds.
INFO: count=60 first=1015000 curr=942000 min=910000 max=1102000 avg=1.04713e+06 std=23000

INFO: [./litert/tools/benchmark_litert_model.h:72] \n\
========== BENCHMARK RESULTS ==========
INFO: [./litert/tools/benchmark_litert_model.h:73] Model initialization: 1200.00 ms
INFO: [./litert/tools/benchmark_litert_model.h:75] Warmup (first):       1212.50 ms
INFO: [./litert/tools/benchmark_litert_model.h:79] Inference (avg):      1047.13 ms (60 runs)
INFO: [./litert/tools/benchmark_litert_model.h:94] Throughput:           1.97 MB/s
INFO: [./litert/tools/benchmark_litert_model.h:103] \n\
Memory Usage:
INFO: [./litert/tools/benchmark_litert_model.h:105] Init footprint:       4.06 MB
INFO: [./litert/tools/benchmark_litert_model.h:107] Overall footprint:    7.50 MB
INFO: [./litert/tools/benchmark_litert_model.h:114] Peak memory usage not available. (peak_mem_mb <= 0)
"""
STEADY = """\
Initialized session in 0.5ms.
Running benchmark for at least 10 iterations and at least 1 seconds but terminate if exceeding 60 seconds.
count=1 curr=41

Running benchmark for at least 100 iterations and at least 1 seconds but terminate if exceeding 60 seconds.
count=100 curr=40(all same)

"""


DEVICE = "Maker Model, Android 15"
EXPECTED = {
    TFLITE: AndroidFigures(
        device=DEVICE,
        threads=1,
        mean_ms=2.36227,
        std_ms=0.09,
        min_ms=2.205,
        max_ms=2.956,
        init_ms=5.685,
        first_ms=2.761,
        memory_bytes=13 * 2**18,
        runs=423,
    ),
    LITERT: AndroidFigures(
        device=DEVICE,
        threads=1,
        mean_ms=1047.13,
        std_ms=23.0,
        min_ms=910.0,
        max_ms=1102.0,
        init_ms=1200.0,
        first_ms=1212.5,
        memory_bytes=15 * 2**19,
        runs=60,
    ),
    STEADY: AndroidFigures(
        device=DEVICE,
        threads=1,
        mean_ms=0.04,
        std_ms=0.0,
        min_ms=0.04,
        max_ms=0.04,
        init_ms=0.5,
        first_ms=0.041,
        memory_bytes=None,
        runs=100,
    ),
}


@pytest.mark.parametrize("printed", EXPECTED, ids=["tflite", "litert", "steady"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])  # the shell of old phones
def test_what_each_program_prints_is_understood(printed, end):
    assert parse(printed.replace("\n", end), DEVICE) == EXPECTED[printed]


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("", "benchmark_model says: nothing"),
        (TFLITE.split("INFO: Running")[0] + "ERROR: Failed to allocate tensors!\nINFO: bye\n", "Failed to allocate"),
        (TFLITE[: TFLITE.index("INFO: count=423")], "terminate if exceeding"),
        (TFLITE.replace("count=423 first", "count=0\nfirst"), "overall=3.25"),
        (TFLITE[: TFLITE.index("max=2956")], "says: INFO: count=423 first=2381 curr=2363 min=2205$"),
    ],
)
def test_a_program_that_fails_is_one_line(printed, reason):
    with pytest.raises(UsageError, match=reason) as caught:
        parse(printed, "a phone")
    assert "\n" not in str(caught.value)


ADB = """\
#!/bin/sh
echo "$*" >> {calls}
[ "$1" = devices ] && exec cat {devices}
[ "$2" = phone1 ] || {{ echo "adb: device '$2' not found" >&2; exit 1; }}
shift 2
[ "$1" = push ] && exec cp "$2" "$3"
shift  # shell
PATH={phone}:$PATH exec sh -c "$*"
"""
GETPROP = """\
#!/bin/sh
case $1 in
ro.product.manufacturer) echo Maker ;;
ro.product.model) echo Model ;;
ro.build.version.release) echo 15 ;;
esac
"""


class Phone:
    """A folder whose name needs quoting, an adb that leads there, and a benchmark_model for it."""

    def __init__(self, folder, monkeypatch):
        self.place = folder / "it's; a $(phone)"
        self.calls, self.devices, self.tool = folder / "calls", folder / "devices", folder / "-tool of mine"
        self.model = folder / "a model; rm -rf $HOME.tflite"
        self.model.write_bytes(b"model")
        phone, host = folder / "phone", folder / "host"
        for each in (self.place, phone, host):
            each.mkdir()
        paths = {name: shlex.quote(str(path)) for name, path in vars(self).items()}
        self.write(host / "adb", ADB.format(**paths, phone=shlex.quote(str(phone))))
        self.write(phone / "getprop", GETPROP)
        self.attach("phone1\tdevice")
        self.answer(TFLITE)
        monkeypatch.setenv("PATH", str(host), prepend=":")
        monkeypatch.setenv("KERAS_RESNETS_BENCHMARK_MODEL", str(self.tool))
        monkeypatch.delenv("ANDROID_SERIAL", raising=False)
        monkeypatch.setattr(android, "PLACE", str(self.place))

    @staticmethod
    def write(path, text):
        path.write_text(text)
        path.chmod(0o755)

    def attach(self, *lines):
        self.devices.write_text("\n".join(["List of devices attached", *lines, "", ""]))

    def answer(self, printed, then="exit 0"):
        self.write(self.tool, f'#!/bin/sh\n[ -f "${{1#--graph=}}" ] || exit 9\ncat <<"END"\n{printed}END\n{then}\n')
        self.tool.chmod(0o644)  # as a browser saves it

    def measure(self, count=1):
        steps = []
        subjects = [Subject(self.model, np.zeros((1, 2, 2, 1)), None, True)] * count
        found = Android().measure(subjects, lambda: steps.append(1))
        assert len(steps) == Android().steps(count)
        assert list(self.place.iterdir()) == [], "what was pushed is gone"
        return found


@pytest.fixture
def phone(tmp_path, monkeypatch):
    return Phone(tmp_path, monkeypatch)


def test_files_are_pushed_run_and_removed(phone):
    Android().check()
    one, other = phone.measure(2)
    assert one == other == EXPECTED[TFLITE]
    assert "--num_threads=1" in phone.calls.read_text()


@pytest.mark.parametrize(
    ("printed", "then", "reason"),
    [
        ("ERROR: Failed to load model\n", "exit 1", "adb shell failed: ERROR: Failed to load model"),
        ("INFO: STARTING!\n", "exit 0", "benchmark_model says: INFO: STARTING!"),
    ],
)
def test_a_file_that_does_not_run_is_a_failure(phone, printed, then, reason):
    phone.answer(printed, then)
    assert phone.measure() == [Failure(reason=reason)]


def test_a_file_that_runs_for_ever_is_a_failure(phone, monkeypatch):
    monkeypatch.setattr(android, "PATIENCE", 2.0)
    monkeypatch.setattr(android, "LONGEST", 0)
    phone.answer("INFO: STARTING!\n", "exec sleep 9")
    assert phone.measure() == [Failure(reason="adb shell has not ended after 2 s")]


def test_a_phone_that_goes_is_a_failure_of_each_file(phone):
    phone.attach("phone2\tdevice")  # which the adb above does not know
    assert phone.measure(2) == [Failure(reason="adb shell failed: adb: device 'phone2' not found")] * 2


@pytest.mark.parametrize(
    ("attached", "chosen", "message"),
    [
        ([], None, "no Android device is attached: connect one"),
        (["phone1\tunauthorized"], None, "phone1 is unauthorized: connect one and allow USB debugging"),
        (["phone1\tdevice", "phone2\tdevice"], None, "set ANDROID_SERIAL to one of phone1, phone2"),
        (["phone1\tdevice"], "phone3", "ANDROID_SERIAL names phone3, which is not attached"),
        (["phone1\toffline"], "phone1", "ANDROID_SERIAL names phone1, which is offline"),
    ],
)
def test_no_device_is_one_line(phone, monkeypatch, attached, chosen, message):
    phone.attach(*attached)
    if chosen:
        monkeypatch.setenv("ANDROID_SERIAL", chosen)
    with pytest.raises(UsageError, match=message):
        Android().check()


def test_of_several_devices_one_is_named(phone, monkeypatch):
    phone.attach("phone1\tdevice", "phone2\tdevice", "phone3\tno permissions (verify udev rules)")
    monkeypatch.setenv("ANDROID_SERIAL", "phone1")
    Android().check()
    assert isinstance(phone.measure()[0], AndroidFigures)


def test_no_program_is_one_line(phone, monkeypatch):
    phone.tool.unlink()
    with pytest.raises(UsageError, match=r"no benchmark_model at .*: set KERAS_RESNETS_BENCHMARK_MODEL"):
        Android().check()
    monkeypatch.delenv("KERAS_RESNETS_BENCHMARK_MODEL")
    with pytest.raises(UsageError, match="no benchmark_model to run on a phone: set KERAS_RESNETS_BENCHMARK_MODEL"):
        Android().check()


def test_no_adb_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no adb to reach a phone with: install it"):
        Android().check()
