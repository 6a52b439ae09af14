"""Settings of published results, one file each: `keras-resnets train --config NAME --out FOLDER`.

A file holds `CONFIG`, a `TrainConfig`, and its docstring says what it is to reach, with which command, and what was
measured with it; a file without such a line has not been run to its end here. How long it takes is reckoned from a few
steps in every file. Its first line is its summary. Options of the command come before what the file says, and `--smoke`
shows in seconds that it runs.

Papers add the gradient of (lambda / 2) |w|^2 to the loss; the decay here is decoupled and does not pass through the
momentum. With a momentum of 0.9 a paper's lambda is therefore ten times as much here, where the gradients of many steps
add up: their 1e-4 is 1e-3.
"""

import ast
import importlib
import pkgutil
from pathlib import Path

from recipes.config import TrainConfig


def list_configs() -> dict[str, str]:
    """Name and summary of each file, in the order of the alphabet; the files are read, not run."""
    folder = Path(__file__).parent
    names = (module.name for module in pkgutil.iter_modules([str(folder)]))
    trees = {name: ast.parse((folder / f"{name}.py").read_text()) for name in sorted(names) if name[0] != "_"}
    return {name: (ast.get_docstring(tree) or "").split("\n")[0] for name, tree in trees.items()}


def find_config(name: str) -> TrainConfig:
    """The settings of that name.

    Raises:
        LookupError: If there are none.
    """
    if name not in list_configs():
        raise LookupError(f"config: no settings named {name!r}; `keras-resnets configs` lists them")
    return importlib.import_module(f"recipes.configs.{name}").CONFIG
