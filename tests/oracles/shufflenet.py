from functools import partial

import torch
from torch.nn import functional as F

from oracles import Case


def stem(oracle, x, cifar):
    x = F.relu(oracle.conv_bn(x, "stem_conv", 1 if cifar else 2))
    return x if cifar else F.max_pool2d(x, 3, 2, 1)


def shufflenetv1(oracle, x, *, groups, cifar=False):
    """Zhang et al. 2018, Fig. 2b and 2c."""
    x = stem(oracle, x, cifar)
    for stage, repeats in ((1, 4), (2, 8), (3, 4)):
        for number in range(1, repeats + 1):
            name, stride = f"stage{stage}_block{number}", 2 if number == 1 else 1
            y = F.relu(oracle.conv_bn(x, f"{name}_conv1", groups=1 if (stage, number) == (1, 1) else groups))
            y = F.channel_shuffle(y, groups)
            y = oracle.conv_bn(oracle.depthwise_bn(y, f"{name}_depthwise_conv", stride), f"{name}_conv2", groups=groups)
            x = F.relu(x + y if stride == 1 else torch.cat([F.avg_pool2d(x, 3, 2, 1), y], 1))
    return oracle.top(x)


def shufflenetv2(oracle, x, *, cifar=True):
    """Ma et al. 2018, Fig. 3c and 3d."""
    x = stem(oracle, x, cifar)
    for stage, repeats in ((1, 4), (2, 8), (3, 4)):
        for number in range(1, repeats + 1):
            name, stride = f"stage{stage}_block{number}", 2 if number == 1 else 1
            if number == 1:
                left = oracle.depthwise_bn(x, f"{name}_proj_depthwise_conv", 2)
                left, right = F.relu(oracle.conv_bn(left, f"{name}_proj_conv")), x
            else:
                left, right = x.chunk(2, dim=1)
            right = F.relu(oracle.conv_bn(right, f"{name}_conv1"))
            right = oracle.depthwise_bn(right, f"{name}_depthwise_conv", stride)
            right = F.relu(oracle.conv_bn(right, f"{name}_conv2"))
            x = F.channel_shuffle(torch.cat([left, right], 1), 2)
    return oracle.top(F.relu(oracle.conv_bn(x, "head_conv")))


V2 = {"widths": (8, 16, 32), "head_width": 32}
CASES = {
    "shufflenetv1": Case(
        "shufflenetv1_g3_x1_0", {"stem_width": 6, "widths": (15, 30, 60)}, partial(shufflenetv1, groups=3), size=32
    ),
    "shufflenetv1_cifar": Case(
        "shufflenetv1_g3_x1_0_cifar",
        {"groups": 1, "stem_width": 5, "widths": (8, 16, 32)},
        partial(shufflenetv1, groups=1, cifar=True),
    ),
    "shufflenetv2": Case("shufflenetv2_x0_5_cifar", V2, shufflenetv2),
    "shufflenetv2_imagenet": Case("shufflenetv2_x0_5", V2, partial(shufflenetv2, cifar=False), size=32),
}
