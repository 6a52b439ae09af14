"""DenseNet-BC-100-12 on CIFAR-10: 95.49% in the paper.

    keras-resnets train --config densenetbc100_12_cifar10 --out runs/densenetbc100_12_cifar10

Expected: a test accuracy of 95.49%.
Source: Huang et al. 2016, arXiv:1608.06993, section 4.2 and Table 2.
"""

from recipes.config import TrainConfig

CONFIG = TrainConfig(
    model="densenetbc100_12",
    data="cifar10",
    epochs=300,
    batch_size=64,
    learning_rate=0.1,
    schedule="step",
    warmup=0.0,
    weight_decay=1e-3,
    augment=("crop", "flip"),
)
