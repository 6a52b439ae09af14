"""The only place where a backend is used by itself: one module a backend, the same names in each.

`Steps.train_step` lets `fit` run `Adversarial.step`; `Steps.value_and_gradients(loss, variables)` calls `loss()` and
returns its value and its gradients, and lets what the call assigns (BatchNorm statistics, random states) stand. The
gradient of a variable that the loss misses is zero. `native(network)` is a network to train in its place, where Keras's
layers cost more than the backend's own, and `portable(network)` is one to save of it. `Adam` is Keras's, or one that
comes to the same for less. `steps_late()` is how many steps a loss is read late: where another device than the CPU
computes, the host waits for an earlier step than the last, and makes and sends the next batch meanwhile. `spread()`
finds over what a training step can be spread, as a `Spread`; it raises a UsageError where that is this one device.
"""

import keras

from recipes._backend._spread import Spread

match keras.backend.backend():
    case "jax":
        from recipes._backend._jax import Steps, steps_late
        from recipes._backend._jax_adam import Adam
        from recipes._backend._jax_layers import native, portable
        from recipes._backend._jax_spread import spread
    case "torch":
        from recipes._backend._torch import Steps, steps_late  # type: ignore[assignment]
        from recipes._backend._torch_adam import Adam
        from recipes._backend._torch_layers import native, portable
        from recipes._backend._torch_spread import spread
    case "tensorflow":
        from keras.optimizers import Adam  # type: ignore[no-redef]

        from recipes._backend._keras_layers import native, portable
        from recipes._backend._tensorflow import Steps, steps_late  # type: ignore[assignment]
        from recipes._backend._tensorflow_spread import spread
    case other:
        from keras_resnets import UsageError

        raise UsageError(f"recipes run on tensorflow, jax or torch, not on {other}; set KERAS_BACKEND")

__all__ = ["Adam", "Spread", "Steps", "native", "portable", "spread", "steps_late"]
