"""MobileNetV2 x0.5 on CIFAR-10: 92.88% in chenyaofo's zoo.

    keras-resnets train --config mobilenetv2_x0_5_cifar10 --out runs/mobilenetv2_x0_5_cifar10

Expected: a test accuracy of 92.88%.
With 80 epochs and a warm-up of 0.02 (README, Training): 92.54%, 6 minutes on an NVIDIA H200, JAX; these
settings were not run to their end.
Takes: 18 hours on 2 cores of an AMD EPYC, torch, by 9 steps of 256 (`make costs`).
Source: chenyaofo/pytorch-cifar-models; the papers have no CIFAR networks.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import MOBILE

CONFIG = TrainConfig(model="mobilenetv2_x0_5_cifar", **MOBILE)
