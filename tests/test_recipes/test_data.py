import keras
import numpy as np
import pytest
from tiny import blobs

from keras_resnets import UsageError
from recipes.data import DOWNLOADS, FOLDER_VARIABLE, load


def write(path, **changes):
    x_train, y_train = blobs(12, 0)
    x_test, y_test = blobs(8, 1)
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test} | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return str(path)


def test_digits_are_scikit_learns_with_a_stratified_fifth_held_out():
    from sklearn.datasets import load_digits

    digits = load_digits()
    data = load("digits")
    assert len(data.x_train) + len(data.x_test) == 1797
    assert len(data.x_test) == 360
    assert data.image_shape == (32, 32, 1)
    assert data.classes == 10
    assert data.x_train.dtype == np.uint8
    assert (data.x_train.min(), data.x_train.max()) == (0, 255)
    shares = np.bincount(digits.target) / 5
    np.testing.assert_allclose(np.bincount(data.y_test), shares, atol=1)
    originals = {image.tobytes() for image in np.rint(digits.images * 255 / 16).astype(np.uint8)}
    train = {image[::4, ::4, 0].tobytes() for image in data.x_train}
    test = {image[::4, ::4, 0].tobytes() for image in data.x_test}
    assert train | test == originals
    assert not train & test
    np.testing.assert_array_equal(load("digits").y_test, data.y_test)


def test_pixel_stats_are_those_of_the_training_pixels(blobs_file):
    data = load(str(blobs_file))
    mean, std = data.pixel_stats
    np.testing.assert_allclose(mean, data.x_train.astype(float).reshape(-1, 3).mean(0))
    np.testing.assert_allclose(std, data.x_train.astype(float).reshape(-1, 3).std(0))


def test_a_constant_channel_can_be_normalised(tmp_path):
    x, _ = blobs(12, 0)
    x[..., 1] = 7
    _, std = load(write(tmp_path / "a.npz", x_train=x)).pixel_stats
    assert std[1] > 0


def test_the_folder_variable_comes_before_a_download(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    write(tmp_path / "cifar10.npz")
    data = load("cifar10")
    assert data.name == "cifar10"
    assert data.x_train.shape == (12, 16, 16, 3)


def test_grey_images_gain_a_channel_and_labels_lose_a_column(tmp_path):
    x, y = blobs(12, 0)
    data = load(write(tmp_path / "a.npz", x_train=x[..., 0], x_test=x[..., 0], y_train=y[:, None], y_test=y))
    assert data.image_shape == (16, 16, 1)
    assert data.y_train.shape == (12,)


@pytest.mark.parametrize("name", DOWNLOADS)
def test_downloads_come_from_keras(name, monkeypatch):
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    x, y = blobs(12, 0)
    monkeypatch.setattr(getattr(keras.datasets, name), "load_data", lambda: ((x, y[:, None]), (x[:4], y[:4, None])))
    assert load(name).x_test.shape == (4, 16, 16, 3)


def test_a_failed_download_says_where_to_put_the_file(monkeypatch):
    def fail():
        raise Exception("URL fetch failure on somewhere\nin two lines")  # as Keras raises it

    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    with pytest.raises(UsageError, match=rf"cannot download mnist .*{FOLDER_VARIABLE}"):
        load("mnist")


GOOD = blobs(12, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": None, "y_test": None}, r"lacks x_test, y_test \(it holds x_train, y_train\)"),
        ({"x_train": GOOD[0].reshape(12, -1)}, "x_train has shape"),
        ({"x_train": GOOD[0][:0], "y_train": GOOD[1][:0]}, "x_train has shape"),
        ({"x_train": GOOD[0][:, :8]}, "make them alike"),
        ({"x_train": GOOD[0].astype("U3")}, "finite numbers"),
        ({"x_train": np.full((12, 16, 16, 3), np.nan)}, "finite numbers"),
        ({"y_train": GOOD[1][:5]}, "one label an image"),
        ({"y_train": np.eye(4)[GOOD[1]]}, "one label an image"),
        ({"y_train": GOOD[1] + 0.5}, "as integers"),
        ({"y_train": GOOD[1].astype(str)}, "as integers, got <U"),
        ({"y_train": GOOD[1] - 1}, "holds class -1"),
        ({"y_train": GOOD[1] * 2}, "no image of class 1; number the classes"),
        ({"y_train": GOOD[1] * 10**9}, "no image of class 1"),
        ({"y_test": np.full(8, 9)}, "y_test holds class 9, but the 4 classes of y_train end at 3"),
    ],
)
def test_wrong_data_is_one_line(tmp_path, changes, message):
    path = write(tmp_path / "a.npz", **changes)
    with pytest.raises(UsageError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_npz_is_one_line(tmp_path):
    single = tmp_path / "single.npz"
    with single.open("wb") as file:
        np.save(file, np.zeros(3))
    garbage = tmp_path / "garbage.npz"
    garbage.write_bytes(b"PK\x03\x04 nonsense")
    squeezed = tmp_path / "squeezed.npz"
    np.savez_compressed(squeezed, **dict.fromkeys(("x_train", "y_train", "x_test", "y_test"), np.arange(9999)))
    content = bytearray(squeezed.read_bytes())
    content[200:400] = bytes(200)
    squeezed.write_bytes(content)
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, **{key: np.array([{}], dtype=object) for key in ("x_train", "y_train", "x_test", "y_test")})
    for path, message in (
        (single, "single array"),
        (garbage, "cannot be read"),
        (pickled, "cannot be read"),
        (squeezed, "cannot be read"),
    ):
        with pytest.raises(UsageError, match=message):
            load(str(path))


@pytest.mark.parametrize(
    ("source", "message"), [("cifar11", "no data set named 'cifar11'"), ("no.npz", "no data file")]
)
def test_an_unknown_source_is_one_line(source, message, monkeypatch):
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    with pytest.raises(UsageError, match=message):
        load(source)
