"""The commands of `keras-resnets`: a dataclass each, whose fields are its options and `run` what it does.

Keras and the backends are imported inside `run`: `--help` answers at once.
"""

from collections.abc import Callable
from typing import Protocol

from recipes.commands.adversarial import Adda, Dcgan, Gan
from recipes.commands.exporting import Compress, Diagnose, Export, Sweep
from recipes.commands.measuring import Bench, Choose, Compare
from recipes.commands.networks import Info, List
from recipes.commands.training import Configs, Degradation, Quickstart, Train


class Command(Protocol):
    """What the command line runs."""

    def run(self) -> None:
        """Does what was asked.

        Raises:
            UsageError: If that cannot be done, with what to do instead.
        """


COMMANDS: dict[str, Callable[..., Command]] = {
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
