"""Gradients by JAX, which differentiates pure functions: every variable goes in as a value and comes out as one.

A `keras.StatelessScope` stands for the variables while a function runs. A scope within a scope does not see through to
the outer one, so each maps all variables.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import keras


def steps_late() -> int:
    """See `recipes._backend`."""
    return 0 if jax.default_backend() == "cpu" else 2


class Steps:
    """See `recipes._backend`."""

    step: Callable[[Any], dict[str, Any]]
    trainable_variables: list[keras.Variable]
    non_trainable_variables: list[keras.Variable]
    metrics_variables: list[keras.Variable]
    optimizer: keras.Optimizer

    def train_step(self, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
        groups = self._variables()
        mapping = [
            pair for group, values in zip(groups, state, strict=True) for pair in zip(group, values, strict=True)
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            logs = self.step(data)
        return logs, tuple([scope.get_current_value(variable) for variable in group] for group in groups)

    def value_and_gradients(
        self, loss: Callable[[], Any], variables: Sequence[keras.Variable]
    ) -> tuple[Any, Sequence[Any]]:
        asked = {id(variable) for variable in variables}
        others = [variable for group in self._variables() for variable in group if id(variable) not in asked]

        def pure(values: list[Any], rest: list[Any]) -> tuple[Any, list[Any]]:
            mapping = [*zip(variables, values, strict=True), *zip(others, rest, strict=True)]
            with keras.StatelessScope(state_mapping=mapping) as scope:
                result = loss()
            return result, [scope.get_current_value(variable) for variable in others]

        (result, rest), gradients = jax.value_and_grad(pure, has_aux=True)(
            [variable.value for variable in variables], [variable.value for variable in others]
        )
        for variable, value in zip(others, rest, strict=True):
            variable.assign(value)
        return result, gradients

    def _variables(self) -> tuple[list[keras.Variable], ...]:
        """In the groups and the order of the state that Keras's trainer threads through."""
        return (
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
            self.metrics_variables,
        )
