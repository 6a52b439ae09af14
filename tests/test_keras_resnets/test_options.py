"""Options that every family, or every residual family, takes."""

import dataclasses
import re

import keras
import numpy as np
import pytest
from tiny import TINY, build_tiny, randomize

from keras_resnets import UsageError, count_parameters, create_model, get_variant, list_models
from keras_resnets.families.residual import ResNetSpec
from keras_resnets.spec import ResidualSpec

pytestmark = pytest.mark.once  # the options shape the graph, whatever the backend
ONE_EACH = {TINY[key].name: key for key in sorted(TINY, reverse=True)}
SPECS = {key: get_variant(TINY[key].name).spec for key in sorted(TINY) if key != "plain"}
RESIDUAL = [key for key, spec in SPECS.items() if isinstance(spec, ResidualSpec)]
BLOCKS = [key for key, spec in SPECS.items() if isinstance(spec, ResNetSpec) and key != "mlperf_tiny"]
NORM_LAYERS = (keras.layers.BatchNormalization, keras.layers.GroupNormalization)


def norms(model):
    return [layer for layer in model.layers if isinstance(layer, NORM_LAYERS)]


def output(model, seed=0, training=False):
    images = np.random.default_rng(seed).normal(size=(4, *model.input_shape[1:])).astype("float32")
    return keras.ops.convert_to_numpy(model(images, training=training))


@pytest.mark.parametrize("key", sorted(ONE_EACH.values()))
@pytest.mark.parametrize("norm", ["layer", "instance", "group", "none"])
def test_every_family_takes_every_norm_or_says_no(key, norm):
    if "norm" in get_variant(TINY[key].name).fixed:
        with pytest.raises(TypeError, match="has no option norm"):
            build_tiny(key, norm=norm)
        return
    if key == "mlperf_tiny":
        with pytest.raises(UsageError, match="leave preact and norm alone"):
            build_tiny(key, norm=norm)
        return
    channels = get_variant(TINY[key].name).data.input_shape[2]
    model = build_tiny(key, norm=norm, input_shape=(2 * 75, 2 * 75, channels))  # no map shrinks to one position
    if norm == "none":
        assert not norms(model)
        return
    assert norms(model)
    for layer in norms(model):
        assert isinstance(layer, keras.layers.GroupNormalization)
        channels = layer.input.shape[-1]
        group = np.gcd(32, channels)
        assert layer.groups == {"layer": 1, "instance": channels, "group": group // (1 + (group == channels))}[norm]
    assert np.isfinite(output(model)).all()


@pytest.mark.parametrize("key", sorted(ONE_EACH.values()))
def test_every_family_takes_another_activation_or_says_no(key):
    if "activation" in get_variant(TINY[key].name).fixed:
        with pytest.raises(TypeError, match="has no option activation"):
            build_tiny(key, activation="elu")
        return
    model = build_tiny(key, activation="elu")
    used = {layer.activation.__name__ for layer in model.layers if isinstance(layer, keras.layers.Activation)}
    assert "elu" in used
    assert used <= {
        "elu",
        "softmax",
        *(["relu", "sigmoid"] if any("_se_" in layer.name for layer in model.layers) else []),
    }


@pytest.mark.parametrize("key", sorted(ONE_EACH.values()))
def test_headless_every_family_takes_any_size_and_any_channels(key):
    side = TINY[key].size
    for channels in (1, 5):
        model = build_tiny(key, include_top=False, input_shape=(None, None, channels))
        shapes = [
            model(np.zeros((1, height, width, channels), "float32")).shape[1:3]
            for height, width in ((side, side), (side + 11, side + 18))
        ]
        assert shapes[1][0] >= shapes[0][0]
        assert shapes[1][1] >= shapes[0][1]


def test_layer_and_instance_norm_normalise_what_their_names_say():
    """Layer: one image's mean is 0 over all its values; instance: over each channel."""
    x = np.random.default_rng(0).normal(3, 5, size=(2, 6, 6, 3)).astype("float32")
    for norm, axes in (("layer", (1, 2, 3)), ("instance", (1, 2))):
        model = create_model("resnet20", depths=(1,), widths=(8,), input_shape=(6, 6, 3), norm=norm)
        stem = keras.Model(model.input, model.get_layer("stem_norm").output)
        found = keras.ops.convert_to_numpy(stem(x))
        np.testing.assert_allclose(found.mean(axes), 0, atol=1e-5)
        np.testing.assert_allclose(found.std(axes), 1, atol=1e-3)


@pytest.mark.parametrize("key", [*RESIDUAL, "fractal"])
def test_drop_path_is_nothing_at_inference_and_adds_no_parameters(key):
    plain, dropping = build_tiny(key), build_tiny(key, drop_path=0.5)
    assert count_parameters(dropping) == count_parameters(plain)
    randomize(plain)
    for layer in plain.layers:
        dropping.get_layer(layer.name).set_weights(layer.get_weights())
    np.testing.assert_allclose(output(plain), output(dropping), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "blocks", "with_shortcut"),
    [
        ("resnet20", 9, range(1, 10)),
        ("xception", 12, range(1, 13)),
        ("mobilenetv2_x0_5_cifar", 17, [3, 5, 6, 8, 9, 10, 12, 13, 15, 16]),
        ("mobilenetv3small_cifar", 11, [1, 3, 5, 6, 8, 10, 11]),
        ("shufflenetv1_g3_x1_0_cifar", 16, [2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16]),
    ],
)
def test_drop_path_grows_linearly_to_the_last_block(name, blocks, with_shortcut):
    model = create_model(name, drop_path=0.5)
    rates = [layer.rate for layer in model.layers if layer.name.endswith("_drop_path")]
    np.testing.assert_allclose(rates, 0.5 * np.array(with_shortcut) / blocks)


def test_drop_path_takes_a_branch_from_each_image_apart():
    keras.utils.set_random_seed(0)
    drop = create_model("resnet20", drop_path=0.5).get_layer("stage3_block3_drop_path")
    found = keras.ops.convert_to_numpy(drop(np.ones((400, 2, 2, 3), "float32"), training=True)).reshape(400, -1)
    assert ((found == 0).all(1) | (found == 2).all(1)).all(), "a whole branch or nothing, and twice the branch"
    assert 0.4 < (found == 0).all(1).mean() < 0.6


@pytest.mark.parametrize("key", RESIDUAL)
def test_zero_init_makes_every_branch_start_as_nothing(key):
    """Then the branches' weights do not matter: another seed for all of them gives the same output."""
    keras.utils.set_random_seed(0)
    model = build_tiny(key, zero_init_residual=True)
    expected = output(model)
    rng = np.random.default_rng(0)
    adding = tuple(layer.name.removesuffix("add") for layer in model.layers if layer.name.endswith("_add"))
    for layer in model.layers:
        if layer.name.startswith(adding) and "_conv" in layer.name and "_proj_" not in layer.name and layer.weights:
            for weight in layer.weights:
                kernel = np.array(keras.ops.convert_to_numpy(weight))
                if weight.name.endswith("kernel") and kernel.any():  # the last one of a pre-activation branch is zero
                    weight.assign(kernel + rng.normal(size=kernel.shape))
    np.testing.assert_allclose(output(model), expected, atol=1e-6)


@pytest.mark.parametrize("key", BLOCKS)
def test_squeeze_excite_can_stand_in_every_residual_family(key):
    model = build_tiny(key, se_ratio=4)
    blocks = [layer for layer in model.layers if layer.name.endswith("_add")]
    gates = [layer for layer in model.layers if layer.name.endswith("_se_gate")]
    assert len(gates) == len(blocks) > 0
    assert np.isfinite(output(model)).all()


def test_include_preprocessing_takes_raw_pixels():
    raw = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype("float32")
    inside, outside = build_tiny("basic", include_preprocessing=True), build_tiny("basic")
    outside.set_weights(inside.get_weights())
    mean, std = np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255
    expected = keras.ops.convert_to_numpy(outside(((raw - mean) / std).astype("float32")))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(inside(raw)), expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_preprocess_input_is_that_of_keras_applications(mode):
    name = {"caffe": "resnet50", "tf": "resnet50v2", "torch": "densenet121"}[mode]
    raw = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype("float32")
    expected = keras.applications.imagenet_utils.preprocess_input(raw.copy(), mode=mode)
    np.testing.assert_allclose(get_variant(name).preprocess_input(raw), expected, rtol=1e-5, atol=1e-4)


def test_preprocess_input_takes_one_image_in_either_order(monkeypatch):
    variant, raw = get_variant("resnet50"), np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype("float32")
    expected = variant.preprocess_input(raw)
    with pytest.raises(UsageError, match="an array or a tensor, not a list"):
        variant.preprocess_input(raw.tolist())
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    first = np.moveaxis(raw, -1, 0)
    for images in (first, first[None]):
        found = variant.preprocess_input(images)
        np.testing.assert_array_equal(np.moveaxis(found, -3, -1).reshape(expected.shape), expected)


@pytest.mark.parametrize(("activation", "least"), [("sigmoid", 0.27), (None, 0.0)])
def test_a_squeezenet_of_one_class_can_say_no_but_by_scores(activation, least):
    model = create_model("squeezenet1_1_cifar", classes=1, classifier_activation=activation)
    head = model.get_layer("head_conv")
    head.set_weights([np.zeros(head.kernel.shape), np.array([-1.0])])
    assert output(model) == pytest.approx(least, abs=2e-3)


def test_preprocess_input_without_published_weights_normalises_by_the_data_set():
    raw = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype("uint8")
    data = get_variant("resnet20").data
    found = get_variant("resnet20").preprocess_input(raw)
    np.testing.assert_allclose(found, (raw - np.array(data.mean)) / np.array(data.std), rtol=1e-5)


def test_decode_predictions_is_for_imagenet():
    with pytest.raises(UsageError, match="is for CIFAR-10"):
        get_variant("resnet20").decode_predictions(np.zeros((1, 10)))


@pytest.mark.parametrize(
    ("key", "options", "message"),
    [
        ("basic", {"norm": "spectral"}, "choose one of batch, layer, instance, group, none"),
        ("basic", {"activation": "nonsense"}, "no activation of that name"),
        ("basic", {"groups": 2}, "set block='bottleneck'"),
        ("basic", {"stride_in_3x3": True}, "set block='bottleneck'"),
        ("basic", {"se_ratio": -1}, "reduction ratio r"),
        ("basic", {"drop_path": 1.0}, "from 0 to below 1"),
        ("basic", {"dropout": -0.1}, "from 0 to below 1"),
        ("basic", {"stem_width": -1}, "positive number"),
        ("basic", {"form": "keras"}, "ResNet50V2"),
        ("basic", {"form": "senet154"}, "bottleneck"),
        ("preact_keras", {"shortcut": "C"}, "ResNet50V2"),
        ("senet154", {"base_width": 16}, "halves the channels of a group"),
        ("basic", {"norm": "instance", "input_shape": (8, 8, 3)}, "leaves nothing of a map of 1x1"),
        ("basic", {"form": "mlperf_tiny", "norm": "layer"}, "BatchNorm"),
        ("bottleneck", {"groups": 0}, "positive"),
        ("bottleneck", {"groups": 3, "base_width": 5}, "channels"),
        ("plain", {"drop_path": 0.5}, "leave a plain net with nothing"),
        ("plain", {"zero_init_residual": True}, "leave a plain net with nothing"),
        ("plain", {"preact": True}, "needs its shortcut"),
        (
            "basic",
            {"include_preprocessing": True, "input_shape": (16, 16, 1)},
            "images of ImageNet have 3 channels, these 1",
        ),
    ],
)
def test_an_option_that_cannot_be_met_is_one_clear_line(key, options, message):
    with pytest.raises(UsageError, match=message) as caught:
        build_tiny(key, **options)
    assert "\n" not in str(caught.value)


def test_an_unknown_option_lists_the_options():
    with pytest.raises(TypeError, match=r"has no option depth; its options are: .*shortcut"):
        create_model("resnet20", depth=3)
    with pytest.raises(TypeError, match="takes no input_tensor: call the model on the tensor"):
        create_model("resnet20", input_tensor=keras.Input((32, 32, 3)))


def test_published_errors_are_plausible_and_say_where_they_stand():
    found = [get_variant(name).error for name in list_models() if get_variant(name).error]
    assert len(found) > 40
    for error in found:
        assert 0.2 < error.percent < 60
        assert re.search("arXiv:|DOI|github.com", error.source)


def test_specs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_variant("resnet20").spec.block = "bottleneck"
