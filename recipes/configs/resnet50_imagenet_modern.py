"""ResNet-50 on ImageNet with the ingredients of 2021: 79.8% by Wightman et al.

    keras-resnets train --config resnet50_imagenet_modern --data imagenet --out runs/resnet50_imagenet_modern

`imagenet` is a folder with train/CLASS/* and val/CLASS/*.

Expected: about as much: not their procedure, but its ingredients.
Takes: 692 days on 2 cores of an AMD EPYC, torch, by 3 steps of 32 (`make costs`).
Source: Wightman et al. 2021, arXiv:2110.00476, Table 2, procedure A2: 300 epochs with RandAugment, mixup,
CutMix and stochastic depth of 0.05. SGD stands for LAMB and the cross-entropy with smoothed labels for its binary one.
"""

from recipes.config import TrainConfig

CONFIG = TrainConfig(
    model="resnet50v1_5",
    data="imagenet",
    epochs=300,
    batch_size=1024,
    learning_rate=0.5,
    schedule="cosine",
    warmup=5 / 300,
    weight_decay=2e-4,
    augment=("crop", "flip", "randaugment"),
    mixup=0.1,
    cutmix=1.0,
    label_smoothing=0.1,
    drop_path=0.05,
    ema=0.9999,
    precision="mixed_bfloat16",
)
