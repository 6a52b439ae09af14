"""Networks and files, quantized how, on which runtime: one table of measurements. `keras-resnets bench`."""

import functools
import hashlib
import itertools
import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export import Calibration, load_model, to_tflite
from export.calibrate import DEFAULT_COUNT
from export.convert import check_exportable, predict_classes
from export.environment import describe_environment
from export.files import ensure_folder, replacing
from export.flatbuffer import arithmetic, describe
from export.layers import in_float32
from export.metadata import Metadata, check_metadata, read_labels, read_normalization
from export.qat import is_quantize_aware
from export.quantize import Io, get_mode
from export.recipe import fingerprint, mode_of, read_recipe, recipe_path, write_recipe
from export.report.bench import Opening, write_report
from export.results import Entry, Rejected, Results, write_results
from export.runtimes import Runtime, Subject
from export.runtimes.android import Android
from export.runtimes.browser import VERSION, Browser
from export.runtimes.litert import LiteRT, OnLiteRT
from export.runtimes.tflm import TFLiteMicro
from export.runtimes.vela import Vela
from keras_resnets import UsageError, create_model, get_variant, iter_layers, list_models, model_info
from recipes.averages import gather_statistics
from recipes.config import SEEDS
from recipes.data import Dataset
from recipes.progress import bar, console
from recipes.sources import Source, hold, open_source

# What counts as edge-sized: input and most multiply-accumulates. 600 M is the "mobile setting" of Zoph et al. 2018,
# arXiv:1707.07012, section 4.2; 100 M for CIFAR is ours, a ResNet-44.
SUITES = {"cifar": ((32, 32, 3), 100_000_000), "imagenet": ((224, 224, 3), 600_000_000)}
NOISE = 32  # images that stand for data where there are none
SETTLED = 8  # of them, from which a network with random weights takes its statistics
SPREAD = 3.0  # standard deviation of its logits, about that of a trained network
FILES = "files"  # folder of what is exported on the way

Shape = tuple[int, ...]  # of an image, (height, width, channels)
Held = Callable[[Shape], tuple[Dataset, Calibration]]  # test images of a shape, and images to calibrate on


@dataclass(frozen=True)
class Candidate:
    """A file to measure and what is known of where it comes from.

    Attributes:
        word: What the user wrote.
        path: The file.
        trained: Whether its accuracy means anything.
        named: Classes that its Keras model names on the test images, shape (n,), where that is known.
    """

    word: str
    path: Path
    trained: bool
    named: np.ndarray | None = None


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
    existing = [Path(word).resolve() for word in words if _suffix(word) == ".tflite"]
    gathering = _Gathering(data, held, modes, io, _Reference.of(original, held), out / FILES, seed, set(existing))
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


def _suffix(word: str) -> str:
    return Path(word).suffix.lower()


def _source_of(words: Sequence[str]) -> Source | None:
    """The data that the `.keras` files were trained on, by the config.json beside each; None where it cannot be had."""
    found = {}
    for word in words:
        note = Path(word).with_name("config.json")
        if _suffix(word) == ".keras" and note.is_file():
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


@dataclass(frozen=True)
class _Reference:
    """The model that `.tflite` files were exported from: its fingerprint, and the classes that it names."""

    fingerprint: str
    named: np.ndarray

    @classmethod
    def of(cls, model: keras.Model | None, held: Held | None) -> "_Reference | None":
        if model is None or held is None:
            return None
        try:
            check_exportable(model)
            return cls(fingerprint(in_float32(model)), predict_classes(model, held(model.input_shape[1:])[0].x_test))
        except UsageError as mistake:
            raise UsageError(f"--reference: {mistake}") from mistake


@dataclass(frozen=True)
class _Gathering:
    """What turns words into files to measure; `taken` are paths that nothing more is exported to."""

    data: Source | None
    held: Held | None
    modes: Sequence[str]
    io: Io
    reference: _Reference | None
    folder: Path
    seed: int
    taken: set[Path]

    def candidates(self, word: str) -> Iterator[Candidate | Rejected]:
        """The files that a word of the command line stands for, and modes in which there is none.

        Raises:
            UsageError: If there is no such file or network, or it cannot be exported.
        """
        if _suffix(word) == ".tflite":
            path = Path(word)
            recipe = read_recipe(path) if path.is_file() else {}
            own = self.reference and self.reference.fingerprint
            matches = self.reference and recipe.get("fingerprint", own) == own
            named = self.reference.named if self.reference and matches else None
            yield Candidate(word, path, trained=recipe.get("trained", True), named=named)
        elif _suffix(word) == ".keras":
            path = Path(word)
            model = load_model(path)
            check_exportable(model)
            stem = path.resolve().parent.name if path.stem == "model" else path.stem
            named = predict_classes(model, self.held(model.input_shape[1:])[0].x_test) if self.held else None
            for file in self._export(word, model, stem, _labels_beside(path, model)):
                yield file if isinstance(file, Rejected) else Candidate(word, file, trained=True, named=named)
        else:
            keras.utils.set_random_seed(self.seed)
            variant = get_variant(word)
            model = create_model(word, include_preprocessing=True)
            _settle(model, _noise(model.input_shape[1:], self.seed))
            for file in self._export(word, model, variant.name):
                if isinstance(file, Rejected):
                    yield file
                    continue
                _mark_untrained(file)
                yield Candidate(word, file, trained=False)

    def _export(
        self, word: str, model: keras.Model, stem: str, metadata: Metadata | None = None
    ) -> Iterator[Path | Rejected]:
        aware = is_quantize_aware(model)  # such a model is for int8 alone
        calibration = None if aware else self._calibration(model)
        ensure_folder(self.folder)
        for mode in ["int8"] if aware else self.modes:
            file = self._free(stem, mode)
            io = self.io if mode == "int8" else "float32"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of slow modes and few images: what comes out is measured
                try:
                    to_tflite(
                        model, file, mode=mode, io=io, calibration=calibration, metadata=metadata, min_agreement=0.0
                    )
                except UsageError as mistake:
                    yield Rejected(name=f"{word} {mode}", reason=str(mistake))
                    continue
            yield file

    def _free(self, stem: str, mode: str) -> Path:
        """A path that no other file of this run has."""
        names = (f"{stem}{'' if number == 1 else f'_{number}'}_{mode}.tflite" for number in itertools.count(1))
        path = next(path for name in names if (path := self.folder / name).resolve() not in self.taken)
        self.taken.add(path.resolve())
        return path

    def _calibration(self, model: keras.Model) -> Calibration:
        shape = model.input_shape[1:]
        if self.data and self.held and self.data.fits(shape):
            return self.held(shape)[1]
        return Calibration(_noise(shape, self.seed), "noise")


def describe_file(candidate: Candidate, held: Held | None, seed: int) -> tuple[Entry, Subject]:
    """Opens a file in LiteRT and classifies the test images.

    Args:
        candidate: The file.
        held: Where the images come from; None: there are none.
        seed: Seed of the noise that stands for them then.

    Raises:
        UsageError: If it does not run there or the images do not fit it.
    """
    runner = LiteRT(candidate.path)
    content = candidate.path.read_bytes()
    contents, recipe = describe(content), read_recipe(candidate.path)
    mean, std = read_normalization(content) or (None, None)
    data = held(runner.input_shape)[0] if held and candidate.trained else None
    images = _noise(runner.input_shape, seed) if data is None else data.x_test
    if data:
        runner.check_fit(data.x_test, data.y_test)
        named = runner.classify(images)
    else:
        named = None
        runner.load(images[0])
        runner.invoke()  # a file that fails at work is found here
    entry = Entry(
        word=candidate.word,
        name=f"{recipe.get('model', candidate.path.stem)} {mode_of(recipe) or ''}".strip(),
        model=recipe.get("model", candidate.path.stem),
        mode=mode_of(recipe),
        file=candidate.path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        trained=candidate.trained,
        parameters=recipe.get("parameters"),
        macs=recipe.get("macs"),
        input=runner.input,
        output=runner.output,
        operations=contents.operations,
        float_operations=contents.float_operations,
        labels=read_labels(content),
        mean=mean,
        std=std,
        quantization=_quantization(recipe),
        images=None if data is None else len(images),
        accuracy=None if data is None else float(np.mean(named == data.y_test)),
        agreement=None if candidate.named is None else float(np.mean(named == candidate.named)),
    )
    return entry, Subject(candidate.path, images, entry.macs, arithmetic(content))


def _labels_beside(path: Path, model: keras.Model) -> Metadata | None:
    """The names of the classes that `train` wrote beside a model; None where there are none that fit."""
    try:
        metadata = Metadata(path.with_name("labels.txt").read_text(encoding="utf-8").splitlines())
        check_metadata(metadata, model.output_shape[-1], model.input_shape[-1])
    except (OSError, UnicodeDecodeError, UsageError):  # or somebody else's
        return None
    return metadata


def _noise(shape: Sequence[int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (NOISE, *shape)).astype(np.float32)


def _mark_untrained(file: Path) -> None:
    """Notes in the recipe beside a file that its weights are random, for whoever measures the file later."""
    recipe = read_recipe(file) | {"trained": False}
    with replacing(recipe_path(file)) as part:
        write_recipe(part, recipe)


def _settle(model: keras.Model, images: np.ndarray) -> None:
    """Gives a network with random weights statistics of images and logits that differ, as training does.

    With the statistics that Keras starts from, mean 0 and variance 1, the signal dies out on its way through a deep
    network. Then all classes are about equally likely, and TFLite Micro's softmax breaks off over a thousand of those.
    """
    gather_statistics(model, [images[:SETTLED]])
    logits = np.log(keras.ops.convert_to_numpy(model(images[:SETTLED])))  # but for a constant of each image
    last = next(layer for layer in reversed(list(iter_layers(model))) if layer.weights)
    for weight in last.weights:
        weight.assign(weight * (SPREAD / logits.std(axis=-1).mean()))


def _quantization(recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a card tells of a recipe."""
    if not recipe:
        return None
    calibration = recipe["calibration"] and {key: recipe["calibration"][key] for key in ("source", "images")}
    return {key: recipe.get(key) for key in ("engine", "clipping", "aware", "plan")} | {"calibration": calibration}


def _told_apart(entries: Sequence[Entry]) -> list[Entry]:
    """Entries whose names are unique, in whatever order they come: what shares one gets what the user wrote."""
    names = Counter(entry.name for entry in entries)
    return [
        entry if names[entry.name] == 1 else replace(entry, name=f"{entry.name} ({entry.word})") for entry in entries
    ]
