"""Training a classifier with `fit`, on whichever backend Keras runs."""

import csv
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from export.files import ensure_folder, replacing
from keras_resnets import UsageError, create_model, get_variant
from recipes.data import Dataset
from recipes.plots import draw_curves
from recipes.progress import FitProgress, bar

SMALL_SET = 10_000  # images below which a small batch is worth its slower steps


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run.

    Attributes:
        model: Registered name.
        data: Data set name or path of a `.npz` file.
        epochs: Passes over the training set.
        batch_size: Images per step; None is 32 for sets below 10,000 images and 128 for larger ones.
        learning_rate: Peak of the schedule: a tenth of the steps warms up to it, a cosine leads to 0.
        weight_decay: Share of each weight taken off per step and unit of learning rate.
        momentum: Nesterov momentum of SGD.
        seed: Seed of initialisation and shuffling.
    """

    model: str
    data: str = "digits"
    epochs: int = 5
    batch_size: int | None = None
    learning_rate: float = 0.05
    weight_decay: float = 1e-4
    momentum: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        for field, valid, rule in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size is None or self.batch_size >= 1, "at least 1"),
            ("learning_rate", self.learning_rate > 0, "above 0"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("momentum", 0 <= self.momentum < 1, "from 0 to below 1"),
            ("seed", 0 <= self.seed < 2**32, "from 0 to 2**32 - 1"),
        ):
            if not valid:
                raise UsageError(f"{field} must be {rule}, got {getattr(self, field)}")


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


def train(config: TrainConfig, data: Dataset) -> Run:
    """Trains one model, sized for the data and with the normalisation of its pixels inside.

    Returns:
        The run, with the model as it is after the last epoch.

    Raises:
        UsageError: If the model is unknown or cannot take images of that size.
    """
    keras.utils.set_random_seed(config.seed)
    model = create_model(
        config.model, input_shape=data.image_shape, classes=data.classes, pixel_stats=data.pixel_stats()
    )
    batch_size = config.batch_size or (32 if len(data.x_train) < SMALL_SET else 128)
    steps = -(-len(data.x_train) // batch_size) * config.epochs
    warmup = max(1, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), warmup_target=config.learning_rate, warmup_steps=warmup
    )
    model.compile(
        keras.optimizers.SGD(
            schedule, momentum=config.momentum, nesterov=True, weight_decay=config.weight_decay or None
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
        jit_compile=_jit_compile(),
    )
    start = time.perf_counter()
    with bar(config.model, steps) as step:
        history = model.fit(
            data.x_train,
            data.y_train,
            batch_size=batch_size,
            epochs=config.epochs,
            validation_data=(data.x_test, data.y_test),
            verbose=0,
            callbacks=[FitProgress(step, config.epochs)],
        )
    seconds = time.perf_counter() - start
    figures = {key: [float(value) for value in values] for key, values in history.history.items()}
    return Run(TrainConfig(**asdict(config) | {"batch_size": batch_size}), model, figures, seconds)


def _jit_compile() -> str | bool:
    """Keras's own choice, except for TensorFlow on a CPU, where XLA compiles for minutes and then runs slower."""
    if keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu"):
        return False
    return "auto"


def check(config: TrainConfig, data: Dataset) -> None:
    """Finds what would stop a run, before any time is spent on it.

    Raises:
        UsageError: If the model is unknown or cannot take images of that size.
    """
    get_variant(config.model).resolve_input(data.image_shape)


def check_folder(out: Path, *, overwrite: bool) -> None:
    """Makes sure, before any training, that a run can be written to `out`.

    Raises:
        UsageError: If the folder cannot be written, or holds a run and `overwrite` is not set.
    """
    ensure_folder(out)
    if (out / "model.keras").exists() and not overwrite:
        raise UsageError(f"{out} already holds a trained model; choose another --out or pass --overwrite")


def save(run: Run, out: Path) -> None:
    """Writes `model.keras`, `history.csv`, `config.json` and `curves.png` into the folder `out`."""
    with replacing(out / "model.keras") as part:
        run.model.save(part)
    with replacing(out / "history.csv") as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *run.history])
        writer.writerows([epoch, *row] for epoch, row in enumerate(zip(*run.history.values(), strict=True), 1))
    with replacing(out / "config.json") as part:
        part.write_text(json.dumps(describe(run), indent=2) + "\n")
    with replacing(out / "curves.png") as part:
        draw_curves({run.config.model: run.history}).savefig(part, dpi=150)


def describe(run: Run) -> dict[str, Any]:
    """The configuration of a run with backend, versions and time, as JSON takes it."""
    return asdict(run.config) | {
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "seconds": round(run.seconds, 1),
    }
