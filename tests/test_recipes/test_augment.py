import keras
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from keras_resnets import UsageError
from recipes import augment as module
from recipes.augment import (
    OPERATIONS,
    PADDING,
    SCALING,
    SHEARING,
    SQUEEZING,
    TRANSFORMS,
    TRANSLATION,
    Augmented,
    Mixing,
    augment,
    draws_of,
    mix,
    shares,
)
from recipes.checkpoint import Checkpoints, Progress

every = pytest.mark.parametrize("name", TRANSFORMS)
SHAPE = (8, 6, 3)


def images(count=40, shape=SHAPE):
    return np.random.default_rng(0).integers(1, 256, (count, *shape)).astype(np.uint8)


def draws(count, name, seed=0):
    return np.random.default_rng(seed).random((count, TRANSFORMS[name].draws), np.float32)


def apply(name, x, numbers=None):
    numbers = draws(len(x), name) if numbers is None else numbers
    return keras.ops.convert_to_numpy(TRANSFORMS[name].apply(keras.ops.cast(x, "float32"), keras.ops.array(numbers)))


@every
def test_an_image_is_changed_by_its_own_numbers_alone(name):
    x = images()
    numbers = draws(len(x), name)
    together = apply(name, x, numbers)
    assert together.shape == x.shape
    assert (np.abs(together - x).max((1, 2, 3)) > 0.5).mean() > 0.2, "it does something"
    for one in (0, 7, 39):
        alone = apply(name, x[one : one + 1], numbers[one : one + 1])
        np.testing.assert_allclose(alone[0], together[one], atol=1e-3)


def test_a_crop_is_of_the_padded_image():
    x, seen = images(1500), set()
    for cropped, image in zip(apply("crop", x), x, strict=True):
        padded = np.pad(image, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)))
        places = [
            (row, column)
            for row in range(2 * PADDING + 1)
            for column in range(2 * PADDING + 1)
            if np.array_equal(padded[row : row + 8, column : column + 6], cropped)
        ]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) == (2 * PADDING + 1) ** 2


def test_half_of_the_images_are_mirrored():
    x = images(400)
    flipped = apply("flip", x)
    same, mirrored = ((flipped == other).all((1, 2, 3)) for other in (x, x[:, :, ::-1]))
    assert (same ^ mirrored).all()
    assert 150 < mirrored.sum() < 250


def test_a_distorted_spot_keeps_within_what_is_promised():
    height, width = 40, 48
    rows, columns = np.mgrid[:height, :width]
    spot = np.exp(-((rows - (height - 1) / 2) ** 2 + (columns - (width - 1) / 2) ** 2) / 18)[None, :, :, None]
    distorted = apply("distort", np.repeat(spot, 1000, 0))
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
    distorted = apply("distort", bar)
    above, below = (
        (distorted[:, rows, :, 0] * np.arange(41)).sum((1, 2)) / distorted[:, rows, :, 0].sum((1, 2))
        for rows in (slice(12, 18), slice(23, 29))
    )
    slopes = (below - above) / 11
    assert slopes.min() < -0.15
    assert slopes.max() > 0.15
    assert abs(slopes).max() < 1.1 * SHEARING * np.exp(SCALING + SQUEEZING)


def test_half_of_the_images_lose_a_rectangle():
    x = images(400, (20, 30, 3))
    changed = (apply("erase", x) != x).any(-1)
    erased = changed.any((1, 2))
    assert 150 < erased.sum() < 250
    areas = changed[erased].mean((1, 2))
    assert 0 < areas.min() < 0.08
    assert 0.25 < areas.max() < 0.45
    for mask in changed[erased]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.97, "a rectangle"


def operated(name, image, *, side=0.9):
    """One operation of RandAugment on an image, with a positive sign."""
    which = (OPERATIONS.index(name) + 0.5) / len(OPERATIONS)
    done = module._operate(keras.ops.cast(image[None], "float32"), keras.ops.array([which]), keras.ops.array([side]))
    return keras.ops.convert_to_numpy(done)[0]


FACTOR = 1 + module.ENHANCEMENT
PILLOW = {
    "identity": (lambda image: image, 0),
    "autocontrast": (ImageOps.autocontrast, 1.5),
    "equalize": (ImageOps.equalize, 0),
    "solarize": (lambda image: ImageOps.solarize(image, int(module.THRESHOLD) + 1), 0),
    "posterize": (lambda image: ImageOps.posterize(image, 8 - int(np.log2(module.LEVEL))), 0),
    "color": (lambda image: ImageEnhance.Color(image).enhance(FACTOR), 1.5),
    "contrast": (lambda image: ImageEnhance.Contrast(image).enhance(FACTOR), 1.5),
    "brightness": (lambda image: ImageEnhance.Brightness(image).enhance(FACTOR), 1.5),
    "sharpness": (lambda image: ImageEnhance.Sharpness(image).enhance(FACTOR), 1.5),
}


@pytest.mark.parametrize("name", PILLOW)
def test_operations_are_those_of_pillow(name):
    image = np.random.default_rng(1).normal(120, 30, (24, 32, 3)).clip(0, 255).astype(np.uint8)
    reference, error = PILLOW[name]
    np.testing.assert_allclose(operated(name, image), np.asarray(reference(Image.fromarray(image))), atol=error + 1e-3)


def moved(name, place, side=0.9):
    """How far an operation moves a spot at (y, x) of an image, as (across, down)."""
    height, width = 41, 61
    image = np.zeros((height, width, 1), np.float32)
    image[place[0] - 2 : place[0] + 3, place[1] - 2 : place[1] + 3] = 200.0
    spot = operated(name, image, side=side)[..., 0] - operated(name, image * 0, side=side)[..., 0]
    y, x = np.mgrid[:height, :width]
    return (spot * x).sum() / spot.sum() - place[1], (spot * y).sum() / spot.sum() - place[0]


def test_geometric_operations_move_a_spot():
    angle = np.radians(module.DEGREES)
    turned = 15 * np.cos(angle) - 10 * np.sin(angle) - 15, -10 * np.cos(angle) - 15 * np.sin(angle) + 10
    above_right = (10, 45)  # ten rows above the middle, fifteen columns right of it
    expected = {"rotate": turned, "shear_x": (10 * module.SHEAR, 0), "shear_y": (0, -15 * module.SHEAR)}
    for name, way in expected.items():
        np.testing.assert_allclose(moved(name, above_right), way, atol=0.3, err_msg=name)
    np.testing.assert_allclose(moved("translate_x", (20, 30)), (-module.SHIFT * 61, 0), atol=0.3)
    np.testing.assert_allclose(moved("translate_x", (20, 30), side=0.1), (module.SHIFT * 61, 0), atol=0.3)
    np.testing.assert_allclose(moved("translate_y", (20, 30)), (0, -module.SHIFT * 41), atol=0.3)


def test_two_operations_of_fourteen_on_each_image():
    x = np.repeat(images(1, (16, 16, 3)), 600, 0)
    kinds = {image.tobytes() for image in apply("randaugment", x).round(2)}
    assert 100 < len(kinds) <= len(OPERATIONS) ** 2 * 4


@pytest.mark.parametrize("mixing", [Mixing(mixup=0.4), Mixing(cutmix=1.0), Mixing(0.4, 1.0)], ids=repr)
def test_images_mix_as_far_as_their_labels(mixing):
    count, shape = 300, (32, 24, 1)
    own = np.zeros((count, *shape), np.float32)
    own[: count // 2] = 1.0  # the other of each is from the other half
    mixed = mixing.draw(np.random.default_rng(0), count, shape)
    pictures = keras.ops.convert_to_numpy(mix(keras.ops.array(own), keras.ops.array(mixed)))
    share = shares(mixed, shape)
    np.testing.assert_allclose(pictures.mean((1, 2, 3)), np.where(own[:, 0, 0, 0] == 1, share, 1 - share), atol=1e-5)
    assert share.min() < 0.2
    assert share.max() > 0.95
    cut = np.isin(pictures, [0.0, 1.0]).all((1, 2, 3))
    assert 0.4 < cut.mean() < 0.7 if mixing.mixup and mixing.cutmix else cut.all() == (not mixing.mixup)


def test_transforms_take_their_own_columns_in_one_order():
    x = images()
    transforms = ("flip", "crop")  # however they are named
    numbers = np.random.default_rng(0).random((len(x), draws_of(transforms)), np.float32)
    expected = apply("flip", apply("crop", x, numbers[:, :2]), numbers[:, 2:])
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(augment({"images": x, "draws": numbers}, transforms)), expected
    )


def test_only_training_changes_images():
    x = images(4)
    seen = keras.Sequential([keras.layers.Input(SHAPE), keras.layers.Flatten()])
    model = Augmented(seen, ("flip",))
    batch = {"images": x, "draws": np.zeros((4, 1), np.float32)}
    plain, tested, trained = (
        keras.ops.convert_to_numpy(one) for one in (model(x), model(batch), model(batch, training=True))
    )
    np.testing.assert_array_equal(plain, tested)
    np.testing.assert_array_equal(trained, x[:, :, ::-1].reshape(4, -1))


def test_steps_that_are_read_late_train_as_the_others(monkeypatch, tmp_path):
    """As on a GPU: callbacks are told what a step two before came to, and of an epoch nothing of the one before."""
    if keras.backend.backend() != "jax":
        pytest.skip("steps are read late on JAX alone")
    x, labels = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32), np.arange(40) % 3

    def trained(late, *, poisoned=None):
        monkeypatch.setattr(module, "steps_late", lambda: late)
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6,))
        model = Augmented(keras.Model(inputs, keras.layers.Dense(3)(inputs)), ())
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        model.optimizer.build(model.trainable_variables)
        told = []
        each = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: told.append(logs["loss"]))
        images = x if poisoned is None else np.where(np.arange(40)[:, None] == poisoned, np.nan, x)
        saved = Checkpoints(tmp_path / "a.npz", Progress(), 0, late=late)
        data = {"x": images, "y": labels, "validation_data": (x, labels)}
        history = model.fit(**data, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[each, saved]).history
        return told, history, model.get_weights()

    told, history, weights = trained(0)
    late, same_history, same_weights = trained(2)
    assert late == [told[step] for step in (0, 0, 0, 1, 2, 5, 5, 5, 6, 7)]
    assert same_history == history
    assert all(map(np.array_equal, same_weights, weights))
    for image, place in ((8, "epoch 1, step 2"), (39, "epoch 1")):  # of five batches; of the last when the epoch ends
        with pytest.raises(UsageError, match=f"loss is nan in {place};"):
            trained(2, poisoned=image)
