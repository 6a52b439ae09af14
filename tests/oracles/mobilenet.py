from torch.nn import functional as F

from oracles import Case


def mobilenetv2(oracle, x):
    x = F.relu6(oracle.conv_bn(x, "stem_conv"))
    # Sandler et al. 2018, Table 2, with CIFAR's strides: expansion, repeats, stride.
    for stage, (expansion, repeats, stride) in enumerate(
        ((1, 1, 1), (6, 2, 1), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1)), 1
    ):
        for number in range(1, repeats + 1):
            name, step = f"stage{stage}_block{number}", stride if number == 1 else 1
            y = F.relu6(oracle.conv_bn(x, f"{name}_expand_conv")) if expansion > 1 else x
            y = F.relu6(oracle.depthwise_bn(y, f"{name}_depthwise_conv", step))
            y = oracle.conv_bn(y, f"{name}_project_conv")
            x = x + y if step == 1 and x.shape[1] == y.shape[1] else y
    return oracle.top(F.relu6(oracle.conv_bn(x, "head_conv")))


CASES = {"mobilenetv2": Case("mobilenetv2_x0_5_cifar", {"alpha": 0.1}, mobilenetv2)}
