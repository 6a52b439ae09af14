"""Averages of the weights over the steps of a training run, as the optimizer keeps them."""

from typing import Any

import keras
import numpy as np


class AveragedInTests(keras.callbacks.Callback):
    """Lets a network be tested with the averages of its weights, and trained on with the weights themselves.

    Keras 3.15's own callback for this, SwapEMAWeights, loses the weights on PyTorch on a CPU: it keeps a view of them.

    References: Polyak & Juditsky 1992, DOI 10.1137/0330046.
    """

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._swap()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        self._swap()

    def _swap(self) -> None:
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        averages = [one for one in optimizer.variables if one.path.endswith("_average")]
        for weight, average in zip(self.model.trainable_variables, averages, strict=True):
            before, mean = (np.array(keras.ops.convert_to_numpy(one.value)) for one in (weight, average))
            weight.assign(mean)
            average.assign(before)
