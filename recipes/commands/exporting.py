"""Commands that make a trained model small and put it into a file."""

import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from recipes.config import CompressConfig, config_of

if TYPE_CHECKING:
    import keras

    from export import Calibration, Metadata
    from export.plan import Choice, Plan
    from recipes.data import Dataset

SEARCHED = 2000  # images that a search for a plan measures accuracy on


@dataclass(frozen=True, kw_only=True)
class Compress(CompressConfig):
    """Prune, cluster or train a model for int8; write its .tflite, and compare it with that of the model as it was."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """A .keras file, from any backend."""
    out: Path | None = None
    """Folder for the results; None: beside the model, named after the methods."""
    resume: bool = False
    """Go on with an interrupted compression in the folder; where there is none, start."""
    overwrite: bool = False
    """Replace results that are in the folder already."""

    def run(self) -> None:
        from recipes.compress import compress, table
        from recipes.progress import console

        config = config_of(CompressConfig, self)
        rows = compress(self.model, config, self.out, resume=self.resume, overwrite=self.overwrite)
        console.print(table(rows, f"{self.model}: LiteRT, batch 1, 1 thread"))


@dataclass(frozen=True)
class Export:
    """Turn a trained model into a .tflite file and check it; write its recipe beside it as .json."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """A .keras file, from any backend."""
    out: Path
    """The .tflite file."""
    mode: str = "float32"
    """float32, float16 (weights halved), dynamic (int8 weights), int8 (int8 weights and activations), mixed (as --plan
    says), int16x8 (int16 activations), int8-weights or int4-weights (arithmetic in float32)."""
    plan: tuple[str, ...] = ()
    """With --mode mixed: shell patterns of layer names and what these layers compute in, float32, int8 or int4, such as
    'stem_*=float32' 'stage3_*=int4'; all others compute in int8, later patterns overrule earlier ones."""
    io: Literal["float32", "uint8", "int8"] = "float32"
    """Type of input and output. With mode int8 also uint8, which phones and browsers take, and int8, which
    microcontrollers and NPUs take."""
    budget: float | None = None
    """With --mode mixed and --data, instead of --plan: search for the smallest file that loses at most this share of
    accuracy against float32, 0.003 for 0.3 points, on training images that do not calibrate."""
    data: str | None = None
    """Data the model was trained on: its training images calibrate int8, its test images check the file; of an image
    folder, 2,000 of them."""
    photos: Path | None = None
    """Folder of training photos to calibrate on instead, for a model that takes pixels from 0 to 255."""
    clipping: Literal["minmax", "percentile", "mse"] | None = None
    """Where the range of an int8 activation ends: at its extremes, at its 99.99%, or where rounding and clipping
    err least, which is the default for what ai-edge-quantizer writes."""
    images: int = 200
    """Training images to calibrate on, balanced over the classes."""
    seed: int = 0
    """Seed of the choice of images."""
    labels: Path | None = None
    """Text file with the name of a class on each line, which goes into the file for MediaPipe and Android."""
    author: str = ""
    """With --labels: who made the model."""
    version: str = ""
    """With --labels: version of the model."""
    mean: tuple[float, ...] = (0.0,)
    """With --labels: what is to be subtracted from pixels, RGB from 0 to 255, before the model sees them: one for all
    channels or one each; 0 for a model that normalises them itself, as those of `train` do."""
    std: tuple[float, ...] = (1.0,)
    """With --labels: what they are divided by then."""
    c_array: bool = False
    """Write the file as C source and header, too, for a microcontroller."""
    min_agreement: float = 0.9
    """Share of the images (without --data: of noise) on which file and model must agree; below, no file is written."""

    def run(self) -> None:
        from export import Calibration, get_mode, load_model, read_photos, to_tflite, write_c_array
        from export.convert import check_exportable
        from recipes.data import Dataset
        from recipes.progress import console
        from recipes.sources import hold, open_source

        get_mode(self.mode)
        model = load_model(self.model)
        check_exportable(model)
        data: Dataset | None = None
        calibration: Calibration | None = None
        if self.data:
            shape = model.input_shape[1:]
            data, calibration = hold(open_source(self.data), shape, count=self.images, seed=self.seed)
        if self.photos:
            calibration = read_photos(self.photos, model.input_shape[1:], count=self.images, seed=self.seed)
        plan = self._read_plan()
        if self.budget is not None:
            plan = self._search_plan(model, data, calibration)
            console.print(f"plan: {' '.join(f'{layer}={choice}' for layer, choice in plan.items())}", soft_wrap=True)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", UserWarning)
            exported = to_tflite(
                model,
                self.out,
                mode=self.mode,
                io=self.io,
                calibration=calibration,
                clipping=self.clipping,
                plan=plan,
                metadata=self._read_metadata(),
                test=data.x_test if data else None,
                labels=data.y_test if data else None,
                min_agreement=self.min_agreement,
            )
        if self.c_array:
            write_c_array(self.out)
        for warning in (one for one in warned if issubclass(one.category, UserWarning)):
            console.print(f"warning: {warning.message}", soft_wrap=True)
        check = exported.verification
        compared = f"{check.images:,} {check.source} images"
        console.print(
            f"{exported.path}: {exported.bytes:,} bytes, {check.float_operations} float operations, agrees with the "
            f"Keras model on {check.agreement:.2%} of {compared}, largest error {check.max_error:.2g}"
            + ("" if check.accuracy is None else f", accuracy {check.accuracy:.2%} (Keras {check.model_accuracy:.2%})"),
            soft_wrap=True,
        )
        lost = 0.0 if check.accuracy is None or check.model_accuracy is None else check.model_accuracy - check.accuracy
        if self.budget is not None and lost > self.budget:
            console.print(
                f"warning: the plan keeps within --budget {self.budget} on training images, which the model has "
                f"learned, and loses {lost:.4f} on the test images; give a smaller budget",
                soft_wrap=True,
            )

    def _read_metadata(self) -> "Metadata | None":
        from export import Metadata
        from keras_resnets import UsageError

        if self.labels is None:
            about = {field.name: field.default for field in fields(Export)}
            given = [name for name in ("author", "version", "mean", "std") if getattr(self, name) != about[name]]
            if given:
                raise UsageError(f"--{given[0]} goes into the file with --labels: give these, too")
            return None
        try:
            labels = self.labels.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"--labels {self.labels} cannot be read: {error}; give a text file, a label a line"
            ) from error
        return Metadata(labels, author=self.author, version=self.version, mean=self.mean, std=self.std)

    def _search_plan(
        self, model: "keras.Model", data: "Dataset | None", calibration: "Calibration | None"
    ) -> "dict[str, Choice]":
        from export import pick_calibration, search_plan
        from keras_resnets import UsageError
        from recipes.progress import bar

        if self.mode != "mixed" or self.plan or data is None or calibration is None or self.budget is None:
            raise UsageError("--budget searches a plan: give --mode mixed and --data, and no --plan")
        used = calibration.indices if self.photos is None else ()
        if len(data.x_train) == len(used):  # all that was read of a folder
            raise UsageError(
                "--budget searches on training images that do not calibrate: give fewer --images, in place of a folder "
                "a .npz"
            )
        import numpy as np

        rest = np.setdiff1d(np.arange(len(data.x_train)), used)
        labels = data.y_train[rest]
        chosen = list(pick_calibration(rest, labels, data.name, count=SEARCHED, seed=self.seed).indices)
        images = data.x_train[rest[chosen]]
        with bar("search a plan", None) as step:
            return search_plan(
                model, calibration, images, labels[chosen], budget=self.budget, clipping=self.clipping, on_step=step
            )

    def _read_plan(self) -> "Plan | None":
        from keras_resnets import UsageError

        words = [word.partition("=") for word in self.plan]
        for pattern, equals, choice in words:
            if not (pattern and equals and choice):
                raise UsageError(
                    f"--plan {pattern}{equals}{choice}: write PATTERN=float32, PATTERN=int8 or PATTERN=int4"
                )
        return {pattern: choice for pattern, _, choice in words} or None  # type: ignore[misc]


@dataclass(frozen=True)
class Sweep:
    """Export trained models in every mode, with quantization-aware training too, and measure all files: one table."""

    models: Annotated[Positional[tuple[Path, ...]], arg(metavar="MODELS")]
    """The model.keras files of `keras-resnets train`, all trained on the same data."""
    out: Path = Path("runs/sweep")
    """Folder of sweep.json, to which models are added, and of the files."""
    modes: tuple[str, ...] = ("float32", "float16", "dynamic", "int8")
    """Modes to export; see `keras-resnets export`."""
    engines: tuple[Literal["native", "tfmot"], ...] = ("native", "tfmot")
    """Engines of quantization-aware training; none: --engines with nothing after it."""
    epochs: int = 1
    """Passes over the training set for quantization-aware training."""

    def run(self) -> None:
        from recipes.progress import console
        from recipes.sweep import sweep, table

        rows = sweep(self.models, self.modes, self.engines, self.epochs, self.out)
        console.print(table(rows, "LiteRT, batch 1, 1 thread"))
        console.print(f"results: {self.out / 'sweep.json'}", soft_wrap=True)


@dataclass(frozen=True)
class Diagnose:
    """Show in which layers a quantized file loses what its model knew: noise by layer, as a table and a plot."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """The .keras file."""
    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """The .tflite file that was exported from it; --min-agreement 0 writes one that agrees too little."""
    data: str
    """Data the model was trained on."""
    images: int = 32
    """Training images to run."""
    seed: int = 0
    """Seed of the choice of images."""
    worst: int = 10
    """Layers to list: those where most noise enters."""
    plot: Path | None = None
    """Where to draw all of them, a .png, .svg or .pdf file."""

    def run(self) -> None:
        from export import load_model
        from export.convert import check_exportable
        from export.diagnosis import diagnose, draw_diagnosis, noise_table
        from export.files import replacing
        from export.report.formats import counted
        from keras_resnets import UsageError
        from recipes.progress import console
        from recipes.sources import hold, open_source

        if self.worst < 1:
            raise UsageError(f"--worst {self.worst}: list at least 1 layer")
        if self.plot and self.plot.suffix.lower() not in (".png", ".svg", ".pdf"):
            raise UsageError(f"--plot {self.plot}: give it the suffix .png, .svg or .pdf")
        model = load_model(self.model)
        check_exportable(model)
        _, picked = hold(open_source(self.data), model.input_shape[1:], count=self.images, seed=self.seed)
        found = diagnose(model, self.file, picked.images)
        title = f"{self.file}: where noise enters, over {counted(len(picked.images), 'image')}"
        console.print(noise_table(found, self.worst, title))
        if self.plot:
            with replacing(self.plot) as part:
                draw_diagnosis(found).savefig(part, dpi=110)
