"""ResNet-20 on CIFAR-10, longer and with random erasing: 92.60% in chenyaofo's zoo.

    keras-resnets train --config resnet20_cifar10_modern --out runs/resnet20_cifar10_modern

Expected: a test accuracy of 92.60% (chenyaofo's zoo; 91.25% in the paper).
Measured: 93.76% with `--precision mixed_bfloat16`; 8 minutes on an NVIDIA H200, JAX, beside other trainings, seed 0.
Takes: 7 hours on 2 cores of an AMD EPYC, torch, by 25 steps of 500 (`make costs`).
Source: the network is He et al.'s, 2015, arXiv:1512.03385, section 4.2; the settings are ours.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import ERASING

CONFIG = TrainConfig(model="resnet20", **ERASING | {"epochs": 300})
