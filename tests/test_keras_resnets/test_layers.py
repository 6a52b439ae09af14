import keras
import numpy as np
import pytest
import torch
from tiny import run

from keras_resnets.layers import ChannelShuffle, ChannelSplit, ConvStyle, ZeroPadShortcut, conv_bn, divisible, max_pool


@pytest.mark.parametrize(("size", "filters", "stride"), [((4, 6), 8, 2), ((5, 5), 7, 2), ((4, 4), 5, 1)])
def test_zero_pad_shortcut_is_a_strided_identity_between_zeros(size, filters, stride):
    x = np.random.default_rng(0).normal(size=(2, *size, 4)).astype("float32")
    found = keras.ops.convert_to_numpy(ZeroPadShortcut(filters, stride)(x))
    before = (filters - 4) // 2
    assert found.shape == (2, -(-size[0] // stride), -(-size[1] // stride), filters)
    np.testing.assert_array_equal(found[..., before : before + 4], x[:, ::stride, ::stride])
    assert not found[..., :before].any()
    assert not found[..., before + 4 :].any()


def test_channel_shuffle_takes_one_channel_of_each_block_in_turn():
    x = np.arange(12, dtype="float32").reshape(1, 1, 1, 12)
    found = keras.ops.convert_to_numpy(ChannelShuffle(3)(x)).ravel()
    assert found.tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


def test_channel_split_halves():
    x = np.arange(6, dtype="float32").reshape(1, 1, 1, 6)
    left, right = (keras.ops.convert_to_numpy(half).ravel() for half in ChannelSplit()(x))
    assert left.tolist() == [0, 1, 2]
    assert right.tolist() == [3, 4, 5]


@pytest.mark.parametrize("kernel", [3, 7])
def test_a_strided_convolution_pads_both_sides_alike(kernel):
    """A kernel that picks its centre must pick pixels 0, 2, 4, ...; Keras's own "same" would pick others."""
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, conv_bn(inputs, 1, kernel, stride=2, linear=True, name="a_conv"))
    centre = np.zeros((kernel, kernel, 1, 1), "float32")
    centre[kernel // 2, kernel // 2] = 1
    model.get_layer("a_conv").set_weights([centre])
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 1)).astype("float32")
    np.testing.assert_allclose(model.predict(x, verbose=0), x[:, ::2, ::2] / np.sqrt(1 + 1e-5), rtol=1e-4)


def test_a_layer_is_named_after_its_convolution():
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, conv_bn(inputs, 1, 3, stride=2, name="stage1_conv1"))
    assert [layer.name for layer in model.layers[1:]] == ["stage1_pad1", "stage1_conv1", "stage1_bn1", "stage1_relu1"]


@pytest.mark.parametrize(("value", "rounded"), [(16, 16), (8 * 0.5, 8), (32 * 0.35, 16), (24 * 0.5, 16), (19, 24)])
def test_divisible_never_drops_below_nine_tenths(value, rounded):
    assert divisible(value) == rounded
    assert divisible(value) >= 0.9 * value


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_what_a_max_pool_pads_never_wins(activation):
    """Equal to torch's pool, which pads with minus infinity, on a map of what the activation puts out."""
    x = np.random.default_rng(0).normal(-1, 1, size=(2, 6, 7, 3))
    x = (np.maximum(x, 0) if activation == "relu" else np.tanh(x)).astype("float32")
    inputs = keras.Input((6, 7, 3))
    model = keras.Model(inputs, max_pool(inputs, style=ConvStyle(activation=activation), name="pool"))
    expected = torch.nn.functional.max_pool2d(torch.tensor(x).permute(0, 3, 1, 2), 3, 2, 1).permute(0, 2, 3, 1)
    np.testing.assert_array_equal(run(model, x), expected.numpy())
    again = keras.Model.from_config(model.get_config())
    np.testing.assert_array_equal(run(again, x), expected.numpy())
