from torch.nn import functional as F

from oracles import Case


def separable(oracle, x, name, place):
    x = oracle.conv(x, f"{name}_conv{place}", groups=x.shape[1], part="depthwise_kernel")
    return oracle.bn(oracle.conv(x, f"{name}_conv{place}", part="pointwise_kernel"), f"{name}_bn{place}")


def same_pool(x):
    """3x3 maximum with stride 2, padded as TensorFlow pads: as little as possible, and rather behind than in front."""
    needed = [max(0, 2 * ((side + 1) // 2 - 1) + 3 - side) for side in x.shape[2:]]
    (top, bottom), (left, right) = ((zeros // 2, zeros - zeros // 2) for zeros in needed)
    return F.max_pool2d(F.pad(x, (left, right, top, bottom), value=-float("inf")), 3, 2)


def xception(oracle, x):
    """Chollet 2017, Fig. 5, with one block in the middle flow."""
    x = F.relu(oracle.bn(oracle.conv(x, "stem_conv1", 2, padding=0), "stem_bn1"))
    x = F.relu(oracle.bn(oracle.conv(x, "stem_conv2", padding=0), "stem_bn2"))
    for name in ("stage1_block1", "stage2_block1"):
        y = separable(oracle, x if name == "stage1_block1" else F.relu(x), name, 1)
        y = same_pool(separable(oracle, F.relu(y), name, 2))
        x = y + oracle.conv_bn(x, f"{name}_proj_conv", 2)
    y = x
    for place in (1, 2, 3):
        y = separable(oracle, F.relu(y), "stage2_block2", place)
    x = x + y
    for place in (1, 2):
        x = F.relu(separable(oracle, x, "stage2_block3", place))
    return oracle.top(x)


CASES = {
    "xception": Case(
        "xception",
        {"stem_widths": (4, 8), "blocks": (((8, 8),), ((12, 12), (12, 12, 12))), "exit_widths": (12, 16)},
        xception,
        epsilon=1e-3,
        size=71,
    )
}
