import numpy as np

from recipes.augment import PADDING, CropsAndFlips


def images(count=40):
    return np.random.default_rng(0).integers(1, 256, (count, 8, 6, 3)).astype(np.uint8), np.arange(count)


def test_every_image_comes_once_an_epoch_with_its_label():
    x, y = images()
    batches = CropsAndFlips(x, y, 16, seed=0)
    assert [len(batches[index][1]) for index in range(len(batches))] == [16, 16, 8]
    assert sorted(np.concatenate([batches[index][1] for index in range(3)])) == list(range(40))


def test_an_image_is_a_crop_of_its_padded_self():
    x, y = images()
    seen = set()
    for crop, label in zip(*CropsAndFlips(x, y, 40, seed=0)[0], strict=True):
        assert crop.dtype == np.uint8
        padded = np.pad(x[label], ((PADDING, PADDING), (PADDING, PADDING), (0, 0)))
        places = [
            (row, column, mirrored)
            for row in range(2 * PADDING + 1)
            for column in range(2 * PADDING + 1)
            for mirrored in (False, True)
            if np.array_equal(padded[row : row + 8, column : column + 6][:, :: -1 if mirrored else 1], crop)
        ]
        assert len(places) >= 1
        seen.update(places)
    assert len({row for row, _, _ in seen}) > 5
    assert {mirrored for _, _, mirrored in seen} == {False, True}


def test_seed_and_epoch_decide():
    x, y = images()

    def epochs(seed):
        batches = CropsAndFlips(x, y, 40, seed)
        first = batches[0][0]
        batches.on_epoch_end()
        return first, batches[0][0]

    (first, second), (again, _), (other, _) = epochs(1), epochs(1), epochs(2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)
