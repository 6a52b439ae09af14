from functools import partial

from torch.nn import functional as F

from oracles import Case


def strided(oracle, x, name, stride, same, groups=1):
    """Convolution and BatchNorm; if `same`, padded as TensorFlow pads an even size: one more behind than before."""
    if same and stride == 2:
        total = oracle.weights[f"{name}/kernel"].shape[0] - 2
        front, behind = total // 2, total - total // 2
        x = F.pad(x, (front, behind, front, behind))
        return oracle.bn(oracle.conv(x, name, 2, groups, padding=0), name.replace("conv", "bn"))
    return oracle.conv_bn(x, name, stride, groups)


def mobilenetv1(oracle, x, *, cifar=False, same=False):
    """Howard et al. 2017, Table 1, row by row: stride of the depthwise convolution of each block."""
    x = F.relu6(strided(oracle, x, "stem_conv", 1 if cifar else 2, same))
    rows = [(1, 1, 1), (2, 1, 1 if cifar else 2), (2, 2, 1), (3, 1, 2), (3, 2, 1), (4, 1, 2)]
    rows += [(4, block, 1) for block in (2, 3, 4, 5, 6)] + [(5, 1, 2), (5, 2, 1)]
    for stage, block, stride in rows:
        name = f"stage{stage}_block{block}"
        x = F.relu6(strided(oracle, x, f"{name}_depthwise_conv", stride, same, x.shape[1]))
        x = F.relu6(oracle.conv_bn(x, f"{name}_pointwise_conv"))
    return oracle.top(x)


def mobilenetv2(oracle, x, *, cifar=True, same=False):
    x = F.relu6(strided(oracle, x, "stem_conv", 1 if cifar else 2, same))
    # Sandler et al. 2018, Table 2: expansion, repeats, stride.
    for stage, (expansion, repeats, stride) in enumerate(
        ((1, 1, 1), (6, 2, 1 if cifar else 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1)), 1
    ):
        for number in range(1, repeats + 1):
            name, step = f"stage{stage}_block{number}", stride if number == 1 else 1
            y = F.relu6(oracle.conv_bn(x, f"{name}_expand_conv")) if expansion > 1 else x
            y = F.relu6(strided(oracle, y, f"{name}_depthwise_conv", step, same, y.shape[1]))
            y = oracle.conv_bn(y, f"{name}_project_conv")
            x = x + y if step == 1 and x.shape[1] == y.shape[1] else y
    return oracle.top(F.relu6(oracle.conv_bn(x, "head_conv")))


# Howard et al. 2019, Tables 1 and 2: stage and block, whether squeeze-excite, activation, stride.
LARGE = (
    ("1 1", False, F.relu, 1),
    ("2 1", False, F.relu, 2),
    ("2 2", False, F.relu, 1),
    ("3 1", True, F.relu, 2),
    ("3 2", True, F.relu, 1),
    ("3 3", True, F.relu, 1),
    ("4 1", False, F.hardswish, 2),
    ("4 2", False, F.hardswish, 1),
    ("4 3", False, F.hardswish, 1),
    ("4 4", False, F.hardswish, 1),
    ("5 1", True, F.hardswish, 1),
    ("5 2", True, F.hardswish, 1),
    ("6 1", True, F.hardswish, 2),
    ("6 2", True, F.hardswish, 1),
    ("6 3", True, F.hardswish, 1),
)
SMALL = (
    ("1 1", True, F.relu, 2),
    ("2 1", False, F.relu, 2),
    ("2 2", False, F.relu, 1),
    ("3 1", True, F.hardswish, 2),
    ("3 2", True, F.hardswish, 1),
    ("3 3", True, F.hardswish, 1),
    ("4 1", True, F.hardswish, 1),
    ("4 2", True, F.hardswish, 1),
    ("5 1", True, F.hardswish, 2),
    ("5 2", True, F.hardswish, 1),
    ("5 3", True, F.hardswish, 1),
)


def mobilenetv3(oracle, x, *, rows, left_out=0, same=False):
    """Howard et al. 2019, with the first `left_out` strides as 1."""
    x = F.hardswish(strided(oracle, x, "stem_conv", 1 if left_out else 2, same))
    halvings = 1
    for place, squeezes, activation, published in rows:
        stage, block = place.split()
        name, stride = f"stage{stage}_block{block}", published
        if published == 2:
            halvings += 1
            stride = 1 if halvings <= left_out else 2
        y = x if place == "1 1" else activation(oracle.conv_bn(x, f"{name}_expand_conv"))
        y = activation(strided(oracle, y, f"{name}_depthwise_conv", stride, same, y.shape[1]))
        y = oracle.squeeze_excite(y, name, F.hardsigmoid) if squeezes else y
        y = oracle.conv_bn(y, f"{name}_project_conv")
        x = x + y if stride == 1 and x.shape[1] == y.shape[1] else y
    x = F.hardswish(oracle.conv_bn(x, "head_conv")).mean((2, 3))
    return oracle.dense(F.hardswish(oracle.dense(x, "head_expand_dense")), "head_dense")


CASES = {
    "mobilenetv1": Case("mobilenetv1_x0_25", {"alpha": 0.2}, mobilenetv1, size=32),
    "mobilenetv1_cifar": Case(
        "mobilenetv1_x0_5_cifar", {"alpha": 0.2, "padding": "same"}, partial(mobilenetv1, cifar=True, same=True)
    ),
    "mobilenetv2": Case("mobilenetv2_x0_5_cifar", {"alpha": 0.1}, mobilenetv2),
    "mobilenetv2_same": Case(
        "mobilenetv2_x0_35", {"alpha": 0.1, "padding": "same"}, partial(mobilenetv2, cifar=False, same=True), size=32
    ),
    "mobilenetv3_large": Case("mobilenetv3large", {"alpha": 0.1}, partial(mobilenetv3, rows=LARGE), 1e-3, 32),
    "mobilenetv3_same": Case(
        "mobilenetv3small", {"alpha": 0.1, "padding": "same"}, partial(mobilenetv3, rows=SMALL, same=True), 1e-3, 32
    ),
    "mobilenetv3_cifar": Case(
        "mobilenetv3small_cifar", {"alpha": 0.1}, partial(mobilenetv3, rows=SMALL, left_out=2), 1e-3
    ),
}
