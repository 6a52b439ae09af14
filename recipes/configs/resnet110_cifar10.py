"""ResNet-110 on CIFAR-10: 93.57% in the paper.

    keras-resnets train --config resnet110_cifar10 --out runs/resnet110_cifar10

Expected: a test accuracy of 93.57% (the best of five runs; 93.39% in the mean).
Takes: 29 hours on 2 cores of an AMD EPYC, torch, by 7 steps of 128 (`make costs`).
Source: He et al. 2015, arXiv:1512.03385, section 4.2 and Table 6. There 400 steps at a tenth of the
rate come first; here the rate rises over as many.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import HE2015

CONFIG = TrainConfig(model="resnet110", **HE2015 | {"warmup": 400 / 64_000})
