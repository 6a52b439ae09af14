"""Adam as one operation of PyTorch's on a CPU, where Keras's takes eleven over all weights."""

from typing import Any

import keras
import torch

# `keras.optimizers.Adam` makes another class on PyTorch, the one to derive from
_KerasAdam: Any = type(keras.optimizers.Adam())


class Adam(_KerasAdam):
    """`keras.optimizers.Adam` with the same arguments, variables and results."""

    def _parallel_update_step(self, grads: Any, variables: Any, learning_rate: Any) -> None:
        values = [variable.value for variable in variables]
        plain = all(one.dtype == torch.float32 and one.is_contiguous() for one in values)
        # on a GPU the count would have to be waited for
        if self.amsgrad or not plain or any(one.device.type != "cpu" for one in values):
            super()._parallel_update_step(grads, variables, learning_rate)
            return
        places = [self._get_variable_index(variable) for variable in variables]
        step = keras.ops.convert_to_tensor(self.iterations).float() + 1
        torch._fused_adam_(
            values,
            [gradient.contiguous() for gradient in grads],
            [self._momentums[place].value for place in places],
            [self._velocities[place].value for place in places],
            [],
            [step] * len(values),
            lr=float(learning_rate),
            beta1=self.beta_1,
            beta2=self.beta_2,
            weight_decay=0.0,
            eps=self.epsilon / (1 - self.beta_2 ** float(step)) ** 0.5,  # PyTorch adds it after the correction
            amsgrad=False,
            maximize=False,
        )
