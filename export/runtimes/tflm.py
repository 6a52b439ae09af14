"""TFLite Micro: the interpreter of microcontrollers, here with its reference kernels on this machine."""

import bisect
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from export.flatbuffer import describe, operations, read, write
from export.results import Failure, TflmFigures
from export.runtimes import Runtime, Subject, explain, run
from export.runtimes.litert import decode, encode
from keras_resnets.errors import UsageError, first_line

IMAGES = 8  # compared with LiteRT, at most
_ACCOUNT = re.compile(r"Arena allocation (total|head) (\d+) bytes")
_SECTION = re.compile(r"'(.+)' used (\d+) bytes")
_LACKS = re.compile(r"Failed to get registration from op code (\w+)")
_FAILED = re.compile(r"Node (\w+) \(number (\d+)\) failed to (\w+)")
_SOURCE = re.compile(r"^\S+\.(cc|h)(:\d+)? ")  # where in the interpreter's code a complaint comes from


class TFLiteMicro(Runtime):
    """Whether a microcontroller runs a file, the memory that it takes, and how far its outputs are from LiteRT's.

    `arena_bytes` is what the interpreter's recording allocator calls "Arena allocation total", head and tail, and the
    smallest arena in which the file runs, to 16 bytes. It is the number in which MLPerf Tiny's ResNet-8 takes 55,984.
    The head holds activations and scratch buffers, planned to overlap; the tail what stays: quantization parameters,
    the interpreter's own structures. Those are counted as they are on this machine, with pointers of 64 bits; on a
    32-bit microcontroller the tail is smaller.

    The outputs are compared with those of LiteRT as phones run it, whose fast kernels round otherwise than the
    reference kernels that both interpreters have.
    """

    name = "tflm"

    def check(self) -> None:
        if find_spec("tflite_micro") is None:
            raise UsageError("TFLite Micro is not installed: pip install 'keras-resnets[edge]'")

    def measure(self, subjects: Sequence[Subject], on_step: Callable[[], None]) -> list[TflmFigures | Failure]:
        found = []
        for subject in subjects:
            found.append(_measure(subject))
            on_step()
        return found


def _measure(subject: Subject) -> TflmFigures | Failure:
    try:
        litert = Interpreter(model_path=str(subject.path), num_threads=1)
        litert.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        return Failure(reason=f"does not run in LiteRT: {first_line(error)}")
    (entry,) = litert.get_input_details()
    images = np.stack([encode(image[None], entry) for image in subject.images[:IMAGES]])
    with tempfile.TemporaryDirectory() as folder:
        child = _run(subject.path, images, Path(folder))
        if child.returncode:
            return Failure(reason=_explain(child, subject.path.read_bytes(), images[:1]))
        outputs = np.load(Path(folder) / "outputs.npy", allow_pickle=False)
    arena = _read_account(child.stderr)
    if arena is None:
        return Failure(reason="TFLite Micro runs it, but prints its account of the arena in an unknown form")
    difference, largest_error = _compare(outputs, images, litert)
    if not np.isfinite(largest_error):
        return Failure(reason="TFLite Micro runs it, but its outputs are not finite")
    return TflmFigures(
        arena_bytes=sum(arena.values()),
        arena=arena,
        flash_bytes=subject.path.stat().st_size,
        images=len(outputs),
        largest_difference=difference,
        largest_error=largest_error,
    )


def _compare(outputs: np.ndarray, images: np.ndarray, litert: Interpreter) -> tuple[int | None, float]:
    """How far outputs are from LiteRT's: in steps of their quantization, if they have any, and as a real number.

    Args:
        outputs: Shape (m, 1, classes), as the file gives them.
        images: Shape (n, 1, height, width, channels), n at least m, as the file takes them.
        litert: LiteRT with the file.
    """
    (entry,), (end,) = litert.get_input_details(), litert.get_output_details()
    expected = np.empty_like(outputs)
    for image, output in zip(images, expected, strict=False):  # fewer outputs, where the time ran out
        litert.set_tensor(entry["index"], image)
        litert.invoke()
        output[:] = litert.get_tensor(end["index"])
    quantized = np.issubdtype(outputs.dtype, np.integer)
    steps = int(np.abs(outputs.astype(int) - expected).max()) if quantized else None
    with np.errstate(invalid="ignore"):  # infinite on both sides: not a number, which the caller finds
        return steps, float(np.abs(decode(outputs, end) - decode(expected, end)).max())


def _run(path: Path, images: np.ndarray, folder: Path) -> subprocess.CompletedProcess[str]:
    np.save(folder / "images.npy", images, allow_pickle=False)
    script = Path(__file__).with_name("_tflm.py")
    command = [sys.executable, "-P", str(script), str(path.resolve()), str(folder)]
    return run(command)


def _read_account(printed: str) -> dict[str, int] | None:
    """The arena by the interpreter's own sections, bytes; what it names no section for is "other"."""
    account = {name: int(size) for name, size in _ACCOUNT.findall(printed)}
    if account.keys() != {"total", "head"}:
        return None
    sections = {"head": account["head"]} | {name: int(size) for name, size in _SECTION.findall(printed)}
    return sections | {"other": account["total"] - sum(sections.values())}


def _explain(child: subprocess.CompletedProcess[str], data: bytes, images: np.ndarray) -> str:
    """Why a file did not run, in one line."""
    if child.returncode < 0:
        place = _find_crash(data, images)
        return f"TFLite Micro crashes ({signal.Signals(-child.returncode).name}) at {place}, without saying why"
    lines = [line.strip() for line in child.stderr.splitlines() if line.strip()]
    if lacking := _LACKS.search(child.stderr):
        custom = [kind for kind in describe(data).operations if kind.startswith("CUSTOM")]
        return f"TFLite Micro lacks {', '.join(custom) if lacking[1] == 'CUSTOM' else lacking[1]}"
    if failed := _FAILED.search(child.stderr):
        before = next(index for index, line in enumerate(lines) if failed[0] in line) - 1
        why = _SOURCE.sub("", lines[before]) if before >= 0 else "it does not say why"
        return f"TFLite Micro cannot {failed[3]} operation {int(failed[2]) + 1}, {failed[1]}: {why}"
    return f"TFLite Micro does not run it: {explain(child)}"


def _find_crash(data: bytes, images: np.ndarray) -> str:
    """The first operation of a file without which the interpreter does not crash.

    Args:
        data: The file, which crashes it.
        images: What to run, shape (1, 1, height, width, channels).
    """
    kinds = [operation.kind for operation in operations(data)]

    def crashes(count: int) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "start.tflite"
            path.write_bytes(_cut(data, count))
            return _run(path, images, Path(folder)).returncode < 0

    count = 1 + bisect.bisect_left(range(1, len(kinds)), True, key=crashes)
    return f"operation {count} of {len(kinds)}, {kinds[count - 1]}"


def _cut(data: bytes, count: int) -> bytes:
    """The file's first operations, which end in what the last of them writes."""
    model = read(data)
    graph = model.subgraphs[0]
    graph.operators = graph.operators[:count]
    graph.outputs = graph.operators[-1].outputs[:1]
    model.signatureDefs = []
    return write(model)
