"""Two benchmark runs side by side: what got faster or slower, smaller or larger. `keras-resnets compare`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from rich.table import Table

from export.report.formats import count, titled_table
from export.results import (
    RUNTIMES,
    AndroidFigures,
    BrowserFigures,
    Entry,
    Failure,
    LiteRTFigures,
    Results,
    TflmFigures,
    Timing,
    VelaFigures,
)
from keras_resnets.errors import UsageError

INTERVAL = (2.5, 97.5)  # percent
DRAWS = 2000
ROUNDING = 1e-9  # of differences and ratios
BUSY = 0.5  # processes that ran or waited, besides a measurement, from which on a machine is not idle
Verdict = Literal["worse", "better", "same"]


@dataclass(frozen=True)
class Change:
    """One figure of one file in both runs.

    Attributes:
        entry: Name of the file's results.
        figure: Name of the figure.
        before: Its value in the first run.
        after: Its value in the second run.
        ratio: Cost after over cost before, above 1 is worse; of accuracy and agreement, before over after.
        low: Lower end of the ratio's 95% interval: a bootstrap over the rounds of both runs, whose own runs share what
            the machine did meanwhile. Equal to the ratio where the figure does not vary from run to run.
        high: Upper end.
        verdict: "worse" or "better" where the whole interval lies beyond the tolerance, of accuracy and agreement where
            the difference does, else "same".
    """

    entry: str
    figure: str
    before: float
    after: float
    ratio: float
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """What two runs have to say about each other.

    Attributes:
        changes: Figures that both runs have.
        broken: What was measured before and is not now, with the reason: files, runtimes, figures.
        only_after: Names of files that only the second run has.
        environment: What the runs were made on where that differs: before and after.
    """

    changes: tuple[Change, ...]
    broken: dict[str, str]
    only_after: tuple[str, ...]
    environment: dict[str, tuple[str, str]]

    @property
    def is_regression(self) -> bool:
        """Whether a figure got worse beyond the tolerance, or something is lost that was measured before."""
        return bool(self.broken) or any(change.verdict == "worse" for change in self.changes)


def compare(before: Results, after: Results, tolerance: float, max_fall: float) -> Comparison:
    """Compares the files that two runs have in common, by their names.

    Args:
        before: The run to compare with.
        after: The run in question.
        tolerance: Share by which a cost may grow, 0.05 for 5%.
        max_fall: Share of the test images by which accuracy and agreement may fall, 0.005 for half a point.

    Raises:
        UsageError: If the runs have no file in common.
    """
    old, new = ({entry.name: entry for entry in results.entries} for results in (before, after))
    both = [name for name in old if name in new]
    if not both:
        raise UsageError("the two runs have no file in common, by the names of their results")
    rejected = {one.name: one.reason for one in after.rejected}
    broken = {
        name: rejected.get(
            f"{entry.word} {(entry.mode or '').split(',')[0]}", rejected.get(entry.word, "not in the second run")
        )
        for name, entry in old.items()
        if name not in new
    }
    same_data = before.data == after.data
    named = same_data or after.data is None  # otherwise, accuracies on other data say nothing of these
    asked = {figure for entry in new.values() for figure in _timings(entry)}  # the numbers of threads
    broken |= {key: reason for name in both for key, reason in _broken(old[name], new[name], asked, named=named)}
    about = [results.environment | {"data": results.data or "none"} for results in (before, after)]
    return Comparison(
        changes=tuple(
            change
            for name in both
            for change in (
                *_changes(old[name], new[name], tolerance),
                *(_falls(old[name], new[name], max_fall) if same_data else ()),
            )
        ),
        broken=broken,
        only_after=tuple(name for name in new if name not in old),
        environment={
            key: (about[0].get(key, "none"), about[1].get(key, "none"))
            for key in sorted({*about[0], *about[1]})
            if about[0].get(key) != about[1].get(key) and (key != "load" or _is_busy(about))
        },
    )


def _is_busy(about: Sequence[Mapping[str, str]]) -> bool:
    loads = [one.get("load", "unknown") for one in about]
    return any(load != "unknown" and float(load) > BUSY for load in loads)


def _broken(before: Entry, after: Entry, asked: set[str], *, named: bool) -> Iterator[tuple[str, str]]:
    missing = "not measured in the second run"
    lost = set()
    for runtime in RUNTIMES:
        old, new = getattr(before, runtime), getattr(after, runtime)
        if old is not None and not isinstance(old, Failure) and (new is None or isinstance(new, Failure)):
            lost.add(runtime)
            yield f"{before.name} on {runtime}", new.reason if new else missing
    nothing: dict[str, Any] = dict.fromkeys(lost)
    still = replace(before, **nothing)  # what a lost runtime said is lost with it
    there = {**_timings(after), **_costs(after)}
    for figure in {**_timings(still), **_costs(still)}:
        if figure not in there and (figure in asked or figure not in _timings(still)):
            yield f"{before.name}: {figure}", missing
    for figure in ("accuracy", "agreement") if named else ():
        if getattr(before, figure) is not None and getattr(after, figure) is None:
            yield f"{before.name}: {figure}", missing


def _changes(before: Entry, after: Entry, tolerance: float) -> Iterator[Change]:
    old, new = _timings(before), _timings(after)
    for figure in (one for one in old if one in new):
        values = old[figure].p50_ms, new[figure].p50_ms
        yield _change(
            before.name, figure, values, values[1] / values[0], _interval(old[figure], new[figure]), tolerance
        )
    costs, new_costs = _costs(before), _costs(after)
    for figure in (one for one in costs if one in new_costs):
        values = costs[figure], new_costs[figure]
        ratio = _ratio(values[1], values[0])
        yield _change(before.name, figure, values, ratio, (ratio, ratio), tolerance)


def _falls(before: Entry, after: Entry, max_fall: float) -> Iterator[Change]:
    for figure in ("accuracy", "agreement"):
        old, new = getattr(before, figure), getattr(after, figure)
        if old is not None and new is not None:
            most = max_fall + ROUNDING
            verdict: Verdict = "worse" if old - new > most else "better" if new - old > most else "same"
            ratio = _ratio(old, new)
            yield Change(before.name, figure, old, new, ratio, ratio, ratio, verdict)


def _interval(before: Timing, after: Timing) -> tuple[float, float]:
    """Where the ratio of the medians lies with 95%, by drawing the rounds of both runs again and again.

    References: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    random = np.random.default_rng(0)
    medians = [np.median(random.choice(one.rounds_ms, (DRAWS, len(one.rounds_ms))), axis=1) for one in (before, after)]
    low, high = np.percentile(medians[1] / medians[0], INTERVAL)
    return float(low), float(high)


def _change(
    entry: str,
    figure: str,
    values: tuple[float, float],
    ratio: float,
    interval: tuple[float, float],
    tolerance: float,
) -> Change:
    low, high = interval
    verdict: Verdict = "same"
    if low > 1 + tolerance + ROUNDING:
        verdict = "worse"
    elif high < 1 / (1 + tolerance) - ROUNDING:
        verdict = "better"
    return Change(entry, figure, *values, ratio, low, high, verdict)


def _ratio(over: float, under: float) -> float:
    return 1.0 if over == under else float("inf") if not under else over / under


def _timings(entry: Entry) -> dict[str, Timing]:
    """What scatters from run to run: medians of one image, ms."""
    found: dict[str, Timing] = {}
    if isinstance(entry.litert, LiteRTFigures):
        found |= {f"LiteRT p50, threads {one.threads}": one for one in entry.litert.timings}
    if isinstance(entry.browser, BrowserFigures):
        found["browser p50"] = entry.browser.timing
    return found


def _costs(entry: Entry) -> dict[str, float]:
    """What is the same in every run of the same file; a phone's mean counts as such."""
    found: dict[str, float] = {"bytes": entry.bytes, "float operations": entry.float_operations}
    if isinstance(entry.tflm, TflmFigures):
        found["arena bytes"] = entry.tflm.arena_bytes
    if isinstance(entry.vela, VelaFigures):
        for npu in entry.vela.accelerators:
            found[f"{npu.accelerator} ms"] = npu.ms
            found[f"{npu.accelerator} SRAM bytes"] = npu.sram_bytes
            found[f"{npu.accelerator} flash bytes"] = npu.flash_bytes
            if npu.dram_bytes:
                found[f"{npu.accelerator} DRAM bytes"] = npu.dram_bytes
            found[f"{npu.accelerator} operations on the processor"] = sum(npu.cpu_operations.values())
    if isinstance(entry.android, AndroidFigures):
        found["Android mean"] = entry.android.mean_ms
    return found


def comparison_table(comparison: Comparison, title: str) -> Table:
    """What got better or worse beyond the tolerance, and every latency; first what got worse."""
    table = titled_table(title)
    for column in ("file", "figure"):
        table.add_column(column, overflow="fold")
    for column in ("before", "after", "ratio", "95%", "verdict"):
        table.add_column(column, justify="right", no_wrap=True)
    shown = [change for change in comparison.changes if change.verdict != "same" or change.low != change.high]
    for change in sorted(shown, key=lambda one: (one.verdict != "worse", -one.ratio)):
        table.add_row(
            change.entry,
            change.figure,
            _number(change.before),
            _number(change.after),
            f"{change.ratio:.3f}",
            "exact" if change.low == change.high else f"{change.low:.3f} to {change.high:.3f}",
            change.verdict,
        )
    return table


def _number(value: float) -> str:
    return count(int(value)) if float(value).is_integer() else f"{value:,.4g}"


def remarks(comparison: Comparison) -> Iterator[str]:
    """What stands beside the table: what is lost, what cannot be compared, and where the runs were not alike."""
    for name, reason in comparison.broken.items():
        yield f"lost: {name}: {reason}"
    for name in comparison.only_after:
        yield f"only in the second run: {name}"
    for key, (old, new) in comparison.environment.items():
        yield f"{key}: {old} before, {new} now"
    counts: Mapping[str, int] = {
        verdict: sum(change.verdict == verdict for change in comparison.changes)
        for verdict in ("worse", "better", "same")
    }
    yield (
        f"{len(comparison.changes)} figures compared: {counts['worse']} worse, {counts['better']} better, "
        f"{counts['same']} within the tolerance"
    )
