import keras
import numpy as np
import pytest

from recipes.config import TrainConfig
from recipes.schedules import Schedule, optimizer_of


def rates(shape, steps=100, warmup=0.1):
    schedule = Schedule(shape, 1.0, steps, warmup)
    return np.array([float(schedule(step)) for step in range(steps)])


def test_a_cosine_leads_from_the_peak_to_zero():
    found = rates("cosine")
    np.testing.assert_allclose(found[:10], np.arange(1, 11) / 10, rtol=1e-6)
    np.testing.assert_allclose(found[10:], (1 + np.cos(np.pi * np.arange(90) / 90)) / 2, atol=1e-6)


def test_steps_are_a_tenth_each():
    found = rates("step", warmup=0.0)
    np.testing.assert_allclose(found, np.repeat([1.0, 0.1, 0.01], [50, 25, 25]), rtol=1e-6)


def test_one_cycle_rises_and_falls():
    found = rates("onecycle", warmup=0.3)
    assert found.argmax() in {29, 30}
    assert (np.diff(found[:30]) > 0).all()
    assert (np.diff(found[31:]) < 0).all()
    assert found[0] < 0.05
    assert found[-1] < 0.001


def test_a_single_step_trains():
    assert rates("cosine", steps=1).tolist() == rates("onecycle", steps=1).tolist() == [1.0]


def test_the_schedule_counts_batches_where_several_are_one_step():
    optimizer = optimizer_of(TrainConfig(model="resnet8", accumulate=4, learning_rate=1.0, weight_decay=0.0), 100)
    variable = keras.Variable([1.0])
    optimizer.build([variable])
    rates, weights = [], []
    for gradient in (1.0, 2.0, 3.0, 6.0, 0.0):
        rates.append(float(optimizer.learning_rate))
        optimizer.apply([keras.ops.array([gradient])])
        weights.append(float(keras.ops.convert_to_numpy(variable)[0]))
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert weights[:3] == [1.0, 1.0, 1.0]
    assert weights[3] == weights[4] == pytest.approx(1 - 0.4 * 1.9 * 3)  # the mean gradient, and Nesterov's momentum


@pytest.mark.parametrize(
    ("options", "kind", "rate", "decay"),
    [
        ({}, keras.optimizers.SGD, 0.05, 1e-4),
        ({"optimizer": "adamw"}, keras.optimizers.AdamW, 1e-3, 0.05),
        ({"optimizer": "adamw", "learning_rate": 0.2, "weight_decay": 0.0}, keras.optimizers.AdamW, 0.2, 0.0),
    ],
)
def test_an_optimizer_has_its_usual_rate_and_decay(options, kind, rate, decay):
    optimizer = optimizer_of(TrainConfig(model="resnet8", warmup=0.0, **options), 10)
    assert isinstance(optimizer, kind)
    assert float(optimizer.learning_rate) == pytest.approx(rate)
    assert optimizer.weight_decay == decay


def test_gradients_are_clipped_together():
    config = TrainConfig(model="resnet8", clip=1.0, learning_rate=1.0, warmup=0.0, weight_decay=0.0)
    optimizer = optimizer_of(config, 10)
    pair = [keras.Variable([0.0], name="a"), keras.Variable([0.0], name="b")]
    optimizer.build(pair)
    optimizer.apply([keras.ops.array([30.0]), keras.ops.array([40.0])])
    moved = [float(keras.ops.convert_to_numpy(one)[0]) for one in pair]
    assert moved[0] / moved[1] == pytest.approx(0.75)
    assert np.hypot(*moved) == pytest.approx(1.9)  # 1 + the momentum that Nesterov looks ahead with


def test_small_gradients_are_scaled_in_float16():
    optimizer = optimizer_of(TrainConfig(model="resnet8", precision="mixed_float16"), 10)
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def test_a_schedule_is_saved_with_its_optimizer():
    schedule = Schedule("onecycle", 0.3, 100, 0.2)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert float(again(17)) == float(schedule(17))
