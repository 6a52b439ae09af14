"""The whole promise in one run: train, export every way, check, measure, report."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export import MODES, Calibration, Exported, export_modes, measure, pick_calibration
from export.bench import ROUNDS, Row, tabulate
from export.environment import describe_environment
from export.files import ensure_folder, replacing
from export.report import draw_accuracy_latency, write_page
from recipes.data import Dataset, load
from recipes.plots import draw_curves
from recipes.progress import bar, console
from recipes.train import Run, TrainConfig, check, describe, save, train

SCHEMA = 1


@dataclass(frozen=True)
class _Part:
    """What one model came to: its run, the classes it names on the test set, its files."""

    run: Run
    named: np.ndarray
    files: list[Exported]


def quickstart(models: Sequence[str], source: str, epochs: int, out: Path, seed: int) -> list[Row]:
    """Trains, exports, checks and measures models on one data set; writes report and files into `out`.

    Args:
        models: Registered names.
        source: Data set name or path of a `.npz` file.
        epochs: Passes over the training set.
        out: Folder of `report.html`, `results.json`, the `.tflite` files and a folder a model.
        seed: Seed of initialisation, shuffling and calibration.

    Returns:
        One row a file.

    Raises:
        UsageError: If a model or the data is unknown or they do not fit, or `out` cannot be written.
    """
    configs = [TrainConfig(model=name, data=source, epochs=epochs, seed=seed) for name in dict.fromkeys(models)]
    data = load(source)
    for config in configs:
        check(config, data)
    ensure_folder(out)
    console.print(f"{source}: {len(data.x_train):,} training and {len(data.x_test):,} test images")
    calibration = pick_calibration(data.x_train, data.y_train, source, seed=seed)
    parts = [_make(config, data, calibration, out) for config in configs]
    rows = _measure(parts, data)
    _write_results(parts, rows, data, out)
    _write_report(parts, rows, data, out)
    return rows


def _make(config: TrainConfig, data: Dataset, calibration: Calibration, out: Path) -> _Part:
    run = train(config, data)
    save(run, ensure_folder(out / config.model))
    named = run.model.predict(data.x_test, verbose=0).argmax(-1)
    outs = {mode: out / f"{config.model}_{mode}.tflite" for mode in MODES}
    files = []
    with bar(f"export {config.model}", len(outs)) as step:
        # A file that differs from its model belongs into the report, whatever its agreement.
        for exported in export_modes(run.model, outs, calibration=calibration, min_agreement=0.0):
            files.append(exported)
            step(exported.mode)
    return _Part(run, named, files)


def _measure(parts: Sequence[_Part], data: Dataset) -> list[Row]:
    files = [(file.path, part.named) for part in parts for file in part.files]
    with bar("measure", len(files) + ROUNDS) as step:
        measured = measure([path for path, _ in files], data.x_test, data.y_test, on_step=step)
    return tabulate(measured, [named for _, named in files])


def _write_results(parts: Sequence[_Part], rows: Sequence[Row], data: Dataset, out: Path) -> None:
    results: dict[str, Any] = {
        "schema": SCHEMA,
        "environment": describe_environment(),
        "data": {
            "name": data.name,
            "train": len(data.x_train),
            "test": len(data.x_test),
            "image_shape": data.image_shape,
            "classes": data.classes,
        },
        "models": [{"config": describe(part.run), "history": part.run.history} for part in parts],
        "files": [asdict(row) for row in rows],
    }
    with replacing(out / "results.json") as part:
        part.write_text(json.dumps(results, indent=2) + "\n")


def _write_report(parts: Sequence[_Part], rows: Sequence[Row], data: Dataset, out: Path) -> None:
    first = parts[0].run.config
    height, width, channels = data.image_shape
    summary = [
        f"{len(parts)} networks trained on {data.name} ({len(data.x_train):,} images of {height}x{width}x{channels}) "
        f"for {first.epochs} epochs with seed {first.seed}, exported {len(MODES)} ways, and each file measured on "
        f"the {len(data.x_test):,} test images in LiteRT: batch 1, 1 thread, {rows[0].runs} timed runs in turns.",
        *_findings(rows),
    ]
    write_page(
        out / "report.html",
        title=f"keras-resnets on {data.name}: from training to .tflite",
        summary=summary,
        rows=rows,
        figures={
            "Accuracy against latency": draw_accuracy_latency(rows),
            "Training": draw_curves({part.run.config.model: part.run.history for part in parts}),
        },
        environment=describe_environment() | {"training backend": describe(parts[0].run)["backend"]},
    )


def _findings(rows: Sequence[Row]) -> list[str]:
    best, fastest, smallest = (
        max(rows, key=lambda row: row.accuracy),
        min(rows, key=lambda row: row.p50_ms),
        min(rows, key=lambda row: row.bytes),
    )
    return [
        f"Most accurate: {best.model} {best.mode} ({best.accuracy:.2%}). "
        f"Fastest: {fastest.model} {fastest.mode} ({fastest.p50_ms:.3f} ms, {fastest.accuracy:.2%}). "
        f"Smallest: {smallest.model} {smallest.mode} ({smallest.bytes:,} bytes, {smallest.accuracy:.2%})."
    ]
