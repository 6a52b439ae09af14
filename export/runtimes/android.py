"""A phone, through adb: the same file on the processor it will run on."""

import os
import re
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from export.results import AndroidFigures, Failure
from export.runtimes import Runtime, Subject
from keras_resnets.errors import UsageError

PLACE = "/data/local/tmp"  # on the phone: where adb may write and execute
TOOL = "KERAS_RESNETS_BENCHMARK_MODEL"
THREADS = 1
LONGEST = 60  # seconds of a phase of benchmark_model: warm-up, measurement
FLAGS = (
    f"--num_threads={THREADS}",
    "--num_runs=100",
    "--min_secs=1",
    "--warmup_runs=10",
    "--warmup_min_secs=1",
    f"--max_secs={LONGEST}",
)
PATIENCE = 60.0  # seconds for a command of adb, beside the work that it asks for
SLOWEST_PUSH = 1e6  # bytes a second
LINE = 300  # characters of what others say

_NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]\d+)?)"
_INIT = re.compile(rf"Initialized session in {_NUMBER}ms")
_PHASE = re.compile(r"^(?:INFO: )?(count=.*)", re.MULTILINE)
_FIGURE = re.compile(rf"(\w+)={_NUMBER}")
_MEMORY = re.compile(  # of TFLite's benchmark_model and of LiteRT's
    rf"Memory footprint delta from the start of the tool \(MB\): init=\S+ overall={_NUMBER}"
    rf"|Overall footprint: +{_NUMBER} MB"
)
_COMPLAINT = re.compile(r"^(?:ERROR|FATAL)\b.*", re.MULTILINE)


class Android(Runtime):
    """Latency and memory of files on an attached phone, one thread, by the platform's `benchmark_model`.

    The program is TFLite's or LiteRT's own, for the phone's processor; $KERAS_RESNETS_BENCHMARK_MODEL says where it
    lies. It runs the file on noise. Of several phones $ANDROID_SERIAL names one, as for adb itself. What is pushed goes
    into a new folder of `PLACE`, which is removed in the end.
    """

    name = "android"

    def check(self) -> None:
        _find_adb()
        _find_tool()
        _find_device()

    def measure(self, subjects: Sequence[Subject], on_step: Callable[[], None]) -> list[AndroidFigures | Failure]:
        found: list[AndroidFigures | Failure] = []
        try:
            with _connecting() as phone:
                device = phone.describe()
                for subject in subjects:
                    found.append(_measure(phone, subject.path, device))
                    on_step()
        except UsageError as error:  # before the first file
            found = [Failure(reason=str(error)) for _ in subjects]
            for _ in subjects:
                on_step()
        return found


@dataclass(frozen=True)
class _Phone:
    """An attached device with a folder of ours.

    Attributes:
        serial: By which adb knows it.
        folder: On the phone.
    """

    serial: str
    folder: str

    def push(self, path: Path, name: str) -> str:
        """Copies a file to the phone; returns its path there."""
        limit = PATIENCE + path.stat().st_size / SLOWEST_PUSH
        _adb("-s", self.serial, "push", str(path.resolve()), f"{self.folder}/{name}", limit=limit)
        return f"{self.folder}/{name}"

    def shell(self, *words: str, limit: float = PATIENCE) -> str:
        """Runs a command on the phone, its words passed as they are; returns what it prints."""
        return _adb("-s", self.serial, "shell", shlex.join(words), limit=limit)  # adb joins words unquoted

    def describe(self) -> str:
        """Maker, model and Android release."""
        properties = ("ro.product.manufacturer", "ro.product.model", "ro.build.version.release")
        maker, model, release = (self.shell("getprop", name).strip() for name in properties)
        return f"{maker} {model}, Android {release}"


@contextmanager
def _connecting() -> Iterator[_Phone]:
    """A phone with `benchmark_model` on it, until the body ends."""
    phone = _Phone(_find_device(), f"{PLACE}/keras-resnets-{secrets.token_hex(8)}")
    try:
        phone.shell("mkdir", phone.folder)
        phone.shell("chmod", "755", phone.push(_find_tool(), "benchmark_model"))
        yield phone
    finally:
        with suppress(UsageError):  # the phone may be gone
            phone.shell("rm", "-rf", phone.folder)


def _measure(phone: _Phone, path: Path, device: str) -> AndroidFigures | Failure:
    try:
        graph = phone.push(path, "model.tflite")
        command = (f"{phone.folder}/benchmark_model", f"--graph={graph}", *FLAGS)
        return parse(phone.shell(*command, limit=PATIENCE + 3 * LONGEST), device)
    except UsageError as error:
        return Failure(reason=str(error))


def parse(printed: str, device: str) -> AndroidFigures:
    """Reads what `benchmark_model` printed.

    TFLite's and LiteRT's differ in their summaries. Both print before them how long opening the file took, and a line
    of microseconds for the warm-up and another for the measurement, "count=50 first=14850 curr=13315 min=13105
    max=15765 avg=13520.2 std=470", which where all runs took the same is "count=50 curr=13315(all same)".

    Args:
        printed: Its output.
        device: What it ran on.

    Raises:
        UsageError: If it did not end well.
    """
    init, memory = _INIT.search(printed), _MEMORY.search(printed)
    phases = [_read_phase(line) for line in _PHASE.findall(printed)]
    complete = [phase.keys() >= {"count", "first", "avg", "min", "max", "std"} for phase in phases]
    if init is None or complete != [True, True]:
        raise UsageError(f"benchmark_model says: {_telling(printed)}")
    warm_up, measured = phases
    return AndroidFigures(
        device=device,
        threads=THREADS,
        mean_ms=measured["avg"] / 1e3,
        std_ms=measured["std"] / 1e3,
        min_ms=measured["min"] / 1e3,
        max_ms=measured["max"] / 1e3,
        init_ms=float(init[1]),
        first_ms=warm_up["first"] / 1e3,
        memory_bytes=None if memory is None else round(float(memory[1] or memory[2]) * 2**20),
        runs=int(measured["count"]),
    )


def _read_phase(line: str) -> dict[str, float]:
    found = {name: float(value) for name, value in _FIGURE.findall(line)}
    if "curr" in found and "first" not in found:
        found |= dict.fromkeys(("first", "avg", "min", "max"), found["curr"]) | {"std": 0.0}
    return found


def _telling(printed: str) -> str:
    """Of several lines the one that says what went wrong."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    complaints = [line.strip() for line in _COMPLAINT.findall(printed)]
    return (complaints or lines or ["nothing"])[-1][:LINE]


def _adb(*words: str, limit: float = PATIENCE) -> str:
    """Runs adb; returns what it prints on either stream.

    Raises:
        UsageError: If it fails or takes longer than `limit` seconds.
    """
    action = " ".join(words[2:3] if words[0] == "-s" else words[:1])
    try:
        child = subprocess.run(
            [_find_adb(), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"adb {action} has not ended after {limit:.0f} s") from None
    if child.returncode:
        raise UsageError(f"adb {action} failed: {_telling(child.stdout)}")
    return child.stdout


def _find_adb() -> str:
    found = shutil.which("adb")
    if found is None:
        raise UsageError("no adb to reach a phone with: install it (Debian: apt-get install adb)")
    return found


def _find_tool() -> Path:
    named = os.environ.get(TOOL)
    hint = f"set {TOOL} to the path of LiteRT's benchmark_model for the phone (android_arm64 of a LiteRT release)"
    if not named:
        raise UsageError(f"no benchmark_model to run on a phone: {hint}")
    if not Path(named).is_file():
        raise UsageError(f"no benchmark_model at {named}: {hint}")
    return Path(named)


def _find_device() -> str:
    """The serial number of the device to use."""
    states = dict(line.split("\t", 1) for line in _adb("devices").splitlines() if "\t" in line)
    states = {serial: state.strip() for serial, state in states.items()}
    ready = [serial for serial, state in states.items() if state == "device"]
    named = os.environ.get("ANDROID_SERIAL")
    if named:
        if named not in ready:
            raise UsageError(f"ANDROID_SERIAL names {named}, which is {states.get(named, 'not attached')}")
        return named
    if len(ready) > 1:
        raise UsageError(f"{len(ready)} Android devices are attached: set ANDROID_SERIAL to one of {', '.join(ready)}")
    if not ready:
        others = "".join(f"; {serial} is {state}" for serial, state in states.items())
        raise UsageError(f"no Android device is attached{others}: connect one and allow USB debugging on it")
    return ready[0]
