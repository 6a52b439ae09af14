"""Over what a training step is spread, as the backends' modules say it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import keras


def _itself(network: keras.Model) -> Any:
    return network


def _go_on() -> None:
    pass


def _alone(numbers: Sequence[int]) -> bool:
    return True


def _same(numbers: Sequence[float]) -> list[float]:
    return list(numbers)


@dataclass(frozen=True)
class Spread:
    """Devices and processes that share every batch. A step does to the weights what it does on one device.

    Random numbers inside the network, those of dropout and stochastic depth, are others.

    Attributes:
        rank: Number of this process, from 0, which writes the files.
        processes: How many run the same command, each on its part of a batch.
        devices: How many of this process share its part.
        apart: Whether each device sees its own images alone; otherwise the step sees all of them.
        scope: In which a network is built and trained.
        network: Makes of a network one whose BatchNorms see the whole batch.
        forward: Makes of a network what computes its outputs in training.
        barrier: Returns when all processes have called it.
        agree: Whether all processes call it with the same numbers.
        mean: Means, over the processes that see their own images alone, of the numbers that all call it with.
    """

    rank: int = 0
    processes: int = 1
    devices: int = 1
    apart: bool = False
    scope: Callable[[], AbstractContextManager[Any]] = nullcontext
    network: Callable[[keras.Model], keras.Model] = _itself
    forward: Callable[[keras.Model], Callable[..., Any]] = _itself
    barrier: Callable[[], None] = _go_on
    agree: Callable[[Sequence[int]], bool] = _alone
    mean: Callable[[Sequence[float]], list[float]] = _same

    @property
    def draws(self) -> int:
        """Whose random numbers a network draws here: its own only where it is a network for itself."""
        return self.rank if self.apart else 0

    @property
    def multiple(self) -> int:
        """What the size of a batch is a multiple of; parts of it are of pairs of images, which mix with one another."""
        return self.devices * self.processes * (2 if self.apart else 1)
