"""PreAct-ResNet-164 on CIFAR-10: 94.54% in the paper.

    keras-resnets train --config preactresnet164_cifar10 --out runs/preactresnet164_cifar10

Expected: a test accuracy of 94.54% (median of five runs).
Takes: 2 days on 2 cores of an AMD EPYC, torch, by 5 steps of 128 (`make costs`).
Source: He et al. 2016, arXiv:1603.05027, Table 3 and appendix: 400 steps at a tenth of the rate come first; here
the rate rises over as many.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import HE2015

CONFIG = TrainConfig(model="preactresnet164", **HE2015 | {"warmup": 400 / 64_000})
