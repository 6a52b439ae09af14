"""Plain-56 on CIFAR-10, the residual paper's counterexample.

    keras-resnets train --config plain56_cifar10 --out runs/plain56_cifar10

Expected: a training error above that of plain-20: more layers, worse fitted (Fig. 6, left).
Takes: 14 hours on 2 cores of an AMD EPYC, torch, by 9 steps of 128 (`make costs`).
Source: He et al. 2015, arXiv:1512.03385, section 4.2, Fig. 6.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import HE2015

CONFIG = TrainConfig(model="plain56", **HE2015)
