"""Training a classifier with `fit`, on whichever backend Keras runs."""

import csv
import dataclasses
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export.files import ensure_folder, replacing
from keras_resnets import UsageError, create_model, get_variant
from recipes.augment import AUGMENTATIONS
from recipes.checkpoint import Checkpoints, Progress, load_checkpoint
from recipes.config import TrainConfig
from recipes.data import Dataset
from recipes.plots import draw_curves
from recipes.progress import FitProgress, bar

History = dict[str, list[Any]]  # one value an epoch of each figure, None where it was not finite
MOMENTUM = 0.9
SMALL_SET = 10_000  # images below which a small batch is worth its slower steps


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes:
        config: What decided it, with the batch size that was used.
        model: The model after the last epoch.
        history: One value an epoch of loss, accuracy, val_loss and val_accuracy (val: the test set).
        seconds: Time that `fit` took.
    """

    config: TrainConfig
    model: keras.Model
    history: dict[str, list[float]]
    seconds: float


def train(
    config: TrainConfig, data: Dataset, *, checkpoint: Path | None = None, resume: bool = False, **options: Any
) -> Run:
    """Trains one model, sized for the data and with the normalisation of its pixels inside, if it was published so.

    Args:
        config: What decides the run.
        data: Images and labels.
        checkpoint: A `.npz` file that is written behind every epoch; None: none is.
        resume: Whether to go on from the checkpoint, if it is there; the run ends with the weights that it would have
            had uninterrupted (on a CPU, same backend).
        options: Fields of the model's spec that differ from the registered ones.

    Returns:
        The run, with the model as it is after the last epoch.

    Raises:
        UsageError: If the model is unknown, cannot take images of that size, or diverges, or the checkpoint does not
            belong to it.
    """
    keras.utils.set_random_seed(config.seed)
    channels = data.image_shape[2]
    is_raw = get_variant(config.model).data.is_raw
    stats = ([0.0] * channels, [1.0] * channels) if is_raw else data.pixel_stats
    sized = {"input_shape": data.image_shape, "classes": data.classes, "pixel_stats": stats}
    model = create_model(config.model, **sized, **options)
    batch_size = config.batch_size or batch_size_for(data)
    steps_of_epoch = -(-len(data.x_train) // batch_size)
    model.compile(
        _optimizer(config, steps_of_epoch * config.epochs),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
        jit_compile=jit_compile(),
    )
    model.optimizer.build(model.trainable_variables)
    before = load_checkpoint(checkpoint, model) if checkpoint and resume and checkpoint.exists() else Progress()
    images = AUGMENTATIONS[config.augment](data.x_train, data.y_train, batch_size, config.seed, before.epoch)
    start = time.perf_counter()
    with bar(config.model, steps_of_epoch * (config.epochs - before.epoch)) as step:
        kept = [Checkpoints(checkpoint, before, config.seed)] if checkpoint else []
        history = model.fit(
            images,
            shuffle=False,  # the batches are
            initial_epoch=before.epoch,
            epochs=config.epochs,
            validation_data=(data.x_test, data.y_test),
            verbose=0,
            callbacks=[FitProgress(step, config.epochs), *(kept or [keras.callbacks.TerminateOnNaN()])],
        ).history
    figures = kept[0].progress.history if kept else {key: list(map(float, values)) for key, values in history.items()}
    if not np.isfinite(figures["loss"][-1]):
        raise UsageError(f"{config.model} diverged in epoch {len(figures['loss'])}; lower the learning rate")
    seconds = time.perf_counter() - start + before.seconds
    return Run(dataclasses.replace(config, batch_size=batch_size), model, figures, seconds)


def _optimizer(config: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    """SGD with Nesterov's momentum; its rate warms up over a tenth of the steps and follows a cosine to 0."""
    warmup = max(1, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        config.learning_rate / warmup, max(1, steps - warmup), warmup_target=config.learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.SGD(schedule, MOMENTUM, nesterov=True, weight_decay=config.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer


def batch_size_for(data: Dataset) -> int:
    """Images per step where nobody says."""
    return 32 if len(data.x_train) < SMALL_SET else 128


def jit_compile() -> str | bool:
    """Keras's own choice, except for TensorFlow on a CPU, where XLA compiles for minutes and then runs slower."""
    if keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu"):
        return False
    return "auto"


def check(config: TrainConfig, data: Dataset) -> None:
    """Finds what would stop a run, before any time is spent on it.

    Raises:
        UsageError: If a setting is out of range, or the model is unknown or cannot take images of that size.
    """
    config.check()
    if keras.config.image_data_format() != "channels_last":
        raise UsageError("images are (height, width, channels); set Keras's image_data_format to channels_last")
    get_variant(config.model).resolve_input(data.image_shape)


def finite(history: dict[str, list[float]]) -> History:
    """JSON has no infinity: an early epoch whose test loss overflows is null."""
    return {key: [value if math.isfinite(value) else None for value in values] for key, values in history.items()}


CHECKPOINT = "checkpoint.npz"
FILES = ("model.keras", "history.csv", "config.json", "curves.png")


def check_folder(out: Path, *, overwrite: bool) -> None:
    """Makes sure, before any training, that a run can be written to `out`.

    Raises:
        UsageError: If the folder cannot be written, or holds a run and `overwrite` is not set.
    """
    ensure_folder(out)
    for name in FILES:
        if (out / name).is_dir():
            raise UsageError(f"cannot write {out / name}: it is a folder; choose another place")
    if (out / "model.keras").exists() and not overwrite:
        raise UsageError(f"{out} already holds a trained model; choose another --out or pass --overwrite")


def open_run(config: TrainConfig, out: Path, *, resume: bool, overwrite: bool) -> Path:
    """Prepares the folder of a run that may be interrupted, and notes what decides it beside its checkpoint.

    Returns:
        The path of the checkpoint.

    Raises:
        UsageError: As `check_folder`, or if the folder holds an interrupted run and neither `resume` nor `overwrite` is
            set, or one of another configuration.
    """
    if resume and overwrite:
        raise UsageError("--resume goes on with a run, --overwrite starts again; give one of them")
    checkpoint = out / CHECKPOINT
    interrupted = checkpoint.exists() and not overwrite
    check_folder(out, overwrite=overwrite or (interrupted and resume))
    if interrupted and not resume:
        raise UsageError(f"{out} holds an interrupted run; pass --resume to go on or --overwrite to start again")
    note, own = _note(checkpoint), asdict(config) | {"backend": keras.backend.backend()}
    if interrupted:
        _compare(note, own)
    if overwrite:
        close_run(checkpoint)
    with replacing(note) as part:
        part.write_text(json.dumps(own, indent=2, allow_nan=False) + "\n")
    return checkpoint


def close_run(checkpoint: Path) -> None:
    """Removes the checkpoint of a run whose results are written."""
    checkpoint.unlink(missing_ok=True)
    _note(checkpoint).unlink(missing_ok=True)


def _note(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".json")


def _compare(note: Path, own: dict[str, Any]) -> None:
    try:
        noted = dict(json.loads(note.read_text()))
    except (OSError, ValueError, TypeError):
        raise UsageError(f"{note} does not say what the checkpoint belongs to; start again with --overwrite") from None
    for key, value in own.items():
        if noted.get(key) != value:
            raise UsageError(f"{note} says {key} = {noted.get(key)}, not {value}; resume a run as it was started")


def save(run: Run, out: Path) -> None:
    """Writes `model.keras`, `history.csv`, `config.json` and `curves.png` into the folder `out`."""
    with replacing(out / "model.keras") as part:
        run.model.save(part)
    with replacing(out / "history.csv") as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *run.history])
        writer.writerows([epoch, *row] for epoch, row in enumerate(zip(*run.history.values(), strict=True), 1))
    with replacing(out / "config.json") as part:
        part.write_text(json.dumps(describe(run), indent=2, allow_nan=False) + "\n")
    with replacing(out / "curves.png") as part:
        draw_curves({run.config.model: run.history}).savefig(part, dpi=150)


def describe(run: Run) -> dict[str, Any]:
    """The configuration of a run with backend, versions and time, as JSON takes it."""
    return asdict(run.config) | {
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "seconds": round(run.seconds, 1),
    }
