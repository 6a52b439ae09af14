"""ResNet-20 on CIFAR-10: 91.25% in the paper.

    keras-resnets train --config resnet20_cifar10 --out runs/resnet20_cifar10

Expected: a test accuracy of 91.25% (one run of the paper's); 92.60% in chenyaofo's zoo.
These settings were not run to their end; `resnet20_cifar10_modern` was.
Takes: 5 hours on 2 cores of an AMD EPYC, torch, by 40 steps of 128 (`make costs`).
Source: He et al. 2015, arXiv:1512.03385, section 4.2 and Table 6.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import HE2015

CONFIG = TrainConfig(model="resnet20", **HE2015)
