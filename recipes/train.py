"""Training a classifier with `fit`, on whichever backend Keras runs."""

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export.environment import describe_environment
from export.files import ensure_folder, replacing, write_json
from keras_resnets import UsageError, create_model, get_variant
from keras_resnets.variant import PixelStats
from recipes._backend import Spread, native, steps_late
from recipes.augment import Augmented, Mixing
from recipes.averages import AveragedInTests, AveragedStatistics
from recipes.batches import Batch, Stream, Targets, cut, join, parts, slices
from recipes.checkpoint import (
    Checkpoints,
    MetricsOfAll,
    Progress,
    in_plain_words,
    is_begun,
    load_checkpoint,
    remove_checkpoint,
)
from recipes.config import TrainConfig
from recipes.log import HistoryFile, TensorBoard, write_history
from recipes.note import check_resume_or_overwrite, compare_note
from recipes.plots import draw_curves
from recipes.progress import FitProgress, bar
from recipes.schedules import optimizer_of
from recipes.sources import Source

History = dict[str, list[Any]]  # one value an epoch of each figure, None where it was not finite
SMALL_SET = 10_000  # images below which a small batch is worth its slower steps
CHECKPOINT = "checkpoint.npz"
TENSORBOARD = "tensorboard"  # folder of event files
FILES = ("model.keras", "history.csv", "config.json", "curves.png")


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes:
        config: What decided it, with the batch size that was used.
        model: The model after the last epoch.
        history: One value an epoch of loss, accuracy, val_loss and val_accuracy (val: the test set).
        accuracy: Of the model on the test set; the history has it in the precision of the training.
        seconds: Time that `fit` took.
        options: Fields of the model's spec that differ from the registered ones.
    """

    config: TrainConfig
    model: keras.Model
    history: dict[str, list[float]]
    accuracy: float
    seconds: float
    options: dict[str, Any]


def train(
    config: TrainConfig,
    data: Source,
    *,
    folder: Path | None = None,
    resume: bool = False,
    every: int | None = None,
    tensorboard: bool = False,
    over: Spread | None = None,
    **options: Any,
) -> Run:
    """Trains one model, sized for the data and with the normalisation of its pixels inside, if it was published so.

    Args:
        config: What decides the run.
        data: Images and labels.
        folder: Where a checkpoint and `history.csv` are written after every epoch; None: nothing is.
        resume: Whether to go on from the checkpoint, if it is there; the run ends with the weights that it would have
            had uninterrupted (on a CPU, same backend).
        every: Steps between checkpoints within an epoch; None: there are none.
        tensorboard: Whether to write the history for TensorBoard, too.
        over: What shares every batch; None: this one device.
        options: Fields of the model's spec that differ from the registered ones.

    Returns:
        The run, with the model as it is after the last epoch; of weights that were averaged, with the averages.

    Raises:
        UsageError: If the model is unknown, cannot take images of that size, or diverges, the checkpoint does not
            belong to it, batches do not divide among the devices, or memory runs out.
    """
    over = over or Spread()
    options = options if config.drop_path is None else {"drop_path": config.drop_path} | options
    with in_plain_words(folder and folder / CHECKPOINT):
        with over.scope():
            fitted = _fit(config, data, folder, resume, every, tensorboard, over, options)
        trained = _network(config, data, **options)  # in float32, with its softmax, and on this device
        trained.set_weights(fitted.weights)
        accuracy = fitted.history["val_accuracy"][-1]
        if config.precision != "float32":
            size = min(fitted.size, data.tested)
            accuracy = _accuracy(trained, data.validation(size, _targets(config, data)), size)
    config = dataclasses.replace(config, batch_size=fitted.size)
    return Run(config, trained, fitted.history, accuracy, fitted.seconds, options)


@dataclass(frozen=True)
class _Fitted:
    """What `fit` came to: batch size, history, seconds, and the weights as arrays of this process."""

    size: int
    history: dict[str, list[float]]
    seconds: float
    weights: list[np.ndarray]


def _fit(
    config: TrainConfig,
    data: Source,
    folder: Path | None,
    resume: bool,
    every: int | None,
    tensorboard: bool,
    over: Spread,
    options: dict[str, Any],
) -> _Fitted:
    keras.utils.set_random_seed(config.seed)
    with _precision(config.precision):
        network = over.network(native(_network(config, data, classifier_activation=None, **options)))
    averages = AveragedStatistics(network, config.ema) if config.ema else None
    model = Augmented(network, data.in_step(config.augment), over.forward(network), averages)
    size = config.batch_size or batch_size_for(data.images)
    _check_shares(config, size, over)
    steps, tested = len(parts(data.images, size, over.multiple)), _test_size(data.tested, size, over.devices)
    targets = _targets(config, data)
    model.compile(
        optimizer_of(config, steps * config.epochs),
        loss=targets.loss(),
        metrics=["accuracy"],
        jit_compile=False if over.devices > 1 and over.apart else jit_compile(config.jit),  # XLA is for one device
    )
    model.optimizer.build(model.trainable_variables)
    if over.draws:
        keras.utils.set_random_seed(_seed_of(config.seed, over.draws))
    path = folder / CHECKPOINT if folder else None
    before = load_checkpoint(path, model) if path and resume and is_begun(path) else Progress()
    if not over.agree([before.epoch, before.step]):
        raise UsageError(f"the processes find different checkpoints in {folder}: give all of them the same folder")
    start = time.perf_counter()
    with bar(config.model, steps * (config.epochs - before.epoch) - before.step) as advance:
        shown: list[keras.callbacks.Callback] = [FitProgress(advance, config.epochs)]
        if over.processes > 1 and over.apart:
            shown.insert(0, MetricsOfAll(over.mean))
        if averages:
            shown.append(AveragedInTests(averages))
        if folder and over.rank == 0:
            shown.append(HistoryFile(folder / "history.csv", before.history))
            shown += [TensorBoard(folder / TENSORBOARD)] if tensorboard else []

        def fit(now: Progress, steps_of_epoch: int, epochs: int) -> dict[str, list[float]]:
            first = now.epoch * steps + now.step
            stream = Stream(lambda number: _batches(config, data, size, targets, over, *divmod(first + number, steps)))
            seed = _seed_of(config.seed, over.draws)
            kept = Checkpoints(path, now, seed, every, over, late=steps_late()) if path else None
            history = model.fit(
                stream,
                steps_per_epoch=steps_of_epoch,
                initial_epoch=now.epoch,
                epochs=epochs,
                shuffle=False,  # the batches are
                validation_data=data.validation(tested, targets),
                validation_batch_size=tested,
                verbose=0,
                callbacks=[kept or keras.callbacks.TerminateOnNaN(), *shown],
            ).history
            return kept.progress.history if kept else {key: list(map(float, values)) for key, values in history.items()}

        now = before
        if now.step and path:
            fit(now, steps - now.step, now.epoch + 1)
            over.barrier()  # until it is written
            now = load_checkpoint(path, model)  # `fit` has ended as if it was for good, with averaged weights
        history = fit(now, steps, config.epochs)
    diverged = np.flatnonzero(~np.isfinite(history["loss"]))
    if len(diverged):
        raise UsageError(f"{config.model} diverged in epoch {diverged[0] + 1}; lower the learning rate")
    return _Fitted(size, history, time.perf_counter() - start + before.seconds, network.get_weights())


def _targets(config: TrainConfig, data: Source) -> Targets:
    return Targets(data.classes, config.label_smoothing, Mixing(config.mixup, config.cutmix))


def _check_shares(config: TrainConfig, size: int, over: Spread) -> None:
    by_itself = config.clip or config.accumulate > 1 or config.precision == "mixed_float16"
    if over.devices > 1 and over.apart and by_itself:
        raise UsageError(
            "distribute: not on TensorFlow with --clip, --accumulate or mixed_float16, which Keras applies on each "
            "device for itself; take JAX or PyTorch"
        )
    if over.devices > 1 and over.apart and config.jit == "on":
        raise UsageError("distribute: not on TensorFlow with --jit on: XLA compiles for one device")
    if size % over.multiple:
        raise UsageError(f"distribute: batch_size must be a multiple of {over.multiple} here, got {size}")


def _batches(
    config: TrainConfig, data: Source, size: int, targets: Targets, over: Spread, epoch: int, step: int
) -> Iterator[Batch]:
    """What this process trains on, from a step on."""
    batches = data.training(
        size,
        seed=config.seed,
        targets=targets,
        transforms=config.augment,
        epoch=epoch,
        step=step,
        multiple=over.multiple,
    )
    if over.processes > 1:
        divide = cut if over.apart else slices
        return (divide(batch, over.processes)[over.rank] for batch in batches)
    return (join(cut(batch, over.devices)) for batch in batches) if over.apart else batches


def _network(config: TrainConfig, data: Source, **options: Any) -> keras.Model:
    stats = pixel_stats_of(config.model, data)
    sized = {"input_shape": data.image_shape, "classes": data.classes, "pixel_stats": stats}
    try:
        return create_model(config.model, **sized, **options)
    except TypeError as error:  # an option that its family does not have
        raise UsageError(str(error)) from error


def pixel_stats_of(model: str, data: Source) -> PixelStats:
    """Mean and deviation by which a network normalises pixels: those of the data, unless it was published without."""
    channels = data.image_shape[2]
    return ([0.0] * channels, [1.0] * channels) if get_variant(model).data.is_raw else data.pixel_stats


def _accuracy(model: keras.Model, tests: Any, size: int) -> float:
    right = []
    for images, targets in [tests] if isinstance(tests, tuple) else (tests[place] for place in range(len(tests))):
        said = model.predict(images, batch_size=size, verbose=0).argmax(-1)
        right.append(said == (targets.argmax(-1) if targets.ndim > 1 else targets))
    return float(np.concatenate(right).mean())


@contextlib.contextmanager
def _precision(policy: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _seed_of(seed: int, rank: int) -> int:
    """Of the random numbers that a process draws for its own images."""
    return (seed + rank) % 2**32


def _test_size(images: int, most: int, devices: int) -> int:
    """Test images per step: devices that share a step have as many each, and none is left out."""
    if devices == 1:
        return most
    sizes = [size for size in range(devices, max(most, devices) + 1, devices) if images % size == 0]
    if not sizes:
        raise UsageError(f"distribute: {images:,} test images do not divide among {devices} devices; take fewer")
    return sizes[-1]


def batch_size_for(images: int) -> int:
    """Images per step where nobody says, of a set of so many."""
    return 32 if images < SMALL_SET else 128


def jit_compile(wanted: str = "auto") -> str | bool:
    """Keras's own choice, except for TensorFlow on a CPU, where XLA compiles for minutes and then runs slower."""
    if wanted != "auto":
        return wanted == "on"
    if keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu"):
        return False
    return "auto"


def check(config: TrainConfig, data: Source) -> None:
    """Checks what would stop a run, before any time is spent on it.

    Raises:
        UsageError: If a setting is out of range, or the model is unknown or cannot take such images.
    """
    config.check()
    if keras.config.image_data_format() != "channels_last":
        raise UsageError("images are (height, width, channels); set Keras's image_data_format to channels_last")
    get_variant(config.model).resolve_input(data.image_shape)
    if data.classes < 2:
        raise UsageError("the data have one class, and nothing to tell apart; give images of two at least")
    check_pixels(config.augment, data)
    batches = config.epochs * -(-data.images // (config.batch_size or batch_size_for(data.images)))
    if config.accumulate > batches:
        raise UsageError(f"accumulate={config.accumulate}: the run has {batches} batches, and would change no weight")


def check_pixels(augment: Sequence[str], data: Source) -> None:
    """Refuses augmentation that is for other pixels than those of the data.

    Raises:
        UsageError: If it has RandAugment, and the pixels are not bytes.
    """
    if "randaugment" in augment and not data.is_bytes:
        raise UsageError("augment: randaugment is for pixels from 0 to 255, as uint8; these are others")


def finite(history: dict[str, list[float]]) -> History:
    """JSON has no infinity: an early epoch whose test loss overflows is null."""
    return {key: [value if math.isfinite(value) else None for value in values] for key, values in history.items()}


def check_folder(out: Path, *, overwrite: bool) -> None:
    """Makes sure, before any training, that a run can be written to `out`.

    Raises:
        UsageError: If the folder cannot be written, or holds a run and `overwrite` is not set.
    """
    ensure_folder(out)
    for name in FILES:
        if (out / name).is_dir():
            raise UsageError(f"cannot write {out / name}: it is a folder; choose another place")
    held = {"model.keras": "a trained model", "config.json": "the config.json of another run"}
    for what in [what for name, what in held.items() if (out / name).exists()][:1] if not overwrite else ():
        raise UsageError(f"{out} already holds {what}; choose another --out or pass --overwrite")


def check_run(out: Path, *, resume: bool, overwrite: bool) -> bool:
    """Checks what stands in the way of a run in `out`; returns whether one was interrupted there that is to go on.

    Raises:
        UsageError: As `check_folder`, or if the folder holds an interrupted run and neither `resume` nor `overwrite` is
            set, or one of another configuration.
    """
    check_resume_or_overwrite(resume=resume, overwrite=overwrite)
    checkpoint = out / CHECKPOINT
    begun = is_begun(checkpoint) or (resume and _note(checkpoint).exists())  # or killed before its first checkpoint
    interrupted = begun and not overwrite
    check_folder(out, overwrite=overwrite or (interrupted and resume))
    if interrupted and not resume:
        raise UsageError(f"{out} holds an interrupted run; pass --resume to go on or --overwrite to start again")
    return interrupted


def open_run(config: TrainConfig, out: Path, every: int | None = None, *, resume: bool, overwrite: bool) -> None:
    """Prepares the folder of a run that may be interrupted, and notes what decides it beside its checkpoint.

    Args:
        config: What decides the run.
        out: Its folder.
        every: Steps between checkpoints within an epoch, which decide where PyTorch draws random numbers anew.
        resume: Whether to go on with an interrupted run.
        overwrite: Whether to start again.

    Raises:
        UsageError: As `check_run`, or if the interrupted run is one of another configuration.
    """
    interrupted = check_run(out, resume=resume, overwrite=overwrite)
    note = _note(out / CHECKPOINT)
    own = asdict(config) | {"backend": keras.backend.backend(), "checkpoint_steps": every}
    if interrupted:
        compare_note(note, own, defaults=asdict(TrainConfig(model=config.model)))
    if overwrite:
        close_run(out)
        for events in (out / TENSORBOARD).glob("events.out.tfevents.*"):  # a plot would mix both runs
            events.unlink()
    write_json(note, own)


def is_finished(config: TrainConfig, out: Path) -> bool:
    """Whether `out` holds the results of this very run, to the end."""
    own = json.loads(json.dumps(asdict(config))) | {"backend": keras.backend.backend()}
    if not own["batch_size"]:
        del own["batch_size"]  # the results say what was taken
    if not all((out / name).is_file() for name in FILES):
        return False
    try:
        noted = json.loads((out / "config.json").read_text())
        return not _note(out / CHECKPOINT).exists() and all(noted[key] == value for key, value in own.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def close_run(out: Path) -> None:
    """Removes the checkpoints of a run whose results are written."""
    remove_checkpoint(out / CHECKPOINT)
    _note(out / CHECKPOINT).unlink(missing_ok=True)


def _note(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".json")


def save(run: Run, data: Source, out: Path) -> None:
    """Writes `model.keras`, `history.csv`, `config.json` and `curves.png` into the folder `out`.

    Where the classes have names, `labels.txt`, too, which `keras-resnets export --labels` takes.
    """
    if data.names:
        with replacing(out / "labels.txt") as part:
            part.write_text("\n".join(data.names) + "\n")
    else:
        (out / "labels.txt").unlink(missing_ok=True)  # of a run that this one replaces
    with replacing(out / "model.keras") as part:
        run.model.save(part)
    write_history(run.history, out / "history.csv")
    write_json(out / "config.json", describe(run))
    with replacing(out / "curves.png") as part:
        draw_curves({run.config.model: run.history}).savefig(part, dpi=150)


def describe(run: Run) -> dict[str, Any]:
    """What decided a run, where and how long it ran, and what it came to, as JSON takes it."""
    return asdict(run.config) | {
        "options": run.options,
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "environment": describe_environment(),
        "seconds": round(run.seconds, 1),
        "accuracy": run.accuracy,
        "last_epoch": {name: values[-1] for name, values in finite(run.history).items()},
    }
