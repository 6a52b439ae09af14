"""ResNet-32 on CIFAR-10: 92.49% in the paper.

    keras-resnets train --config resnet32_cifar10 --out runs/resnet32_cifar10

Expected: a test accuracy of 92.49% (one run of the paper's); 93.53% in chenyaofo's zoo.
Takes: 8 hours on 2 cores of an AMD EPYC, torch, by 40 steps of 128 (`make costs`).
Source: He et al. 2015, arXiv:1512.03385, section 4.2 and Table 6.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import HE2015

CONFIG = TrainConfig(model="resnet32", **HE2015)
