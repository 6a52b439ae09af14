"""Networks and files, quantized how, on which runtime: one table of measurements. `keras-resnets bench`."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export import Calibration, load_model, pick_calibration, to_tflite
from export.bench import mode_of
from export.convert import name_classes
from export.environment import describe_environment
from export.files import ensure_folder
from export.flatbuffer import describe
from export.metadata import read_labels
from export.quantize import Io, get_mode
from export.recipe import fingerprint, read_recipe
from export.results import Entry, Rejected, Results
from export.runtimes import Runtime, Subject
from export.runtimes.android import Android
from export.runtimes.browser import VERSION, Browser
from export.runtimes.litert import LiteRT, OnLiteRT
from export.runtimes.tflm import TFLiteMicro
from export.runtimes.vela import Vela
from keras_resnets import UsageError, create_model, get_variant, iter_layers, list_models, model_info
from recipes.data import Dataset, load
from recipes.progress import bar, console

# What counts as edge-sized: input and most multiply-accumulates. 600 M is the "mobile setting" of Zoph et al. 2018,
# arXiv:1707.07012, section 4.2; 100 M for CIFAR is ours, a ResNet-44.
SUITES = {"cifar": ((32, 32, 3), 100_000_000), "imagenet": ((224, 224, 3), 600_000_000)}
NOISE = 32  # images that stand for data where there are none
SETTLED = 8  # of them, from which a network with random weights takes its statistics
SPREAD = 3.0  # standard deviation of its logits, about that of a trained network
FILES = "files"  # folder of what is exported on the way


@dataclass(frozen=True)
class Candidate:
    """A file to measure and what is known of where it comes from.

    Attributes:
        path: The file.
        trained: Whether its accuracy means anything.
        named: Classes that its Keras model names on the test images, shape (n,), where that is known.
    """

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
    """Measures files, models and networks on runtimes.

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
    for mode in modes:
        get_mode(mode)
    source = source or _source_of(words)
    data = load(source) if source else None
    original = load_model(reference) if reference else None
    if original and not data:
        raise UsageError("--reference compares on test images: give --data, too")
    gathering = _Gathering(data, modes, io, original, out / FILES, seed)
    subjects: list[Subject] = []
    entries: list[Entry] = []
    rejected = []
    with bar("export", len(words)) as step:
        for word in dict.fromkeys(words):
            try:
                for candidate in gathering.candidates(word):
                    entry, subject = gathering.describe(candidate)
                    entries.append(entry)
                    subjects.append(subject)
            except UsageError as mistake:
                rejected.append(Rejected(name=word, reason=str(mistake)))
            step(word)
    if not entries:
        raise UsageError("; ".join(one.reason for one in rejected))
    ensure_folder(out)
    entries = _told_apart(entries)
    peak = None
    for runtime in runtimes:
        with bar(f"measure: {runtime.name}", runtime.steps(len(subjects))) as step:
            figures = runtime.measure(subjects, step)
        found: list[dict[str, Any]] = [{runtime.name: one} for one in figures]
        entries = [replace(entry, **one) for entry, one in zip(entries, found, strict=True)]
        peak = runtime.peak if isinstance(runtime, OnLiteRT) else peak
    browsed = any(isinstance(runtime, Browser) for runtime in runtimes)
    return Results(
        environment=describe_environment() | ({"litert.js": VERSION} if browsed else {}),
        data=data.name if data else None,
        seed=seed,
        peak=peak,
        entries=tuple(entries),
        rejected=tuple(rejected),
    )


def _source_of(words: Sequence[str]) -> str | None:
    """The data that the `.keras` files were trained on, by the config.json beside each."""
    found = set()
    for word in words:
        if word.endswith(".keras"):
            try:
                found.add(json.loads(Path(word).with_name("config.json").read_text())["data"])
            except (OSError, ValueError, KeyError, TypeError):  # not of `keras-resnets train`
                continue
    if len(found) > 1:
        raise UsageError(f"the models are trained on {', '.join(sorted(found))}; measure those of one at a time")
    return found.pop() if found else None


@dataclass(frozen=True)
class _Gathering:
    """What turns words into files to measure."""

    data: Dataset | None
    modes: Sequence[str]
    io: Io
    reference: keras.Model | None
    folder: Path
    seed: int

    def candidates(self, word: str) -> Iterator[Candidate]:
        """The files that a word of the command line stands for.

        Raises:
            UsageError: If there is no such file or network, or it cannot be exported.
        """
        if word.endswith(".tflite"):
            yield Candidate(Path(word), trained=True, named=self._named_by_reference(Path(word)))
        elif word.endswith(".keras"):
            path = Path(word)
            model = load_model(path)
            stem = path.resolve().parent.name if path.stem == "model" else path.stem
            named = name_classes(model, self.data.x_test) if self.data else None
            yield from (Candidate(file, trained=True, named=named) for file in self._export(model, stem))
        else:
            keras.utils.set_random_seed(self.seed)
            variant = get_variant(word)
            model = create_model(word, include_preprocessing=True)
            _settle(model, _noise(model.input_shape[1:], self.seed))
            yield from (Candidate(file, trained=False) for file in self._export(model, variant.name))

    def describe(self, candidate: Candidate) -> tuple[Entry, Subject]:
        """Opens a file in LiteRT and classifies the test images.

        Raises:
            UsageError: If it does not run there or the images do not fit it.
        """
        runner = LiteRT(candidate.path)
        content = candidate.path.read_bytes()
        contents, recipe = describe(content), read_recipe(candidate.path)
        data = self.data if candidate.trained else None
        images = self._noise(runner) if data is None else data.x_test
        if data:
            runner.check_fit(data.x_test, data.y_test)
        named = runner.classify(images) if data else None
        entry = Entry(
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
            quantization=_quantization(recipe),
            images=None if data is None else len(images),
            accuracy=None if data is None else float(np.mean(named == data.y_test)),
            agreement=None if candidate.named is None else float(np.mean(named == candidate.named)),
        )
        return entry, Subject(candidate.path, images, entry.macs, entry.float_operations > 0)

    def _named_by_reference(self, path: Path) -> np.ndarray | None:
        if self.reference is None or self.data is None:
            return None
        own = fingerprint(self.reference)
        matches = read_recipe(path).get("fingerprint", own) == own
        return name_classes(self.reference, self.data.x_test) if matches else None

    def _export(self, model: keras.Model, stem: str) -> list[Path]:
        calibration = self._calibration(model)
        files = []
        ensure_folder(self.folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of slow modes and few images: what comes out is measured
            for mode in self.modes:
                file = self.folder / f"{stem}_{mode}.tflite"
                io = self.io if mode == "int8" else "float32"
                to_tflite(model, file, mode=mode, io=io, calibration=calibration, min_agreement=0.0)
                files.append(file)
        return files

    def _calibration(self, model: keras.Model) -> Calibration:
        if self.data and model.input_shape[1:] == self.data.image_shape:
            return pick_calibration(self.data.x_train, self.data.y_train, self.data.name, seed=self.seed)
        return Calibration(_noise(model.input_shape[1:], self.seed), "noise")

    def _noise(self, runner: LiteRT) -> np.ndarray:
        return _noise(runner.input_shape, self.seed)


def _noise(shape: Sequence[int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (NOISE, *shape)).astype(np.float32)


def _settle(model: keras.Model, images: np.ndarray) -> None:
    """Gives a network with random weights statistics of images and logits that differ, as training does.

    With the statistics that Keras starts from, mean 0 and variance 1, the signal dies out on its way through a deep
    network. Then all classes are about equally likely, and TFLite Micro's softmax breaks off over a thousand of those.
    """
    layers = list(iter_layers(model))
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(images[:SETTLED], training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    logits = np.log(keras.ops.convert_to_numpy(model(images[:SETTLED])))  # but for a constant of each image
    last = next(layer for layer in reversed(layers) if layer.weights)
    for weight in last.weights:
        weight.assign(weight * (SPREAD / logits.std(axis=-1).mean()))


def _quantization(recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a card tells of a recipe."""
    if not recipe:
        return None
    calibration = recipe["calibration"] and {key: recipe["calibration"][key] for key in ("source", "images")}
    return {key: recipe.get(key) for key in ("engine", "clipping", "aware", "plan")} | {"calibration": calibration}


def _told_apart(entries: Sequence[Entry]) -> list[Entry]:
    """Entries whose names are unique: what has the name of an earlier one gets its file's, and then a number."""
    names: dict[str, int] = {}
    apart = []
    for entry in entries:
        name = entry.name if entry.name not in names else f"{entry.name} ({entry.file})"
        names[name] = names.get(name, 0) + 1
        apart.append(replace(entry, name=name if names[name] == 1 else f"{name} {names[name]}"))
    return apart
