"""Plain-20 on CIFAR-10, the residual paper's counterexample.

    keras-resnets train --config plain20_cifar10 --out runs/plain20_cifar10

Expected: a training error below that of plain-56, and a test error above ResNet-20's (Fig. 6, left and middle).
Takes: 4 hours on 2 cores of an AMD EPYC, torch, by 23 steps of 128 (`make costs`).
Source: He et al. 2015, arXiv:1512.03385, section 4.2, Fig. 6.
"""

from recipes.config import TrainConfig
from recipes.configs._cifar import HE2015

CONFIG = TrainConfig(model="plain20", **HE2015)
