"""WRN-28-10 on CIFAR-10: 96.00% in the paper.

    keras-resnets train --config wideresnet28_10_cifar10 --out runs/wideresnet28_10_cifar10

Expected: a test accuracy of 96.00% (median of five runs).
Takes: 20 days on 2 cores of an AMD EPYC, torch, by 3 steps of 128 (`make costs`).
Source: Zagoruyko & Komodakis 2016, arXiv:1605.07146, section 3 and Table 5: 200 epochs, weight decay 5e-4. A cosine
stands for its steps of a fifth.
"""

from typing import Any

from recipes.config import TrainConfig
from recipes.configs._cifar import HE2015

OWN: dict[str, Any] = {"epochs": 200, "schedule": "cosine", "warmup": 0.01, "weight_decay": 5e-3}
CONFIG = TrainConfig(model="wideresnet28_10", **HE2015 | OWN)
