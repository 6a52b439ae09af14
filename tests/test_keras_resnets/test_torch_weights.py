"""State dicts of torch libraries: every naming loads into the network of this package that computes the same."""

import pathlib
import re
import sys
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import assert_equal, run
from torch import nn
from torch_networks import CASES, CLASSES, Case

from keras_resnets import UsageError, create_model, load_torch_weights
from keras_resnets.weights.torch_names import NAMINGS

pytestmark = pytest.mark.once  # arrays are mapped by name in numpy, whatever the backend


@cache
def build(key: str) -> tuple[nn.Module, keras.Model]:
    """A case's two networks; that of torch has random weights and statistics that keep the signal alive."""
    case = CASES[key]
    network = case.network().eval()
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for array in (layer.weight, layer.running_var):
                nn.init.uniform_(array, 0.5, 1.5)
            for array in (layer.bias, layer.running_mean):
                nn.init.normal_(array, 0, 0.1)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, 0, 0.3)
    return network, build_ours(case)


def build_ours(case: Case, **options) -> keras.Model:
    arguments = {"classes": CLASSES, "classifier_activation": None, "input_shape": (*case.size, 3)}
    return create_model(case.name, **(arguments | case.options | options))


def noise(height: int, width: int) -> tuple[np.ndarray, torch.Tensor]:
    """The same images, channels last and channels first."""
    images = np.random.default_rng(1).normal(size=(2, height, width, 3)).astype("float32")
    return images, torch.tensor(images).permute(0, 3, 1, 2)


def weights(model: keras.Model) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights]


def assert_loads(model: keras.Model, source: Any, expected: list[np.ndarray]) -> None:
    """The source gives the model these weights, whatever it has before."""
    for weight in model.weights:
        weight.assign(np.ones(weight.shape))
    load_torch_weights(model, source)
    for found, array in zip(weights(model), expected, strict=True):
        np.testing.assert_array_equal(found, array)


def refuse(model: keras.Model, source: Any, pattern: str) -> str:
    """What the one line says with which the source is refused; the model stays as it is."""
    before = weights(model)
    with pytest.raises(UsageError, match=pattern) as caught:
        load_torch_weights(model, source)
    assert "\n" not in str(caught.value)
    for found, array in zip(weights(model), before, strict=True):
        np.testing.assert_array_equal(found, array)
    return str(caught.value)


@pytest.mark.parametrize("key", CASES)
def test_network_of_a_torch_library_computes_the_same_here(key):
    network, model = build(key)
    load_torch_weights(model, network.state_dict())
    images, tensor = noise(*CASES[key].size)
    with torch.no_grad():
        expected = network(tensor).numpy()
    assert_equal(run(model, images), expected)


@pytest.mark.parametrize("key", CASES)
def test_without_its_top_a_network_passes_over_the_classifier(key):
    network, model = build(key)
    load_torch_weights(model, network.state_dict())
    headless = build_ours(CASES[key], include_top=False)
    load_torch_weights(headless, network.state_dict())
    known = {f"{layer.name}/{weight.name}": weight for layer in model.layers for weight in layer.weights}
    for layer in headless.layers:
        for weight in layer.weights:
            np.testing.assert_array_equal(weight, known[f"{layer.name}/{weight.name}"])
    state = network.state_dict() | {"more.weight": torch.zeros(1)}
    refuse(headless, state, "more.weight is left over")


@pytest.mark.parametrize("key", CASES)
def test_missing_entry_is_called_by_the_name_of_the_library(key):
    network, model = build(key)
    state = network.state_dict()
    entry, _ = state.popitem()
    message = refuse(model, state, re.escape(f"names of {CASES[key].naming}"))
    assert message.count(" is missing") == message.count(f" {entry} (") == 1


def test_every_naming_has_a_case():
    assert {case.naming for case in CASES.values()} == {naming.title for naming in NAMINGS}


def test_a_scale_that_no_variance_can_take_is_left_over():
    network, model = build("inceptionv3")
    state = network.state_dict() | {"Mixed_5b.branch_pool.bn.weight": -torch.ones(6)}
    refuse(model, state, r"Mixed_5b.branch_pool.bn.weight \(stage1_block1_b4_bn/gamma\) is left over")


def test_auxiliary_classifiers_load_where_the_network_has_them():
    network, _ = build("googlenet")
    model = build_ours(CASES["googlenet"], input_shape=(80, 128, 3), auxiliary=True)
    load_torch_weights(model, network.state_dict())
    images, tensor = noise(80, 128)
    with torch.no_grad():
        expected = network(tensor, auxiliary=True)
    for name, found in model(images, training=False).items():
        assert_equal(keras.ops.convert_to_numpy(found), expected.pop(name).numpy())
    assert not expected


def test_densenet_file_of_before_torch_0_4_has_dots_in_its_names():
    network, model = build("densenet")
    state = network.state_dict()
    load_torch_weights(model, state)
    old = {re.sub(r"(denselayer\d\.(?:norm|conv))(\d)", r"\1.\2", key): array for key, array in state.items()}
    assert "features.denseblock1.denselayer2.norm.1.weight" in old
    assert_loads(model, old, weights(model))


def prefixed(state: dict[str, torch.Tensor], prefix: str = "module.") -> dict[str, torch.Tensor]:
    return {prefix + key: array for key, array in state.items()}


FILES = {
    "bare.pth": lambda state: state,
    "compiled.pt": lambda state: prefixed(state, "_orig_mod."),
    "compiled_parallel.pt": lambda state: prefixed(state, "_orig_mod.module."),
    "lightning_compiled.pt": lambda state: {"state_dict": prefixed(state, "model._orig_mod.")},
    "trained.pt": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"param_groups": [{"lr": 0.1}]}},
    "kuangliu.pth": lambda state: {"net": prefixed(state), "acc": 95.4, "epoch": 199},
    "akamaster.th": lambda state: {"state_dict": prefixed(state), "best_prec1": torch.tensor(91.7)},
    "bare.safetensors": lambda state: state,
    "parallel.safetensors": prefixed,
}


def write(path: pathlib.Path, state: dict[str, torch.Tensor]) -> pathlib.Path:
    """The state dict in the file; one for .th as torch wrote it before 1.6."""
    if path.suffix == ".safetensors":
        save_file(FILES.get(path.name, dict)(state), path)
    else:
        torch.save(FILES.get(path.name, dict)(state), path, _use_new_zipfile_serialization=path.suffix != ".th")
    return path


@pytest.mark.parametrize("file", FILES)
def test_every_kind_of_file_gives_the_same_weights(file, tmp_path):
    network, model = build("akamaster")
    load_torch_weights(model, network.state_dict())
    assert any(key.endswith("num_batches_tracked") for key in network.state_dict())
    assert_loads(model, write(tmp_path / file, network.state_dict()), weights(model))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_half_floats_load(dtype, suffix, tmp_path):
    network, model = build("basic")
    halves = {key: array.to(dtype) for key, array in network.state_dict().items()}
    load_torch_weights(model, {key: array.float().numpy() for key, array in halves.items()})
    assert_loads(model, str(write(tmp_path / f"half{suffix}", halves)), weights(model))


def test_all_entries_that_do_not_fit_are_listed():
    network, model = build("vgg_bn")
    state = network.state_dict()
    del state["features.1.running_var"], state["classifier.6.bias"]
    state["features.0.bias"] = torch.zeros(1)  # would be absorbed if it had one value a channel
    state["features.3.weight"] = state["features.3.weight"][:, :3]
    state["classifier.3.weight"] = torch.zeros(3, 16)
    state["classifier.6.weight"] = state["classifier.6.weight"] * torch.nan
    state["classifier.9.weight"] = torch.zeros(2)
    message = refuse(model, state, "the state dict .*does not fit vgg16_bn: ")
    for fault in (
        "features.1.running_var (stage1_bn1/moving_variance) is missing",
        "classifier.6.bias (head_dense/bias) is missing",
        "features.0.bias (stage1_conv1/bias) is left over",
        "features.3.weight (stage1_conv2/kernel) has shape (3, 3, 3, 4) instead of (3, 3, 4, 4)",
        "classifier.3.weight (head_dense2/kernel) has shape (16, 3) instead of (16, 16)",
        "classifier.6.weight (head_dense/kernel) holds values that are not finite",
        "classifier.9.weight is left over",
    ):
        assert fault in message
    assert message.count("; ") == 6


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        ([1, 2], "holds a list, not a state dict"),
        (torch.zeros(3), "holds a Tensor, not a state dict"),
        ({}, "is no state dict: nothing in it"),
        ({"epoch": 3, "loss": 0.5}, "is no state dict: epoch, loss"),
        ({0: torch.zeros(3)}, "is no state dict: 0"),
        ({"encoder.weight": torch.zeros(3)}, "does not fit resnet18: .*encoder.weight is left over"),
    ],
)
def test_file_of_something_else_is_one_line(content, pattern, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    refuse(build("basic")[1], tmp_path / "other.pth", pattern)


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
@pytest.mark.parametrize("file", ["bare.pth", "akamaster.th", "bare.safetensors"])
def test_truncated_file_is_one_line(file, share, tmp_path):
    network, model = build("basic")
    path = write(tmp_path / file, network.state_dict())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refuse(model, path, f"weights: .*{file} is .*")


@pytest.mark.parametrize("file", ["missing.pth", "missing.safetensors", "text.pth", "text.safetensors", "text.bin"])
def test_file_that_is_none_is_one_line(file, tmp_path):
    (tmp_path / f"text{pathlib.Path(file).suffix}").write_text("not weights\n" * 100)
    refuse(build("basic")[1], tmp_path / file, f"weights: .*{file}")


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, file: pathlib.Path) -> None:
        self.file = file

    def __reduce__(self):
        return pathlib.Path.touch, (self.file,)


@pytest.mark.parametrize("wrap", [lambda trap: trap, lambda trap: {"state_dict": {"fc.weight": trap}}])
def test_pickled_code_is_refused_and_does_not_run(wrap, tmp_path):
    path, sprung = tmp_path / "trap.pth", tmp_path / "sprung"
    torch.save(wrap(Trap(sprung)), path)
    refuse(build("basic")[1], path, "trap.pth is damaged, or holds more than tensors, which could run code")
    assert not sprung.exists()
    torch.load(path, weights_only=False)
    assert sprung.exists(), "the trap is a live one"


def test_inception_that_averages_where_the_weights_take_the_maximum_is_refused():
    network, _ = build("inceptionv3")
    *stages, (reduction, average, _) = CASES["inceptionv3"].options["blocks"]
    model = build_ours(CASES["inceptionv3"], blocks=(*stages, (reduction, average, average)))
    refuse(model, network.state_dict(), r"stage3_block3_b4_pool averages; build it with blocks=INCEPTION_V3_2015")


@pytest.mark.parametrize(
    ("key", "name", "options", "pattern"),
    [
        ("bottleneck", "resnet50", {}, "stage2_block1_conv1 .*build resnet50 with stride_in_3x3=True"),
        ("mobilenetv2", "mobilenetv2_x0_5_cifar", {"padding": "same"}, "with symmetric padding"),
    ],
)
def test_network_that_strides_or_pads_elsewhere_is_refused(key, name, options, pattern):
    network, _ = build(key)
    model = create_model(name, classes=CLASSES, input_shape=(16, 16, 3), **CASES[key].options, **options)
    refuse(model, network.state_dict(), pattern)


def test_without_torch_its_files_ask_for_it_and_others_load(monkeypatch, tmp_path):
    network, model = build("basic")
    load_torch_weights(model, network.state_dict())
    paths = [write(tmp_path / f"bare{suffix}", network.state_dict()) for suffix in (".pth", ".safetensors")]
    expected = weights(model)
    monkeypatch.setitem(sys.modules, "torch", None)
    refuse(model, paths[0], r"install torch \(pip install 'keras-resnets\[torch\]'\)")
    assert_loads(model, paths[1], expected)
