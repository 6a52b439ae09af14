"""Every family's forward pass in plain torch, written from the papers, and a tiny network of it to compare with.

One file a family; `CASES` of each file says which options shrink a registered network, and which function
is its oracle.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Case:
    """A network small enough to train in a second, and its oracle.

    Args:
        name: Registered name.
        options: Options that shrink it.
        forward: Logits from an `Oracle` and images of shape (batch, channels, height, width).
        epsilon: Of its BatchNorms.
        size: Side of the images.
    """

    name: str
    options: dict[str, Any]
    forward: Callable[["Oracle", torch.Tensor], torch.Tensor]
    epsilon: float = 1e-5
    size: int = 16


class Oracle:
    """Layers as torch has them, with the weights of a Keras model looked up by name."""

    def __init__(self, model: keras.Model, epsilon: float = 1e-5) -> None:
        self.weights = {
            f"{layer.name}/{weight.name}": torch.tensor(np.array(keras.ops.convert_to_numpy(weight)))
            for layer in model.layers
            for weight in layer.weights
        }
        self.epsilon = epsilon

    def conv(self, x, name, stride=1, groups=1, padding=None, part="kernel"):
        kernel = self.weights[f"{name}/{part}"]
        # Keras: (height, width, in / groups, out), depthwise (height, width, in, 1); torch: (out, in / groups, h, w).
        depthwise = groups > 1 and kernel.shape[3] == 1
        kernel = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
        padding = (kernel.shape[2] // 2, kernel.shape[3] // 2) if padding is None else padding
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

    def dense(self, x, name):
        return x @ self.weights[f"{name}/kernel"] + self.weights[f"{name}/bias"]

    def squeeze_excite(self, x, name, gate=torch.sigmoid):
        y = F.relu(self.conv(x.mean((2, 3), keepdim=True), f"{name}_se_conv1"))
        return x * gate(self.conv(y, f"{name}_se_conv2"))

    def top(self, x):
        return self.dense(x.mean((2, 3)), "head_dense")
