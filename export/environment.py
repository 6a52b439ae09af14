"""What a measurement was made on."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "keras-resnets",
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "tflite-micro",
    "ethos-u-vela",
    "numpy",
)
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")  # of the clock, on Linux


def describe_environment() -> dict[str, str]:
    """Processor, cores, GPUs, governor of the clock, load, system, versions of Python and of packages that matter."""
    return {
        "processor": _processor(),
        "cores": str(cores()),
        "gpus": _gpus(),
        "governor": GOVERNOR.read_text().strip() if GOVERNOR.is_file() else "unknown",
        "load": f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown",
        "system": platform.platform(terse=True),
    } | describe_versions()


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter."""
    described = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            described[package] = version(package)
        except PackageNotFoundError:
            continue
    return described


def _gpus() -> str:
    """The names of NVIDIA's, as their driver says them."""
    if not shutil.which("nvidia-smi"):
        return "none"
    asked = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return ", ".join(done.stdout.splitlines()) if done.returncode == 0 else "none"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
