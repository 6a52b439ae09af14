"""The command line: `keras-resnets COMMAND`, made from the dataclasses below."""

import atexit
import contextlib
import io
import itertools
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import tyro
from tyro.conf import Positional, arg

from recipes.config import AddaConfig, CompressConfig, DcganConfig, DegradationConfig, GanConfig, TrainConfig

if TYPE_CHECKING:
    import keras

    from export import Calibration, Metadata
    from export.plan import Choice, Plan
    from recipes.data import Dataset

# Keras and the backends are imported inside the commands: `--help` answers at once.

SEARCHED = 2000  # images that a search for a plan measures accuracy on

DESCRIPTION = "Residual-era networks for Keras 3: train one, quantize it, know its .tflite before it ships."


@dataclass(frozen=True)
class Quickstart:
    """Train, export, check and benchmark four small networks; write a report."""

    data: str = "digits"
    """digits (built in), cifar10, cifar100, mnist, fashion_mnist, or the path of a .npz file. A NAME.npz in the
    folder $KERAS_RESNETS_DATA comes before a download."""
    models: tuple[str, ...] = ("plain20", "resnet20", "mobilenetv2_x0_5_cifar", "shufflenetv2_x0_5_cifar")
    """Registered names; see `keras-resnets list`."""
    epochs: int = 4
    """Passes over the training set."""
    out: Path = Path("runs/quickstart")
    """Folder of report.html, results.json and the .tflite files; an earlier report there is replaced."""
    seed: int = 0
    """Seed of initialisation, shuffling and calibration."""

    def run(self) -> None:
        from recipes.progress import console
        from recipes.quickstart import quickstart

        quickstart(self.models, self.data, self.epochs, self.out, self.seed)
        console.print(f"report: {self.out / 'report.html'}", soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class Train(TrainConfig):
    """Train a network; write model.keras, history.csv, config.json and curves.png."""

    out: Path
    """Folder for the results."""
    config: str | None = None
    """A published result whose settings are the defaults of all other options; see `keras-resnets configs`."""
    resume: bool = False
    """Go on with a run that was interrupted; its other options must be those it was started with."""
    overwrite: bool = False
    """Replace a run that is in the folder already."""
    checkpoint_steps: int = 1000
    """Steps between checkpoints within an epoch; there is one behind every epoch, too."""
    workers: int | None = None
    """Processes that decode the images of a folder; None: one for each processor but one, shared by the processes of
    torchrun."""
    tensorboard: bool = False
    """Write the history as event files for TensorBoard, too; needs the extra `tensorboard`."""
    distribute: bool = False
    """Share every batch among all devices of this machine (TensorFlow, JAX), of all hosts (JAX: with
    $KERAS_DISTRIBUTION_JOB_ADDRESSES, ..._NUM_PROCESSES and ..._PROCESS_ID on each) or all processes that torchrun has
    started (PyTorch); without dropout and stochastic depth, the weights become those of one device with the same
    batches."""
    smoke: bool = False
    """Train for two steps on images that are made up, in the shape of the data, and write into the folder `smoke` of
    the results: does all of it work?"""

    def run(self) -> None:
        from export.report.formats import counted
        from keras_resnets import get_variant
        from recipes._backend import Spread, spread
        from recipes.progress import console
        from recipes.sources import made_up, open_source
        from recipes.train import check, check_run, close_run, is_finished, open_run, save, train

        config = TrainConfig(**{field.name: getattr(self, field.name) for field in fields(TrainConfig)})
        if self.checkpoint_steps < 1:
            _fail(f"checkpoint_steps must be at least 1, got {self.checkpoint_steps}")
        over = spread() if self.distribute else Spread()
        is_first = over.rank == 0
        console.quiet = not is_first
        out, overwrite = (self.out / "smoke", True) if self.smoke else (self.out, self.overwrite)
        resume = self.resume and not self.smoke
        if resume and not overwrite and is_finished(config, out):
            console.print(f"{out} holds this run, to its end: nothing is left to do", soft_wrap=True)
            return
        config.check()  # what is wrong without the data is said before they are read
        get_variant(config.model)
        if is_first and out.exists():
            check_run(out, resume=resume, overwrite=overwrite)
        made = made_up(config, over.multiple) if self.smoke else None
        if not is_first:
            over.wait()  # until the first one has downloaded and checked what there is
        config, data = made or (config, open_source(config.data, config.image_size, self.workers))
        if is_first:
            over.wait()
        check(config, data)
        if is_first:
            open_run(config, out, self.checkpoint_steps, resume=resume, overwrite=overwrite)
        over.wait()
        run = train(
            config,
            data,
            folder=out,
            resume=resume,
            every=self.checkpoint_steps,
            tensorboard=self.tensorboard,
            over=over,
        )
        if not is_first:
            return
        save(run, data, out)
        close_run(out)
        made_up_images = " on images that are made up" if self.smoke else ""
        console.print(
            f"{out / 'model.keras'}: test accuracy {run.accuracy:.2%} after {counted(config.epochs, 'epoch')}, "
            f"{run.seconds:.0f} s{made_up_images}",
            soft_wrap=True,
        )


@dataclass(frozen=True)
class Configs:
    """List the settings of published results that `train --config` takes."""

    def run(self) -> None:
        from recipes.configs import list_configs
        from recipes.progress import console

        for name, summary in list_configs().items():
            console.print(f"{name:<28} {summary}", soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class Degradation(DegradationConfig):
    """Train plain and residual networks of the same depths and width; write curves.png and degradation.json."""

    out: Path
    """Folder for the results, with a folder for each network."""
    resume: bool = False
    """Go on with an experiment that was interrupted: networks that are trained already stay."""
    overwrite: bool = False
    """Start again where an experiment is in the folder already."""

    def run(self) -> None:
        from export.report.formats import counted
        from recipes.degradation import degradation, sentences, table
        from recipes.progress import console

        config = DegradationConfig(**{field.name: getattr(self, field.name) for field in fields(DegradationConfig)})
        outcomes = degradation(config, self.out, resume=self.resume, overwrite=self.overwrite)
        console.print(table(outcomes, f"{self.data}, {counted(self.epochs, 'epoch')}, seed {self.seed}"))
        for sentence in sentences(outcomes):
            console.print(sentence, soft_wrap=True)
        console.print(f"curves: {self.out / 'curves.png'}", soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class _Runs:
    """Options of commands that can repeat a run and go on with it."""

    out: Path
    """Folder for the results."""
    seeds: int = 1
    """Runs, with this and the following seeds; the scores are their mean and standard deviation."""
    resume: bool = False
    """Go on with a run that was interrupted; its other options must be those it was started with."""
    overwrite: bool = False
    """Start again where a run is in the folder already."""

    def _open(self, config: "AddaConfig | DcganConfig | GanConfig", prolongs: Sequence[str] = ()) -> dict[int, Path]:
        from dataclasses import asdict

        from recipes.runs import open_runs

        seeds = _seeds(config.seed, self.seeds)
        return open_runs(
            self.out, asdict(config), seeds, resume=self.resume, overwrite=self.overwrite, prolongs=prolongs
        )


@dataclass(frozen=True, kw_only=True)
class _Game(_Runs):
    """Options of commands that generate images."""

    scorer: Path | None = None
    """A classifier of the same data, the model.keras of `keras-resnets train`, in whose features samples are scored;
    None: a LeNet-5 (in colour a ResNet-8) is trained first."""
    inception: Path | None = None
    """pytorch-fid's pt_inception-2015-12-05-6726825d.pth, for the Fréchet distance as it is published, and precision
    and recall in the same features;
    None: in those of the scorer, which compare runs of this project alone."""

    def _play(self, config: "DcganConfig | GanConfig") -> None:
        from dataclasses import asdict, replace

        from recipes.data import load, pixel_limit
        from recipes.generation import (
            SCORES,
            Scorer,
            check,
            generate,
            in_bytes,
            inception_features,
            read_scorer,
            train_scorer,
            white_of,
        )
        from recipes.progress import console
        from recipes.runs import write_metrics

        loaded = load(config.data)
        data = in_bytes(loaded)
        check(config, data)
        given = read_scorer(self.scorer, data) if self.scorer else None
        inception = inception_features(self.inception, data.image_shape) if self.inception else None
        folders = self._open(config, prolongs=["epochs"])
        white = white_of(given, data, pixel_limit(loaded.x_train)) if given else 255
        scorer = Scorer(given or train_scorer(data, self.out / "scorer.keras"), inception, white)
        runs = [
            generate(replace(config, seed=seed), data, scorer, folder, resume=self.resume)
            for seed, folder in folders.items()
        ]
        metrics = write_metrics(runs, SCORES, asdict(config), self.out)
        console.print(
            f"{self.out / 'metrics.json'}: FID {metrics['fid']['mean']:.2f} ± {metrics['fid']['std']:.2f} "
            f"({runs[0]['features']}; {runs[0]['images']:,} images), precision {metrics['precision']['mean']:.1%}, "
            f"recall {metrics['recall']['mean']:.1%}, rarest class {metrics['smallest_share']['mean']:.1%} of "
            f"{runs[0]['samples']:,} samples",
            soft_wrap=True,
        )


@dataclass(frozen=True, kw_only=True)
class Gan(_Game, GanConfig):
    """Train a fully connected GAN; write samples, a film of them, curves, generator.keras and metrics.json."""

    def run(self) -> None:
        self._play(GanConfig(**{field.name: getattr(self, field.name) for field in fields(GanConfig)}))


@dataclass(frozen=True, kw_only=True)
class Dcgan(_Game, DcganConfig):
    """Train a DCGAN; write samples, a film of them, curves, generator.keras and metrics.json."""

    def run(self) -> None:
        self._play(DcganConfig(**{field.name: getattr(self, field.name) for field in fields(DcganConfig)}))


@dataclass(frozen=True, kw_only=True)
class Adda(_Runs, AddaConfig):
    """Adapt a classifier to a domain without its labels; write target_model.keras, a feature plot and metrics.json."""

    def run(self) -> None:
        from dataclasses import asdict, replace

        from recipes.adda import ACCURACIES, adapt, check
        from recipes.progress import console
        from recipes.runs import write_metrics

        config = AddaConfig(**{field.name: getattr(self, field.name) for field in fields(AddaConfig)})
        check(config)
        folders = self._open(config)
        runs = [adapt(replace(config, seed=seed), folder, resume=self.resume) for seed, folder in folders.items()]
        metrics = write_metrics(runs, ACCURACIES, asdict(config), self.out)
        for key in ACCURACIES:
            console.print(f"{key.replace('_', ' '):<18} {metrics[key]['mean']:.2%} ± {metrics[key]['std']:.2%}")
        console.print(f"results: {self.out / 'metrics.json'}", soft_wrap=True)


def _seeds(first: int, count: int) -> range:
    from keras_resnets import UsageError

    if count < 1:
        raise UsageError(f"--seeds {count}: give at least 1")
    if first + count > 2**32:
        raise UsageError(f"--seeds {count} from --seed {first}: the last one is above 2**32 - 1")
    return range(first, first + count)


@dataclass(frozen=True, kw_only=True)
class Compress(CompressConfig):
    """Prune, cluster or train a model for int8; write its .tflite, and compare it with that of the model as it was."""

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """A .keras file, from any backend."""
    out: Path | None = None
    """Folder for the results; None: beside the model, named after the methods."""
    overwrite: bool = False
    """Replace results that are in the folder already."""

    def run(self) -> None:
        from recipes.compress import compress, table
        from recipes.progress import console

        config = CompressConfig(**{field.name: getattr(self, field.name) for field in fields(CompressConfig)})
        rows = compress(self.model, config, self.out, overwrite=self.overwrite)
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

        if self.mode != "mixed" or self.plan or data is None or calibration is None or self.budget is None:
            raise UsageError("--budget searches a plan: give --mode mixed and --data, and no --plan")
        if len(data.x_train) == len(calibration.images):  # all that was read of a folder
            raise UsageError(
                "--budget searches on training images that do not calibrate: give fewer --images, in place of a folder "
                "a .npz"
            )
        import numpy as np

        rest = np.setdiff1d(np.arange(len(data.x_train)), calibration.indices)
        labels = data.y_train[rest]
        chosen = list(pick_calibration(rest, labels, data.name, count=SEARCHED, seed=self.seed).indices)
        images = data.x_train[rest[chosen]]
        return search_plan(model, calibration, images, labels[chosen], budget=self.budget, clipping=self.clipping)

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
    """Engines of quantization-aware training; none: --engines with nothing behind it."""
    epochs: int = 1
    """Passes over the training set for quantization-aware training."""

    def run(self) -> None:
        from export.report.rows import terminal_table
        from recipes.progress import console
        from recipes.sweep import sweep

        rows = sweep(self.models, self.modes, self.engines, self.epochs, self.out)
        console.print(terminal_table(rows, "LiteRT, batch 1, 1 thread"))
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
        model = load_model(self.model)
        check_exportable(model)
        _, picked = hold(open_source(self.data), model.input_shape[1:], count=self.images, seed=self.seed)
        found = diagnose(model, self.file, picked.images)
        title = f"{self.file}: where noise enters, over {counted(len(picked.images), 'image')}"
        console.print(noise_table(found, self.worst, title))
        if self.plot:
            with replacing(self.plot) as part:
                draw_diagnosis(found).savefig(part, dpi=110)


@dataclass(frozen=True)
class Bench:
    """Measure networks and files on every kind of edge runtime; write report.html, report.md, results.csv and .json."""

    models: Annotated[Positional[tuple[str, ...]], arg(metavar="MODELS")] = ()
    """.tflite files; .keras files, which are exported first; registered names, which are built with random weights:
    latency, size and memory only."""
    suite: Literal["cifar", "imagenet"] | None = None
    """Add every registered network that is small enough for the edge, residual ones and baselines."""
    data: str | None = None
    """Data whose test images are classified and whose training images calibrate: those the models were trained on.
    None: as the config.json beside a .keras file says, else latency, size and memory only."""
    runtime: tuple[Literal["litert", "tflm", "vela", "browser", "android"], ...] | None = None
    """Where to run: litert (phones and computers, XNNPACK), tflm (microcontrollers, TFLite Micro), vela (NPUs, Arm
    Ethos-U, estimated), browser (LiteRT.js in Chromium), android (a phone, through adb); None: all that are there."""
    modes: tuple[str, ...] = ("float32", "int8")
    """How to export .keras files and registered names; see `keras-resnets export`."""
    io: Literal["float32", "uint8", "int8"] = "uint8"
    """Type of input and output of what is exported in mode int8. uint8 runs on every runtime; int8 takes two operations
    less on microcontrollers and NPUs, and no browser."""
    threads: tuple[int, ...] | None = None
    """Numbers of threads on litert; None: 1, 2 and all cores."""
    reference: Path | None = None
    """The .keras file that .tflite files were exported from; adds the agreement of those that were."""
    out: Path = Path("runs/bench")
    """Folder of the report and of what is exported; an earlier report there is replaced."""
    seed: int = 0
    """Seed of random weights, calibration and noise."""

    def run(self) -> None:
        from export.environment import cores
        from export.report.bench import bench_table, write_report
        from recipes.bench import bench, choose_runtimes, suite
        from recipes.progress import console

        threads = (1, 2, cores()) if self.threads is None else self.threads
        results = bench(
            [*self.models, *(suite(self.suite) if self.suite else ())],
            runtimes=choose_runtimes(self.runtime, threads),
            source=self.data,
            modes=self.modes,
            io=self.io,
            reference=self.reference,
            out=self.out,
            seed=self.seed,
        )
        write_report(results, self.out)
        console.print(bench_table(results))
        console.print(f"report: {self.out / 'report.html'}", soft_wrap=True)


@dataclass(frozen=True)
class Compare:
    """Show what got faster or slower, smaller or larger between two runs of bench; exit code 1 on a regression."""

    before: Annotated[Positional[Path], arg(metavar="BEFORE")]
    """The results.json to compare with."""
    after: Annotated[Positional[Path], arg(metavar="AFTER")]
    """The results.json in question."""
    tolerance: float = 0.05
    """Share by which a cost may grow, or an accuracy fall: 0.05 for 5%. A latency counts as worse only where the whole
    interval of its ratio lies above."""

    def run(self) -> None:
        from export.compare import compare, comparison_table, remarks
        from export.results import read_results
        from keras_resnets import UsageError
        from recipes.progress import console

        if not 0 <= self.tolerance < float("inf"):
            raise UsageError(f"--tolerance {self.tolerance}: give a share from 0, such as 0.05")
        comparison = compare(read_results(self.before), read_results(self.after), self.tolerance)
        shown = comparison_table(comparison, f"{self.before} -> {self.after}")
        if shown.row_count:
            console.print(shown)
        for line in remarks(comparison):
            console.print(line, soft_wrap=True)
        if comparison.is_regression:
            raise SystemExit(1)


@dataclass(frozen=True)
class Choose:
    """Name the most accurate file within limits of a device, and what each limit costs in accuracy."""

    results: Annotated[Positional[Path], arg(metavar="RESULTS")]
    """The results.json of bench."""
    max_latency: str | None = None
    """Longest median latency on LiteRT at 1 thread, such as 2ms or 800us."""
    max_bytes: str | None = None
    """Largest file, such as 100k or 1.5MB; k is 1,000 bytes and Ki is 1,024."""
    max_arena: str | None = None
    """Largest tensor arena on TFLite Micro, such as 64Ki."""
    max_npu: str | None = None
    """Longest time on the smallest Ethos-U, such as 5ms."""

    def run(self) -> None:
        from export.choose import Limits, choose, parse_bytes, parse_time
        from export.results import read_results
        from recipes.progress import console

        limits = Limits(
            p50_ms=parse_time(self.max_latency) if self.max_latency is not None else None,
            bytes=parse_bytes(self.max_bytes) if self.max_bytes is not None else None,
            arena_bytes=parse_bytes(self.max_arena) if self.max_arena is not None else None,
            npu_ms=parse_time(self.max_npu) if self.max_npu is not None else None,
        )
        choice = choose(read_results(self.results), limits)
        console.print(f"{choice.entry.name}: {choice.entry.accuracy:.2%}, {choice.entry.file}", soft_wrap=True)
        for lifted in choice.lifted:
            console.print(
                f"{lifted.limit}: costs nothing"
                if not lifted.gain
                else f"{lifted.limit}: costs {100 * lifted.gain:.2f} points; without, {lifted.entry.name}",
                soft_wrap=True,
            )
        for name, reason in choice.excluded.items():
            console.print(f"not judged: {name}: {reason}", soft_wrap=True)


@dataclass(frozen=True)
class List:
    """List the networks that can be built: name, published error, paper."""

    pattern: Annotated[Positional[str], arg(metavar="PATTERN")] = "*"
    """Shell pattern, such as 'resnet*'."""

    def run(self) -> None:
        from keras_resnets import UsageError, get_variant, list_models

        names = list_models(self.pattern)
        if not names:
            raise UsageError(f"no model matches {self.pattern!r}; `keras-resnets list` shows all of them")
        for name in names:
            variant = get_variant(name)
            error = f"{variant.error.percent:5.2f}%" if variant.error else "     -"
            print(f"{name:<26} {error}  {variant.reference}")


@dataclass(frozen=True)
class Info:
    """Show what a network costs and where it comes from."""

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """Registered name; see `keras-resnets list`."""

    def run(self) -> None:
        from keras_resnets import model_info

        info = model_info(self.model)
        height, width, channels = info.input_shape
        lines = {
            "model": info.name,
            "family": info.family,
            "paper": info.reference,
            "input": f"{height} x {width} x {channels}",
            "classes": f"{info.classes}",
            "parameters": f"{info.parameters:,} trainable ({info.total_parameters:,} with BatchNorm statistics)",
            "MACs": f"{info.macs:,} for one image",
            "depth": f"{info.depth} layers, as the paper counts them",
            "error": f"{info.error.percent}% ({info.error.source})" if info.error else "none published",
            "weights": "weights='imagenet' loads those that Keras publishes"
            if info.published_weights
            else "none published",
            "options": ", ".join(info.options),
        }
        for key, value in lines.items():
            print(f"{key:<11} {value}")


COMMANDS: dict[str, Callable[..., Any]] = {
    "quickstart": Quickstart,
    "train": Train,
    "configs": Configs,
    "degradation": Degradation,
    "gan": Gan,
    "dcgan": Dcgan,
    "adda": Adda,
    "compress": Compress,
    "export": Export,
    "bench": Bench,
    "compare": Compare,
    "choose": Choose,
    "sweep": Sweep,
    "diagnose": Diagnose,
    "list": List,
    "info": Info,
}
Command = (
    Quickstart
    | Train
    | Configs
    | Degradation
    | Gan
    | Dcgan
    | Adda
    | Compress
    | Export
    | Bench
    | Compare
    | Choose
    | Sweep
    | Diagnose
    | List
    | Info
)


def main() -> None:
    """Runs the command; a caller's mistake ends in one line on stderr and exit code 2."""
    # as behind Ctrl-C, what was begun is cleared away: the default would leave temporary folders and child processes;
    # a process of torchrun ends at once, it may wait for the others in PyTorch's own code
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        command = _parse(sys.argv[1:])
        with _native_logs_muted():
            _run(command)
            sys.stdout.flush()
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except _Terminated:
        _leave("terminated", 128 + signal.SIGTERM)
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has gone: that is no mistake
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Terminated(BaseException):
    """The process is asked to end."""


def _terminate(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: nothing is to interrupt the clearing away
    raise _Terminated


def _parse(arguments: list[str]) -> Command:
    """Lets tyro read the arguments, and brings the box it draws around a mistake down to one line."""
    default = _configured(arguments)
    drawn = io.StringIO()
    try:
        with contextlib.redirect_stderr(drawn):
            if default:
                return tyro.cli(Train, args=arguments[1:], default=default, prog="keras-resnets train")
            return tyro.extras.subcommand_cli_from_dict(
                COMMANDS, args=arguments, prog="keras-resnets", description=DESCRIPTION
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        lines = [line.strip("│╭╮╰╯─ ") for line in drawn.getvalue().splitlines()[1:]]
        message = " ".join(line for line in itertools.takewhile(bool, lines))
        known = [word for word in arguments[:1] if word in COMMANDS]
        _fail(f"{message}; see `{' '.join(['keras-resnets', *known, '--help'])}`")


def _configured(arguments: list[str]) -> Train | None:
    """The defaults of `train --config NAME`: they must be known before the other options are read."""
    from recipes.configs import find_config

    named = itertools.pairwise(argument for word in arguments for argument in word.split("=", 1))
    name = next((value for option, value in named if option == "--config"), None)
    if arguments[:1] != ["train"] or name is None:
        return None
    try:
        config = find_config(name)
    except LookupError as error:
        _fail(str(error.args[0]))
    settings = {field.name: getattr(config, field.name) for field in fields(config)}
    return Train(**settings, config=name, out=tyro.MISSING)


def _run(command: Command) -> None:
    try:
        import keras  # noqa: F401
    except (ValueError, ImportError) as error:  # Keras's answer to a backend that it does not have
        backend = os.environ.get("KERAS_BACKEND", "")
        _fail(
            f"cannot load Keras with KERAS_BACKEND={backend!r} ({error}); use tensorflow, jax or torch and install it"
        )
    from keras_resnets import UsageError

    try:
        command.run()
    except UsageError as error:
        _fail(str(error))
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk, a file that became unreadable
        if error.strerror is None:
            _fail(str(error))
        _fail(f"{error.filename or 'file'}: {error.strerror or error}; free or choose another place and try again")


def _fail(message: str) -> NoReturn:
    _complain(message)
    raise SystemExit(2)


def _leave(message: str, code: int) -> NoReturn:
    """As `_fail`, without taking the interpreter down, where JAX crashes if one of its steps was interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        with contextlib.suppress(BrokenPipeError):  # whoever read may have been interrupted, too
            _complain(message)
        atexit._run_exitfuncs()
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
    finally:
        os._exit(code)


def _complain(message: str) -> None:
    print(f"keras-resnets: error: {' '.join(message.split())}", file=sys.stderr)


@contextlib.contextmanager
def _native_logs_muted() -> Iterator[None]:
    """Keeps what native libraries write to file descriptor 2 off the terminal; Python's own stderr stays.

    TensorFlow logs some lines before it has read any log level. Whoever sets TF_CPP_MIN_LOG_LEVEL sees all.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # its Python half: retracing, deprecations
    terminal = os.dup(2)
    python_stderr = sys.stderr
    with Path(os.devnull).open("w") as nowhere, os.fdopen(os.dup(terminal), "w", buffering=1) as stderr:
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = stderr
        try:
            yield
        finally:
            sys.stderr = python_stderr
            os.dup2(terminal, 2)
            os.close(terminal)


if __name__ == "__main__":
    main()
