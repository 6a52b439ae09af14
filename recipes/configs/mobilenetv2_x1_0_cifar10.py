"""MobileNetV2 x1 on CIFAR-10: 93.79% in chenyaofo's zoo.

    keras-resnets train --config mobilenetv2_x1_0_cifar10 --out runs/mobilenetv2_x1_0_cifar10

Expected: a test accuracy of 93.79%.
Takes: 34 hours on 2 cores of an AMD EPYC, torch, by 3 steps of 500 (`make costs`).
Source: chenyaofo/pytorch-cifar-models; the papers have no CIFAR networks. The settings are ours.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import ERASING

CONFIG = TrainConfig(model="mobilenetv2_x1_0_cifar", **ERASING | {"epochs": 160})
