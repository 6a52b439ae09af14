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
# Chenyaofo's pytorch-cifar-models: batches of 256, 300 epochs, a cosine, weight decay 5e-4, Nesterov's momentum
MOBILE: dict[str, Any] = {
    "data": "cifar10",
    "epochs": 300,
    "batch_size": 256,
    "learning_rate": 0.1,
    "schedule": "cosine",
    "warmup": 0.01,
    "weight_decay": 5e-3,
    "augment": ("crop", "flip"),
}
