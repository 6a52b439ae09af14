"""Gradients by TensorFlow's tape."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf


def steps_late() -> int:
    """See `recipes._backend`."""
    return 0


class Steps:
    """See `recipes._backend`."""

    step: Callable[[Any], dict[str, Any]]

    def train_step(self, data: Any) -> dict[str, Any]:
        return self.step(data)

    def value_and_gradients(
        self, loss: Callable[[], Any], variables: Sequence[keras.Variable]
    ) -> tuple[Any, Sequence[Any]]:
        values = [variable.value for variable in variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for value in values:
                tape.watch(value)
            result = loss()
        return result, tape.gradient(result, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
