"""The whole promise in one run: train, export every way, check, measure, report."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export import Calibration, Exported, export_modes, measure, pick_calibration
from export.bench import Row, tabulate
from export.convert import MIN_AGREEMENT
from export.environment import describe_environment
from export.files import ensure_folder, replacing
from export.quantize import FAST_MODES
from export.report.formats import counted
from export.report.rows import draw_accuracy_latency, terminal_table, write_page
from export.runtimes.litert import ROUNDS
from keras_resnets import UsageError, get_variant
from recipes.config import TrainConfig
from recipes.data import Dataset, load
from recipes.plots import draw_curves
from recipes.progress import bar, console
from recipes.train import Run, check, check_folder, describe, finite, save, train

SCHEMA = 1
MARK = ".quickstart"  # says that what lies in a folder came from here and may be replaced, finished or not


@dataclass(frozen=True)
class _Part:
    """What one model came to: its run, the classes it names on the test set, its files."""

    run: Run
    named: np.ndarray
    files: list[Exported]


@dataclass(frozen=True)
class _Results:
    """Everything that the report tells."""

    data: Dataset
    environment: dict[str, str]
    parts: list[_Part]
    rows: list[Row]


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
    if not models:
        raise UsageError("name at least one model; `keras-resnets list` shows them")
    names = list(dict.fromkeys(get_variant(name).name for name in models))
    configs = [TrainConfig(model=name, data=source, epochs=epochs, seed=seed) for name in names]
    data = load(source)
    for config in configs:
        check(config, data)
    _check_targets(names, out)
    environment = describe_environment()
    console.print(f"{source}: {len(data.x_train):,} training and {len(data.x_test):,} test images")
    calibration = pick_calibration(data.x_train, data.y_train, source, seed=seed)
    parts = [_make(config, data, calibration, out) for config in configs]
    rows = _measure(parts, data)
    console.print(terminal_table(rows, f"{source}, LiteRT, batch 1, {rows[0].threads} thread"))
    results = _Results(data, environment, parts, rows)
    _write_results(results, out)
    _write_report(results, out)
    return rows


def _check_targets(names: Sequence[str], out: Path) -> None:
    """Finds, before any training, what would stand in the way of the results.

    Raises:
        UsageError: If a target cannot be written, or is a trained model that no quickstart has put there.
    """
    ensure_folder(out)
    for target in ("report.html", "results.json", *(f"{name}_{mode}.tflite" for name in names for mode in FAST_MODES)):
        if (out / target).is_dir():
            raise UsageError(f"cannot write {out / target}: it is a folder; choose another place")
    for name in names:
        if (out / name / "model.keras").exists() and not (out / MARK).exists():
            raise UsageError(f"{out / name} already holds a trained model, not the quickstart's; choose another --out")
    for name in names:
        check_folder(out / name, overwrite=True)
    (out / MARK).touch()


def _make(config: TrainConfig, data: Dataset, calibration: Calibration, out: Path) -> _Part:
    run = train(config, data)
    save(run, data, ensure_folder(out / config.model))
    named = run.model.predict(data.x_test, verbose=0).argmax(-1)
    outs = {mode: out / f"{config.model}_{mode}.tflite" for mode in FAST_MODES}
    files = []
    with bar(f"export {config.model}", len(outs)) as step:
        # A file that differs from its model belongs into the report too, which says so.
        for exported in export_modes(run.model, outs, calibration=calibration, test=data.x_test, min_agreement=0.0):
            files.append(exported)
            step(exported.mode)
    return _Part(run, named, files)


def _measure(parts: Sequence[_Part], data: Dataset) -> list[Row]:
    files = [(file.path, part.named) for part in parts for file in part.files]
    with bar("measure", len(files) + ROUNDS) as step:
        measured = measure([path for path, _ in files], data.x_test, data.y_test, on_step=step)
    return tabulate(measured, [named for _, named in files])


def _write_results(results: _Results, out: Path) -> None:
    data = results.data
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "environment": results.environment,
        "data": {
            "name": data.name,
            "train": len(data.x_train),
            "test": len(data.x_test),
            "image_shape": data.image_shape,
            "classes": data.classes,
        },
        "models": [{"config": describe(part.run), "history": finite(part.run.history)} for part in results.parts],
        "files": [asdict(row) for row in results.rows],
    }
    with replacing(out / "results.json") as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def _write_report(results: _Results, out: Path) -> None:
    data, parts, rows = results.data, results.parts, results.rows
    first = parts[0].run.config
    height, width, channels = data.image_shape
    summary = [
        f"{counted(len(parts), 'network')} trained on {data.name} ({len(data.x_train):,} images of "
        f"{height}x{width}x{channels}) for {counted(first.epochs, 'epoch')} with seed {first.seed}, exported "
        f"{len(FAST_MODES)} ways, and each file measured on the {len(data.x_test):,} test images in LiteRT: batch 1, "
        f"1 thread, at least {min(row.runs for row in rows)} timed runs in turns.",
        *_findings(rows, len(data.x_test)),
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
        environment=results.environment | {"training backend": describe(parts[0].run)["backend"]},
    )


def _findings(rows: Sequence[Row], images: int) -> list[str]:
    best, fastest, smallest = (
        max(rows, key=lambda row: row.accuracy),
        min(rows, key=lambda row: row.p50_ms),
        min(rows, key=lambda row: row.bytes),
    )
    return [
        f"Most accurate: {best.model} {best.mode} ({best.accuracy:.2%}). "
        f"Fastest: {fastest.model} {fastest.mode} ({fastest.p50_ms:.3f} ms, {fastest.accuracy:.2%}). "
        f"Smallest: {smallest.model} {smallest.mode} ({smallest.bytes:,} bytes, {smallest.accuracy:.2%}).",
        f"One image is {1 / images:.2%}: differences of a few images are chance.",
        *(
            f"Do not ship {row.file}: it agrees with its Keras model on {row.agreement:.1%} of the test images only."
            for row in rows
            if row.agreement is not None and row.agreement < MIN_AGREEMENT
        ),
    ]
