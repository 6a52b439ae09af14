"""One table of networks by modes: what every way to quantize them costs and keeps. `keras-resnets compare`."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from export import export_modes, load_model, measure, pick_calibration, quantize_aware, to_tflite
from export.bench import ROUNDS, Row, tabulate
from export.convert import name_classes
from export.environment import describe_environment
from export.files import ensure_folder, replacing
from keras_resnets import UsageError
from recipes.compress import CALIBRATION, completed, fine_tune
from recipes.config import CompressConfig
from recipes.data import load
from recipes.progress import bar

SCHEMA = 1


def compare(models: Sequence[Path], modes: Sequence[str], engines: Sequence[str], epochs: int, out: Path) -> list[Row]:
    """Exports trained models in every mode, fine-tunes them for int8, and measures all files of a model in turns.

    Args:
        models: `model.keras` files that `keras-resnets train` wrote, all on the same data.
        modes: Modes to export.
        engines: Engines of quantization-aware training, "native", "tfmot".
        epochs: Passes over the training set for that.
        out: Folder of `compare.json` and of the files.

    Returns:
        A row a file.

    Raises:
        UsageError: If a model cannot be read, or its data are unknown.
    """
    config = CompressConfig(method=("qat",), epochs=epochs)
    config.check()
    sources = {completed(config, path).data for path in models}
    if len(sources) != 1:
        raise UsageError(f"models to compare are trained on the same data, not on {', '.join(map(str, sources))}")
    data = load(sources.pop() or "")
    calibration = pick_calibration(data.x_train, data.y_train, data.name, count=CALIBRATION, seed=config.seed)
    rows, trained = [], []
    for path in models:
        model, name = load_model(path), path.parent.name
        own = completed(config, path)
        folder = ensure_folder(out / name)
        paths: list[Path] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of slow modes: the table says how slow
            outs = {mode: folder / f"{mode}.tflite" for mode in modes}
            exported = export_modes(model, outs, calibration=calibration, min_agreement=0.0)
            paths.extend(one.path for one in exported)
        for engine in engines:
            aware = quantize_aware(model, calibration.images, engine=engine)  # type: ignore[call-overload]
            fine_tune(aware, "qat", replace(own, engine=engine), data)  # type: ignore[arg-type]
            paths.append(to_tflite(aware, folder / f"int8-{engine}.tflite", mode="int8", min_agreement=0.0).path)
        named = name_classes(model, data.x_test)
        with bar(f"measure {name}", len(paths) + ROUNDS) as step:
            measured = measure(paths, data.x_test, data.y_test, on_step=step)
        rows += tabulate(measured, [named] * len(measured))
        training = path.with_name("config.json")
        trained.append(
            {"accuracy": float(np.mean(named == data.y_test)), "training": json.loads(training.read_text())}
            if training.is_file()
            else {}
        )
        _write(out, rows, trained, config, len(data.x_test))  # after each: a long run that is stopped keeps what it has
    return rows


def _write(out: Path, rows: list[Row], trained: list[dict[str, Any]], config: CompressConfig, images: int) -> None:
    content = {
        "schema": SCHEMA,
        "environment": describe_environment(),
        "test_images": images,
        "fine_tuning": {"epochs": config.epochs, "seed": config.seed},
        "models": trained,
        "files": [asdict(row) for row in rows],
    }
    with replacing(out / "compare.json") as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
