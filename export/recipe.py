"""The recipe of an exported file: JSON beside it that says what was done and what came out."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from pydantic import TypeAdapter

from export.calibrate import Calibration
from export.environment import describe_versions
from export.verification import Verification
from keras_resnets import count_macs, count_parameters

SCHEMA: Literal[2] = 2


def recipe_path(path: Path) -> Path:
    """Where the recipe of a `.tflite` file lies: net.tflite -> net.tflite.json."""
    return path.with_name(f"{path.name}.json")


def fingerprint(model: keras.Model) -> str:
    """A digest of a model's weights, by which files that come from the same model are told."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def describe_export(
    model: keras.Model, how: dict[str, Any], calibration: Calibration | None, verification: Verification
) -> dict[str, Any]:
    """The recipe of one file, as JSON takes it.

    Args:
        model: Where the file comes from.
        how: Mode, engine, clipping and type of input and output.
        calibration: The images that gave the ranges, if any did.
        verification: The comparison with the model.
    """
    return {
        "schema": SCHEMA,
        "model": model.name,
        "fingerprint": fingerprint(model),
        **how,
        "parameters": count_parameters(model),
        "macs": _macs(model),
        "input_shape": list(model.input_shape[1:]),
        "classes": model.output_shape[-1],
        "calibration": calibration
        and {"source": calibration.source, "images": len(calibration.images), "indices": calibration.indices},
        "verification": asdict(verification),
        "versions": describe_versions(),
        "config": json.loads(model.to_json(), parse_constant=str),  # what JSON has no number for stays a word
    }


def _macs(model: keras.Model) -> int | None:
    try:
        return count_macs(model)
    except ValueError:  # a user's model may use a layer twice
        return None


def write_recipe(part: Path, recipe: dict[str, Any]) -> None:
    """Writes a recipe to the path `part`."""
    part.write_text(json.dumps(recipe, indent=2, allow_nan=False) + "\n")


@dataclass(frozen=True)
class _Mode:
    name: str


@dataclass(frozen=True)
class _Source:
    source: str
    images: int


@dataclass(frozen=True)
class _Known:
    """What readers of a recipe rely on."""

    schema: Literal[2]
    model: str
    mode: _Mode
    calibration: _Source | None
    parameters: int
    macs: int | None
    sha256: str | None = None


_KNOWN = TypeAdapter(_Known)


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe beside a `.tflite` file; an empty one if there is none, or one of another version or another file."""
    try:
        text = recipe_path(path).read_text()
        recipe: dict[str, Any] = json.loads(text)
        known = _KNOWN.validate_json(text, strict=True)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError):
        return {}
    return recipe if (known.sha256 or digest) == digest else {}


def mode_of(recipe: Mapping[str, Any]) -> str | None:
    """The mode of a file by its recipe; None without one.

    With the engine of quantization-aware training, and the type of input and output where that is not float32.
    """
    if not recipe:
        return None
    training = f", QAT {recipe['aware']}" if recipe.get("aware") else ""
    ends = f", {recipe['io']} io" if recipe.get("io", "float32") != "float32" else ""
    return f"{recipe['mode']['name']}{training}{ends}"
