"""Averages of weights and statistics, from a step of training to what is tested and kept."""

import keras
import numpy as np

from keras_resnets import create_model
from recipes._backend import native
from recipes.augment import Augmented
from recipes.averages import AveragedInTests, AveragedStatistics

KEEP, STEPS, SIZE = 0.8, 5, 8


def test_weights_and_statistics_are_averaged_over_the_same_steps(data):
    keras.utils.set_random_seed(0)
    network = native(create_model("resnet8", classes=4, input_shape=data.image_shape, include_preprocessing=True))
    averages = AveragedStatistics(network, KEEP)
    model = Augmented(network, (), averages=averages)
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=KEEP), "sparse_categorical_crossentropy")
    images, labels = data.x_train[: STEPS * SIZE], data.y_train[: STEPS * SIZE]
    model(images[:1])  # its variables come to be
    seen: list[list[np.ndarray]] = []

    class Seen(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(self.model.network.get_weights())

        def on_epoch_end(self, epoch, logs=None):
            seen.append(self.model.network.get_weights())  # behind the test

    tested: list[list[np.ndarray]] = []

    class Tested(keras.callbacks.Callback):
        def on_test_batch_begin(self, batch, logs=None):
            tested.append(self.model.network.get_weights())

    model.fit(
        images,
        labels,
        batch_size=SIZE,
        validation_data=(data.x_test, data.y_test),
        validation_batch_size=len(data.x_test),
        verbose=0,
        callbacks=[AveragedInTests(averages), Seen(), Tested()],
    )
    *steps, behind = seen
    expected = steps[0]
    for step in steps[1:]:
        expected = [KEEP * mean + (1 - KEEP) * now for mean, now in zip(expected, step, strict=True)]
    for found in (tested[0], network.get_weights()):
        for weight, one, other in zip(network.weights, found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=weight.path)
    for one, other in zip(behind, steps[-1], strict=True):
        np.testing.assert_array_equal(one, other)  # training would go on with the weights themselves
    moved = [one for one in network.weights if "moving" in one.path]
    assert len(averages.averages) == len(moved) > 0
