"""How keras.applications names the layers of the networks of this package.

Each table renames a layer of ours. Layers that Keras numbers through a session are numbered from 0 in the network.
"""

import re

from keras_resnets.weights.naming import Rename, by_rules

_HEAD = ("head_dense", "predictions")
_CONV_STAGE = r"stage(?P<stage>\d+)_block(?P<block>\d+)"


def _block(found: re.Match[str]) -> str:
    return f"conv{int(found['stage']) + 1}_block{found['block']}"


RESNET = by_rules(
    _HEAD,
    (r"stem_(conv|bn)", r"conv1_\1"),
    (rf"{_CONV_STAGE}_proj_(?P<kind>conv|bn)", lambda m: f"{_block(m)}_0_{m['kind']}"),
    (rf"{_CONV_STAGE}_(?P<kind>conv|bn)(?P<place>\d)", lambda m: f"{_block(m)}_{m['place']}_{m['kind']}"),
)
RESNET_V2 = by_rules(
    ("head_bn", "post_bn"),
    (rf"{_CONV_STAGE}_preact_bn", lambda m: f"{_block(m)}_preact_bn"),
    (r"(.*)", lambda m: RESNET(m[1])),
)
DENSENET = by_rules(
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


INCEPTION_V3 = by_rules(
    _HEAD,
    (r"stem_(conv|bn)(\d)", lambda m: _v3_layer(m[1], int(m[2]))),
    (rf"{_CONV_STAGE}_b(?P<branch>\d)_(?P<kind>conv|bn)(?P<place>\d?)", _v3_place),
)

_XCEPTION_BEFORE = (1, 2, 3, 12)  # blocks in front of each stage; Keras counts the stem as one


def _xception_block(found: re.Match[str]) -> str:
    block = _XCEPTION_BEFORE[int(found["stage"]) - 1] + int(found["block"])
    return f"block{block}_sepconv{found['place']}{'_bn' if found['kind'] == 'bn' else ''}"


XCEPTION = by_rules(
    _HEAD,
    (r"stem_conv(\d)", r"block1_conv\1"),
    (r"stem_bn(\d)", r"block1_conv\1_bn"),
    (rf"{_CONV_STAGE}_(?P<kind>conv|bn)(?P<place>\d)", _xception_block),
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


def mobilenet_v3(depths: tuple[int, ...]) -> Rename:
    """MobileNetV3 with so many blocks a stage, which Keras numbers through."""

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


MOBILENET_V1 = by_rules(
    ("stem_conv", "conv1"),
    ("stem_bn", "conv1_bn"),
    (rf"{_CONV_STAGE}_(?P<part>depthwise|pointwise)_(?P<kind>conv|bn)", _mobilenet_v1),
    ("head_dense", "conv_preds"),
)
MOBILENET_V2 = by_rules(
    ("stem_conv", "Conv1"),
    ("stem_bn", "bn_Conv1"),
    (rf"{_CONV_STAGE}_(?P<part>\w+)_(?P<kind>conv|bn)", _mobilenet_v2),
    ("head_conv", "Conv_1"),
    ("head_bn", "Conv_1_bn"),
    _HEAD,
)

VGG = by_rules(
    _HEAD,
    (r"head_dense(\d)", r"fc\1"),
    (r"stage(\d)_conv(\d)", r"block\1_conv\2"),
)
