from functools import partial

from torch.nn import functional as F

from oracles import Case


def fractalnet(oracle, x, *, columns, blocks):
    for stage in range(1, blocks + 1):
        made = dict.fromkeys(range(1, columns + 1), 0)
        paths = fractal(oracle, x, 1, columns, made, f"stage{stage}")
        x = F.max_pool2d(sum(paths) / len(paths), 2)
    return oracle.top(x)


def fractal(oracle, x, column, columns, made, name):
    """Larsson et al. 2017, eq. 1: f_{C+1}(z) = [(f_C o f_C)(z)] + [conv(z)], as the paths that end side by side.

    The paths are joined by their mean only where the next thing begins: joins that meet are one.
    """
    deeper = []
    if column < columns:
        middle = fractal(oracle, x, column + 1, columns, made, name)
        deeper = fractal(oracle, sum(middle) / len(middle), column + 1, columns, made, name)
    made[column] += 1
    return [F.relu(oracle.conv_bn(x, f"{name}_column{column}_conv{made[column]}")), *deeper]


def case(columns, widths, **options):
    forward = partial(fractalnet, columns=columns, blocks=len(widths))
    return Case("fractalnet20", {"columns": columns, "widths": widths} | options, forward)


CASES = {
    "fractal": case(3, (8, 8)),
    "fractal_two_columns": case(2, (8, 8, 8)),
    "fractal_four_columns": case(4, (8,), dropout=0.4),
}
