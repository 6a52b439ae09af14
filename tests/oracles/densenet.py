from functools import partial

import torch
from torch.nn import functional as F

from oracles import Case


def densenet(oracle, x, *, depths, bottleneck=True, imagenet=False):
    """Huang et al. 2017: H_l reads the concatenation [x_0, ..., x_{l-1}] of everything before it in its stage."""
    x = oracle.conv(x, "stem_conv", 2 if imagenet else 1)
    x = F.max_pool2d(F.relu(oracle.bn(x, "stem_bn")), 3, 2, 1) if imagenet else x
    for stage, depth in enumerate(depths, 1):
        if stage > 1:
            name = f"stage{stage}_transition"
            x = F.avg_pool2d(oracle.conv(F.relu(oracle.bn(x, f"{name}_preact_bn")), f"{name}_conv"), 2)
        seen = [x]
        for number in range(1, depth + 1):
            name = f"stage{stage}_block{number}"
            y = oracle.conv(F.relu(oracle.bn(torch.cat(seen, 1), f"{name}_preact_bn")), f"{name}_conv1")
            if bottleneck:
                y = oracle.conv(F.relu(oracle.bn(y, f"{name}_bn1")), f"{name}_conv2")
            seen.append(y)
        x = torch.cat(seen, 1)
    return oracle.top(F.relu(oracle.bn(x, "head_bn")))


def case(name, *, shrink=None, **arguments):
    options = {"depths": arguments["depths"], "growth": 4} | (shrink or {})
    return Case(name, options, partial(densenet, **arguments))


CASES = {
    "densenet": case("densenet121", depths=(2, 1), imagenet=True),
    "densenet_cifar": case("densenet40_12", depths=(2, 2), bottleneck=False),
    "densenet_bc": case("densenetbc100_12", depths=(1, 2)),
    "densenet_b": case("densenetbc100_12", depths=(1, 1), shrink={"compression": 1.0}),
}
