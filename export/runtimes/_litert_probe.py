"""What opening a file in LiteRT costs, seen from a process that does nothing else: `python _litert_probe.py FILE`.

Run as a script, so that nothing of the package is imported, and prints one line of JSON.
"""

import json
import sys
import time
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter


def memory(field: str) -> int | None:
    """A line of what Linux says of this process's memory, bytes; None on other systems."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    (line,) = (line for line in status.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def main(path: str) -> None:
    """Opens the file, runs it once and prints the times and the memory."""
    start = time.perf_counter()
    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    opened = time.perf_counter()
    interpreter.invoke()  # the tensors hold zeros
    first = time.perf_counter()
    costs = {"init_ms": (opened - start) * 1e3, "first_ms": (first - opened) * 1e3, "memory_bytes": growth(path)}
    print(json.dumps(costs))


def growth(path: str) -> int | None:
    """What a second interpreter of the file takes at most: the first run has brought the kernels' code in."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    except OSError:  # no such file: another system, or a sandbox
        return None
    before = memory("VmRSS")
    second = Interpreter(model_path=path, num_threads=1)
    second.allocate_tensors()
    second.invoke()
    peak = memory("VmHWM")
    return None if peak is None or before is None else peak - before


if __name__ == "__main__":
    main(sys.argv[1])
