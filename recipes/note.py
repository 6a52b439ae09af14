"""What decides a run, noted as JSON in its folder: the same command goes on with that run, and with no other."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_resnets import UsageError


def check_resume_or_overwrite(*, resume: bool, overwrite: bool) -> None:
    """Refuses both at once."""
    if resume and overwrite:
        raise UsageError("--resume goes on with a run, --overwrite starts again; give one of them")


def compare_note(
    note: Path, settings: Mapping[str, Any], *, defaults: Mapping[str, Any], prolongs: Sequence[str] = ()
) -> None:
    """Refuses to go on with a run that other settings decided.

    Args:
        note: What was written when it was started.
        settings: What decides the run now.
        defaults: Values of settings that an earlier version did not note.
        prolongs: Settings that may have larger values now, or, where there are several values, more of them.

    Raises:
        UsageError: If a setting differs; it names the first one.
    """
    try:
        noted = _as_json(defaults) | dict(json.loads(note.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{note} does not say what decides the run there; start again with --overwrite") from error
    own = _as_json(settings)
    for key in sorted(own.keys() | noted.keys()):
        given, before = own.get(key), noted.get(key)
        if given != before and not (key in prolongs and _prolongs(before, given)):
            raise UsageError(
                f"{note} says {key} = {before}, not {given}; resume a run with what it was started with, or choose "
                f"another --out"
            )


def _prolongs(before: Any, given: Any) -> bool:
    if isinstance(before, list) and isinstance(given, list):
        # of seeds: the files of one lie elsewhere than those of several
        return len(before) > 1 and all(one in given for one in before)
    return isinstance(before, int | float) and isinstance(given, int | float) and given > before


def _as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(dict(settings))))  # tuples become lists
