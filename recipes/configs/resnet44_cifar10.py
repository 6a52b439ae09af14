"""ResNet-44 on CIFAR-10: 92.83% in the paper.

    keras-resnets train --config resnet44_cifar10 --out runs/resnet44_cifar10

Expected: a test accuracy of 92.83% (one run of the paper's); 94.01% in chenyaofo's zoo.
Takes: 11 hours on 2 cores of an AMD EPYC, torch, by 40 steps of 128 (`make costs`).
Source: He et al. 2015, arXiv:1512.03385, section 4.2 and Table 6.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import HE2015

CONFIG = TrainConfig(model="resnet44", **HE2015)
