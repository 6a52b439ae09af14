"""Averages over steps: of weights in a training run, which the optimizer keeps, and of BatchNorms' statistics."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_resnets import iter_layers


class AveragedStatistics(keras.layers.Layer):
    """Averages of the statistics that BatchNorms have gathered: those of the weights in training do not fit averages.

    Args:
        network: Whose BatchNorms.
        keep: Share of itself that an average keeps in a step, as the optimizer's `ema_momentum`.
    """

    def __init__(self, network: keras.Model, keep: float) -> None:
        super().__init__(dtype="float32")
        norms = [layer for layer in iter_layers(network) if isinstance(layer, keras.layers.BatchNormalization)]
        self.norms, self.keep = norms, keep
        self.begun = self.add_weight((), "zeros", trainable=False, name="begun")
        self.averages = [
            self.add_weight(one.shape, "zeros", trainable=False, name="average") for one in self.statistics()
        ]
        self.built = True

    def statistics(self) -> list[keras.Variable]:
        """The statistics themselves, in the order of their averages."""
        return [one for norm in self.norms for one in (norm.moving_mean, norm.moving_variance)]

    def update(self) -> None:
        """Takes in the statistics after a step."""
        keep = self.keep * self.begun  # the first ones are the average
        for average, now in zip(self.averages, self.statistics(), strict=True):
            average.assign(keep * average + (1 - keep) * now)
        self.begun.assign(ops.ones(()))


class AveragedInTests(keras.callbacks.Callback):
    """Lets a network be tested with averages, and trained on with the weights themselves; it ends with the averages.

    Keras 3.15's own callback for this, SwapEMAWeights, loses the weights on PyTorch on a CPU: it keeps a view of them.

    References: Polyak & Juditsky 1992, DOI 10.1137/0330046.
    """

    def __init__(self, statistics: AveragedStatistics) -> None:
        super().__init__()
        self._statistics = statistics

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        averages = [one for one in optimizer.variables if one.path.endswith("_average")]
        _swap(self.model.trainable_variables, averages)
        _swap(self._statistics.statistics(), self._statistics.averages)

    on_test_end = on_test_begin

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        for one, average in zip(self._statistics.statistics(), self._statistics.averages, strict=True):
            one.assign(np.array(ops.convert_to_numpy(average.value)))  # of the weights `fit` has done so


def gather_statistics(network: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Gives BatchNorms the means, over some batches, of the statistics that they have in each."""
    norms = [layer for layer in iter_layers(network) if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for number, batch in enumerate(batches):
        for norm in norms:
            norm.momentum = number / (number + 1)
        network(batch, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _swap(weights: list[keras.Variable], averages: list[keras.Variable]) -> None:
    for weight, average in zip(weights, averages, strict=True):
        before, mean = (np.array(ops.convert_to_numpy(one.value)) for one in (weight, average))
        weight.assign(mean)
        average.assign(before)
