"""SE-ResNet-20 on CIFAR-10, settings of ResNet-20.

    keras-resnets train --config seresnet20_cifar10 --out runs/seresnet20_cifar10

Expected: no published number; ResNet-20 has 91.25% by the same settings.
Takes: 5 hours on 2 cores of an AMD EPYC, torch, by 40 steps of 128 (`make costs`).
Source: Hu et al. 2017, arXiv:1709.01507, whose CIFAR networks are deeper; settings of He et al. 2015.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import HE2015

CONFIG = TrainConfig(model="seresnet20", **HE2015)
