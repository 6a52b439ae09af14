"""What `keras-resnets bench` measures: the files that the words of its command line stand for, and what they say."""

import hashlib
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export import Calibration, load_model, to_tflite
from export.convert import check_exportable, predict_classes
from export.files import ensure_folder, replacing
from export.flatbuffer import arithmetic, describe
from export.layers import in_float32
from export.metadata import Metadata, check_metadata, read_labels, read_normalization
from export.qat import is_quantize_aware
from export.quantize import Io
from export.recipe import fingerprint, mode_of, read_recipe, recipe_path, write_recipe
from export.results import Entry, Rejected
from export.runtimes import Subject
from export.runtimes.litert import LiteRT
from keras_resnets import UsageError, create_model, get_variant, iter_layers
from recipes.averages import gather_statistics
from recipes.data import Dataset
from recipes.sources import Source

NOISE = 32  # images that stand for data where there are none
SETTLED = 8  # of them, from which a network with random weights takes its statistics
SPREAD = 3.0  # standard deviation of its logits, about that of a trained network

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


@dataclass(frozen=True)
class Reference:
    """The model that `.tflite` files were exported from: its fingerprint, and the classes that it names."""

    fingerprint: str
    named: np.ndarray

    @classmethod
    def of(cls, model: keras.Model | None, held: Held | None) -> "Reference | None":
        if model is None or held is None:
            return None
        try:
            check_exportable(model)
            return cls(fingerprint(in_float32(model)), predict_classes(model, held(model.input_shape[1:])[0].x_test))
        except UsageError as mistake:
            raise UsageError(f"--reference: {mistake}") from mistake


@dataclass(frozen=True)
class Gathering:
    """What turns words into files to measure; `taken` are paths that nothing more is exported to."""

    data: Source | None
    held: Held | None
    modes: Sequence[str]
    io: Io
    reference: Reference | None
    folder: Path
    seed: int
    taken: set[Path]

    def candidates(self, word: str) -> Iterator[Candidate | Rejected]:
        """The files that a word of the command line stands for, and modes in which there is none.

        Raises:
            UsageError: If there is no such file or network, or it cannot be exported.
        """
        if suffix(word) == ".tflite":
            path = Path(word)
            recipe = read_recipe(path) if path.is_file() else {}
            own = self.reference and self.reference.fingerprint
            matches = self.reference and recipe.get("fingerprint", own) == own
            named = self.reference.named if self.reference and matches else None
            yield Candidate(word, path, trained=recipe.get("trained", True), named=named)
        elif suffix(word) == ".keras":
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


def suffix(word: str) -> str:
    """By which a word is a file's path and not the name of a network."""
    return Path(word).suffix.lower()


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
