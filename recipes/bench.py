"""Networks and files, quantized how, on which runtime: one table of measurements. `keras-resnets bench`."""

import functools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from export import load_model
from export.calibrate import DEFAULT_COUNT
from export.environment import describe_environment
from export.files import ensure_folder
from export.quantize import Io, get_mode
from export.report.bench import Opening, write_report
from export.results import Entry, Rejected, Results, write_results
from export.runtimes import Runtime, Subject
from export.runtimes.android import Android
from export.runtimes.browser import VERSION, Browser
from export.runtimes.litert import OnLiteRT
from export.runtimes.tflm import TFLiteMicro
from export.runtimes.vela import Vela
from keras_resnets import UsageError, list_models, model_info
from recipes.candidates import Gathering, Reference, describe_file, suffix
from recipes.config import SEEDS
from recipes.progress import bar, console
from recipes.sources import Source, hold, open_source

# What counts as edge-sized: input and most multiply-accumulates. 600 M is the "mobile setting" of Zoph et al. 2018,
# arXiv:1707.07012, section 4.2; 100 M for CIFAR is ours, a ResNet-44.
SUITES = {"cifar": ((32, 32, 3), 100_000_000), "imagenet": ((224, 224, 3), 600_000_000)}
FILES = "files"  # folder of what is exported on the way


def choose_runtimes(names: Sequence[str] | None, threads: Sequence[int]) -> list[Runtime]:
    """The runtimes of these names, or all that are there; what is missing is said in a line each.

    Raises:
        UsageError: If one that was named is not there.
    """
    every: dict[str, Runtime] = {
        one.name: one for one in (OnLiteRT(threads), TFLiteMicro(), Vela(), Browser(), Android())
    }
    every["litert"].check()
    if names is not None:
        if not names:
            raise UsageError("name at least one runtime after --runtime, or leave it out for all that are there")
        chosen = [every[name] for name in dict.fromkeys(names)]
        for runtime in chosen:
            runtime.check()
        return chosen
    there = []
    for name, runtime in every.items():
        try:
            runtime.check()
            there.append(runtime)
        except UsageError as missing:
            console.print(f"without {name}: {missing}", soft_wrap=True)
    return there


def suite(name: str) -> list[str]:
    """Registered names of a suite: every edge-sized network, residual and baseline, smallest first."""
    shape, most = SUITES[name]
    infos = [model_info(one) for one in list_models()]
    sized = [info for info in infos if info.input_shape == shape and info.macs <= most]
    return [info.name for info in sorted(sized, key=lambda info: info.macs)]


def bench(
    words: Sequence[str],
    *,
    runtimes: Sequence[Runtime],
    source: str | None,
    modes: Sequence[str],
    io: Io,
    reference: Path | None,
    out: Path,
    seed: int,
) -> Results:
    """Measures files, models and networks on runtimes; writes `results.json` and report anew after each of them.

    Args:
        words: Paths of `.tflite` files, of `.keras` files, which are exported in every mode first, and registered
            names, which are built with random weights and exported too.
        runtimes: See `choose_runtimes`.
        source: Name or path of the data whose test images are classified and whose training images calibrate; None:
            as the config.json beside a `.keras` file says, or none at all.
        modes: Modes to export.
        io: Type of input and output of what is exported in mode int8.
        reference: The `.keras` file that `.tflite` files were exported from, for their agreement.
        out: Folder; what is exported lies in its folder `FILES`.
        seed: Seed of random weights, calibration and noise.

    Returns:
        The results; what could not be measured is among them, with the reason.

    Raises:
        UsageError: If nothing can be measured, data, modes or the reference cannot be used, or `out` not be written.
    """
    if not words:
        raise UsageError("name at least one .tflite file, .keras file or network, or a --suite")
    if not modes:
        raise UsageError("name at least one mode to export")
    for mode in modes:
        if get_mode(mode).needs_plan:
            raise UsageError(f"mode {mode} needs a plan: export the file with `keras-resnets export`, and measure that")
    if seed not in SEEDS:
        raise UsageError(f"seed must be from 0 to 2**32 - 1, got {seed}")
    environment = describe_environment()  # before the load is our own
    data = open_source(source) if source else _source_of(words)
    held = functools.cache(functools.partial(hold, data, count=DEFAULT_COUNT, seed=seed)) if data else None
    original = load_model(reference) if reference else None
    if original and not data:
        raise UsageError("--reference compares on test images: give --data, too")
    words = list(dict.fromkeys(words))
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{word!a} is no UTF-8, which reports are written in: rename it") from error
    existing = [Path(word).resolve() for word in words if suffix(word) == ".tflite"]
    gathering = Gathering(data, held, modes, io, Reference.of(original, held), out / FILES, seed, set(existing))
    subjects: list[Subject] = []
    entries: list[Entry] = []
    rejected = []
    with bar("export", len(words)) as step:
        for word in words:
            try:
                for candidate in gathering.candidates(word):
                    if isinstance(candidate, Rejected):
                        rejected.append(candidate)
                        continue
                    entry, subject = describe_file(candidate, held, seed)
                    entries.append(entry)
                    subjects.append(subject)
            except UsageError as mistake:
                rejected.append(Rejected(name=word, reason=str(mistake)))
            step(word)
    if not entries:
        raise UsageError("; ".join(dict.fromkeys(one.reason for one in rejected)))
    if any(isinstance(runtime, Browser) for runtime in runtimes):
        environment["litert.js"] = VERSION
    described = Results(
        environment=environment,
        data=data.name if data else None,
        seed=seed,
        peak=None,
        entries=tuple(_told_apart(entries)),
        rejected=tuple(rejected),
    )
    return measure_on(runtimes, described, subjects, out)


def measure_on(
    runtimes: Sequence[Runtime],
    results: Results,
    subjects: Sequence[Subject],
    out: Path,
    opening: Opening | None = None,
) -> Results:
    """Measures described files on runtimes; writes `results.json` and report anew after each of them.

    Args:
        runtimes: See `choose_runtimes`.
        results: What is known without them.
        subjects: The files of its entries.
        out: Folder.
        opening: What the report tells before the measurements.
    """
    ensure_folder(out)
    for runtime in runtimes:
        with bar(f"measure: {runtime.name}", runtime.steps(len(subjects))) as step:
            figures: list[dict[str, Any]] = [{runtime.name: one} for one in runtime.measure(subjects, step)]
        measured = tuple(replace(entry, **one) for entry, one in zip(results.entries, figures, strict=True))
        peak = runtime.peak if isinstance(runtime, OnLiteRT) else results.peak
        results = replace(results, entries=measured, peak=peak)
        write_results(results, out / "results.json")  # what was measured is not lost with what comes
        write_report(results, out, opening)
    return results


def _source_of(words: Sequence[str]) -> Source | None:
    """The data that the `.keras` files were trained on, by the config.json beside each; None where it cannot be had."""
    found = {}
    for word in words:
        note = Path(word).with_name("config.json")
        if suffix(word) == ".keras" and note.is_file():
            try:
                name = json.loads(note.read_text())["data"]
            except (OSError, ValueError, KeyError, TypeError):  # not of `keras-resnets train`
                continue
            if isinstance(name, str):
                found[str(Path(name))] = note  # a folder may have been written with a slash after it
    if len(found) > 1:
        raise UsageError(f"the models are trained on {', '.join(sorted(found))}; measure those of one at a time")
    for name, note in found.items():
        try:
            return open_source(name)
        except UsageError as mistake:
            console.print(f"without test images: {note} says {name}: {mistake}", soft_wrap=True)
    return None


def _told_apart(entries: Sequence[Entry]) -> list[Entry]:
    """Entries whose names are unique, in whatever order they come: what shares one gets what the user wrote."""
    names = Counter(entry.name for entry in entries)
    return [
        entry if names[entry.name] == 1 else replace(entry, name=f"{entry.name} ({entry.word})") for entry in entries
    ]
