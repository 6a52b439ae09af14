"""Residual-era networks for Keras 3, built exactly as their papers describe them, on any backend.

import keras_resnets

model = keras_resnets.ResNet50()
model = keras_resnets.create_model("resnet20", shortcut="B")
"""

from importlib.metadata import version

from keras_resnets.errors import UsageError
from keras_resnets.families.mobilenet import (
    MobileNetV2_x0_5_CIFAR,
    MobileNetV2_x0_75_CIFAR,
    MobileNetV2_x1_0_CIFAR,
    MobileNetV2_x1_4_CIFAR,
)
from keras_resnets.families.plain import (
    Plain18,
    Plain20,
    Plain32,
    Plain34,
    Plain44,
    Plain56,
    Plain110,
)
from keras_resnets.families.preact import (
    PreActResNet20,
    PreActResNet110,
    PreActResNet164,
    PreActResNet1001,
    ResNet18V2,
    ResNet34V2,
    ResNet50V2,
    ResNet101V2,
    ResNet152V2,
    ResNet200V2,
)
from keras_resnets.families.resnet import (
    ResNet8,
    ResNet18,
    ResNet20,
    ResNet32,
    ResNet34,
    ResNet44,
    ResNet50,
    ResNet50V1_5,
    ResNet56,
    ResNet101,
    ResNet101V1_5,
    ResNet110,
    ResNet152,
    ResNet152V1_5,
    ResNet1202,
)
from keras_resnets.families.resnext import (
    ResNeXt29_8x64d,
    ResNeXt29_16x64d,
    ResNeXt50_32x4d,
    ResNeXt101_32x4d,
    ResNeXt101_32x8d,
)
from keras_resnets.families.senet import (
    SENet154,
    SEResNet18,
    SEResNet20,
    SEResNet34,
    SEResNet50,
    SEResNet101,
    SEResNet152,
    SEResNeXt50_32x4d,
    SEResNeXt101_32x4d,
)
from keras_resnets.families.shufflenet import (
    ShuffleNetV2_x0_5_CIFAR,
    ShuffleNetV2_x1_0_CIFAR,
    ShuffleNetV2_x1_5_CIFAR,
    ShuffleNetV2_x2_0_CIFAR,
)
from keras_resnets.families.wide import (
    WideResNet16_4,
    WideResNet16_8,
    WideResNet28_10,
    WideResNet40_4,
    WideResNet50_2,
    WideResNet101_2,
)
from keras_resnets.registry import create_model, get_variant, list_models
from keras_resnets.summary import ModelInfo, count_macs, count_parameters, depth, iter_layers, model_info
from keras_resnets.variant import Error, Variant

__version__ = version("keras-resnets")

__all__ = [
    "Error",
    "MobileNetV2_x0_5_CIFAR",
    "MobileNetV2_x0_75_CIFAR",
    "MobileNetV2_x1_0_CIFAR",
    "MobileNetV2_x1_4_CIFAR",
    "ModelInfo",
    "Plain110",
    "Plain18",
    "Plain20",
    "Plain32",
    "Plain34",
    "Plain44",
    "Plain56",
    "PreActResNet1001",
    "PreActResNet110",
    "PreActResNet164",
    "PreActResNet20",
    "ResNeXt101_32x4d",
    "ResNeXt101_32x8d",
    "ResNeXt29_16x64d",
    "ResNeXt29_8x64d",
    "ResNeXt50_32x4d",
    "ResNet101",
    "ResNet101V1_5",
    "ResNet101V2",
    "ResNet110",
    "ResNet1202",
    "ResNet152",
    "ResNet152V1_5",
    "ResNet152V2",
    "ResNet18",
    "ResNet18V2",
    "ResNet20",
    "ResNet200V2",
    "ResNet32",
    "ResNet34",
    "ResNet34V2",
    "ResNet44",
    "ResNet50",
    "ResNet50V1_5",
    "ResNet50V2",
    "ResNet56",
    "ResNet8",
    "SENet154",
    "SEResNeXt101_32x4d",
    "SEResNeXt50_32x4d",
    "SEResNet101",
    "SEResNet152",
    "SEResNet18",
    "SEResNet20",
    "SEResNet34",
    "SEResNet50",
    "ShuffleNetV2_x0_5_CIFAR",
    "ShuffleNetV2_x1_0_CIFAR",
    "ShuffleNetV2_x1_5_CIFAR",
    "ShuffleNetV2_x2_0_CIFAR",
    "UsageError",
    "Variant",
    "WideResNet101_2",
    "WideResNet16_4",
    "WideResNet16_8",
    "WideResNet28_10",
    "WideResNet40_4",
    "WideResNet50_2",
    "__version__",
    "count_macs",
    "count_parameters",
    "create_model",
    "depth",
    "get_variant",
    "iter_layers",
    "list_models",
    "model_info",
]
