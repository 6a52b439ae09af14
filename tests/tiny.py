"""Networks and images small enough for a test."""

import keras
import numpy as np

from keras_resnets import create_model

# One spec a family and block, small enough to train in a second: (registered name, options that shrink it).
TINY = {
    "basic": ("resnet18", {"depths": (1, 1), "widths": (8, 16)}),
    "bottleneck": ("resnet50", {"depths": (2, 1), "widths": (4, 8)}),
    "bottleneck_v1_5": ("resnet50v1_5", {"depths": (1, 2), "widths": (4, 8)}),
    "cifar_a": ("resnet20", {"depths": (1, 2), "widths": (8, 16)}),
    "cifar_b": ("resnet20", {"depths": (1, 1), "widths": (8, 16), "shortcut": "B"}),
    "cifar_c": ("resnet20", {"depths": (1, 2), "widths": (8, 16), "shortcut": "C"}),
    "plain": ("plain20", {"depths": (1, 1), "widths": (8, 16)}),
    "mlperf_tiny": ("resnet8", {"depths": (1, 1), "widths": (8, 16)}),
    "mobilenetv2": ("mobilenetv2_x0_5_cifar", {"alpha": 0.1}),
    "shufflenetv2": ("shufflenetv2_x0_5_cifar", {"widths": (8, 16, 32), "head_width": 32}),
}


def build_tiny(key: str, **options) -> keras.Model:
    name, shrink = TINY[key]
    return create_model(name, **({"input_shape": (16, 16, 3), "classes": 4} | shrink | options))


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """Gives every weight, BatchNorm statistics too, a value that a test can see."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = rng.normal(0, 0.3, weight.shape)
        if weight.name in ("gamma", "moving_variance"):
            value = 1 + np.abs(value)
        weight.assign(value.astype("float32"))
    return model


def blobs(count: int, seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Images whose class is which quarter is bright: uint8 (count, 16, 16, 3) and labels (count,)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = rng.integers(0, 80, (count, 16, 16, 3))
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 120
    return images.astype(np.uint8), labels
