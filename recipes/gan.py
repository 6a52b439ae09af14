"""Generative adversarial nets: the game, and the fully connected players of its first paper."""

from collections.abc import Iterator
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

from recipes.adversarial import Adversarial, Objective, discriminator_loss, generator_loss

WIDTH = 1200  # units of the generator's hidden layers
UNITS, PIECES = 240, 5  # maxout of the discriminator


class GAN(Adversarial):
    """A generator of images against a discriminator of real from generated ones.

    A batch is (images, latents): a step draws nothing, so that it is the same on every backend. It trains the
    discriminator on each of `discriminator_steps` equal parts of the images with as many latents, then the generator
    on the latents that are left.

    Args:
        generator: (batch, latent) -> (batch, height, width, channels).
        discriminator: (batch / packing, height, width, packing * channels) -> logits, (batch / packing, 1).
        discriminator_steps: The k of the paper's algorithm 1.
        objective: Loss of the generator.
        smoothing: Of the label of real images.
        packing: Images that the discriminator judges together, as channels of one.

    References: Goodfellow et al. 2014, arXiv:1406.2661, algorithm 1; packing: Lin et al. 2018, arXiv:1712.04086.
    """

    losses_of_step: ClassVar[tuple[str, ...]] = ("d_loss", "g_loss")

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        *,
        discriminator_steps: int = 1,
        objective: Objective = "non-saturating",
        smoothing: float = 0.0,
        packing: int = 1,
    ) -> None:
        super().__init__({"discriminator": discriminator, "generator": generator})
        self.discriminator_steps, self.objective, self.smoothing = discriminator_steps, objective, smoothing
        self.packing = packing

    def adversarial_step(self, data: Any) -> dict[str, Any]:
        images, latents, _ = keras.utils.unpack_x_y_sample_weight(data)
        generator = self.players["generator"]
        *for_discriminator, last = ops.split(latents, self.discriminator_steps + 1)
        for real, latent in zip(ops.split(images, self.discriminator_steps), for_discriminator, strict=True):
            d_loss = self._discriminate(real, generator(latent, training=True))
        g_loss = self.minimize(
            lambda: generator_loss(self._judge(generator(last, training=True)), self.objective), "generator"
        )
        return {"d_loss": d_loss, "g_loss": g_loss}

    def _discriminate(self, real: Any, fake: Any) -> Any:
        return self.minimize(
            lambda: discriminator_loss(self._judge(real), self._judge(fake), self.smoothing), "discriminator"
        )

    def _judge(self, images: Any) -> Any:
        return self.players["discriminator"](packed(images, self.packing), training=True)


def packed(images: Any, count: int) -> Any:
    """Neighbours in a batch as channels of one image: (n, h, w, c) -> (n / count, h, w, count * c)."""
    if count == 1:
        return images
    height, width, channels = images.shape[1:]
    packs = ops.transpose(ops.reshape(images, (-1, count, height, width, channels)), (0, 2, 3, 1, 4))
    return ops.reshape(packs, (-1, height, width, count * channels))


@keras.saving.register_keras_serializable("keras_resnets")
class Maxout(layers.Layer):
    """The largest of several pieces of each unit: (..., units * pieces) -> (..., units).

    References: Goodfellow et al. 2013, arXiv:1302.4389, section 2.
    """

    def __init__(self, pieces: int, **options: Any) -> None:
        super().__init__(**options)
        self.pieces = pieces

    def call(self, inputs: Any) -> Any:
        *rest, features = inputs.shape
        return ops.max(ops.reshape(inputs, (-1, *rest[1:], features // self.pieces, self.pieces)), axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], (input_shape[-1] or 0) // self.pieces)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pieces": self.pieces}


def dense_generator(image_shape: tuple[int, int, int], latent: int) -> keras.Model:
    """Two hidden layers of rectifiers, and logistic pixels from 0 to 1.

    BatchNorm, which the paper did not have yet, keeps the discriminator from winning in the first epochs under Adam.

    Args:
        image_shape: (height, width, channels).
        latent: Length of a latent vector.

    References: Goodfellow et al. 2014, arXiv:1406.2661, section 5, in the sizes of the authors' code for MNIST.
    """
    x = inputs = keras.Input((latent,), name="latent")
    for number in (1, 2):
        x = layers.Dense(WIDTH, use_bias=False, kernel_initializer="he_normal", name=f"dense{number}")(x)
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"bn{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
    x = layers.Dense(int(np.prod(image_shape)), "sigmoid", name="pixels")(x)
    return keras.Model(inputs, layers.Reshape(image_shape, name="image")(x), name="generator")


def dense_discriminator(image_shape: tuple[int, int, int], dropout: float = 0.5) -> keras.Model:
    """Two hidden layers of maxout units with dropout, and one logit.

    Args:
        image_shape: (height, width, channels).
        dropout: Share of the hidden units dropped in training.

    References: Goodfellow et al. 2014, arXiv:1406.2661, section 5, in the sizes of the authors' code for MNIST.
    """
    inputs = keras.Input(image_shape, name="image")
    x = layers.Flatten(name="pixels")(inputs)
    for number in (1, 2):
        x = layers.Dense(UNITS * PIECES, name=f"dense{number}")(x)
        x = Maxout(PIECES, name=f"maxout{number}")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"dropout{number}")(x)
    return keras.Model(inputs, layers.Dense(1, name="logit")(x), name="discriminator")


def batches(
    images: np.ndarray, latent: int, batch_size: int, discriminator_steps: int, seed: int, epoch: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless batches for `GAN`, epoch after epoch, which seed and epoch alone decide.

    Args:
        images: Shape (n, height, width, channels), in the generator's range.
        latent: Length of a latent vector; its numbers are standard normal.
        batch_size: Images of one step of one player.
        discriminator_steps: The discriminator's steps to one of the generator's.
        seed: Seed of order and latents.
        epoch: The first one.

    Yields:
        Images, shape (discriminator_steps * batch_size, ...), and latents, (discriminator_steps + 1) * batch_size.
    """
    size = discriminator_steps * batch_size
    while True:
        random = np.random.default_rng((seed, epoch))
        order = random.permutation(len(images))
        for start in range(0, len(images) - size + 1, size):
            latents = random.standard_normal((size + batch_size, latent), np.float32)
            yield images[order[start : start + size]], latents
        epoch += 1
