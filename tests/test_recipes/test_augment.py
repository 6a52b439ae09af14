import numpy as np
import pytest

from recipes.augment import (
    AUGMENTATIONS,
    PADDING,
    SCALING,
    SHEARING,
    SQUEEZING,
    TRANSLATION,
    CropsAndFlips,
    Distortions,
)

every = pytest.mark.parametrize("augmented", AUGMENTATIONS.values(), ids=AUGMENTATIONS)


def images(count=40):
    return np.random.default_rng(0).integers(1, 256, (count, 8, 6, 3)).astype(np.uint8), np.arange(count)


@every
def test_every_image_comes_once_an_epoch_with_its_label(augmented):
    x, y = images()
    batches = augmented(x, y, 16, seed=0)
    assert [len(batches[index][1]) for index in range(len(batches))] == [16, 16, 8]
    assert sorted(np.concatenate([batches[index][1] for index in range(3)])) == list(range(40))


@every
def test_seed_and_epoch_decide(augmented):
    x, y = images()

    def epochs(seed):
        batches = augmented(x, y, 40, seed)
        first = batches[0][0]
        batches.on_epoch_end()
        return first, batches[0][0]

    (first, second), (again, _), (other, _) = epochs(1), epochs(1), epochs(2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


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


def test_a_distorted_spot_keeps_within_what_is_promised():
    height, width = 40, 48
    rows, columns = np.mgrid[:height, :width]
    spot = np.exp(-((rows - (height - 1) / 2) ** 2 + (columns - (width - 1) / 2) ** 2) / 18)[None, :, :, None]
    distorted, _ = Distortions(np.repeat(spot, 1000, 0), np.zeros(1000), 1000, seed=0)[0]
    mass = distorted.sum((1, 2, 3))
    y, x = ((distorted[..., 0] * axis).sum((1, 2)) / mass for axis in (rows, columns))
    height_of, width_of = (
        np.sqrt((distorted[..., 0] * (axis - middle[:, None, None]) ** 2).sum((1, 2)) / mass)
        for axis, middle in ((rows, y), (columns, x))
    )
    # (what is measured, how far it goes on either side)
    within = {
        "scale": (np.log(mass / spot.sum()) / 2, SCALING),
        "down": ((y - (height - 1) / 2) / height, TRANSLATION * np.exp(SCALING + SQUEEZING)),
        "across": ((x - (width - 1) / 2) / width, (TRANSLATION + SHEARING / 10) * np.exp(SCALING + SQUEEZING)),
        "squeeze": (np.log(width_of / height_of) / 2, SQUEEZING + SHEARING / 10),
    }
    for name, (measured, limit) in within.items():
        assert abs(measured).max() < 1.02 * limit, name
        assert measured.min() < -0.6 * limit, name
        assert measured.max() > 0.6 * limit, name


def test_shearing_moves_rows_sideways():
    bar = np.zeros((500, 41, 41, 1), np.uint8)
    bar[:, 10:31, 19:22] = 255
    distorted, _ = Distortions(bar, np.zeros(500), 500, seed=0)[0]
    above, below = (
        (distorted[:, rows, :, 0] * np.arange(41)).sum((1, 2)) / distorted[:, rows, :, 0].sum((1, 2))
        for rows in (slice(12, 18), slice(23, 29))
    )
    slopes = (below - above) / 11
    assert slopes.min() < -0.15
    assert slopes.max() > 0.15
    assert abs(slopes).max() < 1.1 * SHEARING * np.exp(SCALING + SQUEEZING)
