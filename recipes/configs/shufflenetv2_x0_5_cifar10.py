"""ShuffleNetV2 x0.5 on CIFAR-10: 90.13% in chenyaofo's zoo.

    keras-resnets train --config shufflenetv2_x0_5_cifar10 --out runs/shufflenetv2_x0_5_cifar10

Expected: a test accuracy of 90.13%.
Measured: 90.65% with `--precision mixed_bfloat16`; 3 minutes on an NVIDIA H200, JAX, beside other trainings, seed 0.
Takes: 115 minutes on 2 cores of an AMD EPYC, torch, by 11 steps of 500 (`make costs`).
Source: chenyaofo/pytorch-cifar-models; the papers have no CIFAR networks. The settings are ours.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import ERASING

CONFIG = TrainConfig(model="shufflenetv2_x0_5_cifar", **ERASING | {"epochs": 90})
