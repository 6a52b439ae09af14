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

from keras_resnets.errors import UsageError, first_line
from keras_resnets.weights import own
from keras_resnets.weights.naming import Rename, by_rules
from keras_resnets.weights.transfer import Arrays, absorb_biases, absorb_epsilons, assign, misfit, weighted_layers

Pixels = Literal["caffe", "tf", "torch"]

# Mean and standard deviation of RGB pixels from 0 to 255, as keras.applications.imagenet_utils applies them.
PIXEL_STATS: dict[Pixels, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "caffe": ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
    "tf": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "torch": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}


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

    def check(self, options: Mapping[str, Any], pixel_stats: Any) -> None:
        """Finds what would make our network another than the published one.

        Raises:
            UsageError: If an option or the normalisation contradicts the published weights.
        """
        for key, value in self.options.items():
            if options.get(key, value) != value:
                raise UsageError(f"weights: the published weights need {key}={value!r}, not {options[key]!r}")
        if pixel_stats is not None:
            raise UsageError(
                "weights: the published weights have their own normalisation; "
                "give include_preprocessing=True instead of pixel_stats"
            )

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
        if weights != "imagenet":
            own.check_exists(Path(weights))
        try:
            builder = _builder(self.builder)
            return builder(weights=str(weights), include_top=include_top, classes=classes, **self.arguments)
        except (ValueError, OSError, KeyError) as error:
            what = "keras.applications" if weights == "imagenet" else str(weights)
            raise UsageError(f"weights: {what} gives no weights for {self.builder}: {first_line(error)}") from error

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
    if isinstance(theirs, keras.layers.SeparableConv2D):  # two layers of ours share it
        part = "depthwise_kernel" if isinstance(ours, keras.layers.DepthwiseConv2D) else "pointwise_kernel"
        return [("kernel", arrays[part])]
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
        UsageError: If published weights are asked for and there are none.
    """
    legacy = weights is not None and str(weights).endswith(".h5") and not str(weights).endswith(".weights.h5")
    if weights != "imagenet" and not legacy:
        return None
    if name not in PUBLISHED:
        raise UsageError(
            f"weights={str(weights)!r}: Keras publishes none for {name}; it does for {', '.join(PUBLISHED)}"
        )
    return PUBLISHED[name]


_HEAD = ("head_dense", "predictions")
_CONV_STAGE = r"stage(?P<stage>\d+)_block(?P<block>\d+)"


def _block(found: re.Match[str]) -> str:
    return f"conv{int(found['stage']) + 1}_block{found['block']}"


_RESNET = by_rules(
    _HEAD,
    (r"stem_(conv|bn)", r"conv1_\1"),
    (rf"{_CONV_STAGE}_proj_(?P<kind>conv|bn)", lambda m: f"{_block(m)}_0_{m['kind']}"),
    (rf"{_CONV_STAGE}_(?P<kind>conv|bn)(?P<place>\d)", lambda m: f"{_block(m)}_{m['place']}_{m['kind']}"),
)
_RESNET_V2 = by_rules(
    ("head_bn", "post_bn"),
    (rf"{_CONV_STAGE}_preact_bn", lambda m: f"{_block(m)}_preact_bn"),
    (r"(.*)", lambda m: _RESNET(m[1])),
)
_DENSENET = by_rules(
    _HEAD,
    ("head_bn", "bn"),
    (r"stem_(conv|bn)", r"conv1_\1"),
    (r"stage(\d+)_transition_preact_bn", r"pool\1_bn"),
    (r"stage(\d+)_transition_conv", r"pool\1_conv"),
    (rf"{_CONV_STAGE}_preact_bn", lambda m: f"{_block(m)}_0_bn"),
    (rf"{_CONV_STAGE}_(?P<kind>conv|bn)(?P<place>\d)", lambda m: f"{_block(m)}_{m['place']}_{m['kind']}"),
)

# Convolutions in the branches of each block of Inception v3, by stage: Keras numbers them through in this order.
_V3_STEM = 5
_V3_BRANCHES = (((1, 2, 3, 1),) * 3, ((1, 3), *((1, 3, 5, 1),) * 4), ((2, 4), *((1, 3, 4, 1),) * 2))


def _v3_place(found: re.Match[str]) -> str:
    stage, block, branch = (int(found[part]) - 1 for part in ("stage", "block", "branch"))
    before = [*sum(_V3_BRANCHES[:stage], ()), *_V3_BRANCHES[stage][:block], _V3_BRANCHES[stage][block][:branch]]
    return _v3_layer(found["kind"], _V3_STEM + sum(map(sum, before)) + int(found["place"] or 1))


def _v3_layer(kind: str, place: int) -> str:
    return f"{'conv2d' if kind == 'conv' else 'batch_normalization'}_{place - 1}"


_INCEPTION_V3 = by_rules(
    _HEAD,
    (r"stem_(conv|bn)(\d)", lambda m: _v3_layer(m[1], int(m[2]))),
    (rf"{_CONV_STAGE}_b(?P<branch>\d)_(?P<kind>conv|bn)(?P<place>\d?)", _v3_place),
)

_XCEPTION_BEFORE = (1, 2, 3, 12)  # blocks in front of each stage; Keras counts the stem as one


def _xception_block(found: re.Match[str]) -> str:
    block = _XCEPTION_BEFORE[int(found["stage"]) - 1] + int(found["block"])
    return f"block{block}_sepconv{found['place']}{'_bn' if found['kind'] == 'bn' else ''}"


_XCEPTION = by_rules(
    _HEAD,
    (r"stem_conv(\d)", r"block1_conv\1"),
    (r"stem_bn(\d)", r"block1_conv\1_bn"),
    (rf"{_CONV_STAGE}_(?:depth|point)wise_(?P<kind>conv|bn)(?P<place>\d)", _xception_block),
    (rf"{_CONV_STAGE}_proj_conv", lambda m: f"conv2d_{int(m['stage']) - 1}"),
    (rf"{_CONV_STAGE}_proj_bn", lambda m: f"batch_normalization_{int(m['stage']) - 1}"),
)


def _number(found: re.Match[str], depths: tuple[int, ...]) -> int:
    """Running number, from 0, of a block in a network whose stages have so many blocks."""
    return sum(depths[: int(found["stage"]) - 1]) + int(found["block"]) - 1


def _mobilenet_v1(found: re.Match[str]) -> str:
    part = {"depthwise": "dw", "pointwise": "pw"}[found["part"]]
    return f"conv_{part}_{_number(found, (1, 2, 2, 6, 2)) + 1}{'_bn' if found['kind'] == 'bn' else ''}"


def _mobilenet_v2(found: re.Match[str]) -> str:
    number = _number(found, (1, 2, 3, 4, 3, 3, 1))
    prefix = f"block_{number}" if number else "expanded_conv"
    return f"{prefix}_{found['part']}{'_BN' if found['kind'] == 'bn' else ''}"


def _mobilenet_v3(depths: tuple[int, ...]) -> Rename:
    def prefix(found: re.Match[str]) -> str:
        number = _number(found, depths)
        return f"expanded_conv_{number}" if number else "expanded_conv"

    return by_rules(
        ("stem_conv", "conv"),
        ("stem_bn", "conv_bn"),
        (rf"{_CONV_STAGE}_se_conv1", lambda m: f"{prefix(m)}_squeeze_excite_conv"),
        (rf"{_CONV_STAGE}_se_conv2", lambda m: f"{prefix(m)}_squeeze_excite_conv_1"),
        (rf"{_CONV_STAGE}_(?P<part>\w+)_conv", lambda m: f"{prefix(m)}_{m['part']}"),
        (rf"{_CONV_STAGE}_(?P<part>\w+)_bn", lambda m: f"{prefix(m)}_{m['part']}_bn"),
        ("head_conv", "conv_1"),
        ("head_bn", "conv_1_bn"),
        ("head_expand_dense", "conv_2"),
        ("head_dense", "logits"),
    )


_MOBILENET_V1 = by_rules(
    ("stem_conv", "conv1"),
    ("stem_bn", "conv1_bn"),
    (rf"{_CONV_STAGE}_(?P<part>depthwise|pointwise)_(?P<kind>conv|bn)", _mobilenet_v1),
    ("head_dense", "conv_preds"),
)
_MOBILENET_V2 = by_rules(
    ("stem_conv", "Conv1"),
    ("stem_bn", "bn_Conv1"),
    (rf"{_CONV_STAGE}_(?P<part>\w+)_(?P<kind>conv|bn)", _mobilenet_v2),
    ("head_conv", "Conv_1"),
    ("head_bn", "Conv_1_bn"),
    _HEAD,
)
_SAME = {"padding": "same"}
_VGG = by_rules(
    _HEAD,
    (r"head_dense(\d)", r"fc\1"),
    (r"stage(\d)_conv(\d)", r"block\1_conv\2"),
)

PUBLISHED: dict[str, Published] = {
    "vgg16": Published("VGG16", "caffe", _VGG),
    "vgg19": Published("VGG19", "caffe", _VGG),
    "resnet50": Published("ResNet50", "caffe", _RESNET),
    "resnet101": Published("ResNet101", "caffe", _RESNET),
    "resnet152": Published("ResNet152", "caffe", _RESNET),
    "resnet50v2": Published("ResNet50V2", "tf", _RESNET_V2, {"form": "keras"}),
    "resnet101v2": Published("ResNet101V2", "tf", _RESNET_V2, {"form": "keras"}),
    "resnet152v2": Published("ResNet152V2", "tf", _RESNET_V2, {"form": "keras"}),
    "densenet121": Published("DenseNet121", "torch", _DENSENET),
    "densenet169": Published("DenseNet169", "torch", _DENSENET),
    "densenet201": Published("DenseNet201", "torch", _DENSENET),
    "inceptionv3": Published("InceptionV3", "tf", _INCEPTION_V3),
    "xception": Published("Xception", "tf", _XCEPTION),
    "mobilenetv1_x0_25": Published("MobileNet", "tf", _MOBILENET_V1, _SAME, {"alpha": 0.25}),
    "mobilenetv1_x0_5": Published("MobileNet", "tf", _MOBILENET_V1, _SAME, {"alpha": 0.5}),
    "mobilenetv1_x0_75": Published("MobileNet", "tf", _MOBILENET_V1, _SAME, {"alpha": 0.75}),
    "mobilenetv1_x1_0": Published("MobileNet", "tf", _MOBILENET_V1, _SAME, {"alpha": 1.0}),
    "mobilenetv2_x0_35": Published("MobileNetV2", "tf", _MOBILENET_V2, _SAME, {"alpha": 0.35}),
    "mobilenetv2_x0_5": Published("MobileNetV2", "tf", _MOBILENET_V2, _SAME, {"alpha": 0.5}),
    "mobilenetv2_x0_75": Published("MobileNetV2", "tf", _MOBILENET_V2, _SAME, {"alpha": 0.75}),
    "mobilenetv2_x1_0": Published("MobileNetV2", "tf", _MOBILENET_V2, _SAME, {"alpha": 1.0}),
    "mobilenetv2_x1_3": Published("MobileNetV2", "tf", _MOBILENET_V2, _SAME, {"alpha": 1.3}),
    "mobilenetv2_x1_4": Published("MobileNetV2", "tf", _MOBILENET_V2, _SAME, {"alpha": 1.4}),
    "mobilenetv3small": Published(
        "MobileNetV3Small", "tf", _mobilenet_v3((1, 2, 3, 2, 3)), _SAME, {"include_preprocessing": False}
    ),
    "mobilenetv3large": Published(
        "MobileNetV3Large", "tf", _mobilenet_v3((1, 2, 3, 4, 2, 3)), _SAME, {"include_preprocessing": False}
    ),
}
