"""What networks on CIFAR-10 have in common."""

from typing import Any

# He et al. 2015, section 4.2: batches of 128, 64,000 steps, which are 164 epochs, a tenth of the rate at 32,000 and
# 48,000, weight decay 1e-4, crops and mirrored images; with Nesterov's momentum, which the paper does not have
HE2015: dict[str, Any] = {
    "data": "cifar10",
    "epochs": 164,
    "batch_size": 128,
    "learning_rate": 0.1,
    "schedule": "step",
    "warmup": 0.0,
    "weight_decay": 1e-3,
    "augment": ("crop", "flip"),
}
# Ours, for what the papers' settings do not reach: random erasing (Zhong et al. 2017, arXiv:1708.04896), a cosine, the
# weight decay 5e-4 of the zoos. 50,000 images are a hundred batches of 500, so that XLA compiles one step and no second
# for a smaller last one
ERASING: dict[str, Any] = {
    "data": "cifar10",
    "epochs": 200,
    "batch_size": 500,
    "learning_rate": 0.2,
    "schedule": "cosine",
    "warmup": 0.025,
    "weight_decay": 5e-3,
    "augment": ("crop", "flip", "erase"),
}
