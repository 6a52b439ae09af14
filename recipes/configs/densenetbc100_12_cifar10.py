"""DenseNet-BC-100-12 on CIFAR-10: 95.49% in the paper.

    keras-resnets train --config densenetbc100_12_cifar10 --out runs/densenetbc100_12_cifar10

Expected: a test accuracy of 95.49%.
Takes: 7 days on 2 cores of an AMD EPYC, torch, by 16 steps of 64 (`make costs`).
Source: Huang et al. 2016, arXiv:1608.06993, section 4.2 and Table 2.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import HE2015

CONFIG = TrainConfig(model="densenetbc100_12", **HE2015 | {"epochs": 300, "batch_size": 64})
