"""Every registered network against golden files and against the figures that are published."""

import dataclasses
import math
import re

import keras
import numpy as np
import pytest
from golden.regenerate import WEIGHTS, describe_figures, describe_weights
from tiny import TINY, build_tiny, randomize, run

import keras_resnets
from keras_resnets import UsageError, count_macs, count_parameters, create_model, depth, get_variant, list_models
from keras_resnets.layers import ConvStyle, norm
from keras_resnets.summary import FIGURES, read_figures

# Trainable parameters with 1000 classes and no convolution bias, as torchvision's published nets have them.
IMAGENET = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet50v1_5": 25_557_032,
}
# He et al. 2015, section 4.2: depth -> trainable parameters with shortcut options A, B and C.
CIFAR = {
    20: (269_722, 272_474, 283_962),
    32: (464_154, 466_906, 489_594),
    44: (658_586, 661_338, 695_226),
    56: (853_018, 855_770, 900_858),
    110: (1_727_962, 1_730_714, 1_826_202),
    1202: (19_421_274, 19_424_026, 20_538_714),
}


def cifar_parameters(layers: int, shortcut: str) -> int:
    """Trainable parameters of the 6n+2 net, summed up from the paper's text."""
    n = (layers - 2) // 6

    def conv(size, inputs, outputs):
        return size * size * inputs * outputs + 2 * outputs  # BatchNorm: a scale and a shift a channel

    total = conv(3, 3, 16) + 64 * 10 + 10
    for inputs, width in ((16, 16), (16, 32), (32, 64)):
        total += conv(3, inputs, width) + (2 * n - 1) * conv(3, width, width)
        if shortcut == "C":
            total += conv(1, inputs, width) + (n - 1) * conv(1, width, width)
        elif shortcut == "B" and inputs != width:
            total += conv(1, inputs, width)
    return total


@pytest.mark.parametrize(("layers", "published"), CIFAR.items())
def test_published_cifar_counts_follow_from_the_paper(layers, published):
    assert tuple(cifar_parameters(layers, shortcut) for shortcut in "ABC") == published


@pytest.mark.once
@pytest.mark.parametrize("layers", [layers for layers in CIFAR if layers < 1000])
@pytest.mark.parametrize("shortcut", "ABC")
def test_cifar_parameters(layers, shortcut):
    model = create_model(f"resnet{layers}", shortcut=shortcut)
    assert count_parameters(model) == CIFAR[layers]["ABC".index(shortcut)]


def test_golden_figures_hold_the_published_counts():
    golden = read_figures()
    for name, parameters in IMAGENET.items():
        assert golden[name]["parameters"] == parameters
    for layers, (option_a, _, _) in CIFAR.items():
        assert golden[f"resnet{layers}"]["parameters"] == option_a
        if layers < 1000:
            assert golden[f"plain{layers}"]["parameters"] == option_a  # option A adds none
    assert golden["resnet8"]["total_parameters"] == 78_666  # Banbury et al. 2021 (MLPerf Tiny)
    assert round(golden["resnet20"]["macs"] / 1e6, 2) == 40.55
    assert round(golden["resnet50"]["macs"] / 1e9, 3) == 3.858
    assert round(golden["resnet50v1_5"]["macs"] / 1e9, 3) == 4.089
    # Published beside the CIFAR weights of these nets: parameters and MACs in millions.
    assert round(golden["mobilenetv2_x0_5_cifar"]["parameters"] / 1e6, 2) == 0.70
    assert round(golden["mobilenetv2_x1_0_cifar"]["parameters"] / 1e6, 2) == 2.24
    assert round(golden["shufflenetv2_x0_5_cifar"]["parameters"] / 1e6, 2) == 0.35
    assert round(golden["shufflenetv2_x1_0_cifar"]["parameters"] / 1e6, 2) == 1.26


def test_golden_files_cover_the_registry():
    assert set(read_figures()) == set(list_models())
    assert {path.stem for path in WEIGHTS.glob("*.txt")} == set(list_models())


@pytest.mark.once
def test_figures_and_weight_names_are_golden(name):
    """A change here changes a published interface: regenerate with `make golden` and say so in the changelog."""
    model = get_variant(name)()
    assert describe_figures(name, model) == read_figures()[name], f"{FIGURES} differs"
    assert describe_weights(model) == (WEIGHTS / f"{name}.txt").read_text(), f"{WEIGHTS / name}.txt differs"
    names = [layer.name for layer in model.layers]
    assert all(re.fullmatch("[a-z0-9_]+", name) for name in names), "torch and Keras forbid other characters"
    assert len(names) == len(set(names))


def test_depth_is_the_number_in_the_name():
    golden = read_figures()
    for name in list_models("resnet*") + list_models("plain*"):
        digits = name.removeprefix("resnet").removeprefix("plain").partition("v")[0]
        assert golden[name]["depth"] == int(digits)


@pytest.mark.once
def test_option_b_costs_the_projections_macs():
    assert count_macs(create_model("resnet20", shortcut="B")) - count_macs(create_model("resnet20")) == (
        16 * 16 * 16 * 32 + 8 * 8 * 32 * 64
    )


@pytest.mark.once
def test_bottleneck_arithmetic_of_the_paper():
    """Fig. 5: on 256 channels a bottleneck has 69,632 weights, two 3x3 layers have 1,179,648."""

    def kernels(block, width):
        options = {"block": block, "depths": (1,), "widths": (width,), "stem": "cifar", "shortcut": "none"}
        model = create_model("resnet50", input_shape=(8, 8, 256), include_top=False, **options)
        return {
            layer.name: math.prod(layer.kernel.shape)
            for layer in model.layers
            if layer.name.startswith("stage1_block1_conv")
        }

    bottleneck = kernels("bottleneck", 64)
    assert bottleneck["stage1_block1_conv2"] + 2 * bottleneck["stage1_block1_conv3"] == 69_632
    assert sum(kernels("basic", 256).values()) == 1_179_648


@pytest.mark.once
def test_stride_place_tells_v1_from_v1_5():
    v1, v1_5 = (create_model(name, depths=(1, 1), widths=(4, 8)) for name in ("resnet50", "resnet50v1_5"))
    assert v1.get_layer("stage2_block1_conv1").strides == (2, 2)
    assert v1.get_layer("stage2_block1_conv2").strides == (1, 1)
    assert v1_5.get_layer("stage2_block1_conv1").strides == (1, 1)
    assert v1_5.get_layer("stage2_block1_conv2").strides == (2, 2)


@pytest.mark.once
def test_stages_halve_and_widen_as_the_paper_says():
    model = keras_resnets.ResNet34()
    sizes = {stage: model.get_layer(f"stage{stage}_block1_out").output.shape[1:] for stage in (1, 2, 3, 4)}
    assert sizes == {1: (56, 56, 64), 2: (28, 28, 128), 3: (14, 14, 256), 4: (7, 7, 512)}


@pytest.mark.once
def test_depth_counts_the_longest_path():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="a")(inputs)
    long = keras.layers.Conv2D(4, 1, name="c")(keras.layers.DepthwiseConv2D(1, name="b")(x))
    x = keras.layers.Add()([keras.layers.Conv2D(4, 1, name="side")(x), long])
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    assert depth(model) == 4


@pytest.mark.once
def test_macs_of_layers_by_hand():
    inputs = keras.Input((8, 10, 6))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", groups=2)(inputs)  # 4*5 positions, 3*3*3*4 weights
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)  # 4*5 positions, 3*3*4 weights
    x = keras.layers.SeparableConv2D(5, 3, padding="same")(x)  # 4*5 positions, 3*3*4 weights and 4*5
    outputs = keras.layers.Dense(7)(keras.layers.GlobalAveragePooling2D()(x))  # 5*7 weights
    assert count_macs(keras.Model(inputs, outputs)) == 20 * 108 + 20 * 36 + 20 * (36 + 20) + 35


@pytest.mark.once
def test_macs_need_a_known_size_and_layers_used_once():
    with pytest.raises(ValueError, match="known image size"):
        count_macs(create_model("resnet20", input_shape=(None, None, 3)))
    inputs, shared = keras.Input((8, 8, 4)), keras.layers.Conv2D(4, 1, name="shared")
    with pytest.raises(ValueError, match="shared is used more than once"):
        count_macs(keras.Model(inputs, shared(shared(inputs))))


@pytest.mark.once
def test_a_model_inside_a_model_counts_its_macs_but_has_no_depth():
    inner = create_model("resnet20")
    inputs = keras.Input((32, 32, 3))
    outer = keras.Model(inputs, inner(inputs))
    assert count_macs(outer) == count_macs(inner)
    with pytest.raises(ValueError, match="without models inside"):
        depth(outer)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (None, 4)),
        ({"include_top": False}, (None, 8, 8, 16)),
        ({"include_top": False, "pooling": "avg"}, (None, 16)),
        ({"include_top": False, "pooling": "max"}, (None, 16)),
        ({"include_top": False, "input_shape": (None, None, 1)}, (None, None, None, 16)),
        ({"input_shape": (17, 23, 5), "classes": 1, "classifier_activation": "sigmoid"}, (None, 1)),
    ],
)
def test_keras_applications_arguments(options, shape):
    assert build_tiny("cifar_b", **options).output_shape == shape


def test_classifier_activation_none_returns_logits():
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    logits = build_tiny("basic", classifier_activation=None)
    probabilities = build_tiny("basic")
    probabilities.set_weights(logits.get_weights())
    raw = logits.predict(images, verbose=0)
    expected = np.exp(raw) / np.exp(raw).sum(-1, keepdims=True)
    np.testing.assert_allclose(probabilities.predict(images, verbose=0), expected, rtol=1e-4)


def test_pixel_stats_normalise_inside_the_model():
    raw = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype("float32")
    mean, std = [10.0, 20.0, 30.0], [2.0, 4.0, 8.0]
    inside = build_tiny("plain", pixel_stats=(mean, std))
    outside = build_tiny("plain")
    outside.set_weights(inside.get_weights())
    expected = outside.predict(((raw - mean) / std).astype("float32"), verbose=0)
    np.testing.assert_allclose(inside.predict(raw, verbose=0), expected, atol=1e-5)


def test_channels_first_is_the_same_network_and_stays_so_in_its_file(tmp_path):
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    for key in ("cifar_a", "basic", "shufflenetv2"):
        last = build_tiny(key)
        keras.config.set_image_data_format("channels_first")
        try:
            first = build_tiny(key, input_shape=(3, 16, 16))
        finally:
            keras.config.set_image_data_format("channels_last")
        first.set_weights(last.get_weights())
        first.save(tmp_path / "model.keras")
        expected = last.predict(images, verbose=0)
        for model in (first, keras.models.load_model(tmp_path / "model.keras")):
            np.testing.assert_allclose(model.predict(images.transpose(0, 3, 1, 2), verbose=0), expected, atol=1e-5)


def test_numbers_of_numpy_and_lists_are_what_they_stand_for():
    labels = np.array([0, 1, 2])
    options = {"classes": labels.max() + 1, "depths": list(np.array([1, 1])), "widths": [np.int64(8), 16]}
    options |= {"dropout": np.float32(0.5), "zero_init_residual": np.True_, "input_shape": np.array([16, 16, 3])}
    model = build_tiny("cifar_a", pixel_stats=(np.zeros(3), np.ones(3, "float32")), **options)
    assert model.output_shape == (None, 3)
    spec = dataclasses.replace(get_variant("resnet20").spec, depths=[1, 1], widths=[np.int64(8), 16])
    assert (spec.depths, spec.widths) == ((1, 1), (8, 16))
    assert {type(width) for width in spec.widths} == {int}
    hash(spec)


def test_shapes_are_told_in_the_order_of_the_images(monkeypatch):
    for order, shape, said in (
        ("channels_last", (1, 32, 3), "(height, width, channels)"),
        ("channels_first", (32, 32, 3), "(channels, height, width)"),
    ):
        monkeypatch.setattr(keras.config, "image_data_format", lambda order=order: order)
        for wrong in (shape, shape[:2]):
            with pytest.raises(UsageError, match=re.escape(said)) as caught:
                get_variant("resnet20").resolve_input(wrong)
            assert str(wrong) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shortcut": "D"}, "choose one of A, B, C, none"),
        ({"block": "wide"}, "choose one of basic, bottleneck"),
        ({"stem": "vit"}, "choose one of imagenet, cifar"),
        ({"form": "caffe"}, "choose one of paper, mlperf_tiny"),
        ({"depths": (1, 2), "widths": (8,)}, "one positive number a stage"),
        ({"depths": (0,), "widths": (8,)}, "one positive number a stage"),
        ({"depths": (), "widths": ()}, "one positive number a stage"),
        ({"widths": (8, 4), "shortcut": "A"}, "cannot narrow 8 channels to 4"),
        ({"classes": 0}, "at least 1"),
        ({"pooling": "sum"}, "'avg', 'max' or None"),
        ({"input_shape": (32, 32)}, "three positive numbers"),
        ({"input_shape": (32, 0, 3)}, "three positive numbers"),
        ({"input_shape": (32, 32, None)}, "channels must be known"),
        ({"input_shape": (1, 32, 3)}, "needs at least 2x2 pixels, got 1x32"),
        ({"weights": "nowhere.weights.h5"}, "no file nowhere.weights.h5"),
        ({"weights": "model.pth"}, "call load_torch_weights"),
        ({"weights": "ImageNet"}, "give None, 'imagenet' or the path"),
        ({"weights": 5}, "give None, 'imagenet' or the path"),
        ({"depths": 3}, "depths=3: give a tuple of whole numbers"),
        ({"widths": (8.5,)}, "give a tuple of whole numbers"),
        ({"se_ratio": 16.0}, "se_ratio=16.0: give a whole number"),
        ({"dropout": "0.5"}, "give a number"),
        ({"zero_init_residual": "no"}, "give True or False"),
        ({"activation": None}, "activation=None: give a name"),
        ({"classes": "10"}, "whole number of classes"),
        ({"classes": True}, "whole number of classes"),
        ({"input_shape": 32}, "three positive numbers"),
        ({"input_shape": (32.0, 32.0, 3)}, "three positive numbers"),
        ({"classifier_activation": "nope"}, "no activation of that name"),
        ({"pixel_stats": 5}, "give .means, standard deviations."),
        ({"pixel_stats": ("abc", "def")}, "one of each a channel"),
        ({"pixel_stats": (np.array(1.0), np.array(2.0))}, "one of each a channel"),
        ({"pixel_stats": ([0.0, None, 0.0], [1.0] * 3)}, "means are finite"),
        ({"pixel_stats": ([0.0] * 3, [1.0, 0.0, 1.0])}, "standard deviations finite and above 0"),
        ({"pixel_stats": ([0.0, np.nan, 0.0], [1.0] * 3)}, "means are finite"),
        ({"classes": 1}, "a softmax of one score is always 1"),
        ({"include_preprocessing": True, "input_shape": (32, 32, 1)}, "images of CIFAR-10 have 3 channels, these 1"),
        ({"weights": "model.keras"}, "is loaded by keras.models.load_model"),
    ],
)
def test_a_wrong_value_is_one_clear_line(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        build_tiny("cifar_a", **({"depths": (1, 1)} | options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mobilenetv2_x0_5_cifar", {"alpha": 0}, "above 0"),
        ("mobilenetv2_x0_5_cifar", {"alpha": float("inf")}, "above 0"),
        ("xception", {"blocks": (1, 2)}, "give a tuple of"),
        ("googlenet", {"blocks": ((1, 2),)}, "give a tuple of tuples of .*tuples of"),
        ("mobilenetv2_x0_5_cifar", {"dropout": 1.0}, "from 0 to below 1"),
        ("shufflenetv2_x0_5_cifar", {"widths": (3, 4, 4)}, "even"),
        ("shufflenetv2_x0_5_cifar", {"head_width": 0}, "positive"),
    ],
)
def test_baselines_check_their_options(name, options, message):
    with pytest.raises(UsageError, match=message):
        create_model(name, **options)


@pytest.mark.parametrize("side", [27, 28, 32])
def test_lenet_centres_an_image_in_a_field_of_32_pixels(side):
    small, full = (create_model("lenet5", input_shape=(pixels, pixels, 1)) for pixels in (side, 32))
    full.set_weights(randomize(small).get_weights())
    images = np.random.default_rng(0).normal(size=(2, side, side, 1)).astype("float32")
    rows = (32 - side) // 2, 32 - side - (32 - side) // 2
    framed = np.pad(images, ((0, 0), rows, rows, (0, 0)))
    np.testing.assert_allclose(run(small, images), run(full, framed), rtol=1e-4, atol=1e-6)


def test_weights_come_back_from_a_path(tmp_path):
    first = build_tiny("cifar_b")
    path = tmp_path / "some.weights.h5"
    first.save_weights(path)
    second = build_tiny("cifar_b", weights=path)
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(UsageError, match="does not fit"):
        build_tiny("cifar_c", weights=path)
    path.write_bytes(b"no weights")
    with pytest.raises(UsageError, match="does not fit"):
        build_tiny("cifar_b", weights=path)


@pytest.mark.once
@pytest.mark.parametrize("key", sorted(TINY))
def test_a_network_without_its_top_takes_the_weights_of_one_with(key, tmp_path):
    whole = randomize(build_tiny(key))
    whole.save_weights(tmp_path / "some.weights.h5")
    headless = build_tiny(key, weights=tmp_path / "some.weights.h5", include_top=False)
    known = {f"{layer.name}/{weight.name}": weight for layer in whole.layers for weight in layer.weights}
    for layer in headless.layers:
        for weight in layer.weights:
            np.testing.assert_array_equal(weight, known[f"{layer.name}/{weight.name}"])
    with pytest.raises(UsageError, match="does not fit"):
        build_tiny(key, weights=tmp_path / "some.weights.h5", classes=5)


def test_a_deeper_network_is_not_taken_for_one_with_a_top(tmp_path):
    deep = create_model("vgg16", include_top=False, norm="none", input_shape=(32, 32, 3), widths=(4, 4), depths=(1, 2))
    deep.save_weights(tmp_path / "some.weights.h5")
    options = {"norm": "none", "input_shape": (32, 32, 3), "widths": (4, 4), "depths": (1, 1)}
    with pytest.raises(UsageError, match="does not fit"):
        create_model("vgg16", include_top=False, weights=tmp_path / "some.weights.h5", **options)


def test_tiny_specs_cover_every_family():
    families = {get_variant(name).spec.family for name in list_models()}
    assert {get_variant(case.name).spec.family for case in TINY.values()} == families


def test_weights_start_independent_and_with_he_variance():
    keras.utils.set_random_seed(0)
    model = create_model("resnet20")
    first, second = (model.get_layer(f"stage3_block2_conv{i}").get_weights()[0] for i in (1, 2))
    assert not np.allclose(first, second)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02
    for kernel in (first, second):
        assert np.var(kernel) == pytest.approx(2 / (3 * 3 * 64), rel=0.05)


@pytest.mark.parametrize(
    ("name", "layer", "gain"),
    [("mobilenetv2_x1_0_cifar", "stage6_block2_depthwise_conv", 2), ("xception", "stage3_block2_conv1", 1)],
)
def test_a_depthwise_kernel_that_decides_the_signal_sees_one_channel(name, layer, gain):
    keras.utils.set_random_seed(0)
    kernel = create_model(name, norm="none").get_layer(layer).get_weights()[0]
    assert kernel.shape[:2] == (3, 3)
    assert kernel.shape[3] == 1
    assert np.var(kernel) == pytest.approx(gain / (3 * 3), rel=0.05)


@pytest.mark.parametrize("name", ["mobilenetv1_x1_0_cifar", "shufflenetv2_x0_5_cifar", "vgg11"])
def test_the_signal_reaches_the_logits_without_a_normalisation(name):
    keras.utils.set_random_seed(0)
    model = create_model(name, norm="none", classifier_activation=None, include_preprocessing=True)
    images = np.random.default_rng(0).integers(0, 256, (4, *model.input_shape[1:])).astype("float32")
    spread = keras.ops.convert_to_numpy(model(images)).std(0).max()
    assert 1e-3 < spread < 1e3


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (7, 1), (16, 8), (24, 8), (32, 16), (48, 16), (64, 32), (256, 32)]
)
def test_a_group_has_two_channels_at_least(channels, groups):
    x = norm(keras.Input((4, 4, channels)), name="bn", style=ConvStyle(norm="group"))
    assert x._keras_history.operation.groups == groups
