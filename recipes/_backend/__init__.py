"""The only place where a gradient is taken: one module a backend, the same class in each.

`Steps.train_step` lets `fit` run `Adversarial.step`; `Steps.value_and_gradients(loss, variables)` calls `loss()` and
returns its value and its gradients, and lets what the call assigns (BatchNorm statistics, random states) stand. The
gradient of a variable that the loss misses is zero.
"""

import keras

match keras.backend.backend():
    case "jax":
        from recipes._backend._jax import Steps
    case "torch":
        from recipes._backend._torch import Steps  # type: ignore[assignment]
    case "tensorflow":
        from recipes._backend._tensorflow import Steps  # type: ignore[assignment]
    case other:
        from keras_resnets import UsageError

        raise UsageError(f"adversarial training runs on tensorflow, jax or torch, not on {other}; set KERAS_BACKEND")

__all__ = ["Steps"]
