"""Arm Ethos-U: what Vela, Arm's compiler for these NPUs, makes of a file, and the time that it estimates."""

import csv
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from export.flatbuffer import describe
from export.results import Failure, NpuFigures, VelaFigures
from export.runtimes import Runtime, Subject, explain, run
from keras_resnets.errors import UsageError

PROCESSES = 2
NPU = "CUSTOM ethos-u"  # the operation in which Vela puts what the NPU runs
KIB = 1024


@dataclass(frozen=True)
class Setup:
    """A system that Vela models.

    Attributes:
        accelerator: The NPU and its multiply-accumulates a cycle.
        system: Clock and memories around it, a section of the `vela.ini` that Vela comes with.
        memory: What lies where, another section.
    """

    accelerator: str
    system: str
    memory: str


SETUPS = (
    Setup("ethos-u55-128", "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    Setup("ethos-u65-256", "Ethos_U65_Client_Server", "Dedicated_Sram_384KB"),
    Setup("ethos-u85-256", "Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
)


class Vela(Runtime):
    """Cycles, memory and fallbacks of a file on three NPUs, by Vela's model of the hardware: nothing is run.

    The systems are those that Vela takes by default for each NPU, so that its users find the figures they know. They
    are named all the same: a later Vela with other defaults then gives the same figures. `vela.ini` says of them:

    - ethos-u55-128: Ethos_U55_High_End_Embedded with Shared_Sram, a large microcontroller at 500 MHz. SRAM of 4 GB/s
      holds the activations, flash of 0.5 GB/s the weights.
    - ethos-u65-256: Ethos_U65_Client_Server with Dedicated_Sram_384KB, at 1 GHz. 384 KB of SRAM of 16 GB/s are the
      NPU's own; DRAM of 12 GB/s holds the weights, the input, the output and activations that do not fit.
    - ethos-u85-256: Ethos_U85_SYS_DRAM_Mid with Dedicated_Sram_384KB, the same with SRAM of 32 GB/s.

    Cycles and time are the NPU's, memory stalls included. What falls back to the processor takes time on top that Vela
    does not know. The operations are those of the file, not the smaller ones into which Vela takes some apart.
    """

    name = "vela"

    def check(self) -> None:
        if find_spec("ethosu") is None:
            raise UsageError("Vela is not installed: pip install 'keras-resnets[edge]'")

    def measure(self, subjects: Sequence[Subject], on_step: Callable[[], None]) -> list[VelaFigures | Failure]:
        found = []
        with ThreadPoolExecutor(PROCESSES) as pool:
            for one in pool.map(_measure, subjects):
                found.append(one)
                on_step()
        return found


def _measure(subject: Subject) -> VelaFigures | Failure:
    found = []
    for setup in SETUPS:
        one = _compile(subject.path, setup)
        if isinstance(one, Failure):
            return one
        found.append(one)
    if not any(one.npu_operations for one in found):
        return Failure(reason="no operation of it runs on an Ethos-U, which computes in int8: export with mode int8")
    return VelaFigures(accelerators=tuple(found))


def _compile(path: Path, setup: Setup) -> NpuFigures | Failure:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.tflite"  # Vela makes longer names of a name than a file system may take
        shutil.copyfile(path, file)
        command = [sys.executable, "-P", "-m", "ethosu.vela", str(file), "--output-dir", folder]
        command += ["--accelerator-config", setup.accelerator, "--config", "Arm/vela.ini"]
        command += ["--system-config", setup.system, "--memory-mode", setup.memory]
        child = run(command)
        if child.returncode:
            return Failure(reason=f"Vela for {setup.accelerator}: {explain(child)}")
        (summary,) = Path(folder).glob("*_summary_*.csv")
        (compiled,) = Path(folder).glob("*_vela.tflite")
        with summary.open(newline="") as lines:
            (row,) = csv.DictReader(lines)
        data = compiled.read_bytes()
    fallbacks = {kind: count for kind, count in describe(data).operations.items() if kind != NPU}
    return NpuFigures(
        accelerator=setup.accelerator,
        clock_mhz=float(row["core_clock"]) / 1e6,
        cycles=round(float(row["cycles_total"])),
        ms=float(row["inference_time"]) * 1e3,
        sram_bytes=round(float(row["sram_memory_used"]) * KIB),
        dram_bytes=round(float(row["dram_memory_used"]) * KIB),
        flash_bytes=len(data),
        npu_operations=sum(describe(path.read_bytes()).operations.values()) - sum(fallbacks.values()),
        cpu_operations=fallbacks,
    )
