"""ResNet-110 with stochastic depth on CIFAR-10: 94.75% in the paper.

    keras-resnets train --config stochasticdepth110_cifar10 --out runs/stochasticdepth110_cifar10

Expected: a test accuracy of 94.75% (93.59% of constant depth).
Takes: 4 days on 2 cores of an AMD EPYC, torch, by 8 steps of 128 (`make costs`).
Source: Huang et al. 2016, arXiv:1603.09382, section 4: 500 epochs, p_L = 0.5.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import HE2015

CONFIG = TrainConfig(model="resnet110", drop_path=0.5, **HE2015 | {"epochs": 500})
