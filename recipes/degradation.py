"""Plain against residual networks of the same depth and width: does a deeper one train worse?

References: He et al. 2015, arXiv:1512.03385, sections 1 and 4.2, Fig. 1 and 6.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import keras
from rich.table import Table

from export.environment import describe_environment
from export.files import ensure_folder, replacing, write_json
from export.report.formats import titled_table
from keras_resnets import UsageError, count_macs, count_parameters
from recipes.config import DegradationConfig, TrainConfig
from recipes.data import Dataset, load
from recipes.note import check_resume_or_overwrite, compare_note
from recipes.plots import draw_curves
from recipes.progress import console
from recipes.train import History, check, check_folder, close_run, finite, save, train

SCHEMA = 1
OUTCOME, RESULTS, CURVES = "outcome.json", "degradation.json", "curves.png"
LAST = ("loss", "accuracy", "val_accuracy")  # what the networks are compared by, after the last epoch
# Settings of the training; drop_path is of the networks that are compared
NAMES, OWN = ({field.name for field in fields(kind)} for kind in (TrainConfig, DegradationConfig))
SHARED = (NAMES & OWN) - {"drop_path"}


@dataclass(frozen=True)
class Network:
    """One network of the experiment.

    Attributes:
        kind: "plain" or "residual".
        depth: Number of layers.
        options: Fields of its spec that are compared.
    """

    kind: str
    depth: int
    options: dict[str, Any]

    @property
    def model(self) -> str:
        """Its registered name."""
        return f"{'plain' if self.kind == 'plain' else 'resnet'}{self.depth}"

    @property
    def label(self) -> str:
        """By which it is told from the others."""
        return " ".join([self.model, *self._options])

    @property
    def group(self) -> str:
        """The same without the depth: what is compared over depths."""
        return " ".join([self.kind, *self._options])

    @property
    def _options(self) -> list[str]:
        return [f"{key}={value}" for key, value in self.options.items()]


@dataclass(frozen=True)
class Outcome:
    """What training a network came to.

    Attributes:
        network: The network.
        parameters: Trainable parameters.
        macs: Multiply-accumulates of one image.
        history: One value an epoch of loss, accuracy, val_loss and val_accuracy (val: the test set).
        seconds: Time of the training.
    """

    network: Network
    parameters: int
    macs: int
    history: History
    seconds: float


@dataclass(frozen=True)
class Degradation:
    """How much worse the deepest network of a kind trains than the shallowest.

    Attributes:
        label: Kind and options.
        shallow: Fewest layers.
        deep: Most layers.
        loss: Training loss of the deepest in the last epoch, minus that of the shallowest: above 0, depth harms.
        error: The same of the training error, as a share.
        test_error: The same of the test error.
    """

    label: str
    shallow: int
    deep: int
    loss: float
    error: float
    test_error: float


def networks(config: DegradationConfig) -> list[Network]:
    """The networks of an experiment: only what takes more values than one becomes part of their names.

    A plain network has no shortcut to choose and no branch to drop.
    """
    norms = [{"norm": norm} if len(config.norm) > 1 or norm != "batch" else {} for norm in config.norm]
    shortcuts = [{"shortcut": one} if len(config.shortcut) > 1 or one != "A" else {} for one in config.shortcut]
    drops = [{"drop_path": rate} if len(config.drop_path) > 1 or rate else {} for rate in config.drop_path]
    found = []
    for depth in config.depths:
        found += [Network("plain", depth, norm) for norm in norms]
        found += [Network("residual", depth, a | b | c) for a, b, c in itertools.product(shortcuts, norms, drops)]
    return found


def degradation(config: DegradationConfig, out: Path, *, resume: bool, overwrite: bool) -> list[Outcome]:
    """Trains every network with the same seed and schedule; writes a folder each, curves.png and degradation.json.

    Args:
        config: What decides the experiment.
        out: The folder.
        resume: Whether to go on with an experiment: networks that are trained already stay, one that was interrupted
            goes on after its last epoch.
        overwrite: Whether to train again what is there.

    Returns:
        What each network came to, in the order of `networks`.

    Raises:
        UsageError: If a setting is out of range, a network or the data is unknown, or the folder holds an experiment
            and neither `resume` nor `overwrite` is set, or another one.
    """
    config.check()
    data, wanted = load(config.data), networks(config)
    shared = {key: getattr(config, key) for key in SHARED}
    trainings = [TrainConfig(model=network.model, **shared) for network in wanted]
    for training in trainings:
        check(training, data)
    _open(config, out, [_folder(network, out) for network in wanted], resume=resume, overwrite=overwrite)
    outcomes = []
    for network, training in zip(wanted, trainings, strict=True):
        folder = _folder(network, out)
        outcome = _read(network, folder) if resume else None
        outcomes.append(outcome or _train(network, training, data, ensure_folder(folder), resume=resume))
    with replacing(out / CURVES) as part:
        draw_curves({one.network.label: one.history for one in outcomes}).savefig(part, dpi=150)
    write_json(out / RESULTS, _describe(config, outcomes))
    return outcomes


def _folder(network: Network, out: Path) -> Path:
    return out / network.label.replace(" ", "-").replace("=", "-")


def _open(config: DegradationConfig, out: Path, folders: list[Path], *, resume: bool, overwrite: bool) -> None:
    """Notes what decides the experiment in `config.json`, and finds one that is there."""
    check_resume_or_overwrite(resume=resume, overwrite=overwrite)
    note = ensure_folder(out) / "config.json"
    own = asdict(config) | {"backend": keras.backend.backend()}
    if note.exists() and not overwrite:
        if not resume:
            raise UsageError(f"{out} already holds an experiment; pass --resume or --overwrite, or another --out")
        compare_note(note, own, defaults=asdict(DegradationConfig()))
    for folder in folders if not note.exists() and not overwrite else ():  # a model there is of another run
        if folder.exists():
            check_folder(folder, overwrite=False)
    for folder in folders if overwrite else ():  # nothing there may pass for a result of this experiment
        (folder / OUTCOME).unlink(missing_ok=True)
        close_run(folder)
    for name in (RESULTS, CURVES) if overwrite else ():
        (out / name).unlink(missing_ok=True)
    write_json(note, own)


def _train(network: Network, training: TrainConfig, data: Dataset, folder: Path, *, resume: bool) -> Outcome:
    console.print(network.label, soft_wrap=True)
    run = train(training, data, folder=folder, resume=resume, **network.options)
    costs = count_parameters(run.model), count_macs(run.model)
    outcome = Outcome(network, *costs, finite(run.history), run.seconds)
    save(run, data, folder)
    write_json(folder / OUTCOME, asdict(outcome))  # the last: it says that the rest is whole
    close_run(folder)
    return outcome


def _read(network: Network, folder: Path) -> Outcome | None:
    """What a network came to before the experiment was interrupted; None if it did not come so far."""
    try:
        found = json.loads((folder / OUTCOME).read_text())
        return Outcome(network, found["parameters"], found["macs"], found["history"], found["seconds"])
    except (OSError, ValueError, KeyError):
        return None


def degradations(outcomes: Sequence[Outcome]) -> Iterator[Degradation]:
    """Deepest against shallowest, for each kind and its options, where there are two depths."""
    for group in dict.fromkeys(outcome.network.group for outcome in outcomes):
        same = [one for one in outcomes if one.network.group == group]
        shallow, deep = (pick(same, key=lambda one: one.network.depth) for pick in (min, max))
        if deep is shallow:
            continue
        before, after = ([one.history[key][-1] for key in LAST] for one in (shallow, deep))
        loss, accuracy, test = (new - old for new, old in zip(after, before, strict=True))
        yield Degradation(group, shallow.network.depth, deep.network.depth, loss, -accuracy, -test)


def _describe(config: DegradationConfig, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "config": asdict(config),
        "backend": keras.backend.backend(),
        "environment": describe_environment(),
        "networks": [{"label": one.network.label, **asdict(one)} for one in outcomes],
        "degradation": [asdict(one) for one in degradations(outcomes)],
    }


def table(outcomes: Sequence[Outcome], title: str) -> Table:
    """The last epoch of every network."""
    made = titled_table(title)
    made.add_column("network", overflow="fold")
    for column in ("parameters", "MACs", "training loss", "training accuracy", "test accuracy"):
        made.add_column(column, justify="right", no_wrap=True)
    for one in outcomes:
        loss, accuracy, test_accuracy = (one.history[key][-1] for key in LAST)
        made.add_row(
            one.network.label,
            f"{one.parameters:,}",
            f"{one.macs / 1e6:.1f} M",
            f"{loss:.4f}",
            f"{accuracy:.2%}",
            f"{test_accuracy:.2%}",
        )
    return made


def sentences(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The degradation of each kind in words."""
    for one in degradations(outcomes):
        verb = "worse" if one.loss > 0 else "no worse"
        yield (
            f"{one.label}: {one.deep} layers train {verb} than {one.shallow}: training loss {one.loss:+.4f}, training "
            f"error {100 * one.error:+.2f} points, test error {100 * one.test_error:+.2f} points"
        )
