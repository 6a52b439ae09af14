"""MobileNetV2 x0.5 on CIFAR-10: 92.88% in chenyaofo's zoo.

    keras-resnets train --config mobilenetv2_x0_5_cifar10 --out runs/mobilenetv2_x0_5_cifar10

Expected: a test accuracy of 92.88%.
Measured: 94.15%; 9 minutes on an NVIDIA H200, JAX, beside other trainings, seed 0.
Takes: 12 hours on 2 cores of an AMD EPYC, torch, by 15 steps of 500 (`make costs`).
Source: chenyaofo/pytorch-cifar-models; the papers have no CIFAR networks. The settings are ours.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import ERASING

CONFIG = TrainConfig(model="mobilenetv2_x0_5_cifar", **ERASING | {"epochs": 160})
