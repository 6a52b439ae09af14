import torch
from torch.nn import functional as F

from oracles import Case


def shufflenetv2(oracle, x):
    x = F.relu(oracle.conv_bn(x, "stem_conv"))
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


CASES = {"shufflenetv2": Case("shufflenetv2_x0_5_cifar", {"widths": (8, 16, 32), "head_width": 32}, shufflenetv2)}
