"""ResNet-56 on CIFAR-10, longer and with random erasing: 94.37% in chenyaofo's zoo.

    keras-resnets train --config resnet56_cifar10_modern --out runs/resnet56_cifar10_modern

Expected: a test accuracy of 94.37% (chenyaofo's zoo; 93.03% in the paper).
Measured: 94.86% with `--precision mixed_bfloat16`; 11 minutes on an NVIDIA H200, JAX, beside other trainings, seed 0.
Takes: 14 hours on 2 cores of an AMD EPYC, torch, by 5 steps of 500 (`make costs`).
Source: the network is He et al.'s, 2015, arXiv:1512.03385, section 4.2; the settings are ours.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import ERASING

CONFIG = TrainConfig(model="resnet56", **ERASING)
