"""MobileNetV2 x1 on CIFAR-10: 93.79% in chenyaofo's zoo.

    keras-resnets train --config mobilenetv2_x1_0_cifar10 --out runs/mobilenetv2_x1_0_cifar10

Expected: a test accuracy of 93.79%.
Takes: 46 hours on 2 cores of an AMD EPYC, torch, by 7 steps of 256 (`make costs`).
Source: chenyaofo/pytorch-cifar-models; the papers have no CIFAR networks.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import MOBILE

CONFIG = TrainConfig(model="mobilenetv2_x1_0_cifar", **MOBILE)
