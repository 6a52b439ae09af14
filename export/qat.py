"""Quantization-aware training: rounding is part of the network while `fit` runs.

The native engine of `quantize_aware` rewrites a trained Keras 3 model, for any backend: BatchNorm is folded into the
convolution in front of it, weights are rounded per channel and activations per tensor as an int8 file rounds them.
`strip` takes the rounding out again and keeps the ranges, from which `to_tflite` writes the int8 file without
calibration images.
"""

from typing import Any, Literal, overload

import keras
import numpy as np
from keras import layers

from export.calibrate import warn_if_few
from export.flatbuffer import Operation, operations
from export.layers import (
    PIXELS,
    activation_name,
    are_pixels,
    array,
    as_functional,
    check_graph,
    foldable_norms,
    in_float32,
    scale_and_shift,
)
from export.plan import Layers
from export.ranges import Ranges, Seen, is_dead
from export.response import can_be_spelled, spell_out
from export.rounding import RoundedActivation, RoundedConv2D, RoundedDense, RoundedDepthwiseConv2D
from export.tfmot import Keep, TfmotModel, quantize_by_tfmot
from keras_resnets.errors import UsageError
from keras_resnets.graph import walk
from keras_resnets.layers import ChannelShuffle, ChannelSplit, LowestPadding2D, ZeroPadShortcut

Learned = dict[str, tuple[float, float]]
Engine = Literal["native", "tfmot"]

BATCH = 8  # images whose activations, all of them, are held at once
SUFFIX = "_rounded"
IMAGE = "quantized_image"  # unlike any name of a layer
# Activations that LiteRT computes within the operation in front of them; of hard_sigmoid the first half.
FUSED = ("relu", "relu6", "hard_sigmoid", "linear")
BOUNDED = ("softmax",)  # whose output has a range that LiteRT fixes
ACTIVATIONS = (*FUSED, *BOUNDED, "gelu", "hard_silu", "sigmoid", "silu", "tanh")
ROUNDED: dict[Any, Any] = {
    layers.Conv2D: RoundedConv2D,
    layers.Dense: RoundedDense,
    layers.DepthwiseConv2D: RoundedDepthwiseConv2D,
}
AFFINE = (layers.BatchNormalization, layers.Normalization, layers.Rescaling)
MOVES = (  # what comes out has the range of what goes in
    layers.AveragePooling2D,
    layers.Dropout,
    layers.Flatten,
    layers.MaxPooling2D,
    layers.Permute,
    layers.Reshape,
    layers.ZeroPadding2D,
    ChannelShuffle,
    ChannelSplit,
    LowestPadding2D,
    ZeroPadShortcut,
)
COMPUTES = (*ROUNDED, *AFFINE, layers.Add, layers.Average, layers.Multiply, layers.SeparableConv2D)  # may end in FUSED
KNOWN = (
    *COMPUTES,
    *MOVES,
    layers.Activation,
    layers.Concatenate,
    layers.GlobalAveragePooling2D,
    layers.InputLayer,
    layers.ReLU,
)
FIXED = {"LOGISTIC": (0.0, 1.0), "SOFTMAX": (0.0, 1.0), "TANH": (-1.0, 1.0)}  # operations whose range LiteRT fixes
KEEPS_RANGE = (  # the operations that MOVES become, and the first of InverseRoot
    "AVERAGE_POOL_2D",
    "MAX_POOL_2D",
    "MAXIMUM",
    "PAD",
    "PADV2",
    "RESHAPE",
    "SLICE",
    "SPLIT",
    "STRIDED_SLICE",
    "TRANSPOSE",
)


@overload
def quantize_aware(
    model: keras.Model,
    images: np.ndarray,
    *,
    engine: Literal["native"] = "native",
    keep: Literal["sparsity"] | None = None,
) -> keras.Model: ...
@overload
def quantize_aware(
    model: keras.Model, images: np.ndarray, *, engine: Literal["tfmot"], keep: Keep | None = None
) -> TfmotModel: ...
@overload
def quantize_aware(
    model: keras.Model, images: np.ndarray, *, engine: Engine, keep: Keep | None = None
) -> keras.Model | TfmotModel: ...
def quantize_aware(
    model: keras.Model, images: np.ndarray, *, engine: Engine = "native", keep: Keep | None = None
) -> keras.Model | TfmotModel:
    """Makes of a trained model one that trains under the rounding of an int8 file.

    The ranges of the activations are read off the images before the first step. The native engine takes those of the
    least squared error, of what a softmax at the end reads those of the least error of its probabilities, and keeps
    them; tfmot's follow the batches, and its file has such a range for the softmax. BatchNorm keeps its statistics.
    Compile what comes back with a small learning rate, `fit` it for a while, and give it to
    `to_tflite(mode="int8")`, which needs no calibration images then.

    Args:
        model: A functional or Sequential model of the layers in `KNOWN`, a LocalResponseNorm of power 0.75, and the
            activations in `ACTIVATIONS`, with one image input.
        images: Training images, shape (n, height, width, channels), a few hundred. Fewer than `calibrate.FEW` warn.
        engine: "native" rewrites the model in Keras 3, to train on the backend that runs. "tfmot" trains a copy by
            tensorflow-model-optimization on TensorFlow in another process.
        keep: What pruning or clustering gave the weights and training is to leave them: "sparsity", which the native
            engine always keeps, and with tfmot "clusters" and "sparsity and clusters".

    Returns:
        A functional Keras 3 model without BatchNorms, not compiled, or a `TfmotModel`.

    Raises:
        UsageError: If a layer is of a kind that is not known here, the images do not fit, the model has diverged, or
            the engine cannot keep what it is to keep.
    """
    images = np.asarray(images)
    check_graph(model, "quantize_aware takes")
    model = as_functional(model)
    check_layers(model)
    _check_images(model, images)
    model = spell_out(in_float32(model))
    warn_if_few(images, stacklevel=2)
    if engine == "tfmot":
        return quantize_by_tfmot(model, images, keep)
    if engine != "native":
        raise UsageError(f"engine {engine!r}: there are native and tfmot")
    if keep not in (None, "sparsity"):
        raise UsageError(f"the native engine cannot keep {keep}; use engine='tfmot'")
    rewriter = _Rewriter(model)
    rewritten = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=rewriter.call)
    _set_ranges(rewritten, rewriter.rounded, images, pixels=are_pixels(model, images))
    return rewritten


def _check_images(model: keras.Model, images: np.ndarray) -> None:
    if images.shape[1:] != model.input_shape[1:] or not len(images):
        raise UsageError(f"images of shape {images.shape} do not fit {model.name}, which takes {model.input_shape[1:]}")
    if images.dtype.kind in "OSU" or not np.isfinite(images).all():
        raise UsageError(f"images for {model.name} are no numbers, or infinite or NaN in places")


def check_layers(model: keras.Model) -> None:
    """Checks that `quantize_aware` knows every layer of a model.

    Raises:
        UsageError: If it does not, or a layer is used twice, or the model has diverged.
    """
    model = as_functional(model)
    if not keras.backend.is_float_dtype(model.inputs[0].dtype):
        raise UsageError(f"{model.name} takes {model.inputs[0].dtype} images; quantize_aware wants an Input of float32")
    lost = [layer.name for layer in model.layers if not all(np.isfinite(array(one)).all() for one in layer.weights)]
    if lost:
        raise UsageError(f"{model.name}: weights of {', '.join(lost)} are infinite or NaN; its training has diverged")
    unknown = [f"{layer.name} ({what})" for layer in model.operations if (what := _unknown(layer))]
    if unknown:
        raise UsageError(f"{model.name}: no way is known to train {', '.join(unknown)} under rounding; use mode int8")
    shared = [one["name"] for one in model.get_config()["layers"] if len(one["inbound_nodes"]) > 1]
    if shared:
        raise UsageError(f"{model.name} uses {', '.join(shared)} more than once; quantize_aware takes layers used once")


def _unknown(layer: Any) -> str | None:
    """What of a layer, or of an operation of a user's model, has no rule under rounding."""
    if can_be_spelled(layer):
        return None
    if type(layer) not in KNOWN:
        kind = type(layer).__name__
        return kind if isinstance(layer, layers.Layer) else f"operation {kind}, not a layer"
    if isinstance(layer, (*AFFINE, layers.Average)) and len(layer.output.shape) != 4:
        return f"{type(layer).__name__} of vectors"
    if isinstance(layer, AFFINE) and not _axes(layer) <= {
        3 if keras.config.image_data_format() == "channels_last" else 1
    }:
        return f"{type(layer).__name__} over axis {layer.axis}, not the channels"
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        return f"{type(layer).__name__} with LoRA or weights that Keras has quantized"
    activation = activation_name(layer)
    return None if activation in ACTIVATIONS else f"activation {activation}"


def _axes(layer: keras.layers.Layer) -> set[int]:
    """The axes of an image along which a normalisation differs."""
    axis = getattr(layer, "axis", None)
    return {one % 4 for one in ([axis] if isinstance(axis, int) else axis or ())}


class _Rewriter:
    """Calls, for each layer of a model, the layers that stand for it under rounding."""

    def __init__(self, model: keras.Model) -> None:
        self.rounded: list[tuple[RoundedActivation, Any]] = []  # each with the tensor that it rounds
        self._origins: dict[int, tuple[Any, RoundedActivation | None]] = {}  # what rounded a tensor, by its id
        by_name = {layer.name: layer for layer in model.layers}
        before = {layer.name: names for layer, names in walk(model)}
        self._readers: dict[str, list[keras.layers.Layer]] = {name: [] for name in by_name}
        for name, sources in before.items():
            for source in sources:
                self._readers[source].append(by_name[name])
        self._folded = foldable_norms(model)
        self._norms = {convolution: by_name[norm] for norm, convolution in self._folded.items()}
        self._joins = {  # of a single tensor no operation is left
            name for name, layer in by_name.items() if isinstance(layer, layers.Concatenate) and len(before[name]) > 1
        }

    def call(self, layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        """What comes out of a layer under rounding; `layer` is the model's own."""
        (inputs,) = keras.tree.map_structure(self._round_image, args or (kwargs["inputs"],))
        name = layer.name
        if isinstance(layer, layers.Dense) and len(inputs.shape) == 4:
            name, x = self._pointwise(layer, inputs)
        elif isinstance(layer, tuple(ROUNDED)):
            name, x = self._weighted(layer, inputs)
        elif isinstance(layer, layers.SeparableConv2D):
            name, x = self._separable(layer, inputs)
        elif name in self._folded:
            name, x = self._folded[name], inputs
        elif isinstance(layer, AFFINE):
            learned = isinstance(layer, layers.BatchNormalization) and layer.trainable
            x = self._affine(inputs, *scale_and_shift(layer), name, trainable=learned)
        elif isinstance(layer, layers.Average):
            total = self._free(f"{name}_sum")
            x = self._round(layers.Add(name=total)(inputs), total)
            x = self._affine(x, np.ones(1) / len(inputs), np.zeros(1), name, trainable=False)
        elif isinstance(layer, layers.Multiply) and len(inputs) > 2:
            x = self._product(layer, inputs)
        else:
            x = type(layer).from_config(layer.get_config())(inputs)
        if isinstance(layer, MOVES):
            return self._move(layer, inputs, x)
        return self._round(x, name) if self._must_round(layer) else x

    def _must_round(self, layer: keras.layers.Layer) -> bool:
        """Not in front of what LiteRT computes in the same operation, nor where it fixes the range.

        What computes for nothing but a concatenation does so in the steps of that.
        """
        if layer.name in self._norms or activation_name(layer) in BOUNDED:
            return False
        readers = self._readers[layer.name]
        if len(readers) > 1 or not (isinstance(layer, COMPUTES) or _is_fused(layer)):
            return True
        joined = any(one.name in self._joins for one in readers)
        takes_one = isinstance(layer, COMPUTES) and activation_name(layer) == "linear"  # LiteRT fuses one activation
        return not joined and not any(takes_one and _is_fused(one) for one in readers)

    def _weighted(self, layer: keras.layers.Layer, x: Any) -> tuple[str, Any]:
        kernel, *rest = (array(weight) for weight in layer.weights)
        bias, scale = self._take_in_norm(layer, rest[0] if rest else None)
        x = _call(ROUNDED[type(layer)], layer.get_config() | {"activation": None}, x, kernel, bias, scale)
        return self._activated(layer, x)

    def _pointwise(self, layer: keras.layers.Layer, x: Any) -> tuple[str, Any]:
        """A dense layer on every pixel, as a 1x1 convolution: the converter would move earlier biases into it."""
        kernel, *rest = (array(weight) for weight in layer.weights)
        config = {"filters": layer.units, "kernel_size": 1, "name": layer.name, "trainable": layer.trainable}
        config["data_format"] = "channels_last"
        x = _call(RoundedConv2D, config, x, kernel[None, None], rest[0] if rest else None)
        return self._activated(layer, x)

    def _separable(self, layer: keras.layers.Layer, x: Any) -> tuple[str, Any]:
        """A depthwise and a 1x1 convolution, as LiteRT computes it."""
        depthwise, pointwise, *rest = (array(weight) for weight in layer.weights)
        bias, scale = self._take_in_norm(layer, rest[0] if rest else None)
        config = layer.get_config()
        shaped = ("kernel_size", "strides", "padding", "data_format", "dilation_rate", "depth_multiplier", "trainable")
        kept = {key: config[key] for key in shaped}
        name = self._free(f"{layer.name}_depthwise")
        x = self._round(_call(RoundedDepthwiseConv2D, kept | {"name": name}, x, depthwise, None), name)
        kept = {"filters": layer.filters, "kernel_size": 1, "name": layer.name}
        kept |= {key: config[key] for key in ("data_format", "trainable")}
        return self._activated(layer, _call(RoundedConv2D, kept, x, pointwise, bias, scale))

    def _product(self, layer: keras.layers.Layer, inputs: list[Any]) -> Any:
        """Of two factors after the other, as LiteRT computes it."""
        x, *rest = inputs
        for place, factor in enumerate(rest[:-1], 1):
            name = self._free(f"{layer.name}_product{place}")
            x = self._round(layers.Multiply(name=name)([x, factor]), name)
        return layers.Multiply(name=layer.name)([x, rest[-1]])

    def _free(self, name: str) -> str:
        """A name that no layer of the model has."""
        while name in self._readers:
            name += "_"
        return name

    def _activated(self, layer: keras.layers.Layer, x: Any) -> tuple[str, Any]:
        """What a layer computes last, after its sum, and a name for it."""
        activation, name = activation_name(layer), layer.name
        if activation == "linear":
            return name, x
        x = x if activation in FUSED else self._round(x, name)
        name = self._free(f"{name}_{activation}")
        return name, layers.Activation(activation, name=name)(x)

    def _take_in_norm(
        self, layer: keras.layers.Layer, bias: np.ndarray | None
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Bias of a layer with the BatchNorm after it, and that one's scale; None where there is none."""
        if layer.name not in self._norms:
            return bias, None
        scale, shift = scale_and_shift(self._norms[layer.name])
        return (0.0 if bias is None else bias) * scale + shift, scale

    def _affine(self, x: Any, scale: np.ndarray, shift: np.ndarray, name: str, *, trainable: bool) -> Any:
        """Scale and shift of each channel, as a depthwise 1x1 convolution; that of pixels must not be trained."""
        last = keras.config.image_data_format() == "channels_last"
        channels = x.shape[-1 if last else 1]
        scale, shift = (np.broadcast_to(values, (channels,)) for values in (scale, shift))
        config = {
            "kernel_size": 1,
            "name": name,
            "data_format": keras.config.image_data_format(),
            "trainable": trainable,
        }
        return _call(RoundedDepthwiseConv2D, config, x, np.ones((1, 1, channels, 1)), shift, scale)

    def _round(self, x: Any, name: str) -> Any:
        rounding = RoundedActivation(name=f"{name}{SUFFIX}")
        self.rounded.append((rounding, x))
        x = rounding(x)
        self._origins[id(x)] = x, rounding
        return x

    def _round_image(self, x: Any) -> Any:
        """The rounded image for the image itself; anything else as it is."""
        if not isinstance(x._keras_history.operation, layers.InputLayer):
            return x
        if id(x) not in self._origins:
            self._origins[id(x)] = self._round(x, IMAGE), None
        return self._origins[id(x)][0]

    def _move(self, layer: keras.layers.Layer, inputs: Any, x: Any) -> Any:
        """Remembers whose steps the values are on; averages fall between the steps and are rounded to them again."""
        _, rounding = self._origins.get(id(inputs), (None, None))
        if rounding is not None and isinstance(layer, layers.AveragePooling2D):
            x = rounding(x)
        for one in keras.tree.flatten(x):
            self._origins[id(one)] = one, rounding
        return x


def _call(
    kind: Any,
    config: dict[str, Any],
    x: Any,
    kernel: np.ndarray,
    bias: np.ndarray | None,
    scale: np.ndarray | None = None,
) -> Any:
    """Builds a layer with these weights and calls it."""
    for key in ("kernel_initializer", "depthwise_initializer", "bias_initializer"):
        config.pop(key, None)
    layer = kind.from_config(config | {"use_bias": bias is not None})
    x = layer(x)
    layer.kernel.assign(kernel)
    if bias is not None:
        layer.bias.assign(bias)
    if scale is not None:
        layer.scale.assign(scale.reshape(layer.scale.shape))
    return x


def _is_fused(layer: keras.layers.Layer) -> bool:
    """Whether LiteRT computes the layer within the operation in front of it."""
    return isinstance(layer, layers.Activation | layers.ReLU) and activation_name(layer) in FUSED


def _set_ranges(
    rewritten: keras.Model, rounded: list[tuple[RoundedActivation, Any]], images: np.ndarray, *, pixels: bool
) -> None:
    """Reads the ranges off the images, with weights rounded and activations not."""
    tensors = keras.Model(rewritten.input, [x for _, x in rounded])
    for rounding, _ in rounded:
        rounding.rounds = False
    logits, random = _logits_of(rewritten), np.random.default_rng(0)
    seen = []
    for rounding, _ in rounded:
        is_end = _is_image(rounding) or any(rounding.output is one for one in rewritten.outputs)
        seen.append(Seen("minmax" if is_end else "mse", len(images), logits=rounding.name in logits))
    for first in range(0, len(images), BATCH):
        found = keras.tree.flatten(tensors.predict_on_batch(images[first : first + BATCH]))
        for one, values in zip(seen, found, strict=True):
            one.add(np.asarray(values), random)
    for (rounding, _), one in zip(rounded, seen, strict=True):
        rounding.rounds = True
        ends = PIXELS if _is_image(rounding) and pixels else one.ends()
        rounding.set_weights([np.array(end) for end in ((0.0, 1.0) if is_dead(*ends) else ends)])


def _is_image(rounding: RoundedActivation) -> bool:
    return rounding.name == IMAGE + SUFFIX


def _logits_of(model: keras.Model) -> set[str]:
    """Names of the layers right in front of a softmax at the end."""
    return {
        source
        for layer, sources in walk(model)
        for source in sources
        if activation_name(layer) == "softmax" and any(layer.output is one for one in model.outputs)
    }


def is_quantize_aware(model: keras.Model) -> bool:
    """Whether a model came from `quantize_aware`."""
    return any(isinstance(layer, RoundedActivation) for layer in model.layers)


def strip(model: keras.Model) -> tuple[keras.Model, Learned]:
    """Takes the rounding of activations out of a quantization-aware model.

    Returns:
        The plain model, its weights on the grid of the file, and the range of each activation by the name of the layer
        that it comes out of; that of the image is called "image".
    """
    ranges = {}
    for layer in model.layers:
        if isinstance(layer, RoundedActivation):
            least, largest = (float(keras.ops.convert_to_numpy(weight)) for weight in layer.weights)
            ranges[layer.name.removesuffix(SUFFIX)] = min(least, 0.0), max(largest, 0.0)
    plain_of = {rounded: plain for plain, rounded in ROUNDED.items()}

    def clone(layer: Any) -> Any:
        kind: Any = plain_of.get(type(layer), type(layer))
        return kind.from_config(layer.get_config())

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if isinstance(layer, RoundedActivation) else layer(*args, **kwargs)

    plain = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in plain.layers:
        source = model.get_layer(layer.name)
        weights = source.get_weights()
        if type(source) in plain_of:
            weights = [np.asarray(keras.ops.convert_to_numpy(source.rounded)), *weights[1 : 1 + source.use_bias]]
        layer.set_weights(weights)
    return plain, ranges


def ranges_of_tensors(data: bytes, learned: Learned, model: keras.Model) -> Ranges:
    """The ranges of a float32 file's tensors from those of the layers that they come out of.

    Args:
        data: The file of the model that `strip` returned.
        learned: The ranges that `strip` returned.
        model: That model.

    Raises:
        UsageError: If a tensor within a layer has a range that follows from nothing.
    """
    steps = operations(data)
    layers = Layers([step.outputs[0].name for step in steps], {layer.name for layer in model.layers}, model.name)
    layers.tell_grouped(steps, model)
    last = {layer: step.outputs[0].name for step in steps for layer in layers.of(step.outputs[0].name)}
    ranges = {steps[0].inputs[0].name: learned[IMAGE]}

    def own_range(step: Operation, out: str) -> tuple[float, float] | None:
        parts = layers.of(out)
        if step.activation == "RELU6" and sixths.intersection(parts):
            return 0.0, 6.0
        own = [learned[layer] for layer in parts if layer in learned]
        return own[0] if own and all(last[layer] == out for layer in parts) else None  # no layer goes on after it

    # A hard sigmoid's sixth may be folded into the kernel that reads it: then its last tensor is the ReLU6 before.
    sixths = {layer.name for layer in model.layers if activation_name(layer) == "hard_sigmoid"}
    joined = {tensor.name: step for step in steps if step.kind == "CONCATENATION" for tensor in step.inputs}

    def derived_range(step: Operation) -> tuple[float, float] | None:
        out = step.outputs[0].name
        if step.kind in FIXED:
            return FIXED[step.kind]
        if out in joined and step.kind not in KEEPS_RANGE:
            return own_range(joined[out], joined[out].outputs[0].name) or derived_range(joined[out])
        if step is steps[-1] and step.kind not in KEEPS_RANGE:
            return next(reversed(learned.values()))  # the output has the converter's name, not the layer's
        if step.activation == "RELU6":
            return 0.0, 6.0
        if step.kind == "ADD" and all(tensor.name in ranges for tensor in step.inputs):
            added = [ranges[tensor.name] for tensor in step.inputs]  # in a sum of more than two
            return sum(least for least, _ in added), sum(largest for _, largest in added)
        if step.kind in KEEPS_RANGE:
            return next(ranges[tensor.name] for tensor in step.inputs if tensor.name in ranges)
        return None

    for step in steps:
        out = step.outputs[0].name
        found = own_range(step, out) or derived_range(step)
        if not found:
            raise UsageError(
                f"training gave no range to {out} ({step.kind}); export the model that quantize_aware was given, in "
                "mode int8 with calibration images"
            )
        ranges |= {tensor.name: found for tensor in step.outputs}
    return ranges
