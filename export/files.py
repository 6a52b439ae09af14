"""Writing files so that a reader never meets half of one."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keras_resnets.errors import UsageError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, with the same suffix, and renames it to `path` on success.

    If the body raises, `path` stays as it was and the temporary file is gone.

    Raises:
        UsageError: If the folder cannot be written.
        OSError: Of the body; its `filename` is `path` where it names none.
    """
    ensure_folder(path.parent)
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; name a file")
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o666 & ~_umask())  # mkstemp makes private files
        part.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say which file it was
        raise
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes what JSON takes, indented; numbers that are not finite are a ValueError."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def ensure_folder(folder: Path) -> Path:
    """Creates `folder` where it is missing and proves that a file can be written into it.

    Raises:
        UsageError: If it cannot; the message names the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror}; choose another place") from error
    return folder


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
