"""Commands that train classifiers."""

from dataclasses import dataclass
from pathlib import Path

from recipes.config import DegradationConfig, TrainConfig, config_of


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
    """Steps between checkpoints within an epoch; there is one after every epoch, too."""
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
        from keras_resnets import UsageError, get_variant
        from recipes._backend import Spread, spread
        from recipes.progress import console
        from recipes.sources import made_up, open_source
        from recipes.train import check, check_run, close_run, is_finished, open_run, save, train

        config = config_of(TrainConfig, self)
        if self.checkpoint_steps < 1:
            raise UsageError(f"checkpoint_steps must be at least 1, got {self.checkpoint_steps}")
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
            over.barrier()  # until the first one has downloaded and checked what there is
        config, data = made or (config, open_source(config.data, config.image_size, self.workers))
        if is_first:
            over.barrier()
        check(config, data)
        if is_first:
            open_run(config, out, self.checkpoint_steps, resume=resume, overwrite=overwrite)
        over.barrier()
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

        config = config_of(DegradationConfig, self)
        outcomes = degradation(config, self.out, resume=self.resume, overwrite=self.overwrite)
        console.print(table(outcomes, f"{self.data}, {counted(self.epochs, 'epoch')}, seed {self.seed}"))
        for sentence in sentences(outcomes):
            console.print(sentence, soft_wrap=True)
        console.print(f"curves: {self.out / 'curves.png'}", soft_wrap=True)
