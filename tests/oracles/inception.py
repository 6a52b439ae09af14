from functools import partial

import torch
from torch.nn import functional as F

from oracles import Case


def step(oracle, x, name, stride=1, padding=None):
    """Convolution, BatchNorm where there is one, with or without a scale, and ReLU."""
    x, bn = oracle.conv(x, name, stride, padding=padding), name.replace("conv", "bn")
    if f"{bn}/beta" in oracle.weights:
        mean, variance, beta = (oracle.weights[f"{bn}/{part}"] for part in ("moving_mean", "moving_variance", "beta"))
        x = F.batch_norm(x, mean, variance, oracle.weights.get(f"{bn}/gamma"), beta, eps=oracle.epsilon)
    return F.relu(x)


def steps(oracle, x, *names):
    for name in names:
        x = step(oracle, x, name)
    return x


def blocks(depths):
    return [(stage, number) for stage, depth in enumerate(depths, 1) for number in range(1, depth + 1)]


def lrn(x):
    """Krizhevsky et al. 2012, section 3.3, over the five nearest channels; Caffe divides alpha by their number."""
    total = sum(F.pad(x, (0, 0, 0, 0, 2, 2))[:, start : start + x.shape[1]] ** 2 for start in range(5))
    return x / (1 + 1e-4 / 5 * total) ** 0.75


def googlenet_outputs(oracle, x, *, depths, torchvision=False):
    """Szegedy et al. 2015, Table 1 and section 5: all that the network names."""
    respond = (lambda x: x) if torchvision else lrn
    x = respond(F.max_pool2d(step(oracle, x, "stem_conv1", 2), 3, 2, ceil_mode=True))
    x = respond(steps(oracle, x, "stem_conv2", "stem_conv3"))
    outputs = {}
    for stage, number in blocks(depths):
        if number == 1:
            x = F.max_pool2d(x, 2 if torchvision and stage == 3 else 3, 2, ceil_mode=True)
        b = f"stage{stage}_block{number}_b"
        one, three = steps(oracle, x, f"{b}1_conv"), steps(oracle, x, f"{b}2_conv1", f"{b}2_conv2")
        five = steps(oracle, x, f"{b}3_conv1", f"{b}3_conv2")
        x = torch.cat([one, three, five, step(oracle, F.max_pool2d(x, 3, 1, 1), f"{b}4_conv")], 1)
        aux = {(2, 1): "aux1", (2, 4): "aux2"}.get((stage, number))
        if f"head_{aux}_conv/kernel" in oracle.weights:
            outputs[aux] = auxiliary(oracle, x, f"head_{aux}")
    return outputs | {"main": oracle.top(x)}


def auxiliary(oracle, x, name):
    x = step(oracle, F.avg_pool2d(x, 5, 3), f"{name}_conv")
    x = x.permute(0, 2, 3, 1).flatten(1)  # Keras flattens channels last
    return oracle.dense(F.relu(oracle.dense(x, f"{name}_dense1")), f"{name}_dense2")


def googlenet(oracle, x, **arguments):
    return googlenet_outputs(oracle, x, **arguments)["main"]


def bn_inception(oracle, x, *, depths, se=False):
    """Ioffe & Szegedy 2015, Fig. 5, with Caffe's pools; Hu et al. 2018, Fig. 2."""
    x = F.max_pool2d(step(oracle, x, "stem_conv1", 2), 3, 2, ceil_mode=True)
    x = F.max_pool2d(steps(oracle, x, "stem_conv2", "stem_conv3"), 3, 2, ceil_mode=True)
    for stage, number in blocks(depths):
        name = f"stage{stage}_block{number}"
        b = f"{name}_b"
        if number == 1 and stage > 1:
            three = step(oracle, step(oracle, x, f"{b}1_conv1"), f"{b}1_conv2", 2)
            double = step(oracle, steps(oracle, x, f"{b}2_conv1", f"{b}2_conv2"), f"{b}2_conv3", 2)
            x = torch.cat([three, double, F.max_pool2d(x, 3, 2, ceil_mode=True)], 1)
        else:
            last = (stage, number) == (len(depths), depths[-1])  # 5b takes the maximum
            pooled = F.max_pool2d(x, 3, 1, 1) if last else F.avg_pool2d(x, 3, 1, 1)
            one, three = steps(oracle, x, f"{b}1_conv"), steps(oracle, x, f"{b}2_conv1", f"{b}2_conv2")
            double = steps(oracle, x, f"{b}3_conv1", f"{b}3_conv2", f"{b}3_conv3")
            x = torch.cat([one, three, double, step(oracle, pooled, f"{b}4_conv")], 1)
        x = oracle.squeeze_excite(x, name) if se else x
    return oracle.top(x)


def inception_v3(oracle, x, *, depths, last="avg"):
    """Szegedy et al. 2016, Table 1 and Fig. 5, 6, 7 and 10, as keras.applications has it; `last`: of its pools."""
    x = step(oracle, x, "stem_conv1", 2, padding=0)
    x = step(oracle, step(oracle, x, "stem_conv2", padding=0), "stem_conv3")
    x = step(oracle, F.max_pool2d(x, 3, 2), "stem_conv4")
    x = F.max_pool2d(step(oracle, x, "stem_conv5", padding=0), 3, 2)
    for stage, number in blocks(depths):
        b = f"stage{stage}_block{number}_b"
        if number == 1 and stage > 1:
            x = torch.cat([*reduction(oracle, x, stage, b), F.max_pool2d(x, 3, 2)], 1)
            continue
        ends = [step(oracle, x, f"{b}1_conv")]
        if stage == 3:
            second, third = step(oracle, x, f"{b}2_conv1"), steps(oracle, x, f"{b}3_conv1", f"{b}3_conv2")
            ends += [step(oracle, second, f"{b}2_conv{place}") for place in (2, 3)]
            ends += [step(oracle, third, f"{b}3_conv{place}") for place in (3, 4)]
        else:
            second, third = ((1, 2), (1, 2, 3)) if stage == 1 else ((1, 2, 3), (1, 2, 3, 4, 5))
            ends.append(steps(oracle, x, *(f"{b}2_conv{place}" for place in second)))
            ends.append(steps(oracle, x, *(f"{b}3_conv{place}" for place in third)))
        pooled = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        if last == "max" and (stage, number) == (len(depths), depths[-1]):
            pooled = F.max_pool2d(x, 3, 1, 1)
        x = torch.cat([*ends, step(oracle, pooled, f"{b}4_conv")], 1)
    return oracle.top(x)


def reduction(oracle, x, stage, b):
    if stage == 2:
        double = steps(oracle, x, f"{b}2_conv1", f"{b}2_conv2")
        return step(oracle, x, f"{b}1_conv", 2, padding=0), step(oracle, double, f"{b}2_conv3", 2, padding=0)
    three, seven = step(oracle, x, f"{b}1_conv1"), steps(oracle, x, *(f"{b}2_conv{place}" for place in (1, 2, 3)))
    return step(oracle, three, f"{b}1_conv2", 2, padding=0), step(oracle, seven, f"{b}2_conv4", 2, padding=0)


def case(name, forward, stages, options=None, *, stem_widths=(8, 8, 12), size=32, epsilon=1e-5, **arguments):
    shrink = {"stem_widths": stem_widths, "blocks": stages} | (options or {})
    return Case(name, shrink, partial(forward, depths=tuple(map(len, stages)), **arguments), epsilon, size)


# No layer is so narrow that a dead ReLU could hide it.
V1 = (8, 6, 8, 6, 8, 6)
V2, V2_MAX, V2_REDUCTION = (8, 6, 8, 6, 8, "avg", 6), (8, 6, 8, 6, 8, "max", 6), (6, 8, 6, 8)
V3 = ((V1,), ((8, 6, 8), (6, 8)))
V3_SIZE = {"stem_widths": (6, 6, 8, 8, 8), "size": 75, "epsilon": 1e-3}
CASES = {
    "googlenet": case("googlenet", googlenet, ((V1, V1), (V1,)), {"dropout": 0.0}),
    "googlenet_torchvision": case(
        "googlenet",
        googlenet,
        ((V1,), (V1,), (V1,)),
        {"form": "torchvision"},
        epsilon=1e-3,
        torchvision=True,
    ),
    "bninception": case("bninception", bn_inception, ((V2, V2), (V2_REDUCTION, V2_MAX))),
    "seinception": case("seinception", bn_inception, ((V2,), (V2_REDUCTION, V2_MAX)), {"se_ratio": 4}, se=True),
    "inceptionv3": case("inceptionv3", inception_v3, (*V3, ((6, 8), (8, 8, 6, "avg", 6))), **V3_SIZE),
    "inceptionv3_2015": case(
        "inceptionv3", inception_v3, (*V3, ((6, 8), (8, 8, 6, "avg", 6), (8, 8, 6, "max", 6))), last="max", **V3_SIZE
    ),
}
