"""ShuffleNetV2 x0.5 on CIFAR-10: 90.13% in chenyaofo's zoo.

    keras-resnets train --config shufflenetv2_x0_5_cifar10 --out runs/shufflenetv2_x0_5_cifar10

Expected: a test accuracy of 90.13%.
With 100 epochs, a warm-up of 0.02 and bfloat16 (README, Training): 90.29%, 6 minutes on an NVIDIA H200,
JAX; these settings were not run to their end.
Takes: 9 hours on 2 cores of an AMD EPYC, torch, by 37 steps of 256 (`make costs`).
Source: chenyaofo/pytorch-cifar-models; the papers have no CIFAR networks.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import MOBILE

CONFIG = TrainConfig(model="shufflenetv2_x0_5_cifar", **MOBILE)
