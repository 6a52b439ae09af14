"""ShuffleNetV2 x1 on CIFAR-10: 92.98% in chenyaofo's zoo.

    keras-resnets train --config shufflenetv2_x1_0_cifar10 --out runs/shufflenetv2_x1_0_cifar10

Expected: a test accuracy of 92.98%.
Takes: 5 hours on 2 cores of an AMD EPYC, torch, by 6 steps of 500 (`make costs`).
Source: chenyaofo/pytorch-cifar-models; the papers have no CIFAR networks. The settings are ours.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import ERASING

CONFIG = TrainConfig(model="shufflenetv2_x1_0_cifar", **ERASING | {"epochs": 90})
