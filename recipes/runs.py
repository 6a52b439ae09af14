"""The folder of a run of one or several seeds, which the same command can go on with."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from export.environment import describe_environment
from export.files import ensure_folder, write_json
from keras_resnets import UsageError
from recipes.note import check_resume_or_overwrite, compare_note
from recipes.scores import summarize

SCHEMA = 1
FILES = (
    "checkpoint*.npz",
    "compress.json",
    "curves.png",
    "embedding.png",
    "film.gif",
    "generator.keras",
    "metrics.json",
    "samples/epoch_*.png",
    "scorer.keras",
    "source_model.keras",
    "source_model/*",
    "supervised_model.keras",
    "supervised_model/*",
    "target_model.keras",
)


def open_runs(
    out: Path,
    config: Mapping[str, Any],
    seeds: Sequence[int],
    *,
    resume: bool,
    overwrite: bool,
    defaults: Mapping[str, Any],
    prolongs: Sequence[str] = (),
) -> dict[int, Path]:
    """Prepares a folder for runs that differ in their seeds, and notes what decides them in its `config.json`.

    Args:
        out: The folder.
        config: What decides the runs, as JSON takes it; `seed` is the first one's.
        seeds: One seed, whose files lie in `out` itself, or several, each with a folder in it.
        resume: Whether to go on with what is there; where nothing is, runs start.
        overwrite: Whether to start again where runs are: those of their files that `FILES` matches are removed.
        defaults: Values of settings that an earlier version did not note.
        prolongs: Settings that a resumed run may have larger values of.

    Returns:
        The folder of each seed.

    Raises:
        UsageError: If the folder holds runs and neither was asked for, or both were, or the runs there are others.
    """
    check_resume_or_overwrite(resume=resume, overwrite=overwrite)
    note = ensure_folder(out) / "config.json"
    own = dict(config) | {"backend": keras.backend.backend(), "seeds": list(seeds)}
    if note.exists() and resume:
        compare_note(note, own, defaults=defaults, prolongs=(*prolongs, "seeds"))
    elif note.exists() and not overwrite:
        raise UsageError(
            f"{out} already holds a run; pass --resume to go on, --overwrite to start again, or another --out"
        )
    if overwrite:
        for folder in (out, *(one for one in out.glob("seed*") if re.fullmatch(r"seed\d+", one.name))):
            for pattern in FILES:
                for file in folder.glob(pattern):
                    file.unlink()
    folders = {seed: out / f"seed{seed}" if len(seeds) > 1 else out for seed in seeds}
    for folder in folders.values():
        ensure_folder(folder)
    write_json(note, own)
    return folders


def write_metrics(
    runs: Sequence[Mapping[str, Any]], scores: Sequence[str], config: Mapping[str, Any], out: Path
) -> dict[str, Any]:
    """Writes `metrics.json`: the runs, and mean and standard deviation of their scores over the seeds."""
    metrics = {
        "schema": SCHEMA,
        "config": dict(config),
        "backend": keras.backend.backend(),
        "environment": describe_environment(),
        "seeds": [run["seed"] for run in runs],
        **{key: summarize([run[key] for run in runs]) for key in scores},
        "runs": list(runs),
    }
    write_json(out / "metrics.json", metrics)
    return metrics
