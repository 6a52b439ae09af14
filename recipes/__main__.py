"""The command line: `keras-resnets COMMAND`, and how a command ends that cannot go on."""

import atexit
import contextlib
import io
import itertools
import logging
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import tyro

from recipes.commands import COMMANDS, Command
from recipes.commands.training import Train

DESCRIPTION = "Residual-era networks for Keras 3: train one, quantize it, know its .tflite before it ships."


def main() -> None:
    """Runs the command; a caller's mistake ends in one line on stderr and exit code 2."""
    # as after Ctrl-C, what was begun is cleared away: the default would leave temporary folders and child processes;
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
