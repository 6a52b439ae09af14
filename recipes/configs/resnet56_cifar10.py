"""ResNet-56 on CIFAR-10: 93.03% in the paper.

    keras-resnets train --config resnet56_cifar10 --out runs/resnet56_cifar10

Expected: a test accuracy of 93.03% (one run of the paper's); 94.37% in chenyaofo's zoo.
These settings were not run to their end; `resnet56_cifar10_modern` was.
Takes: 17 hours on 2 cores of an AMD EPYC, torch, by 10 steps of 128 (`make costs`).
Source: He et al. 2015, arXiv:1512.03385, section 4.2 and Table 6.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import HE2015

CONFIG = TrainConfig(model="resnet56", **HE2015)
