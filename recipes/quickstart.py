"""The whole promise in one run: train, export every way, check, measure, report."""

from collections.abc import Sequence
from pathlib import Path

from export import Calibration, export_modes, pick_calibration
from export.environment import describe_environment
from export.files import ensure_folder
from export.quantize import FAST_MODES
from export.report.bench import Opening, terminal_table
from export.report.columns import plain_columns
from export.report.formats import count, counted
from export.results import Results
from export.runtimes.litert import OnLiteRT
from keras_resnets import UsageError, get_variant
from recipes.bench import measure_on
from recipes.candidates import Candidate, describe_file
from recipes.config import TrainConfig
from recipes.data import Dataset, load
from recipes.plots import draw_curves
from recipes.progress import bar, console
from recipes.train import Run, check, check_folder, describe, save, train

MARK = ".quickstart"  # says that what lies in a folder came from here and may be replaced, finished or not
REPORTS = ("report.html", "report.md", "results.csv", "results.json")


def quickstart(models: Sequence[str], source: str, epochs: int, out: Path, seed: int) -> Results:
    """Trains, exports, checks and measures models on one data set; writes report and files into `out`.

    Args:
        models: Registered names.
        source: Data set name or path of a `.npz` file.
        epochs: Passes over the training set.
        out: Folder of report and results as `bench` writes them, the `.tflite` files and a folder a model.
        seed: Seed of initialisation, shuffling and calibration.

    Returns:
        The results, an entry a file.

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
    runs, candidates = [], []
    for config in configs:
        run = train(config, data)
        save(run, data, ensure_folder(out / config.model))
        runs.append(run)
        candidates += _export(run, data, calibration, out)
    described = []
    with bar("classify", len(candidates)) as step:
        for candidate in candidates:
            described.append(describe_file(candidate, lambda _: (data, calibration), seed))
            step()
    training = f"{counted(epochs, 'epoch')}, Keras on {describe(runs[0])['backend']}"
    results = Results(
        environment=environment | {"training": training},
        data=data.name,
        seed=seed,
        peak=None,
        entries=tuple(entry for entry, _ in described),
        rejected=(),
    )
    results = measure_on([OnLiteRT([1])], results, [subject for _, subject in described], out, _opening(runs, data))
    console.print(terminal_table(results, plain_columns(results), f"{source}, LiteRT, batch 1, 1 thread"))
    return results


def _check_targets(names: Sequence[str], out: Path) -> None:
    """Checks, before any training, what would stand in the way of the results.

    Raises:
        UsageError: If a target cannot be written, or is a trained model that no quickstart has put there.
    """
    try:
        str(out).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{str(out)!a} is no UTF-8, which reports are written in: choose another --out") from error
    ensure_folder(out)
    for target in (*REPORTS, *(f"{name}_{mode}.tflite" for name in names for mode in FAST_MODES)):
        if (out / target).is_dir():
            raise UsageError(f"cannot write {out / target}: it is a folder; choose another place")
    for name in names:
        if (out / name / "model.keras").exists() and not (out / MARK).exists():
            raise UsageError(f"{out / name} already holds a trained model, not the quickstart's; choose another --out")
    for name in names:
        check_folder(out / name, overwrite=True)
    (out / MARK).touch()


def _export(run: Run, data: Dataset, calibration: Calibration, out: Path) -> list[Candidate]:
    """Exports a trained network every fast way."""
    name = run.config.model
    word, named = str(out / name / "model.keras"), run.model.predict(data.x_test, verbose=0).argmax(-1)
    outs = {mode: out / f"{name}_{mode}.tflite" for mode in FAST_MODES}
    candidates = []
    with bar(f"export {name}", len(outs)) as step:
        # A file that differs from its model belongs into the report too, which says so.
        for exported in export_modes(run.model, outs, calibration=calibration, test=data.x_test, min_agreement=0.0):
            candidates.append(Candidate(word, exported.path, trained=True, named=named))
            step(exported.mode)
    return candidates


def _opening(runs: Sequence[Run], data: Dataset) -> Opening:
    height, width, channels = data.image_shape
    config = runs[0].config
    return Opening(
        title=f"keras-resnets on {data.name}: from training to .tflite",
        sentence=(
            f"{counted(len(runs), 'network')} trained on {data.name} ({count(len(data.x_train))} images of "
            f"{height}x{width}x{channels}) for {counted(config.epochs, 'epoch')} with seed {config.seed}, and exported "
            f"{len(FAST_MODES)} ways; timed in LiteRT in turns, batch 1, 1 thread. Training in full: history.csv and "
            f"config.json in the folder of each model."
        ),
        figures={"Training": draw_curves({run.config.model: run.history for run in runs})},
    )
