"""Image folders, from files on the disk to training."""

import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_resnets import UsageError
from recipes import folders
from recipes.augment import Mixing
from recipes.batches import Targets
from recipes.config import TrainConfig
from recipes.data import load
from recipes.decode import HeldOutBatches, decode, order_of
from recipes.folders import open_folder
from recipes.sources import hold, open_source
from recipes.train import train

COLOURS = {"blue": (20, 20, 220), "green": (20, 220, 20), "red": (220, 20, 20)}
PLAIN = Targets(3)
LEARNING = ("--model", "lenet5", "--image-size", 32, "--augment", "crop", "flip", "--workers", 0, "--epochs", 6)
LEARNING += ("--batch-size", 12)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def root(tmp_path):
    """Photographs of a colour each, of many sizes and kinds."""
    random = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 5)):
        for name, colour in COLOURS.items():
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for one in range(count):
                size = random.integers(40, 90, 2)
                noise = random.integers(-20, 20, (*size, 3))
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                ending = ("jpg", "png", "JPEG", "bmp")[one % 4]
                Image.fromarray(pixels).save(folder / f"{one:02}.{ending}")
            (folder / "Thumbs.db").write_text("no image")
    return tmp_path


def names_of(images):
    """The class whose colour an image has."""
    return images.mean((1, 2)).argmax(-1)[:, None] == np.array([[2, 1, 0]])


def test_batches_hold_images_with_their_labels(root):
    folder = open_folder(root, 32, workers=0)
    assert (folder.names, folder.images, folder.image_shape) == (("blue", "green", "red"), 36, (32, 32, 3))
    stream = folder.training(16, seed=0, targets=PLAIN, transforms=("crop", "flip"), epoch=0, step=0)
    epoch = list(itertools.islice(stream, 3))
    assert [len(labels) for _, labels in epoch] == [16, 16, 4]
    labels = np.concatenate([labels for _, labels in epoch])
    images = np.concatenate([batch["images"] for batch, _ in epoch])
    assert np.bincount(labels).tolist() == [12, 12, 12]
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(names_of(images).argmax(1), labels)
    assert epoch[0][0]["draws"].shape == (16, 1), "the crop is done"
    assert folder.in_step(("crop", "flip")) == ("flip",)


@pytest.mark.once
def test_worker_processes_give_the_same_and_go_on_anywhere(root):
    targets = Targets(3, mixing=Mixing(0.2))
    alone, helped = (open_folder(root, 32, workers=workers) for workers in (0, 2))
    options = {"seed": 3, "targets": targets, "transforms": ("crop",)}
    whole = list(itertools.islice(alone.training(16, **options, epoch=0, step=0), 9))
    rest = list(itertools.islice(helped.training(16, **options, epoch=1, step=2), 4))
    for (batch, labels), (other, other_labels) in zip(whole[5:], rest, strict=True):
        np.testing.assert_array_equal(labels, other_labels)
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])
    assert not np.array_equal(whole[0][0]["images"], whole[3][0]["images"])


@pytest.mark.parametrize(("part", "removed", "workers"), [("train", False, 1), ("val", True, 0)])
def test_an_image_that_changes_while_it_is_in_use_is_one_line(root, part, removed, workers):
    folder = open_folder(root, 32, workers=workers)
    changed = root / part / "red" / "02.JPEG"
    changed.unlink() if removed else changed.write_bytes(b"no image any more")
    config = TrainConfig(model="lenet5", data=str(root), epochs=1, batch_size=12)
    with pytest.raises(UsageError, match=f"^image {changed} was damaged or removed .* with --resume$"):
        train(config, folder)


KILLED = """
import multiprocessing, os, signal, sys
from pathlib import Path
from recipes.batches import Targets
from recipes.folders import open_folder
from recipes.sources import hold, open_source

if __name__ == "__main__":
    folder = open_folder(Path(sys.argv[1]), 32, workers=2)
    stream = folder.training(16, seed=0, targets=Targets(3), transforms=())
    next(stream)
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.once
@pytest.mark.parametrize(("processes", "workers"), [(1, 7), (2, 3), (8, 1)])
def test_processes_of_torchrun_share_the_processors(processes, workers, root, monkeypatch):
    monkeypatch.setattr(folders, "cores", lambda: 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert open_folder(root, 32).workers == workers


@pytest.mark.once
def test_workers_end_with_a_killed_run(root, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    done = subprocess.run([sys.executable, script, root], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    workers = [int(pid) for pid in done.stdout.splitlines()[-1].split()]
    assert len(workers) == 2
    for _ in range(100):
        alive = [pid for pid in workers if b"spawn_main" in running(pid)]
        if not alive:
            return
        time.sleep(0.1)
    raise AssertionError(f"processes {alive} go on without the run")


def running(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_validation_starts_again_each_time(root):
    folder = open_folder(root, 32, workers=0)
    batches = folder.validation(4, Targets(3, smoothing=0.1))
    for _ in range(2):
        seen = [batches[index] for index in range(len(batches))]
        assert [len(labels) for _, labels in seen] == [4, 4, 4, 3]
        np.testing.assert_array_equal(np.concatenate([labels for _, labels in seen]).argmax(1), np.repeat(range(3), 5))


def test_a_test_image_is_the_middle(tmp_path):
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[4:60, 36:92] = 200  # 7/8 of the shorter side
    Image.fromarray(pixels).save(tmp_path / "a.png")
    middle = decode(tmp_path / "a.png", 28)
    assert (middle[1:-1, 1:-1] > 170).all()
    assert (middle[2:-2, 2:-2] == 200).all()
    random = np.random.default_rng(0)
    crops = np.stack([decode(tmp_path / "a.png", 28, random) for _ in range(50)])
    assert crops.shape == (50, 28, 28, 3)
    assert crops.mean((1, 2, 3)).std() > 20


def test_grey_and_transparent_images_become_coloured(tmp_path):
    Image.new("L", (20, 20), 77).save(tmp_path / "grey.png")
    Image.new("RGBA", (20, 20), (1, 2, 3, 100)).save(tmp_path / "clear.png")
    assert decode(tmp_path / "grey.png", 8)[0, 0].tolist() == [77, 77, 77]
    assert decode(tmp_path / "clear.png", 8)[0, 0].tolist() == [1, 2, 3]


def test_photographs_are_turned_upright(tmp_path):
    image = Image.fromarray(np.repeat(np.array([[[0] * 3], [[255] * 3]], np.uint8), 20, 0).repeat(40, 1))
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    image.save(tmp_path / "a.jpg", exif=turned, quality=95)
    upright = decode(tmp_path / "a.jpg", 8)
    assert upright[0].mean() > 240
    assert upright[-1].mean() < 15


@pytest.mark.once
def test_pixel_statistics(root):
    folder = open_folder(root, 32, workers=0)
    mean, std = folder.pixel_stats
    pixels = np.concatenate([HeldOutBatches(folder.train, 36, 32)[0]]).reshape(-1, 3)
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-3)
    np.testing.assert_allclose(std, pixels.std(0), rtol=1e-3)


@pytest.mark.once
def test_orders_are_those_of_sets_in_memory():
    np.testing.assert_array_equal(order_of(5, 2, 40), np.random.default_rng((5, 2)).permutation(40))


def broken(root):
    for name in ("train/red/00.jpg", "val/blue/01.png"):
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[: len(content) // 2])


def linked(root):
    (root / "train" / "red" / "zz.png").symlink_to(root / "nowhere.png")


def deep(root):
    Image.fromarray(np.full((9, 9), 4096, np.uint16)).save(root / "val" / "red" / "deep.png")


def emptied(root):
    for file in (root / "train" / "green").iterdir():
        file.unlink()


def unknown(root):
    (root / "val" / "violet").mkdir()


def missing(root):
    (root / "val").rename(root / "test")


WRONG = {
    "damaged": (broken, r"2 damaged: train/red/00\.jpg \(.*\), val/blue/01\.png \(.*\); repair or remove them"),
    "link": (linked, r"1 damaged: train/red/zz\.png \(FileNotFoundError"),
    "16 bits": (deep, r"1 damaged: val/red/deep\.png \(of mode I;16: convert it to 8 bits\)"),
    "empty": (emptied, r"no images in train/green; put \.bmp"),
    "only in val": (unknown, r"violet only in val, not in train"),
    "no val": (missing, r"no folder .*/val; give one with train/CLASS"),
}


@pytest.mark.once
@pytest.mark.parametrize("kind", WRONG)
def test_what_would_stop_a_run_is_found_before_it(root, kind):
    spoil, message = WRONG[kind]
    spoil(root)
    with pytest.raises(UsageError, match=message):
        open_folder(root, 32, workers=0)


@pytest.mark.once
def test_files_are_checked_once_until_one_changes(root, monkeypatch):
    open_folder(root, 32, workers=0)
    checked = []
    monkeypatch.setattr("recipes.folders.damage", checked.append)
    open_folder(root, 32, workers=0)
    assert not checked
    broken(root)
    open_folder(root, 32, workers=0)
    assert len(checked) == 51


def test_a_model_is_calibrated_and_tested_on_a_folder(root):
    source = open_source(str(root), workers=0)
    data, picked = hold(source, (32, 32, 3), count=6, seed=1)
    folder = open_folder(root, 32, workers=0)
    assert np.bincount(folder.train.labels[list(picked.indices)]).tolist() == [2, 2, 2]
    for image, place in zip(picked.images, picked.indices, strict=True):
        np.testing.assert_array_equal(image, decode(folder.train.root / folder.train.paths[place], 32))
    images, labels = folder.validation(15, PLAIN)[0]
    np.testing.assert_array_equal(data.x_test, images)
    np.testing.assert_array_equal(data.y_test, labels)
    others, again = hold(source, (16, 16, 3), count=6, seed=2)
    assert others.x_test.shape == (15, 16, 16, 3)
    assert again.indices != picked.indices
    for shape in ((32, 32, 1), (32, 24, 3), (None, None, 3), (3072,)):
        with pytest.raises(UsageError, match="become RGB squares, and the model takes"):
            hold(source, shape, count=6, seed=1)
    with pytest.raises(UsageError, match="is a folder, which `train`, `export`, `compress`"):
        load(str(root))


@pytest.mark.slow
def test_the_command_learns_from_a_folder(cli, root, tmp_path):
    out = tmp_path / "out"
    code, printed, err = cli("train", *LEARNING, "--data", root, "--out", out)
    assert (code, err) == (0, "")
    assert (out / "labels.txt").read_text() == "blue\ngreen\nred\n"
    model = keras.models.load_model(out / "model.keras")
    assert model.output_shape == (None, 3)
    folder = open_folder(root, 32, workers=0)
    images, labels = folder.validation(15, PLAIN)[0]
    accuracy = (model.predict(images, verbose=0).argmax(1) == labels).mean()
    assert accuracy > 0.9
    assert f"test accuracy {accuracy:.2%}" in printed
    options = ("--mode", "int8", "--data", root, "--labels", out / "labels.txt", "--out", out / "a.tflite")
    code, printed, err = cli("export", out / "model.keras", *options)
    assert (code, err) == (0, "")
    assert "of 15 test images" in printed
    assert f"(Keras {accuracy:.2%})" in printed


@pytest.mark.once
@pytest.mark.slow
def test_what_learned_from_a_folder_is_measured_and_made_smaller(cli, root, tmp_path):
    out = tmp_path / "out"
    cli("train", *LEARNING, "--data", f"{root}/", "--out", out)
    accuracy = json.loads((out / "config.json").read_text())["accuracy"]
    code, _, err = cli("bench", out / "model.keras", "lenet5", "--runtime", "litert", "--out", tmp_path / "bench")
    assert (code, err) == (0, "")
    results = json.loads((tmp_path / "bench" / "results.json").read_text())
    assert [entry["images"] for entry in results["entries"]] == [15, 15, None, None]  # the LeNet-5 takes grey images
    assert results["entries"][0]["accuracy"] == pytest.approx(accuracy)
    assert results["entries"][1]["quantization"]["calibration"] == {"source": str(root / "train"), "images": 36}
    code, _, err = cli("compress", out / "model.keras", "--method", "prune", "qat", "--epochs", 4)
    assert (code, err) == (0, "")
    results = json.loads((out / "prune-qat" / "compress.json").read_text())
    assert results["keras_accuracy"] == pytest.approx(accuracy)
    assert min(file["accuracy"] for file in results["files"]) > 0.9
    options = ("--modes", "int8", "--engines", "native", "--out", tmp_path / "sweep")
    for _ in range(2):  # the second finds the first
        code, _, err = cli("sweep", out / "model.keras", *options)
        assert (code, err) == (0, "")
    results = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert (results["test_images"], results["data"]) == (15, str(root))
    flat = keras.Sequential([keras.Input((32 * 32 * 3,)), keras.layers.Dense(3)])
    flat.save(tmp_path / "flat.keras")
    for command in (("export", "--out", out / "b.tflite"), ("compress",), ("diagnose", out / "b.tflite")):
        code, _, err = cli(command[0], tmp_path / "flat.keras", *command[1:], "--data", root)
        assert code == 2
        assert "a model from an image" in err
