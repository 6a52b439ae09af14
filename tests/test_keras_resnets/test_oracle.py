"""Every family against its forward pass written in plain torch, on whichever backend Keras runs.

Equal to one oracle on each backend, the networks are equal across backends.
"""

import keras
import numpy as np
import pytest
import torch
from tiny import TINY, build_tiny, randomize
from torch.nn import functional as F

SIZE = 16


class Oracle:
    """Layers as torch has them, with the weights of a Keras model looked up by name."""

    def __init__(self, model: keras.Model, epsilon: float = 1e-5) -> None:
        self.weights = {
            f"{layer.name}/{weight.name}": torch.tensor(np.array(keras.ops.convert_to_numpy(weight)))
            for layer in model.layers
            for weight in layer.weights
        }
        self.epsilon = epsilon

    def conv(self, x, name, stride=1, groups=1, padding=None):
        kernel = self.weights[f"{name}/kernel"]
        # Keras: (height, width, in, out), depthwise (height, width, in, 1); torch: (out, in / groups, height, width).
        kernel = kernel.permute(2, 3, 0, 1) if groups > 1 else kernel.permute(3, 2, 0, 1)
        padding = kernel.shape[-1] // 2 if padding is None else padding
        return F.conv2d(x, kernel, self.weights.get(f"{name}/bias"), stride, padding, groups=groups)

    def bn(self, x, name):
        gamma, beta, mean, variance = (
            self.weights[f"{name}/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return F.batch_norm(x, mean, variance, gamma, beta, eps=self.epsilon)

    def conv_bn(self, x, name, stride=1, groups=1):
        return self.bn(self.conv(x, name, stride, groups), name.replace("conv", "bn"))

    def depthwise_bn(self, x, name, stride=1):
        return self.conv_bn(x, name, stride, groups=x.shape[1])

    def top(self, x):
        return x.mean((2, 3)) @ self.weights["head_dense/kernel"] + self.weights["head_dense/bias"]


def residual(oracle, x, *, stem, block, depths, shortcut, stride_in_3x3=False):
    if stem == "imagenet":
        x = F.max_pool2d(F.relu(oracle.conv_bn(x, "stem_conv", 2)), 3, 2, 1)
    else:
        x = F.relu(oracle.conv_bn(x, "stem_conv"))
    for stage, depth in enumerate(depths, 1):
        for number in range(1, depth + 1):
            stride = 2 if number == 1 and stage > 1 else 1
            name = f"stage{stage}_block{number}"
            if block == "basic":
                y = F.relu(oracle.conv_bn(x, f"{name}_conv1", stride))
                y = oracle.conv_bn(y, f"{name}_conv2")
            else:
                first, second = (1, stride) if stride_in_3x3 else (stride, 1)
                y = F.relu(oracle.conv_bn(x, f"{name}_conv1", first))
                y = F.relu(oracle.conv_bn(y, f"{name}_conv2", second))
                y = oracle.conv_bn(y, f"{name}_conv3")
            if shortcut != "none":
                y = y + around(oracle, x, y.shape[1], stride, shortcut, name)
            x = F.relu(y)
    return oracle.top(x)


def around(oracle, x, filters, stride, shortcut, name):
    if shortcut == "C" or (shortcut == "B" and (stride > 1 or x.shape[1] != filters)):
        return oracle.conv_bn(x, f"{name}_proj_conv", stride)
    half = (filters - x.shape[1]) // 2
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, half, half))


def mlperf_tiny(oracle, x):
    def same(x, name, stride):  # Keras's padding: a stride of 2 over an even size pads bottom and right
        if stride == 2 and oracle.weights[f"{name}/kernel"].shape[0] == 3:
            return oracle.conv(F.pad(x, (0, 1, 0, 1)), name, 2, padding=0)
        return oracle.conv(x, name, stride)

    x = F.relu(oracle.bn(same(x, "stem_conv", 1), "stem_bn"))
    for stage, stride in ((1, 1), (2, 2)):
        name = f"stage{stage}_block1"
        y = F.relu(oracle.bn(same(x, f"{name}_conv1", stride), f"{name}_bn1"))
        y = oracle.bn(same(y, f"{name}_conv2", 1), f"{name}_bn2")
        x = F.relu(y + (same(x, f"{name}_proj_conv", 2) if stride == 2 else x))
    return oracle.top(x)


def mobilenetv2(oracle, x):
    x = F.relu6(oracle.conv_bn(x, "stem_conv"))
    # Sandler et al. 2018, Table 2, with CIFAR's strides: expansion, repeats, stride.
    for stage, (expansion, repeats, stride) in enumerate(
        ((1, 1, 1), (6, 2, 1), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1)), 1
    ):
        for number in range(1, repeats + 1):
            name, step = f"stage{stage}_block{number}", stride if number == 1 else 1
            y = F.relu6(oracle.conv_bn(x, f"{name}_expand_conv")) if expansion > 1 else x
            y = F.relu6(oracle.depthwise_bn(y, f"{name}_depthwise_conv", step))
            y = oracle.conv_bn(y, f"{name}_project_conv")
            x = x + y if step == 1 and x.shape[1] == y.shape[1] else y
    return oracle.top(F.relu6(oracle.conv_bn(x, "head_conv")))


def shufflenetv2(oracle, x):
    x = F.relu(oracle.conv_bn(x, "stem_conv"))
    for stage, repeats in ((1, 4), (2, 8), (3, 4)):
        for number in range(1, repeats + 1):
            name, stride = f"stage{stage}_block{number}", 2 if number == 1 else 1
            if number == 1:
                left = oracle.depthwise_bn(x, f"{name}_proj_depthwise_conv", 2)
                left, right = F.relu(oracle.conv_bn(left, f"{name}_proj_conv")), x
            else:
                left, right = x.chunk(2, dim=1)
            right = F.relu(oracle.conv_bn(right, f"{name}_conv1"))
            right = oracle.depthwise_bn(right, f"{name}_depthwise_conv", stride)
            right = F.relu(oracle.conv_bn(right, f"{name}_conv2"))
            x = F.channel_shuffle(torch.cat([left, right], 1), 2)
    return oracle.top(F.relu(oracle.conv_bn(x, "head_conv")))


def expected(key: str, model: keras.Model, images: np.ndarray) -> np.ndarray:
    x = torch.tensor(images).permute(0, 3, 1, 2)
    oracle = Oracle(model, epsilon=1e-3 if key == "mlperf_tiny" else 1e-5)
    if key in ("mlperf_tiny", "mobilenetv2", "shufflenetv2"):
        out = globals()[key](oracle, x)
    else:
        options = {
            "basic": {"stem": "imagenet", "block": "basic", "shortcut": "B"},
            "bottleneck": {"stem": "imagenet", "block": "bottleneck", "shortcut": "B"},
            "bottleneck_v1_5": {"stem": "imagenet", "block": "bottleneck", "shortcut": "B", "stride_in_3x3": True},
            "cifar_a": {"stem": "cifar", "block": "basic", "shortcut": "A"},
            "cifar_b": {"stem": "cifar", "block": "basic", "shortcut": "B"},
            "cifar_c": {"stem": "cifar", "block": "basic", "shortcut": "C"},
            "plain": {"stem": "cifar", "block": "basic", "shortcut": "none"},
        }[key]
        out = residual(oracle, x, depths=TINY[key][1]["depths"], **options)
    return out.numpy()


@pytest.mark.parametrize("key", sorted(TINY))
def test_forward_pass_equals_torch(key):
    keras.utils.set_random_seed(0)
    model = randomize(build_tiny(key, input_shape=(SIZE, SIZE, 3), classifier_activation=None))
    images = np.random.default_rng(1).normal(size=(4, SIZE, SIZE, 3)).astype("float32")
    found = model.predict(images, verbose=0)
    between_images = np.abs(found - np.roll(found, 1, axis=0)).mean()
    assert between_images > 1e-3 * np.abs(found).max(), "an oracle that compares constants proves nothing"
    np.testing.assert_allclose(found, expected(key, model, images), atol=1e-3 * between_images, rtol=1e-5)
