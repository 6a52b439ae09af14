from functools import partial

from torch.nn import functional as F

from oracles import Case


def residual(
    oracle,
    x,
    *,
    depths,
    stem="imagenet",
    block="basic",
    shortcut="B",
    stride_in_3x3=False,
    groups=1,
    se=False,
    preact=False,
):
    """He et al. 2015 and 2016, Xie et al. 2017, Hu et al. 2018, block by block."""
    x = F.relu(oracle.conv_bn(x, "stem_conv", 2 if stem == "imagenet" else 1))
    if stem == "imagenet":
        x = F.max_pool2d(x, 3, 2, 1)
    for stage, depth in enumerate(depths, 1):
        for number in range(1, depth + 1):
            stride = 2 if number == 1 and stage > 1 else 1
            name = f"stage{stage}_block{number}"
            strides = [stride, 1] if block == "basic" else [1, stride, 1] if stride_in_3x3 else [stride, 1, 1]
            step = preact_step if preact else post_step
            x = step(oracle, x, name, strides, groups, shortcut, se)
    return oracle.top(F.relu(oracle.bn(x, "head_bn")) if preact else x)


def post_step(oracle, x, name, strides, groups, shortcut, se):
    y = x
    for place, stride in enumerate(strides, 1):
        grouped = groups if len(strides) == 3 and place == 2 else 1
        y = oracle.conv_bn(y, f"{name}_conv{place}", stride, grouped)
        y = F.relu(y) if place < len(strides) else y
    y = oracle.squeeze_excite(y, name) if se else y
    if shortcut != "none":
        y = y + around(oracle, x, y.shape[1], max(strides), shortcut, name)
    return F.relu(y)


def preact_step(oracle, x, name, strides, groups, shortcut, se):
    ready = x if name == "stage1_block1" else F.relu(oracle.bn(x, f"{name}_preact_bn"))
    y = ready
    for place, stride in enumerate(strides, 1):
        y = oracle.conv(y, f"{name}_conv{place}", stride)
        y = F.relu(oracle.bn(y, f"{name}_bn{place}")) if place < len(strides) else y
    y = oracle.squeeze_excite(y, name) if se else y
    if y.shape != x.shape:
        x = ready
        if shortcut == "B":
            return y + oracle.conv(x, f"{name}_proj_conv", max(strides))
    return y + around(oracle, x, y.shape[1], max(strides), "A", name)


def around(oracle, x, filters, stride, shortcut, name):
    if shortcut == "C" or (shortcut == "B" and (stride > 1 or x.shape[1] != filters)):
        return oracle.conv_bn(x, f"{name}_proj_conv", stride)
    half = (filters - x.shape[1]) // 2
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, half, half))


def senet154(oracle, x, *, depths):
    for place, stride in ((1, 2), (2, 1), (3, 1)):
        x = F.relu(oracle.conv_bn(x, f"stem_conv{place}", stride))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, depth in enumerate(depths, 1):
        for number in range(1, depth + 1):
            stride, name = 2 if number == 1 and stage > 1 else 1, f"stage{stage}_block{number}"
            y = F.relu(oracle.conv_bn(x, f"{name}_conv1"))
            y = F.relu(oracle.conv_bn(y, f"{name}_conv2", stride, groups=4))
            y = oracle.squeeze_excite(oracle.conv_bn(y, f"{name}_conv3"), name)
            x = F.relu(y + (oracle.conv_bn(x, f"{name}_proj_conv", stride) if number == 1 else x))
    return oracle.top(x)


def keras_v2(oracle, x, *, depths):
    """keras.applications' ResNet V2: a stage strides in its last block, the stem's convolution is pooled bare."""
    x = F.max_pool2d(F.pad(oracle.conv(x, "stem_conv", 2), (1, 1, 1, 1)), 3, 2)
    for stage, depth in enumerate(depths, 1):
        for number in range(1, depth + 1):
            stride, name = 2 if number == depth and stage < len(depths) else 1, f"stage{stage}_block{number}"
            ready = F.relu(oracle.bn(x, f"{name}_preact_bn"))
            y = F.relu(oracle.conv_bn(ready, f"{name}_conv1"))
            y = oracle.conv(F.relu(oracle.conv_bn(y, f"{name}_conv2", stride)), f"{name}_conv3")
            x = y + (oracle.conv(ready, f"{name}_proj_conv") if number == 1 else x[:, :, ::stride, ::stride])
    return oracle.top(F.relu(oracle.bn(x, "head_bn")))


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


def case(name, widths, forward=residual, epsilon=1e-5, *, shrink=None, **arguments):
    """A registered network cut to the depths of `arguments`."""
    options = {"depths": arguments["depths"], "widths": widths} | (shrink or {})
    return Case(name, options, partial(forward, **arguments), epsilon)


BOTTLENECK = {"block": "bottleneck"}
V1_5 = {"block": "bottleneck", "stride_in_3x3": True}
CASES = {
    "basic": case("resnet18", (8, 16), depths=(1, 1)),
    "bottleneck": case("resnet50", (4, 8), depths=(2, 1), **BOTTLENECK),
    "bottleneck_v1_5": case("resnet50v1_5", (4, 8), depths=(1, 2), **V1_5),
    "cifar_a": case("resnet20", (8, 16), depths=(1, 2), stem="cifar", shortcut="A"),
    "cifar_b": case("resnet20", (8, 16), depths=(1, 1), stem="cifar", shrink={"shortcut": "B"}),
    "cifar_c": case("resnet20", (8, 16), depths=(1, 2), stem="cifar", shortcut="C", shrink={"shortcut": "C"}),
    "plain": case("plain20", (8, 16), depths=(1, 1), stem="cifar", shortcut="none"),
    "preact": case("resnet50v2", (4, 8), depths=(1, 2), preact=True, **V1_5),
    "preact_cifar": case("preactresnet164", (4, 8), depths=(2, 1), stem="cifar", preact=True, **BOTTLENECK),
    "preact_a": case("preactresnet20", (4, 8), depths=(1, 2), stem="cifar", preact=True, shortcut="A"),
    "preact_keras": case("resnet50v2", (4, 8), keras_v2, depths=(2, 2), shrink={"form": "keras"}),
    "wide": case("wideresnet16_4", (8, 16), depths=(1, 1), stem="cifar", preact=True, shrink={"stem_width": 4}),
    "wide_imagenet": case("wideresnet50_2", (4, 8), depths=(1, 1), **V1_5),
    "resnext": case(
        "resnext50_32x4d", (8, 16), depths=(1, 1), groups=4, shrink={"groups": 4, "base_width": 16}, **V1_5
    ),
    "se_basic": case("seresnet18", (8, 16), depths=(1, 1), se=True, shrink={"se_ratio": 4}),
    "se_resnext": case(
        "seresnext50_32x4d",
        (8, 16),
        depths=(1, 1),
        groups=4,
        se=True,
        shrink={"groups": 4, "base_width": 16, "se_ratio": 4},
        **V1_5,
    ),
    "se_preact": case(
        "preactresnet20",
        (4, 8),
        depths=(1, 1),
        stem="cifar",
        shortcut="A",
        preact=True,
        se=True,
        shrink={"se_ratio": 1},
    ),
    "senet154": case(
        "senet154", (4, 8), senet154, depths=(1, 1), shrink={"groups": 4, "base_width": 32, "se_ratio": 4}
    ),
    "mlperf_tiny": Case("resnet8", {"depths": (1, 1), "widths": (8, 16)}, mlperf_tiny, epsilon=1e-3),
}
