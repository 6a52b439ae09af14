"""MobileNetV2 x0.5 on CIFAR-10: 92.88% in chenyaofo's zoo.

    keras-resnets train --config mobilenetv2_x0_5_cifar10 --out runs/mobilenetv2_x0_5_cifar10

Expected: a test accuracy of 92.88%.
Source: chenyaofo/pytorch-cifar-models; the papers have no CIFAR networks.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import MOBILE

CONFIG = TrainConfig(model="mobilenetv2_x0_5_cifar", **MOBILE)
