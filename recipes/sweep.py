"""One table of networks by modes: what every way to quantize them costs and keeps. `keras-resnets sweep`."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from rich.table import Table

from export import Calibration, Measurement, export_modes, load_model, measure, quantize_aware, to_tflite
from export.convert import check_exportable, predict_classes
from export.environment import describe_environment
from export.files import ensure_folder, write_json
from export.flatbuffer import describe
from export.layers import in_float32
from export.recipe import mode_of, read_recipe
from export.report.formats import NOT_MEASURED, count, milliseconds, percent, ratio, titled_table
from export.runtimes.litert import ROUNDS
from keras_resnets import UsageError
from recipes.compress import CALIBRATION, check_fine_tuning, completed, fine_tune
from recipes.config import CompressConfig
from recipes.data import Dataset
from recipes.progress import bar
from recipes.sources import Source, hold, open_source

SCHEMA = 1


@dataclass(frozen=True)
class Row:
    """One file of a model.

    Attributes:
        model: Name of the model.
        mode: Name of the mode it was exported with, and the engine of quantization-aware training where there was any.
        file: Name of the file.
        parameters: Trainable parameters.
        macs: Multiply-accumulates for one image; None where the model uses a layer twice.
        bytes: Size of the file.
        accuracy: Share of the test images classified correctly.
        agreement: Share of the test images on which the file names the same class as the Keras model.
        p50_ms: Median latency of one image, milliseconds.
        p90_ms: Latency that nine of ten runs stay below, milliseconds.
        speedup: p50 of the model's float32 file over this one's; None where there is no such file.
        float_operations: Operations that compute in floating point.
        runs: Number of timed runs.
        threads: Threads of the interpreter.
    """

    model: str
    mode: str
    file: str
    parameters: int
    macs: int | None
    bytes: int
    accuracy: float
    agreement: float
    p50_ms: float
    p90_ms: float
    speedup: float | None
    float_operations: int
    runs: int
    threads: int


def sweep(models: Sequence[Path], modes: Sequence[str], engines: Sequence[str], epochs: int, out: Path) -> list[Row]:
    """Exports trained models in every mode, fine-tunes them for int8, and measures all files of a model in turns.

    Args:
        models: `model.keras` files that `keras-resnets train` wrote, all on the same data.
        modes: Modes to export.
        engines: Engines of quantization-aware training, "native", "tfmot".
        epochs: Passes over the training set for that.
        out: Folder of `sweep.json`, to which models are added one by one, and of the files.

    Returns:
        A row for every file of every model in `sweep.json`.

    Raises:
        UsageError: If a model cannot be read, its data are unknown, or others than those of the models there.
    """
    config = CompressConfig(method=("qat",), epochs=epochs)
    config.check()
    names = [path.resolve().parent.name for path in models]
    if not names or len(set(names)) < len(names):
        raise UsageError("name at least one model, and each in a folder of another name, by which the results are told")
    trainings = {path: _read_training(path) for path in models}
    configs = {path: completed(config, path) for path in models}
    target = out / "sweep.json"
    results = _read(target)
    given = [one.data or "" for one in configs.values()] + ([results["data"]] if results else [])
    sources = {str(Path(one)) for one in given}  # a folder may be written with a slash after it
    if len(sources) != 1:
        raise UsageError(
            f"models of one sweep are trained on the same data, here and in {target}, not on "
            f"{', '.join(sorted(sources))}; choose another --out or other models"
        )
    (name,) = sources
    results = results or {"schema": SCHEMA, "data": name, "models": {}}
    for path, own in configs.items():
        model = in_float32(load_model(path))
        check_exportable(model)
        source = open_source(name, model.input_shape[1])
        check_fine_tuning(model, ("qat",) if engines else (), source)
        folder = ensure_folder(out / path.resolve().parent.name)
        data, calibration = hold(source, model.input_shape[1:], count=CALIBRATION, seed=config.seed)
        results["test_images"] = len(data.x_test)
        measured = _sweep_one(model, folder, modes, engines, own, source, data, calibration)
        results["models"][folder.name] = {"training": trainings[path]} | measured
        write_json(target, results)  # after each: a long run that is stopped keeps what it has
    return rows_of(results)


def _read_training(path: Path) -> dict[str, Any]:
    """What `train` wrote beside a model."""
    try:
        note: dict[str, Any] = dict(json.loads(path.with_name("config.json").read_text()))
    except (OSError, TypeError, ValueError):
        note = {}
    if "data" not in note or "model_sha256" in note:  # that of another model, which was made smaller
        raise UsageError(
            f"{path} is not a model as `keras-resnets train` leaves it, by the config.json beside it; `keras-resnets "
            f"export` and `bench` take others, with --data"
        )
    return note


def rows_of(results: dict[str, Any]) -> list[Row]:
    """The files of `sweep.json`, model by model."""
    return [Row(**file) for model in results["models"].values() for file in model["files"]]


def _read(target: Path) -> dict[str, Any]:
    if not target.exists():
        return {}
    try:
        results: dict[str, Any] = json.loads(target.read_text())
        if results["schema"] != SCHEMA or not isinstance(results["data"], str):
            raise ValueError("of another version")
        rows_of(results)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{target} was not written by this version; choose another --out") from error
    return results


def _sweep_one(
    model: keras.Model,
    folder: Path,
    modes: Sequence[str],
    engines: Sequence[str],
    config: CompressConfig,
    source: Source,
    data: Dataset,
    calibration: Calibration,
) -> dict[str, Any]:
    environment = describe_environment()  # before the load is our own
    named = predict_classes(model, data.x_test)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of slow modes: the table says how slow
        outs = {mode: folder / f"{mode}.tflite" for mode in modes}
        files = [one.path for one in export_modes(model, outs, calibration=calibration, min_agreement=0.0)]
    for engine in engines:
        aware = quantize_aware(model, calibration.images, engine=engine)  # type: ignore[call-overload]
        fine_tune(aware, "qat", replace(config, engine=engine), source, model)  # type: ignore[arg-type]
        files.append(to_tflite(aware, folder / f"int8-{engine}.tflite", mode="int8", min_agreement=0.0).path)
        del aware  # and its process
    with bar(f"measure {folder.name}", len(files) + ROUNDS) as step:
        measured = measure(files, data.x_test, data.y_test, on_step=step)
    return {
        "accuracy": float(np.mean(named == data.y_test)),
        "fine_tuning": {"epochs": config.epochs, "seed": config.seed},
        "environment": environment,
        "files": [asdict(row) for row in rows_from(measured, named)],
    }


def rows_from(measurements: Sequence[Measurement], named: np.ndarray) -> list[Row]:
    """The files of one model, with what the recipe beside each says of it.

    Args:
        measurements: The measured files.
        named: Classes that the Keras model names on the same images, shape (n,).
    """
    recipes = [read_recipe(measurement.path) for measurement in measurements]
    modes = [str(mode_of(recipe)) for recipe in recipes]
    base = {mode: m.p50_ms for mode, m in zip(modes, measurements, strict=True)}.get("float32")
    return [
        Row(
            model=recipe["model"],
            mode=mode,
            file=m.path.name,
            parameters=recipe["parameters"],
            macs=recipe["macs"],
            bytes=m.bytes,
            accuracy=m.accuracy,
            agreement=float(np.mean(m.predictions == named)),
            p50_ms=m.p50_ms,
            p90_ms=m.p90_ms,
            speedup=base and base / m.p50_ms,
            float_operations=describe(m.path.read_bytes()).float_operations,
            runs=m.runs,
            threads=m.threads,
        )
        for m, mode, recipe in zip(measurements, modes, recipes, strict=True)
    ]


def table(rows: Sequence[Row], title: str) -> Table:
    """The rows as a table for the terminal, a line between models."""
    drawn = titled_table(title)
    for column in ("model", "mode", "bytes", "accuracy", "agreement", "p50 ms", "p90 ms", "speed-up"):
        is_name = column == "model"  # on a narrow terminal long names fold, figures never do
        justify: Literal["left", "right"] = "left" if column in ("model", "mode") else "right"
        drawn.add_column(column, justify=justify, no_wrap=not is_name, overflow="fold")
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        drawn.add_row(
            row.model,
            row.mode,
            count(row.bytes),
            percent(row.accuracy),
            percent(row.agreement),
            milliseconds(row.p50_ms),
            milliseconds(row.p90_ms),
            NOT_MEASURED if row.speedup is None else ratio(row.speedup),
            end_section=after is None or after.model != row.model,
        )
    return drawn
