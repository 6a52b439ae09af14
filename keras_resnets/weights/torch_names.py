"""How torch libraries name the layers of the networks of this package.

A naming turns the name of a layer of ours into the prefix of its entries in a state dict. Blocks come with their
running number: `stage3_block2#8_conv1` is the first convolution of the second block of stage 3, and eight blocks come
before it in the network.
"""

import re
from dataclasses import dataclass

import keras

from keras_resnets.errors import UsageError
from keras_resnets.weights.naming import Rename, by_rules

# Layers of classifiers. The convolution is SqueezeNet's; others, who have one of that name, keep it without their top.
CLASSIFIERS = ("head_conv", "head_dense1", "head_dense2", "head_dense")


@dataclass(frozen=True)
class Naming:
    """The names, and the habits, of one library for one kind of network.

    Args:
        title: Library and network.
        rename: Name of our layer -> prefix of its entries.
        epsilon: Of its BatchNorms.
        auxiliary: Prefixes of classifiers that serve training alone and are passed over if our network has none.
        last_pool: Kind of the last pool that is no global one, where networks of the same weights differ in it.
    """

    title: str
    rename: Rename
    epsilon: float = 1e-5
    auxiliary: tuple[str, ...] = ()
    last_pool: type[keras.layers.Layer] | None = None

    def check(self, model: keras.Model) -> None:
        """Checks what no weight shows: padding, pool, and the place of the stride.

        Raises:
            UsageError: If the network would compute something else with the right weights.
        """
        kinds = (keras.layers.AveragePooling2D, keras.layers.MaxPooling2D)
        pools = [layer for layer in model.layers if isinstance(layer, kinds)]
        if self.last_pool and pools and not isinstance(pools[-1], self.last_pool):
            raise UsageError(
                f"weights: these names are those of {self.title}, whose last block takes the maximum where "
                f"{pools[-1].name} averages; build it with blocks=INCEPTION_V3_2015 of keras_resnets.families.inception"
            )
        convolutions = [
            layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
        ]
        for layer in convolutions:
            if layer.strides == (1, 1):
                continue
            if layer.padding == "same" and layer.kernel_size != (1, 1):
                raise UsageError(
                    f"weights: torch pads a strided convolution on both sides, {layer.name} only bottom and right; "
                    f"build {model.name} with symmetric padding"
                )
            if layer.kernel_size == (1, 1) and re.fullmatch(r"stage\d+_block\d+_conv1", layer.name):
                raise UsageError(
                    f"weights: torch's bottlenecks stride in their 3x3, {layer.name} is a 1x1 that strides; "
                    f"build {model.name} with stride_in_3x3=True"
                )

    def ignored(self, key: str, model: keras.Model) -> bool:
        """Whether an entry belongs to an auxiliary classifier, or to the classifier of a model without its top."""
        names = {layer.name for layer in model.layers}
        left_out = [] if "head_dense" in names else [name for name in CLASSIFIERS if name not in names]
        classifiers = tuple(f"{self.rename(name)}." for name in left_out)
        return key.startswith(classifiers) or (len(model.outputs) == 1 and key.startswith(self.auxiliary))


def _place(found: re.Match[str]) -> tuple[int, int, int]:
    """Stage from 1, block from 0 and running number from 0 of a layer's name."""
    named = found.groupdict()
    return int(named["s"]), int(named.get("b") or 1) - 1, int(named["n"])


BLOCK = r"stage(?P<s>\d+)_block(?P<b>\d+)#(?P<n>\d+)"
UNIT = r"stage(?P<s>\d+)#(?P<n>\d+)"


def _resnet(shortcut: str, classifier: str) -> Rename:
    """ResNet, ResNeXt and Wide ResNet of torchvision, with timm's squeeze-excite, and their kin."""

    def layer(found: re.Match[str]) -> str:
        stage, block, _ = _place(found)
        part = found["part"]
        projection = {"proj_conv": f"{shortcut}.0", "proj_bn": f"{shortcut}.1"}
        squeeze = {"se_conv1": "se.fc1", "se_conv2": "se.fc2"}
        return f"layer{stage}.{block}.{(projection | squeeze).get(part, part)}"

    return by_rules(
        (r"stem_(conv|bn)", r"\g<1>1"),
        (rf"{BLOCK}_(?P<part>\w+)", layer),
        ("head_dense", classifier),
    )


def _densenet() -> Rename:
    """DenseNet of torchvision; the norm in front of a convolution has its number there."""
    parts = {"preact_bn": "norm1", "conv1": "conv1", "bn1": "norm2", "conv2": "conv2"}

    def layer(found: re.Match[str]) -> str:
        stage, block, _ = _place(found)
        return f"features.denseblock{stage}.denselayer{block + 1}.{parts.get(found['part'], found['part'])}"

    def transition(found: re.Match[str]) -> str:
        return f"features.transition{int(found[1]) - 1}.{'norm' if found[2] == 'preact_bn' else 'conv'}"

    return by_rules(
        ("stem_conv", "features.conv0"),
        ("stem_bn", "features.norm0"),
        (rf"{BLOCK}_(?P<part>\w+)", layer),
        (r"stage(\d+)_transition_(preact_bn|conv)", transition),
        ("head_bn", "features.norm5"),
        ("head_dense", "classifier"),
    )


_ORDER = ("expand", "depthwise", "project")  # convolutions of an inverted residual; the first block does not expand


def _mobilenet_v2() -> Rename:
    """MobileNetV2 of torchvision, whose blocks are numbered through from 1; the first one does not expand."""

    def layer(found: re.Match[str]) -> str:
        *_, number = _place(found)
        order = _ORDER[number == 0 :]
        if found["part"] not in order:
            return found[0]
        place, norm = order.index(found["part"]), found["kind"] == "bn"
        inside = f"{place + norm}" if found["part"] == "project" else f"{place}.{int(norm)}"
        return f"features.{number + 1}.conv.{inside}"

    return by_rules(
        (r"stem_conv", "features.0.0"),
        (r"stem_bn", "features.0.1"),
        (rf"{BLOCK}_(?P<part>expand|depthwise|project)_(?P<kind>conv|bn)", layer),
        (r"head_conv", "features.18.0"),
        (r"head_bn", "features.18.1"),
        ("head_dense", "classifier.1"),
    )


def _timm_mobilenet_v2() -> Rename:
    """MobileNetV2 of timm, whose first stage's blocks do not expand."""

    def layer(found: re.Match[str]) -> str:
        stage, block, number = _place(found)
        order = _ORDER[number == 0 :]
        if found["part"] not in order:
            return found[0]
        convolutions = dict(zip(order, ("dw", "pw") if number == 0 else ("pw", "dw", "pwl"), strict=True))
        part = found["part"]
        name = f"bn{order.index(part) + 1}" if found["kind"] == "bn" else f"conv_{convolutions[part]}"
        return f"blocks.{stage - 1}.{block}.{name}"

    return by_rules(
        ("stem_conv", "conv_stem"),
        ("stem_bn", "bn1"),
        (rf"{BLOCK}_(?P<part>expand|depthwise|project)_(?P<kind>conv|bn)", layer),
        ("head_conv", "conv_head"),
        ("head_bn", "bn2"),
        ("head_dense", "classifier"),
    )


def _shufflenet_v2() -> Rename:
    """ShuffleNetV2 of torchvision, whose stages are counted from 2."""
    parts = {
        "proj_depthwise_conv": "branch1.0",
        "proj_depthwise_bn": "branch1.1",
        "proj_conv": "branch1.2",
        "proj_bn": "branch1.3",
        "conv1": "branch2.0",
        "bn1": "branch2.1",
        "depthwise_conv": "branch2.3",
        "depthwise_bn": "branch2.4",
        "conv2": "branch2.5",
        "bn2": "branch2.6",
    }

    def layer(found: re.Match[str]) -> str:
        stage, block, _ = _place(found)
        return f"stage{stage + 1}.{block}.{parts.get(found['part'], found['part'])}"

    return by_rules(
        ("stem_conv", "conv1.0"),
        ("stem_bn", "conv1.1"),
        (rf"{BLOCK}_(?P<part>\w+)", layer),
        ("head_conv", "conv5.0"),
        ("head_bn", "conv5.1"),
        ("head_dense", "fc"),
    )


def _zoo_shufflenet_v2() -> Rename:
    """ShuffleNetV2 of kuangliu/pytorch-cifar, which numbers a unit's convolutions, the shortcut's first."""
    branch = ("conv1", "depthwise_conv", "conv2")
    around = ("proj_depthwise_conv", "proj_conv")

    def layer(found: re.Match[str]) -> str:
        stage, block, _ = _place(found)
        kind = "bn" if "bn" in found["part"] else "conv"
        order = (*around, *branch) if block == 0 else branch
        part = found["part"].replace("bn", "conv")
        return f"layer{stage}.{block}.{kind}{order.index(part) + 1}" if part in order else found[0]

    return by_rules(
        (r"stem_(conv|bn)", r"\g<1>1"),
        (rf"{BLOCK}_(?P<part>\w+)", layer),
        (r"head_(conv|bn)", r"\g<1>2"),
        ("head_dense", "linear"),
    )


def _squeezenet() -> Rename:
    """SqueezeNet of torchvision, whose fire modules and pools are numbered through after stem, ReLU and pool."""
    parts = {"squeeze_conv": "squeeze", "expand1_conv": "expand1x1", "expand3_conv": "expand3x3"}

    def layer(found: re.Match[str]) -> str:
        stage, _, number = _place(found)
        return f"features.{3 + number + stage - 1}.{parts.get(found['part'], found['part'])}"

    return by_rules(
        ("stem_conv", "features.0"),
        (rf"{BLOCK}_(?P<part>\w+)", layer),
        ("head_conv", "classifier.1"),
    )


def _vgg(layers_a_convolution: int, *, dense: tuple[int, int, int] = (0, 3, 6)) -> Rename:
    """VGG and AlexNet of torchvision: convolution, BatchNorm if there is one, ReLU, and a pool after each stage."""

    def layer(found: re.Match[str]) -> str:
        stage, _, number = _place(found)
        return f"features.{number * layers_a_convolution + stage - 1 + (found['kind'] == 'bn')}"

    return by_rules(
        (rf"{UNIT}_(?P<kind>conv|bn)\d", layer),
        ("head_dense1", f"classifier.{dense[0]}"),
        ("head_dense2", f"classifier.{dense[1]}"),
        ("head_dense", f"classifier.{dense[2]}"),
    )


def _timm_vgg(layers_a_convolution: int) -> Rename:
    """VGG of timm, whose hidden dense layers are convolutions."""
    features = _vgg(layers_a_convolution)
    return by_rules(
        (r"head_dense(\d)", r"pre_logits.fc\1"),
        ("head_dense", "head.fc"),
        ("(.*)", lambda found: features(found[1])),
    )


def _googlenet() -> Rename:
    """GoogLeNet of torchvision, whose blocks are called as in the paper, 3a to 5b."""
    places = {"b1_{}": "branch1", "b4_{}": "branch4.1"}
    places |= {f"b{branch}_{{}}{place}": f"branch{branch}.{place - 1}" for branch in (2, 3) for place in (1, 2)}

    def layer(found: re.Match[str]) -> str:
        stage, block, _ = _place(found)
        kind = found["kind"]
        place = places.get(found["part"].replace(kind, "{}"), found["part"])
        return f"inception{stage + 2}{'abcdefgh'[block]}.{place}.{kind}"

    return by_rules(
        (r"stem_(conv|bn)(\d)", r"conv\2.\1"),
        (rf"{BLOCK}_(?P<part>b\d_(?P<kind>conv|bn)\d?)", layer),
        (r"head_aux(\d)_(conv|bn)", r"aux\1.conv.\2"),
        (r"head_aux(\d)_dense(\d)", r"aux\1.fc\2"),
        ("head_dense", "fc"),
    )


def _inception_v3() -> Rename:
    """Inception v3 of torchvision, whose blocks are called as in TensorFlow, 5b to 7c."""

    def numbered(name: str, *ends: int | str) -> tuple[str, ...]:
        return tuple(f"{name}_{end}" for end in ends)

    branches = {  # by stage, and whether a block reduces: the convolutions of each branch
        (1, False): (("1x1",), numbered("5x5", 1, 2), numbered("3x3dbl", 1, 2, 3), ("_pool",)),
        (2, True): (("3x3",), numbered("3x3dbl", 1, 2, 3)),
        (2, False): (("1x1",), numbered("7x7", 1, 2, 3), numbered("7x7dbl", 1, 2, 3, 4, 5), ("_pool",)),
        (3, True): (numbered("3x3", 1, 2), numbered("7x7x3", 1, 2, 3, 4)),
        (3, False): (("1x1",), numbered("3x3", 1, "2a", "2b"), numbered("3x3dbl", 1, 2, "3a", "3b"), ("_pool",)),
    }
    parts = {
        (*kind, branch, place): part
        for kind, rows in branches.items()
        for branch, row in enumerate(rows, 1)
        for place, part in enumerate(row, 1)
    }
    stem = ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")

    def layer(found: re.Match[str]) -> str:
        stage, block, _ = _place(found)
        part = parts.get((stage, stage > 1 and block == 0, int(found["branch"]), int(found["place"] or 1)))
        letter = chr(ord("b" if stage == 1 else "a") + block)
        return f"Mixed_{stage + 4}{letter}.branch{part}.{found['kind']}" if part else found[0]

    return by_rules(
        (r"stem_(conv|bn)([1-5])", lambda found: f"Conv2d_{stem[int(found[2]) - 1]}.{found[1]}"),
        (rf"{BLOCK}_b(?P<branch>\d)_(?P<kind>conv|bn)(?P<place>\d?)", layer),
        ("head_dense", "fc"),
    )


NAMINGS = (
    Naming("torchvision ResNet", _resnet("downsample", "fc")),
    Naming("kuangliu/pytorch-cifar and akamaster/pytorch_resnet_cifar10", _resnet("shortcut", "linear")),
    Naming("torchvision DenseNet", _densenet()),
    Naming("torchvision MobileNetV2", _mobilenet_v2()),
    Naming("timm MobileNetV2", _timm_mobilenet_v2()),
    Naming("torchvision ShuffleNetV2", _shufflenet_v2()),
    Naming("kuangliu/pytorch-cifar ShuffleNetV2", _zoo_shufflenet_v2()),
    Naming("torchvision SqueezeNet", _squeezenet()),
    Naming("torchvision VGG", _vgg(2)),
    Naming("torchvision VGG with BatchNorm", _vgg(3)),
    Naming("torchvision AlexNet", _vgg(2, dense=(1, 4, 6))),
    Naming("torchvision GoogLeNet", _googlenet(), epsilon=1e-3, auxiliary=("aux1.", "aux2.")),
    # torchvision's own Inception v3 has the same names, but its averages count the zeros around a map
    Naming("pytorch-fid InceptionV3", _inception_v3(), epsilon=1e-3, last_pool=keras.layers.MaxPooling2D),
    Naming("timm VGG", _timm_vgg(2)),
    Naming("timm VGG with BatchNorm", _timm_vgg(3)),
)
