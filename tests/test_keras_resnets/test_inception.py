"""What the Inception family has beyond one output: auxiliary classifiers, and rows that are checked."""

import keras
import numpy as np
import pytest
import torch
from oracles import Oracle
from oracles.inception import V1, googlenet_outputs
from tiny import build_tiny, randomize

from keras_resnets import UsageError, count_parameters, create_model
from keras_resnets.layers import LocalResponseNorm

FOUR_BLOCKS = ((V1,), (V1, V1, V1, V1))
WITH_HEADS = {"auxiliary": True, "blocks": FOUR_BLOCKS, "input_shape": (80, 80, 3)}


def test_auxiliary_classifiers_equal_torch_and_leave_the_main_one_alone():
    model = randomize(build_tiny("googlenet", **WITH_HEADS, classifier_activation=None))
    images = np.random.default_rng(1).normal(size=(2, 80, 80, 3)).astype("float32")
    expected = googlenet_outputs(Oracle(model), torch.tensor(images).permute(0, 3, 1, 2), depths=(1, 4))
    found = model.predict(images, verbose=0)
    assert set(found) == {"main", "aux1", "aux2"}
    for key, values in found.items():
        np.testing.assert_allclose(values, expected[key].numpy(), rtol=1e-4, atol=1e-4 * np.abs(values).max())
    plain = build_tiny("googlenet", **(WITH_HEADS | {"auxiliary": False}), classifier_activation=None)
    for layer in plain.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    np.testing.assert_allclose(plain.predict(images, verbose=0), found["main"], rtol=1e-5)


def test_auxiliary_classifiers_need_the_top():
    with pytest.raises(UsageError, match="needs include_top=True"):
        build_tiny("googlenet", **WITH_HEADS, include_top=False)


def test_auxiliary_classifiers_train_and_come_back(tmp_path):
    keras.utils.set_random_seed(0)
    model = build_tiny("googlenet", **WITH_HEADS)
    loss = dict.fromkeys(("main", "aux1", "aux2"), "sparse_categorical_crossentropy")
    model.compile("sgd", loss, loss_weights={"main": 1.0, "aux1": 0.3, "aux2": 0.3}, jit_compile=False)
    images, labels = np.random.default_rng(0).normal(size=(4, 80, 80, 3)).astype("float32"), np.arange(4)
    before = model.get_layer("head_aux2_dense2").get_weights()[0]
    model.fit(images, dict.fromkeys(loss, labels), batch_size=4, verbose=0)
    assert not np.array_equal(model.get_layer("head_aux2_dense2").get_weights()[0], before)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").predict(images, verbose=0)
    np.testing.assert_allclose(loaded["aux1"], model.predict(images, verbose=0)["aux1"], atol=1e-6)


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "parameters"),
    [({}, 6_998_552), ({"form": "torchvision"}, 6_624_904), ({"form": "torchvision", "auxiliary": True}, 13_004_888)],
)
def test_googlenet_parameters(options, parameters):
    """Of the paper's network as Caffe publishes it, and of torchvision's two."""
    assert count_parameters(create_model("googlenet", **options)) == parameters


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_local_response_norm_is_caffes(data_format):
    x = np.random.default_rng(0).normal(0, 100, (2, 3, 4, 7)).astype("float32")
    axis = 3 if data_format == "channels_last" else 1
    expected = torch.nn.functional.local_response_norm(torch.tensor(np.moveaxis(x, axis, 1)), 5, 1e-4, 0.75, 1.0)
    found = keras.ops.convert_to_numpy(LocalResponseNorm(data_format=data_format)(x))
    np.testing.assert_allclose(np.moveaxis(found, axis, 1), expected.numpy(), rtol=1e-5)
    assert np.abs(found - x).max() > 10


@pytest.mark.parametrize(
    ("key", "options", "message"),
    [
        ("googlenet", {"auxiliary": True}, "give it four blocks"),
        ("googlenet", WITH_HEADS | {"input_shape": (None, None, 3)}, "known height and width"),
        ("googlenet", WITH_HEADS | {"input_shape": (64, 64, 3)}, "at least 80x80"),
        ("googlenet", {"form": "caffe"}, "choose one of paper, torchvision"),
        ("googlenet", {"form": "torchvision", "norm": "layer"}, "leave norm alone"),
        ("googlenet", {"dropout": 1.0}, "from 0 to below 1"),
        ("googlenet", {"blocks": ()}, "at least one stage"),
        ("googlenet", {"blocks": (((4, 2, 4),),)}, r"should be conv1, reduce3, conv3, reduce5, conv5, projected"),
        ("googlenet", {"stem_widths": (4, 0, 8)}, "each number at least 1"),
        ("bninception", {"blocks": (((4, 2, 4, 2, 4, "sum", 2),),)}, "conv1, reduce3"),
        ("bninception", {"se_ratio": 0.25}, "give a whole number"),
        ("inceptionv3", {"blocks": ((V1,),)}, "three stages"),
        ("xception", {"blocks": ((),)}, "give every stage a block"),
        ("xception", {"blocks": (((8, 8), (8, 4)),)}, "one number of channels"),
        ("xception", {"exit_widths": ()}, "positive"),
    ],
)
def test_a_wrong_option_is_one_clear_line(key, options, message):
    with pytest.raises(UsageError, match=message) as caught:
        build_tiny(key, **options)
    assert "\n" not in str(caught.value)
