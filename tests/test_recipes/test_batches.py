import itertools

import keras
import numpy as np
import pytest

from recipes.augment import Mixing, augment
from recipes.batches import DistillationBatches, Stream, Targets, batches

X, Y = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1).repeat(8, 1).repeat(8, 2), np.arange(40) % 4
PLAIN = Targets(4)


def stream(seed=0, targets=PLAIN, **start):
    read = lambda chosen: X[chosen]  # noqa: E731
    return batches(read, Y, X.shape[1:], 16, seed=seed, targets=targets, transforms=("crop", "flip"), **start)


def from_number(number):
    return stream(epoch=number // 3, step=number % 3)


def same(left, right):
    (images, targets), (others, other_targets) = left, right
    return np.array_equal(targets, other_targets) and all(np.array_equal(images[key], others[key]) for key in images)


def test_every_image_comes_once_an_epoch_with_its_label():
    epoch = list(itertools.islice(stream(), 3))
    assert [len(labels) for _, labels in epoch] == [16, 16, 8]
    found = np.concatenate([batch["images"][:, 0, 0, 0] for batch, _ in epoch])
    assert sorted(found) == list(range(40))
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in epoch]), Y[found])
    assert epoch[0][0]["draws"].shape == (16, 3)
    assert "mixed" not in epoch[0][0]


@pytest.mark.parametrize("targets", [PLAIN, Targets(4, mixing=Mixing(0.2, 1.0))], ids=["plain", "mixed"])
def test_it_goes_on_in_the_middle_of_an_epoch(targets):
    whole = list(itertools.islice(stream(targets=targets), 9))
    rest = list(itertools.islice(stream(targets=targets, epoch=1, step=1), 5))
    assert all(map(same, whole[4:], rest))
    assert not same(whole[0], whole[3])
    assert not same(whole[0], next(stream(seed=1, targets=targets)))


def test_targets_are_probabilities_where_they_are_soft():
    labels = np.array([0, 1, 3])
    assert PLAIN.of(labels) is labels
    smooth = Targets(4, smoothing=0.2)
    np.testing.assert_allclose(smooth.of(labels)[0], [0.85, 0.05, 0.05, 0.05])
    np.testing.assert_array_equal(smooth.plain(labels)[2], [0, 0, 0, 1])
    mixed = Targets(4, mixing=Mixing(0.2)).of(labels, np.array([0.75, 1.0, 0.5]))
    np.testing.assert_allclose(mixed, [[0.75, 0, 0, 0.25], [0, 1, 0, 0], [0.5, 0, 0, 0.5]])
    loss = smooth.loss()(smooth.plain(labels), np.log(smooth.of(labels)))
    assert float(loss) == pytest.approx(-np.log(0.85), rel=1e-5)


def test_a_stream_may_be_looked_at_twice():
    batches = Stream(from_number)
    first = [batches[0], batches[1]]
    again = [batches[index] for index in range(7)]
    assert all(map(same, first, again))
    assert all(map(same, again, itertools.islice(stream(), 7)))


def test_a_teacher_says_of_changed_images_what_they_are():
    teacher = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4, "softmax")])
    taught = DistillationBatches(from_number, 3, ("crop", "flip"), teacher)
    assert len(taught) == 3
    expected = [
        keras.ops.convert_to_numpy(augment(batch, ("crop", "flip"))) for batch, _ in itertools.islice(stream(), 6)
    ]
    epochs = []
    for _ in range(2):
        taught[0]  # it may be looked at more than once
        epochs += [taught[place][0] for place in range(3)]
        taught.on_epoch_end()
    for images, wanted in zip(epochs, expected, strict=True):
        np.testing.assert_array_equal(images, wanted)
    images, targets = taught[0]
    np.testing.assert_allclose(targets, teacher.predict(images, verbose=0), rtol=1e-5)


def test_of_a_teacher_of_logits_its_probabilities_are_taught():
    teacher = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
    images, targets = DistillationBatches(from_number, 3, (), teacher, logits=True)[0]
    said = teacher.predict(images, verbose=0)
    powers = np.exp(said - said.max(1, keepdims=True))
    np.testing.assert_allclose(targets, powers / powers.sum(1, keepdims=True), rtol=1e-3, atol=1e-6)
