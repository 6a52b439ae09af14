"""The weights that Keras publishes, mapped by name from the networks of keras.applications.

keras.applications downloads its files, checks their hashes and knows their formats; it builds its own network with
them, and each layer of ours takes the arrays of the layer that has its place there.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from keras_resnets.errors import UsageError
from keras_resnets.weights import own
from keras_resnets.weights.keras_names import (
    DENSENET,
    INCEPTION_V3,
    MOBILENET_V1,
    MOBILENET_V2,
    RESNET,
    RESNET_V2,
    VGG,
    XCEPTION,
    mobilenet_v3,
)
from keras_resnets.weights.naming import Rename
from keras_resnets.weights.transfer import Arrays, absorb_biases, absorb_epsilons, assign, misfit, weighted_layers

Pixels = Literal["caffe", "tf", "torch"]

# Mean and standard deviation of RGB pixels from 0 to 255, as keras.applications.imagenet_utils applies them.
PIXEL_STATS: dict[Pixels, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "caffe": ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
    "tf": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "torch": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}

# Options that leave the trained network as it is.
TRAINING_ONLY = ("drop_path", "dropout", "zero_init_residual")


@dataclass(frozen=True)
class Published:
    """The network of keras.applications that has published weights for one of ours.

    Args:
        builder: Name of its builder in keras.applications.
        pixels: How its images are normalised; "caffe" also swaps red and blue.
        rename: Name of our layer -> name of its layer.
        options: Options of our spec that make the two networks equal.
        arguments: Arguments of its builder.
    """

    builder: str
    pixels: Pixels
    rename: Rename
    options: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pixel_stats(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel, RGB."""
        return PIXEL_STATS[self.pixels]

    def contradiction(self, spec: Any, options: Mapping[str, Any]) -> str | None:
        """What makes our network another than the published one, or None.

        Args:
            spec: The spec of our network before options.
            options: Options that the caller changes.
        """
        for key in options.keys() - set(TRAINING_ONLY):
            needed = self.options.get(key, getattr(spec, key))
            if options[key] != needed:
                return f"the published weights need {key}={needed!r}, not {options[key]!r}"
        return None

    def load(
        self, model: keras.Model, weights: str | Path, *, include_top: bool, classes: int, raw_pixels: bool
    ) -> None:
        """Loads published weights into our network.

        Args:
            model: Our network.
            weights: "imagenet", or the path of a file of the network of keras.applications.
            include_top: Whether our network ends in a classifier.
            classes: Number of its classes.
            raw_pixels: Whether our network takes RGB pixels whatever order the weights were trained in.

        Raises:
            UsageError: If the file is damaged or of another network; lists what does not fit.
        """
        twin = self._build_twin(weights, include_top, classes)
        source = "keras.applications' file" if weights == "imagenet" else str(weights)
        arrays = self._collect(model, twin, source)
        if raw_pixels and self.pixels == "caffe":
            arrays[_first_kernel(model)] = arrays[_first_kernel(model)][:, :, ::-1]
        assign(model, arrays, source)

    def _build_twin(self, weights: str | Path, include_top: bool, classes: int) -> keras.Model:
        try:
            return self._load_twin(weights, include_top, classes)
        except UsageError as error:
            if include_top or weights == "imagenet":
                raise
            try:
                whole = _by_stable_name(self._load_twin(weights, True, classes))  # a file with the top that is left out
            except UsageError:
                raise error from None
            twin = self._load_twin(None, False, classes)
            for name, layer in _by_stable_name(twin).items():
                layer.set_weights(whole[name].get_weights())
            return twin

    def _load_twin(self, weights: str | Path | None, include_top: bool, classes: int) -> keras.Model:
        arguments = {"include_top": include_top, "classes": classes, **self.arguments}
        try:
            if weights is not None and not str(weights).endswith(".weights.h5"):
                return _builder(self.builder)(weights=str(weights), **arguments)
            twin = _builder(self.builder)(weights=None, **arguments)
        except Exception as error:  # Keras raises a bare Exception when a download fails
            if weights != "imagenet" and not isinstance(error, ValueError | OSError | KeyError):
                raise
            what = "keras.applications" if weights == "imagenet" else str(weights)
            reason = " ".join(str(error).split())
            failed = weights == "imagenet" and not isinstance(error, ValueError)
            way = "; download the file elsewhere and give its path" if failed else ""
            raise UsageError(f"weights: {what} gives no weights for {self.builder}: {reason}{way}") from error
        if weights is not None:
            own.load(twin, Path(weights))
        return twin

    def _collect(self, model: keras.Model, twin: keras.Model, source: str) -> Arrays:
        theirs = _by_stable_name(twin)
        arrays: Arrays = {}
        epsilons: dict[str, float] = {}
        unused = {name for name, layer in theirs.items() if layer.weights}
        missing = []
        for layer in weighted_layers(model):
            name = self.rename(layer.name)
            if name not in theirs:
                missing.append(f"{layer.name} finds no layer {name}")
                continue
            unused.discard(name)
            for key, array in _arrays(layer, theirs[name]):
                arrays[f"{layer.name}/{key}"] = array
            if isinstance(layer, keras.layers.BatchNormalization):
                epsilons[layer.name] = theirs[name].epsilon
        if missing or unused:
            raise misfit(source, model, missing + [f"layer {name} is left over" for name in unused])
        absorb_stream_biases(model, arrays)
        absorb_biases(model, arrays)
        absorb_epsilons(model, arrays, epsilons)
        return arrays


def _builder(name: str) -> Callable[..., keras.Model]:
    return getattr(keras.applications, name)


def _by_stable_name(twin: keras.Model) -> dict[str, keras.layers.Layer]:
    """The layers by name; those that Keras numbers through a whole session are numbered from 0 in the network."""
    numbered: dict[str, list[tuple[int, keras.layers.Layer]]] = {}
    named = {}
    for layer in twin.layers:
        prefix = _class_name(layer)
        found = re.fullmatch(rf"{prefix}(?:_(\d+))?", layer.name)
        if found:
            numbered.setdefault(prefix, []).append((int(found[1] or 0), layer))
        else:
            named[layer.name] = layer
    for prefix, layers in numbered.items():
        for place, (_, layer) in enumerate(sorted(layers, key=lambda pair: pair[0])):
            named[f"{prefix}_{place}"] = layer
    return named


def _class_name(layer: keras.layers.Layer) -> str:
    return own.snake_case(type(layer).__name__)


def _arrays(ours: keras.layers.Layer, theirs: keras.layers.Layer) -> list[tuple[str, np.ndarray]]:
    """The arrays of a layer of keras.applications in the shape that our layer wants."""
    arrays = {weight.name: np.asarray(keras.ops.convert_to_numpy(weight)) for weight in theirs.weights}
    if isinstance(ours, keras.layers.Dense) and isinstance(theirs, keras.layers.Conv2D):
        arrays["kernel"] = arrays["kernel"][0, 0]
    return list(arrays.items())


def _first_kernel(model: keras.Model) -> str:
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    return f"{first.name}/kernel"


def absorb_stream_biases(model: keras.Model, arrays: Arrays) -> None:
    """Moves the biases at the end of pre-activation branches into the BatchNorms that read their sum.

    No BatchNorm follows such a convolution: its bias travels along the shortcuts and is added to by every block,
    until a projection starts the stream anew. Every BatchNorm on the way sees the sum so far.
    """
    stream: Any = 0.0
    for layer in weighted_layers(model):
        block = re.fullmatch(r"(stage\d+_block\d+)_preact_bn|head_bn", layer.name)
        if not block or f"{layer.name}/moving_mean" not in arrays:
            continue
        if np.any(stream):
            arrays[f"{layer.name}/moving_mean"] = arrays[f"{layer.name}/moving_mean"] - stream
        projected = arrays.pop(f"{block[1]}_proj_conv/bias", None)
        stream = (stream if projected is None else projected) + arrays.pop(f"{block[1]}_conv3/bias", 0.0)


def find(name: str, weights: str | Path | None) -> Published | None:
    """The published network behind a `weights` argument, or None if it names no published weights.

    Args:
        name: Registered name of our network.
        weights: As given by the caller.

    Raises:
        UsageError: If published weights are asked for and there are none, or the path is no weights file of Keras.
    """
    if weights is None:
        return None
    if weights != "imagenet":
        own.check_path(Path(weights))
        if str(weights).endswith(".weights.h5"):
            return None
    if name not in PUBLISHED:
        raise UsageError(
            f"weights={str(weights)!r}: Keras publishes none for {name}; it does for {', '.join(PUBLISHED)}"
        )
    return PUBLISHED[name]


_SAME = {"padding": "same"}

PUBLISHED: dict[str, Published] = {
    "vgg16": Published("VGG16", "caffe", VGG),
    "vgg19": Published("VGG19", "caffe", VGG),
    "resnet50": Published("ResNet50", "caffe", RESNET),
    "resnet101": Published("ResNet101", "caffe", RESNET),
    "resnet152": Published("ResNet152", "caffe", RESNET),
    "resnet50v2": Published("ResNet50V2", "tf", RESNET_V2, {"form": "keras"}),
    "resnet101v2": Published("ResNet101V2", "tf", RESNET_V2, {"form": "keras"}),
    "resnet152v2": Published("ResNet152V2", "tf", RESNET_V2, {"form": "keras"}),
    "densenet121": Published("DenseNet121", "torch", DENSENET),
    "densenet169": Published("DenseNet169", "torch", DENSENET),
    "densenet201": Published("DenseNet201", "torch", DENSENET),
    "inceptionv3": Published("InceptionV3", "tf", INCEPTION_V3),
    "xception": Published("Xception", "tf", XCEPTION),
    "mobilenetv1_x0_25": Published("MobileNet", "tf", MOBILENET_V1, _SAME, {"alpha": 0.25}),
    "mobilenetv1_x0_5": Published("MobileNet", "tf", MOBILENET_V1, _SAME, {"alpha": 0.5}),
    "mobilenetv1_x0_75": Published("MobileNet", "tf", MOBILENET_V1, _SAME, {"alpha": 0.75}),
    "mobilenetv1_x1_0": Published("MobileNet", "tf", MOBILENET_V1, _SAME, {"alpha": 1.0}),
    "mobilenetv2_x0_35": Published("MobileNetV2", "tf", MOBILENET_V2, _SAME, {"alpha": 0.35}),
    "mobilenetv2_x0_5": Published("MobileNetV2", "tf", MOBILENET_V2, _SAME, {"alpha": 0.5}),
    "mobilenetv2_x0_75": Published("MobileNetV2", "tf", MOBILENET_V2, _SAME, {"alpha": 0.75}),
    "mobilenetv2_x1_0": Published("MobileNetV2", "tf", MOBILENET_V2, _SAME, {"alpha": 1.0}),
    "mobilenetv2_x1_3": Published("MobileNetV2", "tf", MOBILENET_V2, _SAME, {"alpha": 1.3}),
    "mobilenetv2_x1_4": Published("MobileNetV2", "tf", MOBILENET_V2, _SAME, {"alpha": 1.4}),
    "mobilenetv3small": Published(
        "MobileNetV3Small", "tf", mobilenet_v3((1, 2, 3, 2, 3)), _SAME, {"include_preprocessing": False}
    ),
    "mobilenetv3large": Published(
        "MobileNetV3Large", "tf", mobilenet_v3((1, 2, 3, 4, 2, 3)), _SAME, {"include_preprocessing": False}
    ),
}
