from functools import partial

import torch
from torch.nn import functional as F

from oracles import Case


def squeezenet(oracle, x, *, modules, imagenet=True, bypass=(), bn=False):
    """Iandola et al. 2016, Table 1. `modules` counts the fire modules between two pools, `bypass` names some."""
    step = (lambda *a, **b: F.relu(oracle.conv_bn(*a, **b))) if bn else lambda *a, **b: F.relu(oracle.conv(*a, **b))
    x = F.relu(oracle.conv(x, "stem_conv", 2, padding=0)) if imagenet else step(x, "stem_conv")
    for stage, count in enumerate(modules, 1):
        if imagenet or stage > 1:
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        for number in range(1, count + 1):
            name = f"stage{stage}_block{number}"
            y = step(x, f"{name}_squeeze_conv")
            y = torch.cat([step(y, f"{name}_expand1_conv"), step(y, f"{name}_expand3_conv")], 1)
            x = x + y if name in bypass else y
    return F.relu(oracle.conv(x, "head_conv")).mean((2, 3))


def case(name, widths, *, shrink=None, **arguments):
    options = {"widths": widths, "stem_width": 8, "dropout": 0.0} | (shrink or {})
    return Case(name, options, partial(squeezenet, modules=tuple(map(len, widths)), **arguments))


CASES = {
    "squeezenet1_0": case("squeezenet1_0", ((64,),)),
    "squeezenet1_1": case("squeezenet1_1", ((64, 64), (64,))),
    "squeezenet_bypass": case(
        "squeezenet1_1", ((64, 64),), bypass=("stage1_block2",), shrink={"bypass": True, "dropout": 0.5}
    ),
    "squeezenet_cifar": case("squeezenet1_1_cifar", ((32,), (64,)), imagenet=False),
    "squeezenet_bn": case("squeezenet1_1_cifar", ((32,), (64,)), imagenet=False, bn=True, shrink={"norm": "batch"}),
}
