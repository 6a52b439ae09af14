"""Commands that train networks against each other."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from recipes.config import AddaConfig, DcganConfig, GanConfig, config_of


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

    def _open(self, config: AddaConfig | DcganConfig | GanConfig, prolongs: Sequence[str] = ()) -> dict[int, Path]:
        from recipes.runs import open_runs

        seeds = _seeds(config.seed, self.seeds)
        return open_runs(
            self.out,
            asdict(config),
            seeds,
            resume=self.resume,
            overwrite=self.overwrite,
            prolongs=prolongs,
            defaults=asdict(type(config)()),
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

    def _play(self, config: DcganConfig | GanConfig) -> None:
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
        self._play(config_of(GanConfig, self))


@dataclass(frozen=True, kw_only=True)
class Dcgan(_Game, DcganConfig):
    """Train a DCGAN; write samples, a film of them, curves, generator.keras and metrics.json."""

    def run(self) -> None:
        self._play(config_of(DcganConfig, self))


@dataclass(frozen=True, kw_only=True)
class Adda(_Runs, AddaConfig):
    """Adapt a classifier to a domain without its labels; write target_model.keras, a feature plot and metrics.json."""

    def run(self) -> None:
        from recipes.adda import ACCURACIES, adapt, check
        from recipes.progress import console
        from recipes.runs import write_metrics

        config = config_of(AddaConfig, self)
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
