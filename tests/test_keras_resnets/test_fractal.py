"""Drop-path of FractalNet: what a join keeps, which column a batch trains, and that both survive fit and file."""

from itertools import combinations

import keras
import numpy as np
import pytest
from tiny import build_tiny, randomize

from keras_resnets import UsageError
from keras_resnets.families.fractal import ColumnChoice, DropPathJoin

PATHS = [np.full((1, 1, 1, 1), value, "float32") for value in (1, 2, 4)]


def draw(layer, inputs, times):
    return np.array([keras.ops.convert_to_numpy(layer(inputs, training=True)) for _ in range(times)])


def test_a_join_means_the_inputs_it_keeps_and_keeps_at_least_one():
    found = draw(DropPathJoin(0.15, seed=0), [*PATHS, np.zeros(3, "float32")], 400).ravel()
    means = {np.mean(kept) for size in (1, 2, 3) for kept in combinations((1, 2, 4), size)}
    assert all(np.isclose(value, list(means)).any() for value in found)
    assert np.mean(np.isclose(found, 7 / 3)) == pytest.approx(0.85**3, abs=0.1)
    found = draw(DropPathJoin(0.999, seed=0), [*PATHS, np.zeros(3, "float32")], 60).ravel()
    assert {round(float(value)) for value in found} == {1, 2, 4}


def test_a_join_passes_the_chosen_column_alone_where_it_has_it():
    join = DropPathJoin(0.5, seed=0)
    for column, value in enumerate((1, 2, 4)):
        found = draw(join, [*PATHS, np.eye(3, dtype="float32")[column]], 10)
        assert np.unique(found).tolist() == [value]
    found = draw(join, [*PATHS[1:], np.eye(3, dtype="float32")[0]], 30)  # the joins of columns 2 and 3 alone
    assert np.unique(found).tolist() == [2, 3, 4]


def test_a_join_means_all_at_inference():
    found = keras.ops.convert_to_numpy(DropPathJoin(0.9)([*PATHS, np.eye(3, dtype="float32")[0]]))
    np.testing.assert_allclose(found, 7 / 3)


def test_half_of_the_batches_train_one_column():
    layer, image = ColumnChoice(3, seed=0), np.zeros((2, 8, 8, 3), "float32")
    found = draw(layer, image, 400)
    assert set(np.unique(found)) == {0, 1}
    assert set(found.sum(1)) == {0, 1}
    np.testing.assert_allclose(found.mean(0), 1 / 6, atol=0.06)
    assert not keras.ops.convert_to_numpy(layer(image)).any()


@pytest.mark.parametrize("column", [1, 2, 3])
def test_a_chosen_column_is_a_plain_network(column):
    model = randomize(build_tiny("fractal", drop_path=0.15, norm="none", classifier_activation=None))
    image = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    choice = np.eye(3, dtype="float32")[column - 1]
    chosen = keras.Model([model.inputs[0], model.get_layer("column_choice").output], model.output)
    found = keras.ops.convert_to_numpy(chosen([image, choice], training=True))
    x = image
    for stage, pool in ((1, "stage2_pool"), (2, "head_max_pool")):
        for number in range(1, 2 ** (column - 1) + 1):
            x = keras.ops.relu(model.get_layer(f"stage{stage}_column{column}_conv{number}")(x))
        x = model.get_layer(pool)(x)
    expected = model.get_layer("head_dense")(model.get_layer("head_pool")(x))
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(expected), rtol=1e-4, atol=1e-4)


def test_drop_path_trains_compiled_and_survives_the_file(tmp_path):
    keras.utils.set_random_seed(0)
    model = build_tiny("fractal", drop_path=0.15, dropout=0.4)
    images, labels = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype("float32"), np.arange(8) % 4
    model.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy")
    before = model.get_weights()
    model.fit(images, labels, batch_size=2, epochs=4, verbose=0)  # 16 batches: each column was trained in some
    assert not any(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("stage1_join1").rate == 0.15
    np.testing.assert_allclose(loaded.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-6)


def test_drop_path_changes_nothing_at_inference():
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    plain, dropping = build_tiny("fractal"), build_tiny("fractal", drop_path=0.15)
    dropping.set_weights(randomize(plain).get_weights())
    np.testing.assert_allclose(dropping.predict(images, verbose=0), plain.predict(images, verbose=0), atol=1e-6)


def test_one_column_has_nothing_to_drop():
    with pytest.raises(UsageError, match="columns=2"):
        build_tiny("fractal", columns=1, drop_path=0.15)
