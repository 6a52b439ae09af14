"""Gradients by PyTorch's autograd, for the variables asked for and no others: nothing is left in `.grad`."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import torch


def steps_late() -> int:
    """See `recipes._backend`."""
    return 0


class Steps:
    """See `recipes._backend`."""

    step: Callable[[Any], dict[str, Any]]

    def train_step(self, data: Any) -> dict[str, Any]:
        with torch.no_grad():  # graphs are built where a gradient is asked for
            return self.step(data)

    def value_and_gradients(
        self, loss: Callable[[], Any], variables: Sequence[keras.Variable]
    ) -> tuple[Any, Sequence[Any]]:
        with torch.enable_grad():
            result = loss()
        values = [variable.value for variable in variables]
        return result.detach(), torch.autograd.grad(result, values, allow_unused=True, materialize_grads=True)
