"""The recipe of an exported file: JSON beside it that says what was done and what came out."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

from export.calibrate import Calibration
from export.files import replacing
from export.quantize import Mode
from export.verify import Verification
from keras_resnets import count_macs, count_parameters

SCHEMA = 1


def write_recipe(
    out: Path, model: keras.Model, mode: Mode, calibration: Calibration | None, verification: Verification
) -> None:
    """Writes the recipe of the `.tflite` file `out` beside it, with the suffix `.json`."""
    used = calibration if mode.calibrated else None
    recipe: dict[str, Any] = {
        "schema": SCHEMA,
        "model": model.name,
        "mode": asdict(mode),
        "parameters": count_parameters(model),
        "macs": count_macs(model),
        "input_shape": list(model.input_shape[1:]),
        "classes": model.output_shape[-1],
        "calibration": used and {"source": used.source, "images": len(used.images), "indices": used.indices},
        "verification": asdict(verification),
        "keras": keras.__version__,
    }
    with replacing(out.with_suffix(".json")) as part:
        part.write_text(json.dumps(recipe, indent=2) + "\n")


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe beside a `.tflite` file, or an empty one if there is none that this version wrote."""
    try:
        recipe = json.loads(path.with_suffix(".json").read_text())
    except (OSError, ValueError):
        return {}
    return recipe if isinstance(recipe, dict) and recipe.get("schema") == SCHEMA else {}
