"""Adam with its means as sums of products, which XLA updates in less time on a CPU than Keras's m + (1 - b) (g - m)."""

from typing import Any

import keras
from keras import ops


class Adam(keras.optimizers.Adam):
    """`keras.optimizers.Adam` with the same arguments, variables and, but for rounding, results."""

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        if self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        place = self._get_variable_index(variable)
        momentum, velocity = self._momentums[place], self._velocities[place]
        rate, gradient = ops.cast(learning_rate, variable.dtype), ops.cast(gradient, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        rate = rate * ops.sqrt(1 - ops.power(self.beta_2, step)) / (1 - ops.power(self.beta_1, step))
        first = self.beta_1 * momentum.value + (1 - self.beta_1) * gradient
        second = self.beta_2 * velocity.value + (1 - self.beta_2) * gradient * gradient
        self.assign(momentum, first)
        self.assign(velocity, second)
        self.assign_sub(variable, rate * first / (ops.sqrt(second) + self.epsilon))
