from functools import partial

import torch
from torch.nn import functional as F

from oracles import Case


def dense_layers(oracle, x, activation=F.relu):
    x = x.permute(0, 2, 3, 1).flatten(1)  # height, width, channels
    x = activation(oracle.dense(x, "head_dense1"))
    return oracle.dense(activation(oracle.dense(x, "head_dense2")), "head_dense")


def lenet5(oracle, x):
    """LeCun et al. 1998, Fig. 2, on the image in the middle of 32x32 pixels."""
    missing = 32 - x.shape[-1]
    x = F.pad(x, (missing // 2, missing - missing // 2) * 2)
    for stage in (1, 2):
        x = F.avg_pool2d(torch.tanh(oracle.conv(x, f"stage{stage}_conv1", padding=0)), 2)
    assert x.shape[2:] == (5, 5)
    return dense_layers(oracle, x, torch.tanh)


def neighbours(x):
    """Krizhevsky et al. 2012, section 3.3, with its constants k=2, n=5, alpha=1e-4, beta=0.75."""
    square = F.pad(x, (0, 0, 0, 0, 2, 2)) ** 2
    return x / (2 + 1e-4 * sum(square[:, i : i + x.shape[1]] for i in range(5))) ** 0.75


def alexnet(oracle, x, *, strides, padding, groups, between):
    """Krizhevsky et al. 2012, Fig. 2; `between` stands for what is between a convolution and the next."""
    names = ("stage1_conv1", "stage2_conv1", "stage3_conv1", "stage3_conv2", "stage3_conv3")
    for place, name in enumerate(names):
        x = F.relu(oracle.conv(x, name, strides[place], groups[place], padding[place]))
        x = between(x) if place < 2 else x
    return dense_layers(oracle, F.max_pool2d(x, 3, 2, ceil_mode=True))


def vgg(oracle, x, *, depths, bn=False):
    """Simonyan & Zisserman 2015, Table 1."""
    layer = oracle.conv_bn if bn else oracle.conv
    for stage, depth in enumerate(depths, 1):
        for number in range(1, depth + 1):
            x = F.relu(layer(x, f"stage{stage}_conv{number}"))
        x = F.max_pool2d(x, 2)
    return dense_layers(oracle, x)


def case(name, kernels, strides, padding, between, groups=(1,) * 5):
    options = {"widths": (8, 12, 12, 8, 8), "head_width": 16, "kernels": kernels, "strides": strides, "zeros": padding}
    return Case(name, options, partial(alexnet, strides=strides, padding=padding, groups=groups, between=between))


SMALL_VGG = {"depths": (2, 1), "widths": (4, 8), "head_width": 16}
CASES = {
    "lenet5": Case("lenet5", {"widths": (4, 6), "head_widths": (12, 8)}, lenet5, size=32),
    "lenet5_padded": Case("lenet5", {"widths": (4, 6), "head_widths": (12, 8)}, lenet5, size=27),
    "alexnet": case(
        "alexnet",
        (5, 5, 3, 3, 3),
        (1, 1, 1, 1, 1),
        (2, 2, 1, 1, 1),
        between=lambda x: F.max_pool2d(neighbours(x), 3, 2),
        groups=(1, 2, 1, 2, 2),
    ),
    "alexnet_owt": case(
        "alexnetowt",
        (5, 3, 3, 3, 3),
        (1, 1, 1, 1, 1),
        (2, 1, 1, 1, 1),
        between=lambda x: F.max_pool2d(x, 3, 2),
    ),
    "zfnet": case(
        "zfnet",
        (5, 3, 3, 3, 3),
        (1, 2, 1, 1, 1),
        (1, 1, 1, 1, 1),
        between=lambda x: neighbours(F.max_pool2d(x, 3, 2, ceil_mode=True)),
    ),
    "vgg": Case("vgg16", SMALL_VGG, partial(vgg, depths=(2, 1))),
    "vgg_bn": Case("vgg16_bn", SMALL_VGG, partial(vgg, depths=(2, 1), bn=True)),
}
