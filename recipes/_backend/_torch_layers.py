"""Layers that train as PyTorch's own do, with the names, weights and results of Keras's.

Keras 3.15 copies what it convolves to `channels_first` memory and back, and puts BatchNorm together from single
operations: together a third of a ResNet-20's step on a CPU. Here images stay as they are, in `channels_last` memory.
What Keras does around each call (types, masks, scopes) takes another twelfth; in float32 there is nothing for it to do.
"""

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import keras
import torch
from torch import distributed
from torch.nn import functional

from keras_resnets.layers import deep_graphs
from recipes._backend._keras_layers import Kind, made_of


@deep_graphs()
def native(network: keras.Model) -> keras.Model:
    """The same network, to train: most layers cost no more than what PyTorch computes in them.

    Args:
        network: A functional model.

    Returns:
        Another model with the same weights, in the same order.
    """
    made = made_of(network, lambda kind: OWN.get(kind, kind))
    return Network(made.input, made.output, name=made.name) if _steps_of(made) else made


@deep_graphs()
def portable(network: keras.Model) -> keras.Model:
    """The same network with Keras's layers again, which every backend can load."""
    keras_s = {own: kind for kind, own in OWN.items()}
    made = made_of(network, lambda kind: keras_s.get(kind, kind))
    return keras.Model(made.input, made.output, name=made.name) if isinstance(made, Network) else made


_Place = tuple[str, int]  # a layer, and which of its results


class _Step(NamedTuple):
    """A layer that is called: with some results of layers, or with one, and with further arguments."""

    layer: Any
    reads: _Place | list[_Place]
    arguments: dict[str, Any]
    trains: bool
    """Whether it asks if it trains."""


class Network(keras.Model):
    """A functional model that hands a batch from layer to layer itself."""

    def __call__(self, inputs: Any, training: bool | None = None, **options: Any) -> Any:
        """As of any model."""
        if options or not _is_plain(inputs) or self.compute_dtype != "float32":
            return super().__call__(inputs, training=training, **options)
        results = {(self._entry, 0): inputs}
        for layer, reads, arguments, trains in self._steps:
            x = [results[place] for place in reads] if isinstance(reads, list) else results[reads]
            # as in Keras, what is said in the call of the model counts more than what was said in that of the layer
            told = {"training": training} if trains and training is not None else {}
            found = layer(x, **(arguments | told))
            several = found if isinstance(found, list | tuple) else [found]
            results.update({(layer.name, place): one for place, one in enumerate(several)})
        return results[self._steps[-1].layer.name, 0]

    @cached_property
    def _entry(self) -> str:
        name: str = self.get_config()["input_layers"][0]
        return name

    @cached_property
    def _steps(self) -> list[_Step]:
        return _steps_of(self) or []


def _steps_of(network: keras.Model) -> list[_Step] | None:
    """The layers in their order, the output last; None: it takes more than that from one input to one output."""
    config, layers = network.get_config(), {layer.name: layer for layer in network.layers}
    ends = (config["input_layers"], config["output_layers"])
    if not all(isinstance(end, list) and isinstance(end[0], str) for end in ends):  # one of each
        return None
    steps = []
    for one in config["layers"]:
        if one["name"] == ends[0][0]:
            continue
        nodes = one["inbound_nodes"]
        if one["name"] not in layers or len(nodes) != 1 or len(nodes[0]["args"]) != 1:
            return None
        read, layer = nodes[0]["args"][0], layers[one["name"]]
        arguments = {name: value for name, value in nodes[0]["kwargs"].items() if value is not None}
        tensors = read if isinstance(read, list) else [read]
        known = all(isinstance(x, dict) and x["class_name"] == "__keras_tensor__" for x in tensors)
        if not known or any(isinstance(value, dict | list) for value in arguments.values()):
            return None
        histories = [x["config"]["keras_history"] for x in tensors]
        reads = [(name, place) for name, _, place in histories]
        trains = "training" in inspect.signature(layer.call).parameters
        steps.append(_Step(layer, reads if isinstance(read, list) else reads[0], arguments, trains))
    return steps if steps and ends[1] == [steps[-1].layer.name, 0, 0] else None


def _is_plain(x: Any) -> bool:
    return type(x) is torch.Tensor and x.dtype == torch.float32 and not x.is_meta


def _first(x: torch.Tensor) -> torch.Tensor:
    """A view of (n, height, width, channels) as PyTorch counts the axes."""
    return x.permute(0, 3, 1, 2)


def _last(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1)


def _padding(layer: Any) -> list[int] | None:
    """Pixels on each side, where both sides have as many; None: they have not, or the axes are others."""
    if layer.data_format != "channels_last":
        return None
    if layer.padding == "valid":
        return [0, 0]
    reach = [rate * (size - 1) for rate, size in zip(layer.dilation_rate, layer.kernel_size, strict=True)]
    if layer.padding != "same" or any(stride != 1 for stride in layer.strides) or any(one % 2 for one in reach):
        return None
    return [one // 2 for one in reach]


class _Direct(keras.layers.Layer):
    """Calls itself without what Keras does around it, where that would change nothing."""

    def __call__(self, inputs: Any, *rest: Any, **options: Any) -> Any:
        """As of any layer."""
        parts = inputs if isinstance(inputs, list) else [inputs]
        if not all(map(_is_plain, parts)) or rest or not self.built or self.compute_dtype != "float32":
            return super().__call__(inputs, *rest, **options)
        trains = isinstance(self, keras.layers.BatchNormalization)
        return self.call(inputs, options.get("training")) if trains else self.call(inputs)


class Conv2D(_Direct, keras.layers.Conv2D):
    """A convolution without copies of what it reads."""

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """(n, h, w, c) -> (n, h', w', filters)."""
        padding = _padding(self)
        if padding is None:
            return super().call(inputs)
        kernel = keras.ops.convert_to_tensor(self.kernel).permute(3, 2, 0, 1)
        bias = keras.ops.convert_to_tensor(self.bias) if self.use_bias else None
        outputs = functional.conv2d(
            _first(inputs), kernel, bias, self.strides, padding, self.dilation_rate, groups=self.groups
        )
        return self.activation(_last(outputs))


class DepthwiseConv2D(_Direct, keras.layers.DepthwiseConv2D):
    """A depthwise convolution without copies of what it reads."""

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """(n, h, w, c) -> (n, h', w', c * depth_multiplier)."""
        padding = _padding(self)
        if padding is None:
            return super().call(inputs)
        kernel = keras.ops.convert_to_tensor(self.kernel)
        height, width, channels, multiplier = kernel.shape
        kernel = kernel.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
        bias = keras.ops.convert_to_tensor(self.bias) if self.use_bias else None
        outputs = functional.conv2d(
            _first(inputs), kernel, bias, self.strides, padding, self.dilation_rate, groups=channels
        )
        return self.activation(_last(outputs))


class Dense(_Direct, keras.layers.Dense):
    """Product and bias in one operation."""

    def call(self, inputs: torch.Tensor, training: bool | None = None) -> torch.Tensor:
        """(n, features) -> (n, units)."""
        if inputs.ndim != 2 or not self.use_bias:
            return super().call(inputs, training=training)
        kernel, bias = (keras.ops.convert_to_tensor(weight) for weight in (self.kernel, self.bias))
        return self.activation(torch.addmm(bias, inputs, kernel))


class _Pooling(_Direct):
    """Pooling that leaves images in the memory layout that the convolution after it reads fastest."""

    pool: Callable[..., torch.Tensor]

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """(n, h, w, c) -> (n, h', w', c)."""
        if self.data_format != "channels_last" or self.padding != "valid":
            return super().call(inputs)
        return _last(type(self).pool(_first(inputs), self.pool_size, self.strides))


class AveragePooling2D(_Pooling, keras.layers.AveragePooling2D):
    """The mean of windows."""

    pool = functional.avg_pool2d


class MaxPooling2D(_Pooling, keras.layers.MaxPooling2D):
    """The largest of windows."""

    pool = functional.max_pool2d


class ZeroPadding2D(_Direct, keras.layers.ZeroPadding2D):
    """A frame of zeros."""

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """(n, h, w, c) -> (n, h', w', c)."""
        if self.data_format != "channels_last":
            return super().call(inputs)
        (top, bottom), (left, right) = self.padding
        return functional.pad(inputs, (0, 0, left, right, top, bottom))


class _Sum(torch.autograd.Function):
    """The sum over all processes; the gradient of one's part is the sum of all gradients."""

    @staticmethod
    def forward(context: Any, part: torch.Tensor) -> torch.Tensor:
        whole = part.clone()
        distributed.all_reduce(whole)
        return whole

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        whole = gradient.clone()
        distributed.all_reduce(whole)
        return whole


class BatchNormalization(_Direct, keras.layers.BatchNormalization):
    """BatchNorm whose statistics, scaling and gradient are one operation each."""

    def call(self, inputs: torch.Tensor, training: bool | None = None, mask: Any = None) -> torch.Tensor:
        """As Keras's; elsewhere than in training on images it is Keras's."""
        if not (training and self.trainable and self.axis in (-1, inputs.ndim - 1)) or mask is not None:
            return super().call(inputs, training=training, mask=mask)
        if distributed.is_initialized():
            return self._normalize_together(inputs)
        if inputs.ndim not in (2, 4) or self.gamma is None:
            return super().call(inputs, training=training, mask=mask)
        gamma, beta = self.gamma.value, None if self.beta is None else self.beta.value
        first = _first(inputs) if inputs.ndim == 4 else inputs
        outputs, mean, deviation = torch.native_batch_norm(first, gamma, beta, None, None, True, 0.0, self.epsilon)
        with torch.no_grad():  # biased, as Keras's is; PyTorch's own would be unbiased
            self._move(mean, deviation.pow(-2) - self.epsilon)
        return _last(outputs) if inputs.ndim == 4 else outputs

    def _normalize_together(self, inputs: torch.Tensor) -> torch.Tensor:
        """By the statistics over the parts of the batch that all processes have, each of the same size."""
        # PyTorch's SyncBatchNorm is for GPUs alone
        x = inputs.float()
        over = tuple(range(inputs.ndim - 1))
        sums = torch.stack([x.mean(over), (x * x).mean(over)])
        mean, square = _Sum.apply(sums) / distributed.get_world_size()
        variance = (square - mean * mean).clamp(min=0.0)  # which rounding can take below
        with torch.no_grad():
            self._move(mean, variance)
        outputs = (x - mean) * torch.rsqrt(variance + self.epsilon)
        if self.gamma is not None:
            outputs = outputs * self.gamma.value
        if self.beta is not None:
            outputs = outputs + self.beta.value
        return outputs.to(inputs.dtype)

    def _move(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving.value * self.momentum + now * (1 - self.momentum))


DIRECT = (
    keras.layers.Activation,
    keras.layers.Add,
    keras.layers.Flatten,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
    keras.layers.Reshape,
)
OWN: dict[Kind, Kind] = {kind: type(kind.__name__, (_Direct, kind), {}) for kind in DIRECT} | {
    keras.layers.AveragePooling2D: AveragePooling2D,
    keras.layers.BatchNormalization: BatchNormalization,
    keras.layers.Conv2D: Conv2D,
    keras.layers.Dense: Dense,
    keras.layers.DepthwiseConv2D: DepthwiseConv2D,
    keras.layers.MaxPooling2D: MaxPooling2D,
    keras.layers.ZeroPadding2D: ZeroPadding2D,
}
