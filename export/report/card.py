"""What the benchmark's report tells of one file, in the order of a model card.

References: Mitchell et al. 2019, "Model Cards for Model Reporting", arXiv:1810.03993.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np

from export.convert import MIN_AGREEMENT
from export.quantize import MODES
from export.report.columns import ACCURACY, BYTES, latency
from export.report.formats import (
    NOT_MEASURED,
    count,
    counted,
    error,
    float32,
    interval,
    megabytes,
    megahertz,
    millions,
    milliseconds,
    percent,
    points,
)
from export.report.usage import Snippet, foreign_range, normalizes, snippets
from export.results import (
    RUNTIMES,
    AndroidFigures,
    BrowserFigures,
    End,
    Entry,
    Failure,
    LiteRTFigures,
    NpuFigures,
    Results,
    TflmFigures,
    Timing,
    VelaFigures,
)

ENGINES = {"quantizer": "ai-edge-quantizer", "converter": "TensorFlow's converter", "tfmot": "TensorFlow's converter"}
Facts = list[tuple[str, str]]  # term and what is said of it


@dataclass(frozen=True)
class Card:
    """A file's card.

    Attributes:
        title: Name of the file's results.
        summary: Its main figures in one line.
        sections: Title and facts of each.
        labels: Names of the classes, by number.
        snippets: How to run it.
    """

    title: str
    summary: str
    sections: dict[str, Facts]
    labels: tuple[str, ...]
    snippets: list[Snippet]


def describe(entry: Entry, results: Results) -> Card:
    """The card of one file."""
    time = latency(results.entries)
    duration = None if time is None else time.number(entry)
    main = [ACCURACY.text(entry), *([] if duration is None else [f"{milliseconds(duration)} ms"])]
    sections = {
        "Model": _model(entry),
        "Input": _input(entry),
        "Output": _output(entry),
        "Quantization": _quantization(entry),
        "Operations": [(kind, count(number)) for kind, number in entry.operations.items()],
        "Evaluation": _evaluation(entry, results),
        **{title: _facts(getattr(entry, runtime)) for runtime, title in RUNTIMES.items()},
        "Caveats": [(str(i), text) for i, text in enumerate(_caveats(entry), 1)],
    }
    return Card(
        title=entry.name,
        summary=", ".join([*main, f"{BYTES.text(entry)} bytes"]),
        sections={title: facts for title, facts in sections.items() if facts},
        labels=entry.labels or (),
        snippets=snippets(entry),
    )


def _optional(value: Any, show: Callable[[Any], str] = str) -> str:
    return NOT_MEASURED if value is None else show(value)


def _model(entry: Entry) -> Facts:
    mode = MODES.get((entry.mode or "").partition(",")[0])
    return [
        ("network", entry.model),
        ("mode", " - ".join(part for part in (entry.mode or NOT_MEASURED, mode and mode.summary) if part)),
        ("weights", "trained" if entry.trained else "random: built to measure what it costs"),
        ("file", f"{entry.origin}, {count(entry.bytes)} bytes"),
        ("SHA-256", entry.sha256),
        ("parameters", _optional(entry.parameters, count)),
        ("MACs", _optional(entry.macs, millions)),
    ]


def _end(end: End) -> Facts:
    facts = [("tensor", end.name), ("shape", " x ".join(map(str, end.shape))), ("type", end.type)]
    if end.scale is not None:
        facts += [("scale", float32(end.scale)), ("zero-point", str(end.zero_point))]
    return facts


def _input(entry: Entry) -> Facts:
    end = entry.input
    order = {1: "grey", 3: "red, green, blue"}.get(end.shape[-1], "channels last")
    how = f"pixels from 0 to 255, row by row, {order}"
    if normalizes(entry):
        mean, std = (", ".join(map(float32, values or ())) for values in (entry.mean, entry.std))
        how += f"; a pixel becomes p = (pixel - {mean}) / {std}, as the file says"
    if end.scale is None:
        how += f", as {end.type}"
    else:
        how += "; a pixel p is stored as round(p / scale + zero-point), clipped to the type's range"
        how += "" if normalizes(entry) or foreign_range(entry) else _stored(end)
    return [*_end(end), ("preprocessing", f"{how}. {foreign_range(entry) or PREPROCESSING}")]


PREPROCESSING = "Networks of this package normalise inside; one from elsewhere takes the range that it was trained on."


def _stored(end: End) -> str:
    """What the rule comes to for pixels."""
    limits, pixels = np.iinfo(end.type), np.arange(256)
    real = pixels / (end.scale or 1) + (end.zero_point or 0)
    stored = np.clip(np.rint(real), limits.min, limits.max).astype(int)
    shift = int(stored[0])
    if (stored == pixels + shift).all():
        return ": here the pixel itself" if shift == 0 else f": here the pixel {'+' if shift > 0 else '-'} {abs(shift)}"
    return f": 0 becomes {stored[0]}, 255 becomes {stored[255]}"


def _output(entry: Entry) -> Facts:
    is_single = entry.output.shape[-1] == 1
    kind = "probability" if "SOFTMAX" in entry.operations else "score"
    meaning = "the probability of class 1" if is_single else f"a {kind} for each class"
    if entry.output.scale is not None:
        meaning += ", stored: (stored - zero-point) x scale"
    names = "above 0.5 it names class 1, else class 0" if is_single else "the largest names the class"
    return [*_end(entry.output), ("meaning", f"{meaning}; {names}")]


def _quantization(entry: Entry) -> Facts:
    """The recipe beside the file, whatever it holds: keys that are not known here are told as they are."""
    recipe = {key: value for key, value in (entry.quantization or {}).items() if value not in (None, {})}
    names = {"aware": "quantization-aware training"}
    return [(names.get(key, key), _recipe_text(key, value)) for key, value in recipe.items()]


def _recipe_text(key: str, value: Any) -> str:
    if key == "calibration" and isinstance(value, dict) and {"source", "images"} <= value.keys():
        return f"{count(value['images'])} images of {value['source']}"
    if key == "engine":
        return ENGINES.get(value, str(value))
    if key == "aware":
        return f"{value} engine"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {what}" for name, what in value.items())
    return str(value)


def _evaluation(entry: Entry, results: Results) -> Facts:
    if entry.images is None:
        return []
    facts = [
        ("data", f"{count(entry.images)} test images of {results.data}"),
        ("accuracy", ACCURACY.text(entry)),
        ("agreement with the Keras model", _optional(entry.agreement, percent)),
    ]
    chance = standard_error(entry)
    return facts if chance is None else [*facts, ("one standard error of the accuracy", points(chance))]


def standard_error(entry: Entry) -> float | None:
    """How far chance in the choice of test images moves an accuracy: sqrt(p (1 - p) / n)."""
    if not entry.trained or entry.accuracy is None or not entry.images:
        return None
    return math.sqrt(entry.accuracy * (1 - entry.accuracy) / entry.images)


@singledispatch
def _facts(figures: object) -> Facts:
    """What a runtime's figures tell; nothing where it was not asked for."""
    return []


@_facts.register
def _(figures: Failure) -> Facts:
    return [("does not run", figures.reason)]


@_facts.register
def _(figures: LiteRTFigures) -> Facts:
    return [
        *((counted(time.threads, "thread"), _distribution(time)) for time in figures.timings),
        ("start", f"open {milliseconds(figures.init_ms)} ms, first image {milliseconds(figures.first_ms)} ms"),
        ("memory", _optional(figures.memory_bytes, megabytes)),
        ("share of the processor's peak", _optional(figures.peak_share, percent)),
    ]


def _distribution(time: Timing) -> str:
    return (
        f"p50 {interval(time)} ms, p90 {milliseconds(time.p90_ms)}, p99 {milliseconds(time.p99_ms)}, "
        f"mean {milliseconds(time.mean_ms)}±{milliseconds(time.std_ms)}; {count(time.runs)} runs"
    )


@_facts.register
def _(figures: TflmFigures) -> Facts:
    difference = figures.largest_difference
    steps = "" if difference is None else f", {count(difference)} step{'' if difference == 1 else 's'} of quantization"
    return [
        ("arena", f"{count(figures.arena_bytes)} bytes"),
        *((f"arena: {section}", f"{count(size)} bytes") for section, size in figures.arena.items()),
        ("flash", f"{count(figures.flash_bytes)} bytes, and the interpreter's code"),
        (
            f"difference over {count(figures.images)} images",
            f"{error(figures.largest_error)}{steps}",
        ),
    ]


@_facts.register
def _(figures: VelaFigures) -> Facts:
    return [(npu.accelerator, _estimate(npu)) for npu in figures.accelerators]


def _estimate(npu: NpuFigures) -> str:
    left = ", ".join(f"{kind} {count(number)}" for kind, number in npu.cpu_operations.items()) or "none"
    dram = f"DRAM {count(npu.dram_bytes)} bytes, " if npu.dram_bytes else ""
    return (
        f"{milliseconds(npu.ms)} ms ({count(npu.cycles)} cycles at {megahertz(npu.clock_mhz)}, estimated), "
        f"SRAM {count(npu.sram_bytes)} bytes, {dram}flash {count(npu.flash_bytes)} bytes; "
        f"{count(npu.npu_operations)} operations on the NPU, left to the processor: {left}"
    )


@_facts.register
def _(figures: BrowserFigures) -> Facts:
    return [
        ("browser", figures.browser),
        (counted(figures.timing.threads, "thread"), _distribution(figures.timing)),
        ("load", f"{milliseconds(figures.load_ms)} ms"),
        ("agreement with LiteRT", f"{percent(figures.agreement)} of {count(figures.images)} images"),
        ("largest error", error(figures.largest_error)),
    ]


@_facts.register
def _(figures: AndroidFigures) -> Facts:
    return [
        ("device", figures.device),
        (
            counted(figures.threads, "thread"),
            f"mean {milliseconds(figures.mean_ms)}±{milliseconds(figures.std_ms)} ms, from "
            f"{milliseconds(figures.min_ms)} to {milliseconds(figures.max_ms)}; {count(figures.runs)} runs",
        ),
        ("start", f"open {milliseconds(figures.init_ms)} ms, first image {milliseconds(figures.first_ms)} ms"),
        ("memory", _optional(figures.memory_bytes, megabytes)),
    ]


def _caveats(entry: Entry) -> list[str]:
    caveats = []
    if not entry.trained:
        caveats.append("Its weights are random: it names no class, and its accuracy means nothing.")
    if entry.agreement is not None and entry.agreement < MIN_AGREEMENT:
        caveats.append(
            f"Do not ship it: it agrees with its Keras model on {percent(entry.agreement)} of the test images only."
        )
    mode = MODES.get((entry.mode or "").partition(",")[0])
    if mode and mode.name == "int8" and entry.float_operations:
        caveats.append(f"{count(entry.float_operations)} operations compute in floating point all the same.")
    if isinstance(entry.vela, VelaFigures):
        caveats.append("Figures of the Ethos-U are Vela's estimate, not a measurement on hardware.")
    return caveats
