"""A Keras 3 model rebuilt in tf_keras, which is all that tensorflow-model-optimization takes; for export/_tfmot.py."""

import inspect
from collections.abc import Callable, Collection
from typing import Any

import keras
import numpy as np
import tf_keras

from export.layers import activation_name, foldable_norms, scale_and_shift
from export.qat import AFFINE
from keras_resnets.errors import UsageError

SAME = ("linear", "relu", "sigmoid", "softmax", "tanh")  # activations that are the same function in both
CREATED_IN = ("initializer", "regularizer", "constraint")  # of no use to weights that are there already
# Layers that behave alike in both, or are trained; all others run as the Keras 3 code that they are.
TWINS = (
    keras.layers.Activation,
    keras.layers.Add,
    keras.layers.AveragePooling2D,
    keras.layers.BatchNormalization,
    keras.layers.Concatenate,
    keras.layers.Conv2D,
    keras.layers.Dense,
    keras.layers.DepthwiseConv2D,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.MaxPooling2D,
    keras.layers.Multiply,
    keras.layers.Permute,
    keras.layers.ReLU,
    keras.layers.Reshape,
    keras.layers.SeparableConv2D,
    keras.layers.ZeroPadding2D,
)

_own: dict[str, keras.layers.Layer] = {}  # the Keras 3 layers that Keras3 calls, by name: of one model a process


class Keras3(tf_keras.layers.Layer):
    """Runs the code of the Keras 3 layer of the same name, which keeps its weights as they are."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        own = _own[self.name]
        return own(inputs, training=training) if "training" in inspect.signature(own.call).parameters else own(inputs)


class Shift(tf_keras.layers.Layer):
    """Adds constants to the channels of a map."""

    def __init__(self, shift: list[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shift = shift

    def call(self, inputs: Any) -> Any:
        return inputs + self.shift

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"shift": self.shift}


class Scale(tf_keras.layers.Layer):
    """Multiplies the channels of a map by constants."""

    def __init__(self, scale: list[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: Any) -> Any:
        return inputs * self.scale

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"scale": self.scale}


class Sixfold(tf_keras.layers.Layer):
    """Six times the hard sigmoid: one operation of LiteRT."""

    def call(self, inputs: Any) -> Any:
        return tf_keras.activations.relu(inputs + 3.0, max_value=6.0)


class Joined(tf_keras.layers.Concatenate):
    """A concatenation that tfmot does not know: its rule for them sorts the inputs by their place in the model."""


CUSTOM = {kind.__name__: kind for kind in (Keras3, Shift, Scale, Sixfold, Joined)}


def rebuild(model: keras.Model, *, for_rounding: bool = False) -> tf_keras.Model:
    """The same network in tf_keras, with the same weights and names of layers.

    Args:
        model: A functional Keras 3 model without models inside, on the TensorFlow backend.
        for_rounding: Write what int8 has no rule for as what it has one: a BatchNorm that no convolution can take in
            as a depthwise 1x1 convolution, a normalisation of pixels as a scale and a shift, a hard sigmoid as a
            shifted ReLU6 and a scale, an average as a sum and a scale; and a hard swish, for which XNNPACK has no
            integer kernel, as a product with a hard sigmoid. The other BatchNorms are frozen.

    Raises:
        UsageError: If a layer with weights to train is of a kind that tf_keras does not have, or takes several inputs
            in another way than as one list.
    """
    _own.clear()
    by_name = {layer.name: layer for layer in model.layers}
    foldable = foldable_norms(model)
    config = model.get_config()
    tensors: dict[tuple[Any, ...], Any] = {}
    inputs = []
    for entry in config["layers"]:
        layer = by_name[entry["name"]]
        if isinstance(layer, keras.layers.InputLayer):
            inputs.append(tf_keras.Input(layer.batch_shape[1:], name=layer.name))
            tensors[layer.name, 0, 0] = inputs[-1]
            continue
        (node,) = entry["inbound_nodes"]
        given = _tensors(node["args"] or [node["kwargs"].get("inputs")], tensors)
        if len(given) != 1 or given[0] is None:
            raise UsageError(
                f"{layer.name} ({type(layer).__name__}) is called with several inputs or by keyword, and no way is "
                f"known to rebuild that in tf_keras"
            )
        (arguments,) = given
        function = _for_rounding(layer, foldable) if for_rounding else None
        result = (function or _twin(layer))(arguments)
        for index, tensor in enumerate(result if isinstance(result, list | tuple) else [result]):
            tensors[layer.name, 0, index] = tensor
    outputs = [tensors[tuple(one)] for one in _histories(config["output_layers"])]
    return tf_keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs, name=model.name)


def weights_of(rebuilt: tf_keras.Model, model: keras.Model) -> dict[str, list[np.ndarray]]:
    """The weights of a rebuilt model's layers by the names that they have in `model`."""
    names = {layer.name for layer in model.layers}
    return {layer.name: layer.get_weights() for layer in rebuilt.layers if layer.name in names and layer.weights}


def _histories(outputs: Any) -> list[Any]:
    return [outputs] if isinstance(outputs[0], str) else list(outputs)


def _tensors(arguments: Any, tensors: dict[tuple[Any, ...], Any]) -> Any:
    """The arguments of a node with tf_keras's tensors in the places of Keras 3's."""
    if isinstance(arguments, dict) and arguments.get("class_name") == "__keras_tensor__":
        return tensors[tuple(arguments["config"]["keras_history"])]
    if isinstance(arguments, list | tuple):
        return [_tensors(one, tensors) for one in arguments]
    return arguments


def _twin(layer: keras.layers.Layer) -> Callable[[Any], Any]:
    """A function that applies the layer's twin, or the layer itself where it has none."""
    activation = activation_name(layer) if hasattr(layer, "activation") else "linear"
    if isinstance(layer, keras.layers.Activation) and activation == "relu6":
        return tf_keras.layers.ReLU(6.0, name=layer.name)
    if type(layer) in TWINS and (activation in SAME or isinstance(layer, keras.layers.ReLU)):
        return _copied(layer)
    if type(layer) in TWINS and layer.weights:  # with an activation of Keras 3's own
        _own[f"{layer.name}_activation"] = keras.layers.Activation(layer.activation)
        return lambda x: Keras3(name=f"{layer.name}_activation")(_copied(layer, activation="linear")(x))
    if layer.trainable_weights:
        raise UsageError(
            f"{layer.name} ({type(layer).__name__}) has weights, and no way is known to rebuild it in tf_keras"
            + ("; write its layers into the model itself" if isinstance(layer, keras.Model) else "")
        )
    _own[layer.name] = layer
    return lambda x: Keras3(name=layer.name)(x)


def _copied(layer: keras.layers.Layer, **changed: Any) -> Callable[[Any], Any]:
    kind = getattr(tf_keras.layers, type(layer).__name__)
    taken = {*inspect.signature(kind.__init__).parameters, "name", "trainable"} - {"kwargs", "self"}
    config = {key: value for key, value in layer.get_config().items() if key in taken and not key.endswith(CREATED_IN)}

    def apply(x: Any) -> Any:
        twin = kind.from_config(config | changed)
        result = twin(x)
        twin.set_weights(layer.get_weights())
        return result

    return apply


def _for_rounding(layer: keras.layers.Layer, foldable: Collection[str]) -> Callable[[Any], Any] | None:
    """A function that applies what stands for the layer under rounding, or None where it can stay as it is."""
    name = layer.name
    if isinstance(layer, keras.layers.Activation) and activation_name(layer) == "hard_sigmoid":
        return lambda x: _hard_sigmoid(x, name)
    if isinstance(layer, keras.layers.Activation) and activation_name(layer) == "hard_silu":
        return lambda x: tf_keras.layers.Multiply(name=name)([x, _hard_sigmoid(x, f"{name}_hard_sigmoid")])
    if isinstance(layer, keras.layers.Average):
        return lambda xs: Scale([1 / len(xs)], name=name)(_by_twos(tf_keras.layers.Add, xs, f"{name}_sum"))
    if isinstance(layer, keras.layers.Add):
        return lambda xs: _by_twos(tf_keras.layers.Add, xs, name)
    if isinstance(layer, keras.layers.Multiply):
        return lambda xs: _by_twos(tf_keras.layers.Multiply, xs, name)
    if isinstance(layer, keras.layers.Concatenate):
        return Joined(layer.axis, name=name)
    if isinstance(layer, AFFINE):
        return lambda x: _normalized(layer, x, foldable)
    separable = isinstance(layer, keras.layers.SeparableConv2D)
    if separable or (type(layer) in TWINS and layer.weights and activation_name(layer) not in ("linear", "relu")):
        before = (lambda x: _separated(layer, x)) if separable else _copied(layer, activation="linear")
        if activation_name(layer) == "linear":
            return before
        activation = keras.layers.Activation(layer.activation, name=f"{name}_activation")
        after = _for_rounding(activation, foldable) or _twin(activation)
        return lambda x: after(before(x))
    return None


def _hard_sigmoid(x: Any, name: str) -> Any:
    return Scale([1 / 6], name=name)(Sixfold(name=f"{name}_sixfold")(x))


def _by_twos(kind: Any, xs: list[Any], name: str) -> Any:
    """A sum or product of two at a time: those between need ranges, too."""
    *first, last = xs
    before = first[0] if len(first) == 1 else _by_twos(kind, first, f"{name}_of_{len(first)}")
    return kind(name=name)([before, last])


def _normalized(layer: keras.layers.Layer, x: Any, foldable: Collection[str]) -> Any:
    """A BatchNorm with frozen statistics where a convolution takes it in, else its scale and shift, to be trained."""
    if layer.name in foldable:
        return _copied(layer, trainable=False)(x)
    scale, shift = (np.broadcast_to(values, x.shape[-1:]) for values in scale_and_shift(layer))
    if not isinstance(layer, keras.layers.BatchNormalization):  # of pixels: constants
        return Shift(shift.tolist(), name=layer.name)(Scale(scale.tolist(), name=f"{layer.name}_scale")(x))
    twin = tf_keras.layers.DepthwiseConv2D(1, name=layer.name, trainable=layer.trainable)
    result = twin(x)
    twin.set_weights([scale.reshape(1, 1, -1, 1), shift])
    return result


def _separated(layer: keras.layers.SeparableConv2D, x: Any) -> Any:
    depthwise, *rest = layer.get_weights()
    first = tf_keras.layers.DepthwiseConv2D(
        layer.kernel_size,
        layer.strides,
        layer.padding,
        depth_multiplier=layer.depth_multiplier,
        dilation_rate=layer.dilation_rate,
        use_bias=False,
        name=f"{layer.name}_depthwise",
        trainable=layer.trainable,
    )
    second = tf_keras.layers.Conv2D(
        layer.filters, 1, use_bias=layer.use_bias, name=layer.name, trainable=layer.trainable
    )
    result = second(first(x))
    first.set_weights([depthwise])
    second.set_weights(rest)
    return result
