"""Small torch networks with the names and the order of layers of their libraries, and the same ones of this package."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

CLASSES = 5


def chain(*layers: nn.Module, kind: type[nn.Sequential] = nn.Sequential, **named: nn.Module) -> nn.Sequential:
    """Layers under their numbers, then layers under their names; `kind` says what becomes of them."""
    made = kind(*layers)
    for name, layer in named.items():
        made.add_module(name, layer)
    return made


class Residual(nn.Sequential):
    def forward(self, x):
        y = super().forward(x)
        return x + y if x.shape == y.shape else y


class Concat(nn.Sequential):
    def forward(self, x):
        return torch.cat([x, super().forward(x)], 1)


class Branches(nn.Sequential):
    def forward(self, x):
        return torch.cat([branch(x) for branch in self], 1)


class SqueezeExcite(nn.Sequential):
    def forward(self, x):
        return x * super().forward(x.mean((2, 3), keepdim=True))


class ResNetBlock(nn.Sequential):
    def forward(self, x):
        y = around = x
        for name, layer in self.named_children():
            if name in ("downsample", "shortcut"):
                around = layer(x)
            else:
                y = layer(y)
        return F.relu(y + around)


class NumberedShuffleUnit(nn.Sequential):
    def forward(self, x):
        steps = dict(self.named_children())

        def step(x, number):
            return steps[f"bn{number}"](steps[f"conv{number}"](x))

        if "conv5" in steps:
            left, first = F.relu(step(step(x, 1), 2)), 3
        else:
            (left, x), first = x.chunk(2, 1), 1
        y = step(F.relu(step(x, first)), first + 1)
        return F.channel_shuffle(torch.cat([left, F.relu(step(y, first + 2))], 1), 2)


class ZeroChannels(nn.Module):
    def forward(self, x):  # from 8 to 16 channels
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))


class ShuffleUnit(nn.Sequential):
    def forward(self, x):
        left, right = (x, x) if len(self.branch1) else x.chunk(2, 1)
        return F.channel_shuffle(torch.cat([self.branch1(left), self.branch2(right)], 1), 2)


class Fire(nn.Sequential):
    def forward(self, x):
        y = F.relu(self.squeeze(x))
        return F.relu(torch.cat([self.expand1x1(y), self.expand3x3(y)], 1))


class GoogLeNet(nn.Sequential):
    def forward(self, x, auxiliary=False):
        outputs = {}
        for name, layer in self.named_children():
            if not name.startswith("aux"):
                x = layer(x)
            elif auxiliary:
                outputs[name] = layer(x)
        return {"main": x, **outputs} if auxiliary else x


class NumberedBranches(nn.Sequential):
    """Convolutions called branch<kernel>_<place>: each reads the one in front of it, those with a letter the same one.

    Args:
        pool: Of what branch_pool reads or, where there is none, of a branch of its own.
    """

    def __init__(self, pool):
        super().__init__()
        self.pool = pool

    def forward(self, x):
        ends, read = {}, x
        for name, layer in self.named_children():
            branch, _, place = name.partition("_")
            if place == "pool":
                ends["pool"] = [layer(self.pool(x))]
            elif place.endswith("b"):
                ends[branch].append(layer(read))
            else:
                read = ends.get(branch, [x])[0]
                ends[branch] = [layer(read)]
        ends.setdefault("pool", [self.pool(x)] if "branch_pool" not in dict(self.named_children()) else [])
        return torch.cat([end for branch in ends.values() for end in branch], 1)


def conv(inputs, filters, kernel=1, stride=1, *, groups=1, bias=False):
    return nn.Conv2d(inputs, filters, kernel, stride, kernel // 2, groups=groups, bias=bias)


def conv_bn(*shape, relu=nn.ReLU, **options):
    convolution = conv(*shape, **options)
    return [convolution, nn.BatchNorm2d(convolution.out_channels), *([relu()] if relu else [])]


def classifier(**layers):
    return {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()} | layers


def basic(width, stride):
    """Filters, kernel, stride and groups of a block's convolutions."""
    return (width, 3, stride, 1), (width, 3, 1, 1)


def bottleneck(width, stride, groups=1):
    return (width, 1, 1, 1), (width, 3, stride, groups), (4 * width, 1, 1, 1)


def resnet(block, *, cifar=False, around="downsample", dense="fc", zeros=False, se_ratio=0):
    """One block of 8 channels, two of 16."""
    layers = {"conv1": conv(3, 8, 3) if cifar else conv(3, 8, 7, 2), "bn1": nn.BatchNorm2d(8), "relu": nn.ReLU()}
    layers |= {} if cifar else {"maxpool": nn.MaxPool2d(3, 2, 1)}

    def residual(inputs, steps):
        filters, stride, layers, before = steps[-1][0], max(step[2] for step in steps), {}, inputs
        for number, (width, kernel, step, groups) in enumerate(steps, 1):
            layers[f"conv{number}"] = conv(before, width, kernel, step, groups=groups)
            layers |= {f"bn{number}": nn.BatchNorm2d(width), f"relu{number}": nn.ReLU()}
            before = width
        layers.popitem()
        if se_ratio:
            squeezed = filters // se_ratio
            gate = {"fc1": conv(filters, squeezed, bias=True), "relu": nn.ReLU()}
            gate |= {"fc2": conv(squeezed, filters, bias=True), "gate": nn.Sigmoid()}
            layers["se"] = chain(kind=SqueezeExcite, **gate)
        if (inputs, stride) != (filters, 1):
            projection = chain(*conv_bn(inputs, filters, 1, stride, relu=None))
            layers[around] = ZeroChannels() if zeros else projection
        return chain(kind=ResNetBlock, **layers)

    (*_, (middle, *_)), (*_, (filters, *_)) = block(8, 1), block(16, 2)
    layers["layer1"] = chain(residual(8, block(8, 1)))
    layers["layer2"] = chain(residual(middle, block(16, 2)), residual(filters, block(16, 1)))
    return chain(**layers, **classifier(**{dense: nn.Linear(filters, CLASSES)}))


def densenet():
    """Two blocks, then one, of growth rate 4."""

    def layer(inputs):
        first = {"norm1": nn.BatchNorm2d(inputs), "relu1": nn.ReLU(), "conv1": conv(inputs, 16)}
        return chain(kind=Concat, **first, norm2=nn.BatchNorm2d(16), relu2=nn.ReLU(), conv2=conv(16, 4, 3))

    features = chain(
        conv0=conv(3, 8, 7, 2),
        norm0=nn.BatchNorm2d(8),
        relu0=nn.ReLU(),
        pool0=nn.MaxPool2d(3, 2, 1),
        denseblock1=chain(denselayer1=layer(8), denselayer2=layer(12)),
        transition1=chain(norm=nn.BatchNorm2d(16), relu=nn.ReLU(), conv=conv(16, 8), pool=nn.AvgPool2d(2)),
        denseblock2=chain(denselayer1=layer(8)),
        norm5=nn.BatchNorm2d(12),
    )
    return chain(features=features, relu=nn.ReLU(), **classifier(classifier=nn.Linear(12, CLASSES)))


# Expansion, channels and repeats of MobileNetV2's stages at a tenth of its width, where none has less than 8 channels.
INVERTED = ((1, 8, 1), (6, 8, 2), (6, 8, 3), (6, 8, 4), (6, 16, 3), (6, 16, 3), (6, 32, 1))


def inverted_residuals(block, strides):
    """For each stage its blocks, made by `block` of inputs, expanded channels, filters and stride."""
    inputs = 8
    for (expansion, filters, repeats), stride in zip(INVERTED, strides, strict=True):
        first = block(inputs, expansion * inputs, filters, stride)
        yield [first, *(block(filters, expansion * filters, filters, 1) for _ in range(repeats - 1))]
        inputs = filters


def mobilenet_v2():
    """In chenyaofo's form for CIFAR, without torchvision's first two halvings."""

    def step(*shape, **options):
        return chain(*conv_bn(*shape, relu=nn.ReLU6, **options))

    def block(inputs, expanded, filters, stride):
        expand = [step(inputs, expanded)] if expanded > inputs else []
        depthwise = step(expanded, expanded, 3, stride, groups=expanded)
        return chain(kind=Residual, conv=chain(*expand, depthwise, *conv_bn(expanded, filters, relu=None)))

    blocks = itertools.chain(*inverted_residuals(block, (1, 1, 2, 2, 1, 2, 1)))
    features = chain(step(3, 8, 3), *blocks, step(32, 1280))
    return chain(features=features, **classifier(classifier=chain(nn.Dropout(), nn.Linear(1280, CLASSES))))


def timm_mobilenet_v2():
    def block(inputs, expanded, filters, stride):
        depthwise, project = conv(expanded, expanded, 3, stride, groups=expanded), conv(expanded, filters)
        if expanded == inputs:
            first = {"conv_dw": depthwise, "bn1": nn.BatchNorm2d(expanded), "act1": nn.ReLU6()}
            return chain(kind=Residual, **first, conv_pw=project, bn2=nn.BatchNorm2d(filters))
        first = {"conv_pw": conv(inputs, expanded), "bn1": nn.BatchNorm2d(expanded), "act1": nn.ReLU6()}
        first |= {"conv_dw": depthwise, "bn2": nn.BatchNorm2d(expanded), "act2": nn.ReLU6()}
        return chain(kind=Residual, **first, conv_pwl=project, bn3=nn.BatchNorm2d(filters))

    stages = inverted_residuals(block, (1, 2, 2, 2, 1, 2, 1))
    return chain(
        conv_stem=conv(3, 8, 3, 2),
        bn1=nn.BatchNorm2d(8),
        act1=nn.ReLU6(),
        blocks=chain(*(chain(*blocks) for blocks in stages)),
        conv_head=conv(32, 1280),
        bn2=nn.BatchNorm2d(1280),
        act2=nn.ReLU6(),
        **classifier(classifier=nn.Linear(1280, CLASSES)),
    )


def shufflenet_v2():
    def unit(inputs, half, stride):
        entering = inputs if stride == 2 else half
        apart = [*conv_bn(inputs, inputs, 3, 2, groups=inputs, relu=None), *conv_bn(inputs, half)]
        middle = conv_bn(half, half, 3, stride, groups=half, relu=None)
        branch2 = chain(*conv_bn(entering, half), *middle, *conv_bn(half, half))
        return chain(kind=ShuffleUnit, branch1=chain(*apart) if stride == 2 else chain(), branch2=branch2)

    layers, inputs = {"conv1": chain(*conv_bn(3, 6, 3, 2)), "maxpool": nn.MaxPool2d(3, 2, 1)}, 6
    for stage, (repeats, width) in enumerate(((4, 8), (8, 12), (4, 16)), 2):
        units = [unit(inputs if number == 0 else width, width // 2, 1 if number else 2) for number in range(repeats)]
        layers[f"stage{stage}"], inputs = chain(*units), width
    return chain(**layers, conv5=chain(*conv_bn(16, 24)), **classifier(fc=nn.Linear(24, CLASSES)))


def zoo_shufflenet_v2():
    def numbered(*convolutions):
        pairs = enumerate(convolutions, 1)
        steps = {f"{kind}{place}": one for place, pair in pairs for kind, one in zip(("conv", "bn"), pair, strict=True)}
        return chain(kind=NumberedShuffleUnit, **steps)

    def unit(inputs, half, stride):
        around = [conv_bn(inputs, inputs, 3, 2, groups=inputs, relu=None), conv_bn(inputs, half, relu=None)]
        first = conv_bn(inputs if stride == 2 else half, half, relu=None)
        middle = conv_bn(half, half, 3, stride, groups=half, relu=None)
        return numbered(*(around if stride == 2 else []), first, middle, conv_bn(half, half, relu=None))

    layers, inputs = dict(zip(("conv1", "bn1", "relu1"), conv_bn(3, 6, 3), strict=True)), 6
    for stage, (repeats, width) in enumerate(((4, 8), (8, 12), (4, 16)), 1):
        units = [unit(inputs if number == 0 else width, width // 2, 1 if number else 2) for number in range(repeats)]
        layers[f"layer{stage}"], inputs = chain(*units), width
    head = dict(zip(("conv2", "bn2", "relu2"), conv_bn(16, 24), strict=True))
    return chain(**layers, **head, **classifier(linear=nn.Linear(24, CLASSES)))


def squeezenet():
    def fire(inputs, width):
        narrow, half = width // 8, width // 2
        expand = {"expand1x1": conv(narrow, half, bias=True), "expand3x3": conv(narrow, half, 3, bias=True)}
        return chain(kind=Fire, squeeze=conv(inputs, narrow, bias=True), **expand)

    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    features = chain(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), pool, fire(8, 64), fire(64, 64), pool, fire(64, 32))
    last = chain(nn.Dropout(), conv(32, CLASSES, bias=True), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return chain(features=features, classifier=last, flatten=nn.Flatten())


def dense(inputs, units):
    return [nn.Linear(inputs, units), nn.ReLU()]


def vgg_features(*, bn):
    """Two convolutions of 4 channels and one of 8, whose biases stay in front of a BatchNorm."""
    one, two, three = (
        conv_bn(*shape, 3, bias=True) if bn else [conv(*shape, 3, bias=True), nn.ReLU()]
        for shape in ((3, 4), (4, 4), (4, 8))
    )
    return chain(*one, *two, nn.MaxPool2d(2), *three, nn.MaxPool2d(2))


def vgg(*, bn=False):
    hidden = [*dense(8 * 4 * 6, 16), nn.Dropout(), *dense(16, 16), nn.Dropout()]
    return chain(features=vgg_features(bn=bn), flatten=nn.Flatten(), classifier=chain(*hidden, nn.Linear(16, CLASSES)))


def timm_vgg(*, bn=False):
    first, second = nn.Conv2d(8, 16, (4, 6)), nn.Conv2d(16, 16, 1)
    hidden = chain(fc1=first, act1=nn.ReLU(), drop=nn.Dropout(), fc2=second, act2=nn.ReLU())
    return chain(features=vgg_features(bn=bn), pre_logits=hidden, head=chain(**classifier(fc=nn.Linear(16, CLASSES))))


def alexnet():
    def step(*shape):
        return [conv(*shape, bias=True), nn.ReLU()]

    pool = nn.MaxPool2d(3, 2)
    last = [*step(12, 12, 3), *step(12, 8, 3), *step(8, 8, 3)]
    features = chain(*step(3, 8, 5, 2), pool, *step(8, 12, 5), pool, *last, pool)
    hidden = [nn.Dropout(), *dense(8 * 2 * 3, 16), nn.Dropout(), *dense(16, 16)]
    return chain(features=features, flatten=nn.Flatten(), classifier=chain(*hidden, nn.Linear(16, CLASSES)))


ROWS = (((4, 4, 8, 4, 4, 4),), ((4, 4, 4, 4, 8, 4),) * 4, ((8, 4, 4, 4, 4, 4),) * 2)  # for each stage its blocks


def googlenet():
    """With auxiliary classifiers, which average as the paper's do."""

    def step(*shape):
        convolution = conv(*shape)
        return chain(conv=convolution, bn=nn.BatchNorm2d(convolution.out_channels, 1e-3), relu=nn.ReLU())

    def inception(inputs, ones, reduce3, threes, reduce5, fives, projected):
        return chain(
            kind=Branches,
            branch1=step(inputs, ones),
            branch2=chain(step(inputs, reduce3), step(reduce3, threes, 3)),
            branch3=chain(step(inputs, reduce5), step(reduce5, fives, 3)),
            branch4=chain(nn.MaxPool2d(3, 1, 1), step(inputs, projected)),
        )

    def auxiliary():
        pool, hidden = nn.AvgPool2d(5, 3), nn.Linear(128 * 1 * 2, 1024)
        last = {"flatten": nn.Flatten(), "fc1": hidden, "relu": nn.ReLU(), "fc2": nn.Linear(1024, CLASSES)}
        return chain(pool=pool, conv=step(20, 128), **last)

    layers = {"conv1": step(3, 8, 7, 2), "maxpool1": nn.MaxPool2d(3, 2, ceil_mode=True), "conv2": step(8, 4)}
    layers["conv3"], inputs = step(4, 12, 3), 12
    for stage, rows in enumerate(ROWS, 3):
        layers[f"maxpool{stage - 1}"] = nn.MaxPool2d(2 if stage == 5 else 3, 2, ceil_mode=True)
        for letter, row in zip("abcd", rows, strict=False):
            layers[f"inception{stage}{letter}"], inputs = inception(inputs, *row), 20
            layers |= {f"aux{'ad'.index(letter) + 1}": auxiliary()} if stage == 4 and letter in "ad" else {}
    return chain(kind=GoogLeNet, **layers, **classifier(fc=nn.Linear(inputs, CLASSES)))


def inception_v3():
    """As pytorch-fid patches torchvision's: averages leave out what is padded, and the last block takes the maximum."""

    def step(inputs, filters, kernel=1, stride=1, zeros=None):
        height, width = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        padding = (height // 2, width // 2) if zeros is None else zeros
        convolution = nn.Conv2d(inputs, filters, (height, width), stride, padding, bias=False)
        return chain(conv=convolution, bn=nn.BatchNorm2d(filters, 1e-3), relu=nn.ReLU())

    def block(inputs, pool, rows):
        """Filters, kernel and a stride of 2 by name; a later place of a branch reads the one in front of it."""
        made, before = NumberedBranches(pool), inputs
        for name, (filters, kernel, *stride) in rows.items():
            place = name.partition("_")[2]
            reads = inputs if place in ("", "1", "pool") else before
            made.add_module(f"branch{name}", step(reads, filters, kernel, *stride, *([0] if stride else [])))
            before = before if place.endswith("a") else filters
        return made

    average = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
    maximum = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)
    halving = partial(F.max_pool2d, kernel_size=3, stride=2)
    wide, tall = (1, 7), (7, 1)
    double = {"3x3dbl_1": (6, 1), "3x3dbl_2": (8, 3)}
    five = {"1x1": (8, 1), "5x5_1": (6, 1), "5x5_2": (8, 5)}
    seven = {"1x1": (8, 1), "7x7_1": (6, 1), "7x7_2": (6, wide), "7x7_3": (8, tall), "7x7dbl_1": (6, 1)}
    seven |= {"7x7dbl_2": (6, tall), "7x7dbl_3": (6, wide), "7x7dbl_4": (6, tall), "7x7dbl_5": (8, wide)}
    halved = {"3x3_1": (6, 1), "3x3_2": (8, 3, 2), "7x7x3_1": (6, 1), "7x7x3_2": (6, wide), "7x7x3_3": (6, tall)}
    forks = {"1x1": (8, 1), "3x3_1": (8, 1), "3x3_2a": (8, (1, 3)), "3x3_2b": (8, (3, 1))}
    forks |= double | {"3x3dbl_3a": (8, (1, 3)), "3x3dbl_3b": (8, (3, 1)), "_pool": (6, 1)}
    return chain(
        Conv2d_1a_3x3=step(3, 6, 3, 2, 0),
        Conv2d_2a_3x3=step(6, 6, 3, 1, 0),
        Conv2d_2b_3x3=step(6, 8, 3),
        maxpool1=nn.MaxPool2d(3, 2),
        Conv2d_3b_1x1=step(8, 8),
        Conv2d_4a_3x3=step(8, 8, 3, 1, 0),
        maxpool2=nn.MaxPool2d(3, 2),
        Mixed_5b=block(8, average, five | double | {"3x3dbl_3": (8, 3), "_pool": (6, 1)}),
        Mixed_6a=block(30, halving, {"3x3": (8, 3, 2)} | double | {"3x3dbl_3": (8, 3, 2)}),
        Mixed_6b=block(46, average, seven | {"_pool": (8, 1)}),
        Mixed_7a=block(32, halving, halved | {"7x7x3_4": (6, 3, 2)}),
        Mixed_7b=block(46, average, forks),
        Mixed_7c=block(46, maximum, forks),
        **classifier(fc=nn.Linear(46, CLASSES)),
    )


@dataclass(frozen=True)
class Case:
    """A small torch network, and the same one of this package.

    Args:
        naming: Title of the naming that should be found.
        network: Builds it in torch.
        name: Registered name.
        options: Options that shrink it.
        size: (height, width) of the images; one even, one odd, which Keras would pad differently.
    """

    naming: str
    network: Callable[[], nn.Module]
    name: str
    options: dict[str, Any]
    size: tuple[int, int] = (16, 19)


LARGER = (32, 41)
RESNET = {"depths": (1, 2), "widths": (8, 16)}
RESNEXT = RESNET | {"groups": 4, "base_width": 16}
VGG = {"depths": (2, 1), "widths": (4, 8), "head_width": 16}
ALEXNET = {"widths": (8, 12, 12, 8, 8), "kernels": (5, 5, 3, 3, 3), "strides": (2, 1, 1, 1, 1), "head_width": 16}
GOOGLENET = {"form": "torchvision", "stem_widths": (8, 4, 12), "blocks": ROWS}
V3 = (((8, 6, 8, 6, 8, 6),), ((8, 6, 8), (6, 8)), ((6, 8), (8, 8, 6, "avg", 6), (8, 8, 6, "max", 6)))
INCEPTION = {"stem_widths": (6, 6, 8, 8, 8), "blocks": V3}
ZOO = "kuangliu/pytorch-cifar and akamaster/pytorch_resnet_cifar10"
zoo = partial(resnet, cifar=True, around="shortcut", dense="linear")
resnext = partial(bottleneck, groups=4)
CASES = {
    "basic": Case("torchvision ResNet", partial(resnet, basic), "resnet18", RESNET),
    "bottleneck": Case("torchvision ResNet", partial(resnet, bottleneck), "resnet50v1_5", RESNET),
    "resnext": Case("torchvision ResNet", partial(resnet, resnext), "resnext50_32x4d", RESNEXT),
    "timm_se": Case(
        "torchvision ResNet", partial(resnet, resnext, se_ratio=8), "seresnext50_32x4d", RESNEXT | {"se_ratio": 8}
    ),
    "chenyaofo": Case("torchvision ResNet", partial(resnet, basic, cifar=True), "resnet20", RESNET | {"shortcut": "B"}),
    "kuangliu": Case(ZOO, partial(zoo, basic), "resnet18", RESNET | {"stem": "cifar"}),
    "kuangliu_bottleneck": Case(ZOO, partial(zoo, bottleneck), "resnet50v1_5", RESNET | {"stem": "cifar"}),
    "akamaster": Case(ZOO, partial(zoo, basic, zeros=True), "resnet20", RESNET),
    "densenet": Case("torchvision DenseNet", densenet, "densenet121", {"depths": (2, 1), "growth": 4}),
    "mobilenetv2": Case("torchvision MobileNetV2", mobilenet_v2, "mobilenetv2_x0_5_cifar", {"alpha": 0.1}),
    "timm_mobilenetv2": Case("timm MobileNetV2", timm_mobilenet_v2, "mobilenetv2_x0_5", {"alpha": 0.1}, LARGER),
    "shufflenetv2": Case(
        "torchvision ShuffleNetV2",
        shufflenet_v2,
        "shufflenetv2_x0_5",
        {"stem_width": 6, "widths": (8, 12, 16), "head_width": 24},
        LARGER,
    ),
    "zoo_shufflenetv2": Case(
        "kuangliu/pytorch-cifar ShuffleNetV2",
        zoo_shufflenet_v2,
        "shufflenetv2_x0_5_cifar",
        {"stem_width": 6, "widths": (8, 12, 16), "head_width": 24},
        LARGER,
    ),
    "squeezenet": Case(
        "torchvision SqueezeNet", squeezenet, "squeezenet1_1", {"stem_width": 8, "widths": ((64, 64), (32,))}
    ),
    "vgg": Case("torchvision VGG", vgg, "vgg16", VGG, (16, 27)),
    "vgg_bn": Case("torchvision VGG with BatchNorm", partial(vgg, bn=True), "vgg16_bn", VGG, (16, 27)),
    "timm_vgg": Case("timm VGG", timm_vgg, "vgg16", VGG, (16, 27)),
    "timm_vgg_bn": Case("timm VGG with BatchNorm", partial(timm_vgg, bn=True), "vgg16_bn", VGG, (16, 27)),
    "alexnet": Case("torchvision AlexNet", alexnet, "alexnetowt", ALEXNET, (47, 64)),
    "googlenet": Case("torchvision GoogLeNet", googlenet, "googlenet", GOOGLENET, LARGER),
    "inceptionv3": Case("pytorch-fid InceptionV3", inception_v3, "inceptionv3", INCEPTION, (75, 80)),
}
