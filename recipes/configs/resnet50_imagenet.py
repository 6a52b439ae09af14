"""ResNet-50 on ImageNet in 90 epochs: 76.4% by Goyal et al.

    keras-resnets train --config resnet50_imagenet --data imagenet --out runs/resnet50_imagenet

`imagenet` is a folder with train/CLASS/* and val/CLASS/*.

Expected: a top-1 accuracy of about 76%, in the centre crop of 224 pixels.
Takes: 131 days on 2 cores of an AMD EPYC, torch, by 4 steps of 32 (`make costs`).
Source: Goyal et al. 2017, arXiv:1706.02677, section 5 and Table 1: batches of 256, 5 epochs of warm-up, weight decay
1e-4. A cosine stands for its steps.
"""

from recipes.config import TrainConfig

CONFIG = TrainConfig(
    model="resnet50v1_5",
    data="imagenet",
    epochs=90,
    batch_size=256,
    learning_rate=0.1,
    schedule="cosine",
    warmup=5 / 90,
    weight_decay=1e-3,
    augment=("crop", "flip"),
    precision="mixed_bfloat16",
)
