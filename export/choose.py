"""Which file to take under limits of time and memory, and what each limit costs in accuracy."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from export.report.columns import ACCURACY, ARENA, BYTES, Column, p50, smallest_accelerator, whole_npu_ms
from export.report.formats import count, milliseconds
from export.results import Entry, Failure, Results
from keras_resnets.errors import UsageError

MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
BYTE_UNITS = {
    unit + end: factor
    for unit, factor in {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}.items()
    for end in ("", "b")
}
BYTES_RULE = "k is 1,000 bytes and Ki is 1,024, so 64 KiB are 64Ki"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that a file may take; None where it does not matter.

    Attributes:
        p50_ms: Median latency on LiteRT at one thread.
        bytes: Size of the file.
        arena_bytes: Working memory on TFLite Micro.
        npu_ms: Time on the smallest Ethos-U that was estimated, of files that it runs whole.
    """

    p50_ms: float | None = None
    bytes: int | None = None
    arena_bytes: int | None = None
    npu_ms: float | None = None


@dataclass(frozen=True)
class Lifted:
    """What one limit costs.

    Attributes:
        limit: The limit, such as "p50 at 1 thread up to 2.000 ms".
        entry: The best file without it, under all the others.
        gain: How much more accurate it is, as a share.
    """

    limit: str
    entry: Entry
    gain: float


@dataclass(frozen=True)
class Choice:
    """The file to take.

    Attributes:
        entry: The most accurate trained file within the limits; of equals the fastest.
        lifted: What each limit costs, in the order of `Limits`, and where there are several, what all of them do.
        excluded: Names of files that could not be judged, each with the reason.
    """

    entry: Entry
    lifted: tuple[Lifted, ...]
    excluded: dict[str, str]


@dataclass(frozen=True)
class _Limit:
    name: str
    column: Column
    most: float
    unit: str

    def text(self, value: float) -> str:
        return f"{milliseconds(value)} ms" if self.unit == "ms" else f"{count(round(value))} bytes"

    def __str__(self) -> str:
        return f"{self.name} up to {self.text(self.most)}"


def choose(results: Results, limits: Limits) -> Choice:
    """Chooses the most accurate trained file within limits; of equally accurate ones the fastest.

    Args:
        results: What was measured.
        limits: What the file may take at most.

    Raises:
        UsageError: If no file is within the limits; the message names the nearest miss.
    """
    wanted = _limits(results, limits)
    excluded = {entry.name: why for entry in results.entries if (why := _unfit(entry, wanted))}
    judged = [entry for entry in results.entries if entry.name not in excluded]
    fitting = _within(results.entries, wanted)
    if not fitting:
        raise UsageError(_miss(judged, wanted, excluded))
    best = most_accurate(fitting)
    lifted = []
    for limit in wanted:
        other = most_accurate(_within(results.entries, [one for one in wanted if one is not limit]))
        lifted.append(Lifted(str(limit), other, ACCURACY.known(other) - ACCURACY.known(best)))
    if len(wanted) > 1:
        other = most_accurate(_within(results.entries, ()))
        lifted.append(Lifted("all limits together", other, ACCURACY.known(other) - ACCURACY.known(best)))
    return Choice(best, tuple(lifted), excluded)


def _limits(results: Results, limits: Limits) -> list[_Limit]:
    smallest = smallest_accelerator(results.entries)
    every = (
        ("p50 at 1 thread", p50(1), limits.p50_ms, "ms"),
        ("size", BYTES, limits.bytes, "bytes"),
        ("arena", ARENA, limits.arena_bytes, "bytes"),
        (f"time on {smallest or 'the Ethos-U'}", whole_npu_ms(smallest), limits.npu_ms, "ms"),
    )
    return [_Limit(name, column, most, unit) for name, column, most, unit in every if most is not None]


def _unfit(entry: Entry, wanted: Sequence[_Limit]) -> str:
    """Why a file cannot be judged, or nothing where it can."""
    if ACCURACY.number(entry) is None:
        return "no test data" if entry.trained else "untrained: random weights"
    for limit in wanted:
        if limit.column.number(entry) is None:
            found = limit.column.read(entry)
            return f"no {limit.name}: {found.reason if isinstance(found, Failure) else 'not measured'}"
    return ""


def _within(entries: Sequence[Entry], wanted: Sequence[_Limit]) -> list[Entry]:
    judged = [entry for entry in entries if not _unfit(entry, wanted)]
    return [entry for entry in judged if all(_excess(entry, limit) <= 1 for limit in wanted)]


def _excess(entry: Entry, limit: _Limit) -> float:
    """A file's figure as a multiple of the limit."""
    return limit.column.known(entry) / limit.most


def most_accurate(entries: Sequence[Entry]) -> Entry:
    """The most accurate of files of known accuracy; of equals the fastest, and then the smallest."""

    def rank(entry: Entry) -> tuple[float, float, int]:
        time = p50(1).number(entry)
        return -ACCURACY.known(entry), float("inf") if time is None else time, entry.bytes

    return min(entries, key=rank)


def _miss(judged: Sequence[Entry], wanted: Sequence[_Limit], excluded: dict[str, str]) -> str:
    """Why nothing fits: the file whose worst figure is the smallest multiple of its limit."""
    if not judged:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(excluded.items())[:1])
        return (
            f"no file can be judged ({reasons or 'there is none'}); measure trained files on the runtimes of the limits"
        )
    nearest = min(judged, key=lambda entry: max(_excess(entry, limit) for limit in wanted))
    over = [limit for limit in wanted if _excess(nearest, limit) > 1]
    figures = ", ".join(f"{limit.name} {limit.text(limit.column.known(nearest))}" for limit in over)
    return f"no trained file has {', '.join(map(str, wanted))}; nearest is {nearest.name} with {figures}"


def parse_time(text: str) -> float:
    """Milliseconds in a word such as 2ms, 800us or 0.5s.

    Raises:
        UsageError: If it is no time above 0 with a unit.
    """
    value = _parse(text.replace("µ", "u"), MILLISECONDS)
    if value is None:
        raise UsageError(f"{text!r} is no time: write a number and us, ms or s, such as 2ms")
    return value


def parse_bytes(text: str) -> int:
    """Bytes in a word such as 100k, 1.5MB or 64Ki: k is 1,000 bytes and Ki is 1,024.

    A microcontroller's 64 KB are mostly 64 Ki: who writes 64k is on the safe side, what is chosen fits all the same.

    Raises:
        UsageError: If it is no size of at least 1 byte.
    """
    value = _parse(text, BYTE_UNITS)
    if value is None or round(value) < 1:
        raise UsageError(f"{text!r} is no size: write a number, or one with k, M, Ki or Mi; {BYTES_RULE}")
    return round(value)


def _parse(text: str, units: dict[str, float] | dict[str, int]) -> float | None:
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", text.lower(), re.ASCII)
    if not match or match[2] not in units:
        return None
    value = float(match[1]) * units[match[2]]
    return value if 0 < value < float("inf") else None
