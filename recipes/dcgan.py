"""The convolutional players of DCGAN."""

from typing import Any

import keras
from keras import layers, ops

from keras_resnets import UsageError

KERNEL = 5
SMALLEST = 4  # side of the feature map that the generator starts from, at least
STDDEV = 0.02  # of initial weights, Radford et al. 2015, section 4


@keras.saving.register_keras_serializable("keras_resnets")
class SpectralConv2D(layers.Conv2D):
    """A convolution whose kernel is divided by its largest singular value, as a matrix (h * w * inputs, outputs).

    One step of power iteration estimates that value anew in every training call; the gradient flows through the
    division. Keras's SpectralNormalization overwrites the kernel instead.

    References: Miyato et al. 2018, arXiv:1802.05957, algorithm 1.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        self.left = self.add_weight(  # singular vector on the side of the outputs
            name="left", shape=(1, self.filters), initializer=keras.initializers.RandomNormal(), trainable=False
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        matrix = ops.reshape(self.kernel, (-1, self.filters))
        right = _unit(self.left @ ops.transpose(ops.stop_gradient(matrix)))
        left = _unit(right @ ops.stop_gradient(matrix))
        if training:
            self.left.assign(left)
        largest = ops.sum((right @ matrix) * left)
        outputs = self.convolution_op(inputs, self.kernel / largest)
        return self.activation(outputs if self.bias is None else outputs + self.bias)


def _unit(vector: Any) -> Any:
    return vector / (ops.norm(vector) + 1e-12)


def halvings(image_shape: tuple[int, int, int]) -> int:
    """How often both sides of an image can be halved down to 4 pixels or more.

    Raises:
        UsageError: If not once.
    """
    height, width, _ = image_shape
    count = 0
    while height % 2 == width % 2 == 0 and min(height, width) // 2 >= SMALLEST:
        height, width, count = height // 2, width // 2, count + 1
    if not count:
        raise UsageError(f"DCGAN doubles a small feature map: images of {image_shape} need even sides from 8 pixels")
    return count


def conv_generator(image_shape: tuple[int, int, int], latent: int, width: int) -> keras.Model:
    """Transposed convolutions of stride 2 with BatchNorm and ReLU up to the image, tanh pixels from -1 to 1.

    The latent vector is a feature map of 1x1 that a transposed convolution projects, as the paper's first layer does.

    Args:
        image_shape: (height, width, channels); sides such as 28, 32 or 64, see `halvings`.
        latent: Length of a latent vector.
        width: Channels in front of the last convolution, 128 in the paper; each one before has twice as many.

    Raises:
        UsageError: If the sides cannot be halved.

    References: Radford et al. 2015, arXiv:1511.06434, section 3 and Fig. 1.
    """
    height, broad, channels = image_shape
    count = halvings(image_shape)
    inputs = keras.Input((latent,), name="latent")
    x = layers.Reshape((1, 1, latent), name="map")(inputs)
    x = _upsample(x, width << (count - 1), (height >> count, broad >> count), "project")
    for number in range(1, count):
        x = _upsample(x, width << (count - 1 - number), KERNEL, f"stage{number}", strides=2, padding="same")
    x = layers.Conv2DTranspose(
        channels,
        KERNEL,
        strides=2,
        padding="same",
        activation="tanh",
        kernel_initializer=_initial(),
        name="image_conv",
    )(x)
    return keras.Model(inputs, x, name="generator")


def conv_discriminator(image_shape: tuple[int, int, int], width: int, *, spectral: bool = False) -> keras.Model:
    """Convolutions of stride 2 with BatchNorm and LeakyReLU of slope 0.2, and one that covers the last map: a logit.

    Args:
        image_shape: (height, width, channels); see `halvings`.
        width: Channels of the first convolution, 128 in the paper; each further one has twice as many.
        spectral: Spectral normalisation in place of BatchNorm.

    Raises:
        UsageError: If the sides cannot be halved.

    References: Radford et al. 2015, arXiv:1511.06434, section 3; Miyato et al. 2018, arXiv:1802.05957.
    """
    convolution = SpectralConv2D if spectral else layers.Conv2D
    x = inputs = keras.Input(image_shape, name="image")
    for number in range(1, halvings(image_shape) + 1):
        normed = number > 1 and not spectral  # the paper leaves BatchNorm out where images go in
        x = convolution(
            width << (number - 1),
            KERNEL,
            strides=2,
            padding="same",
            use_bias=not normed,
            kernel_initializer=_initial(),
            name=f"stage{number}_conv",
        )(x)
        x = _norm(x, f"stage{number}_bn") if normed else x
        x = layers.LeakyReLU(0.2, name=f"stage{number}_leaky_relu")(x)
    x = convolution(1, tuple(x.shape[1:3]), kernel_initializer=_initial(), name="logit_conv")(x)
    return keras.Model(inputs, layers.Flatten(name="logit")(x), name="discriminator")


def _upsample(x: Any, filters: int, kernel: int | tuple[int, int], name: str, **options: Any) -> Any:
    """A transposed convolution, BatchNorm and ReLU."""
    x = layers.Conv2DTranspose(
        filters, kernel, use_bias=False, kernel_initializer=_initial(), name=f"{name}_conv", **options
    )(x)
    return layers.ReLU(name=f"{name}_relu")(_norm(x, f"{name}_bn"))


def _norm(x: Any, name: str) -> Any:
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, gamma_initializer=_initial(1.0), name=name)(x)


def _initial(mean: float = 0.0) -> keras.initializers.Initializer:
    """A new one for each layer: an initializer takes its seed when it is made, and repeats its values."""
    return keras.initializers.RandomNormal(mean, STDDEV)
