"""Making a trained model smaller, and saying what that cost: `keras-resnets compress`."""

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
from rich.table import Table

from export import (
    Measurement,
    TfmotModel,
    cluster,
    load_model,
    measure,
    prune,
    quantize_aware,
    to_tflite,
)
from export.convert import check_exportable, predict_classes
from export.environment import describe_environment
from export.files import replacing, write_json
from export.flatbuffer import weigh
from export.layers import in_float32
from export.qat import check_layers
from export.report.formats import titled_table
from export.runtimes.litert import ROUNDS
from keras_resnets import UsageError
from recipes.batches import Batch, DistillationBatches, Targets
from recipes.checkpoint import (
    Checkpoints,
    Progress,
    is_begun,
    load_checkpoint,
    read_checkpoint,
    remove_checkpoint,
    save_checkpoint,
)
from recipes.config import Augmentation, CompressConfig
from recipes.progress import FitProgress, bar, console
from recipes.runs import open_runs
from recipes.schedules import MOMENTUM, USUAL
from recipes.sources import Source, hold, open_source
from recipes.train import batch_size_for, check_pixels, jit_compile

SCHEMA = 1
RESULTS = "compress.json"
CHECKPOINT = "checkpoint-{}.npz"  # of each method
LEARNING_RATES = {"prune": 0.02, "cluster": 0.002, "qat": 1e-3}
SPARSITY, CLUSTERS = 0.5, 16  # where nothing else is asked for
OF_CLUSTERS = 3e-5  # of qat that keeps them: the gradients of all weights of a cluster add up
CALIBRATION = 500  # images
NOISE = 8  # images of it, which show whether a model gives probabilities


@dataclass(frozen=True)
class Compressed:
    """One file and what it came to.

    Attributes:
        name: What was done to the model.
        file: Name of the file.
        bytes: Its size.
        gzip_bytes: Its size when compressed by gzip, as app stores and downloads do.
        weights: Number of weights of convolutions and dense layers.
        nonzero: Those that are not zero.
        most_values: Different values in the layer that has most of them.
        accuracy: Share of the test images classified correctly.
        agreement: Share of the test images on which the file names the class that the original model names.
        p50_ms: Median latency of one image, milliseconds.
    """

    name: str
    file: str
    bytes: int
    gzip_bytes: int
    weights: int
    nonzero: int
    most_values: int
    accuracy: float
    agreement: float
    p50_ms: float


def compress(
    path: Path, config: CompressConfig, out: Path | None = None, *, resume: bool = False, overwrite: bool = False
) -> list[Compressed]:
    """Compresses a trained model and measures its file beside the one that it would have been.

    Args:
        path: The `.keras` file.
        config: What to do.
        out: Folder of the results; None: beside the model, named after the methods.
        resume: Whether to go on after the last epoch of an interrupted compression, if there is one; it ends with the
            file that it would have come to, but for networks with dropout, whose random numbers are others then.
        overwrite: Whether to replace what is there.

    Returns:
        The original model's file and the compressed one's.

    Raises:
        UsageError: If the model or the data cannot be read or do not fit, a setting is out of range, the folder
            holds a compression already and neither `resume` nor `overwrite` is set, or another one, or it diverges.
    """
    config.check()
    model = in_float32(load_model(path))
    check_exportable(model)
    config = completed(config, path)
    out = out or path.parent / "-".join(config.method)
    if out.resolve() in (path.parent.resolve(), path.resolve().parent):
        raise UsageError(f"--out {out} is the folder of the model itself; choose another")
    environment = describe_environment()  # before the load is our own
    side, *_ = shape = model.input_shape[1:]
    source = open_source(config.data or "", side)
    check_pixels(config.augment or (), source)
    data, calibration = hold(source, shape, count=CALIBRATION, seed=config.seed)
    check_fine_tuning(model, config.method, source)
    if done := _open(out, path, config, resume=resume, overwrite=overwrite):
        return done
    named = predict_classes(model, data.x_test)
    given = to_tflite(
        model, out / f"original-{config.then}.tflite", mode=config.then, calibration=calibration, min_agreement=0
    )
    result: keras.Model | TfmotModel = model
    histories = {}
    for place, method in enumerate(config.method):
        started = start(result, method, config, config.method[:place], source, calibration.images)
        checkpoint = out / CHECKPOINT.format(method)
        histories[method] = fine_tune(started, method, config, source, model, checkpoint)
        result = started.strip() if isinstance(started, TfmotModel) and method != "qat" else started
    name = "-".join((*config.method, config.then))
    made = to_tflite(result, out / f"{name}.tflite", mode=config.then, calibration=calibration, min_agreement=0)
    if isinstance(result, keras.Model):
        with replacing(out / "model.keras") as part:
            result.save(part)
    del started, result  # and their processes
    with bar("measure", 2 + ROUNDS) as step:
        measured = measure([given.path, made.path], data.x_test, data.y_test, on_step=step)
    labels = (f"original, {config.then}", ", ".join((*config.method, config.then)))
    rows = [_row(label, one, named) for label, one in zip(labels, measured, strict=True)]
    results: dict[str, Any] = {
        "schema": SCHEMA,
        "model": model.name,
        "keras_accuracy": float(np.mean(named == data.y_test)),
        "config": asdict(config),
        "backend": keras.backend.backend(),
        "environment": environment,
        "history": histories,
        "files": [asdict(row) for row in rows],
    }
    write_json(out / RESULTS, results)
    _remove_checkpoints(out)
    return rows


def check_fine_tuning(model: keras.Model, methods: Sequence[str], data: Source) -> None:
    """Checks, before anything is written, that a model is a classifier of the data, and that "qat" knows its layers.

    Raises:
        UsageError: If it is not, or a layer is unknown there.
    """
    _gives_logits(model)
    if data.classes > model.output_shape[-1]:
        raise UsageError(f"{model.name} has {model.output_shape[-1]} classes, {data.name} has {data.classes}")
    if "qat" in methods:
        check_layers(model)


def _open(out: Path, path: Path, config: CompressConfig, *, resume: bool, overwrite: bool) -> list[Compressed] | None:
    """Prepares the folder, and finds what a run to be resumed has come to, if it has come to its end."""
    written, going_on = out / RESULTS, resume and (out / "config.json").exists()
    if written.exists() and not going_on and not overwrite:
        raise UsageError(f"{out} already holds a compressed model; choose another --out or pass --overwrite")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    settings = {key: value for key, value in asdict(config).items() if value is not None} | {"model_sha256": digest}
    open_runs(out, settings, [config.seed], resume=resume, overwrite=overwrite, defaults={})
    if not written.exists():
        if not going_on:  # nothing there is to pass for a result of this run
            (out / "model.keras").unlink(missing_ok=True)
            _remove_checkpoints(out)
        return None
    _remove_checkpoints(out)  # of a run that ended between its results and this
    try:
        return [Compressed(**row) for row in json.loads(written.read_text())["files"]]
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{written} was not written by this version; start again with --overwrite") from error


def _remove_checkpoints(out: Path) -> None:
    for method in LEARNING_RATES:
        remove_checkpoint(out / CHECKPOINT.format(method))


def _row(name: str, measured: Measurement, named: np.ndarray) -> Compressed:
    content = measured.path.read_bytes()
    weights = weigh(content)
    return Compressed(
        name=name,
        file=measured.path.name,
        bytes=measured.bytes,
        gzip_bytes=len(gzip.compress(content, mtime=0)),
        weights=weights.count,
        nonzero=weights.nonzero,
        most_values=weights.most_values,
        accuracy=measured.accuracy,
        agreement=float(np.mean(measured.predictions == named)),
        p50_ms=measured.p50_ms,
    )


def completed(config: CompressConfig, path: Path) -> CompressConfig:
    """The configuration with what is usual, and what the config.json beside the model says, where nothing was said.

    Raises:
        UsageError: If neither says what the model was trained on.
    """
    beside = path.with_name("config.json")
    trained: dict[str, Any] = {}
    if beside.is_file():
        try:
            trained = json.loads(beside.read_text())
        except ValueError as error:
            raise UsageError(f"{beside} is no JSON; give --data") from error
    trained = trained if isinstance(trained, dict) else {}
    data = config.data or trained.get("data")
    if not isinstance(data, str):
        raise UsageError(f"no config.json beside {path} says what it was trained on; give --data")
    augment = trained.get("augment", []) if config.augment is None else config.augment
    if not isinstance(augment, list | tuple) or not set(augment) <= set(get_args(Augmentation)):
        raise UsageError(
            f"{beside} says augment is {augment}; give --augment, any of {', '.join(get_args(Augmentation))}"
        )
    config = replace(config, data=data, augment=tuple(augment))
    if "cluster" in config.method:
        config = replace(config, clusters=config.clusters or CLUSTERS)
    if "prune" not in config.method:
        return config
    # that of AdamW is another measure, and where nothing was said it was the usual one
    said = trained.get("weight_decay", 0.0) if trained.get("optimizer", "sgd") == "sgd" else 0.0
    said = USUAL["sgd"][1] if said is None else said
    decay = said if config.weight_decay is None else config.weight_decay
    if not isinstance(decay, int | float) or not 0 <= decay < float("inf"):
        raise UsageError(f"{beside} says weight_decay is {decay}; give --weight-decay, a number from 0")
    return replace(config, sparsity=config.sparsity or SPARSITY, weight_decay=float(decay))


def start(
    model: keras.Model, method: str, config: CompressConfig, before: tuple[str, ...], data: Source, images: np.ndarray
) -> keras.Model | TfmotModel:
    """A model ready to be fine-tuned by one method, which keeps what the methods before it have reached."""
    if method == "prune":
        steps = config.epochs * -(-data.images // batch_size_for(data.images))
        pattern = (2, 4) if config.two_of_four else None
        return prune(model, config.sparsity or 0, steps=max(1, steps // 2), pattern=pattern, seed=config.seed)
    kept = " and ".join({"prune": "sparsity", "cluster": "clusters"}[one] for one in before)
    if method == "cluster":
        return cluster(model, config.clusters or 0, keep=kept or None, seed=config.seed)  # type: ignore[arg-type]
    return quantize_aware(model, images, engine=config.engine, keep=kept or None)  # type: ignore[arg-type]


def fine_tune(
    model: keras.Model | TfmotModel,
    method: str,
    config: CompressConfig,
    data: Source,
    teacher: keras.Model,
    checkpoint: Path | None = None,
) -> dict[str, list[float]]:
    """Distils the original model into a started one, with a cosine to 0; the history of loss and accuracy.

    The labels are not asked: a network that has learned its training images well is led further from itself by one
    epoch of them than quantization had moved it. With a checkpoint, it goes on from there, if it was begun, and saves
    one after each epoch.
    """
    size = batch_size_for(data.images)
    steps = config.epochs * -(-data.images // size)
    usual = LEARNING_RATES[method]
    if method == "qat" and "cluster" in config.method:
        usual = OF_CLUSTERS
    schedule = keras.optimizers.schedules.CosineDecay(config.learning_rate or usual, steps)
    decay = config.weight_decay if method == "prune" else None  # it would draw clusters and quantized weights together
    optimizer = keras.optimizers.SGD(schedule, MOMENTUM, nesterov=True, weight_decay=decay or None)
    logits = _gives_logits(teacher)
    loss = keras.losses.CategoricalCrossentropy(from_logits=logits)
    transforms = config.augment or ()
    each = steps // config.epochs

    def batches(number: int) -> Iterator[Batch]:
        epoch, step = divmod(number, each)
        targets = Targets(data.classes)
        return data.training(size, seed=config.seed, targets=targets, transforms=transforms, epoch=epoch, step=step)

    if isinstance(model, TfmotModel):
        model.compile(optimizer, loss)
    else:
        model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=jit_compile())
        keras.utils.set_random_seed(config.seed)
        model.optimizer.build(model.trainable_variables)
    done = _resume(model, checkpoint) if checkpoint and is_begun(checkpoint) else Progress()
    images = DistillationBatches(batches, each, data.in_step(transforms), teacher, logits=logits, epoch=done.epoch)
    with bar(method, steps - done.epoch * each) as step:
        return _fit(model, images, config, done, checkpoint, step)


def _resume(model: keras.Model | TfmotModel, checkpoint: Path) -> Progress:
    """Goes back to where a training was interrupted."""
    if isinstance(model, keras.Model):
        return load_checkpoint(checkpoint, model)
    done, state = read_checkpoint(checkpoint)
    try:
        model.set_state(state)
    except UsageError as error:
        raise UsageError(f"{checkpoint}: {error}; start again with --overwrite") from error
    return done


def _fit(
    model: keras.Model | TfmotModel,
    images: DistillationBatches,
    config: CompressConfig,
    done: Progress,
    checkpoint: Path | None,
    on_step: Callable[..., None],
) -> dict[str, list[float]]:
    """Trains for the epochs that are left; the history of all."""
    if isinstance(model, keras.Model):
        saved = [Checkpoints(checkpoint, done, config.seed)] if checkpoint else []
        fitted = model.fit(
            images,
            epochs=config.epochs,
            initial_epoch=done.epoch,
            shuffle=False,  # the batches are
            verbose=0,
            callbacks=[*saved, FitProgress(on_step, config.epochs)],
        )
        return done.history | _longer(done.history, fitted.history)
    for epoch in range(done.epoch, config.epochs):
        done = Progress(epoch + 1, _longer(done.history, model.fit(images, on_step=on_step)))
        if checkpoint:
            save_checkpoint(checkpoint, model.state(), done)
        if not console.is_terminal:  # a log that says how far it is
            said = "  ".join(f"{key} {values[-1]:.3f}" for key, values in done.history.items())
            console.print(f"epoch {done.epoch}/{config.epochs}  {said}")
    return done.history


def _longer(before: dict[str, list[float]], then: dict[str, list[float]]) -> dict[str, list[float]]:
    return {key: [*before.get(key, []), *map(float, values)] for key, values in then.items()}


def _gives_logits(model: keras.Model) -> bool:
    """Whether a classifier ends without a softmax."""
    images = np.random.default_rng(0).random((NOISE, *model.input_shape[1:]), np.float32)
    scores = model.predict_on_batch(images)
    if scores.shape[-1] < 2:
        raise UsageError(f"{model.name} gives a single score; fine-tuning takes classifiers with one a class")
    return bool((scores < 0).any() or not np.allclose(scores.sum(-1), 1, atol=1e-3))


def table(rows: list[Compressed], title: str) -> Table:
    """The files as a table for the terminal."""
    drawn = titled_table(title)
    for column in ("file", "bytes", "gzip", "non-zero", "values", "accuracy", "agreement", "p50 ms"):
        drawn.add_column(column, justify="left" if column == "file" else "right", no_wrap=column != "file")
    for row in rows:
        drawn.add_row(
            row.name,
            f"{row.bytes:,}",
            f"{row.gzip_bytes:,}",
            f"{row.nonzero / row.weights:.1%}",
            f"{row.most_values}",
            f"{row.accuracy:.2%}",
            f"{row.agreement:.2%}",
            f"{row.p50_ms:.3f}",
        )
    return drawn
