"""Networks and images small enough for a test."""

import importlib
import pkgutil

import keras
import numpy as np
import oracles

from keras_resnets import create_model, get_variant

# The tiny networks of every family, by key.
TINY: dict[str, oracles.Case] = {
    key: case
    for module in pkgutil.iter_modules(oracles.__path__)
    for key, case in importlib.import_module(f"oracles.{module.name}").CASES.items()
}

FIRST = {get_variant(TINY[key].name).spec.family: key for key in sorted(TINY, reverse=True)}.values()  # of each family
# One of each kind of layer that rounding has a rule of its own for.
ROUNDED = (
    "alexnet",  # local response normalisation
    "cifar_a",  # zero-padded shortcut
    "densenet_bc",  # BatchNorm before the convolution, concatenation
    "fractal_two_columns",  # average of paths
    "googlenet_torchvision",
    "mobilenetv3_cifar",  # hard swish, squeeze-excite
    "preact",
    "resnext",
    "se_basic",
    "shufflenetv1",
    "shufflenetv2_imagenet",  # split, shuffle
    "squeezenet1_1",
    "vgg_bn",
    "xception",  # separable convolutions
)


def build_tiny(key: str, **options) -> keras.Model:
    case = TINY[key]
    channels = get_variant(case.name).data.input_shape[2]
    defaults = {"input_shape": (case.size, case.size, channels), "classes": 4}
    return create_model(case.name, **(defaults | case.options | options))


def run(model: keras.Model, images: np.ndarray, training: bool = False) -> np.ndarray:
    """The output, layer by layer: for one call that is faster than to compile the network first."""
    return keras.ops.convert_to_numpy(model(images, training=training))


def assert_equal(found: np.ndarray, expected: np.ndarray) -> None:
    """To 1e-4 of the largest output, and of the difference between two images to 1%."""
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    between_images = np.abs(expected[0] - expected[1]).max()
    assert np.abs(found - expected).max() < 0.01 * between_images


def randomize(model: keras.Model, seed: int = 0, variance: float = 2.0) -> keras.Model:
    """Gives every weight, BatchNorm statistics too, a value that a test can see, the same on every backend.

    Kernels have variance 2 / fan-in unless told otherwise: with other weights a deep network forgets its image, or its
    softmax saturates.
    """
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if weight.name in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, shape)
        elif weight.name.endswith("kernel"):
            depthwise = len(shape) == 4 and shape[-1] == 1
            value = rng.normal(0, np.sqrt(variance / np.prod(shape[:2] if depthwise else shape[:-1])), shape)
        elif len(shape) == 1 and "seed" not in weight.path:
            value = rng.normal(0, 0.1, shape)
        else:
            continue
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
