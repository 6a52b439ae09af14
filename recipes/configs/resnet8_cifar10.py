"""ResNet-8 of MLPerf Tiny on CIFAR-10: 87.19% of its reference.

    keras-resnets train --config resnet8_cifar10 --out runs/resnet8_cifar10

Expected: a test accuracy of 87.19% in float32; as int8 86.97% in a file of 98,496 bytes.
Measured: 88.27%; as int8 88.22% in 92,904 bytes; 114 minutes on 2 cores of an AMD EPYC, TensorFlow, seed 0.
Takes: 79 minutes on 2 cores of an AMD EPYC, torch, by 40 steps of 128 (`make costs`).
Source: MLPerf Tiny v0.5, image classification. Its reference has 500 epochs of Adam; these settings are ours.
"""

from recipes.config import TrainConfig

CONFIG = TrainConfig(
    model="resnet8",
    data="cifar10",
    epochs=100,
    batch_size=128,
    learning_rate=0.1,
    schedule="cosine",
    weight_decay=2e-3,
    augment=("crop", "flip"),
)
