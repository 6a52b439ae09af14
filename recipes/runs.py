"""The folder of a run of one or several seeds, which the same command can go on with."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.files import ensure_folder, replacing
from keras_resnets import UsageError

STATE = ("checkpoint.npz", "source_model.keras", "supervised_model.keras", "scorer.keras", "metrics.json")


def open_runs(
    out: Path,
    config: Mapping[str, Any],
    seeds: Sequence[int],
    *,
    resume: bool,
    overwrite: bool,
    prolongs: Sequence[str] = (),
) -> dict[int, Path]:
    """Prepares a folder for runs that differ in their seeds, and notes what decides them in its `config.json`.

    Args:
        out: The folder.
        config: What decides the runs, as JSON takes it; `seed` is the first one's.
        seeds: One seed, whose files lie in `out` itself, or several, each with a folder in it.
        resume: Whether to go on with what is there; where nothing is, runs start.
        overwrite: Whether to start again where runs are.
        prolongs: Settings that a resumed run may have other values of.

    Returns:
        The folder of each seed.

    Raises:
        UsageError: If the folder holds runs and neither was asked for, or both were, or the runs there are others.
    """
    if resume and overwrite:
        raise UsageError("--resume goes on with a run, --overwrite starts again; give one of them")
    note = ensure_folder(out) / "config.json"
    folders = {seed: out / f"seed{seed}" if len(seeds) > 1 else out for seed in seeds}
    if note.exists() and not resume and not overwrite:
        raise UsageError(
            f"{out} already holds a run; pass --resume to go on, --overwrite to start again, or another --out"
        )
    if note.exists() and resume:
        _compare(note, config, prolongs)
    for folder in (out, *folders.values()):
        if overwrite:
            for name in STATE:
                (folder / name).unlink(missing_ok=True)
        ensure_folder(folder)
    with replacing(note) as part:
        part.write_text(json.dumps(dict(config), indent=2) + "\n")
    return folders


def _compare(note: Path, config: Mapping[str, Any], prolongs: Sequence[str]) -> None:
    own = json.loads(json.dumps(dict(config)))  # tuples become lists
    try:
        noted = dict(json.loads(note.read_text()))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{note} is no configuration of a run; start again with --overwrite") from error
    for key in sorted(own.keys() | noted.keys()):
        if key not in prolongs and own.get(key) != noted.get(key):
            raise UsageError(
                f"{note} says {key} = {noted.get(key)}, not {own.get(key)}; resume a run with what it was started "
                f"with, or choose another --out"
            )
