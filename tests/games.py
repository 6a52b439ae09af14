"""Adversarial games small enough for a test, with the same weights and batches on every backend."""

import keras
import numpy as np
from tiny import randomize

from recipes.adda import ADDA, feature_discriminator, pairs
from recipes.dcgan import conv_discriminator, conv_generator
from recipes.gan import GAN, Maxout, batches

SHAPE = (8, 8, 1)
LATENT = 5
KINDS = ("dense", "packed", "conv", "spectral", "adda")


def numbered(count: int) -> np.ndarray:
    """Images that differ: every pixel is the number of its image, from -1 to 1."""
    return np.linspace(-1, 1, count, dtype=np.float32)[:, None, None, None] * np.ones(SHAPE, np.float32)


def stripes(count: int, seed: int) -> np.ndarray:
    """Images of horizontal waves of random phase and length, from -1 to 1."""
    random = np.random.default_rng(seed)
    rows = np.arange(8)[None, :, None, None] * random.uniform(0.5, 1.5, (count, 1, 1, 1))
    return np.sin(rows + random.uniform(0, 6, (count, 1, 1, 1)) + np.zeros((count, *SHAPE))).astype(np.float32)


def tiny_game(kind: str, game: type = GAN, **options):
    """A compiled game of `KINDS`, and its endless batches."""
    eager = options.pop("run_eagerly", False)
    keras.utils.set_random_seed(0)
    if kind == "adda":
        model, data = _adaptation()
    else:
        options = {"packing": 2 if kind == "packed" else 1} | options
        generator, discriminator = _players(kind, options["packing"])
        model = game(randomize(generator), randomize(discriminator, 1), **options)
        data = batches(stripes(64, 0), LATENT, 16, model.discriminator_steps, seed=0)
    for weight in model.variables:
        if weight.path.endswith("left"):  # of a power iteration
            weight.assign(np.ones(weight.shape, "float32"))
    optimizers = {name: keras.optimizers.Adam(2e-3, beta_1=0.5) for name in model.players}
    model.compile(optimizers, jit_compile=keras.backend.backend() == "jax" and not eager, run_eagerly=eager)
    return model, data


def _players(kind: str, packing: int) -> tuple[keras.Model, keras.Model]:
    if kind in ("conv", "spectral"):
        return conv_generator(SHAPE, LATENT, 4), conv_discriminator((8, 8, 1), 4, spectral=kind == "spectral")
    latent, image = keras.Input((LATENT,)), keras.Input((*SHAPE[:2], packing))
    x = keras.layers.Dense(16, "relu", name="dense1")(latent)
    x = keras.layers.Reshape(SHAPE)(keras.layers.Dense(64, "tanh", name="pixels")(x))
    y = Maxout(3)(keras.layers.Dense(30, name="dense2")(keras.layers.Flatten()(image)))
    return keras.Model(latent, x), keras.Model(image, keras.layers.Dense(1, name="logit")(y))


def _adaptation():
    def encoder():
        x = inputs = keras.Input(SHAPE)
        x = keras.layers.Conv2D(4, 3, strides=2, use_bias=False, name="conv")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9, name="bn")(x))
        return keras.Model(inputs, keras.layers.Flatten()(x))

    source, target = randomize(encoder()), randomize(encoder())
    discriminator = randomize(feature_discriminator(source.output_shape[-1], 8, 2), 1)
    return ADDA(source, target, discriminator), pairs(stripes(64, 0), stripes(40, 1) * 0.5, 16, seed=0)


def losses_of_steps(kind: str, steps: int, **options) -> list[list[float]]:
    """The players' losses in each of the first steps."""
    model, data = tiny_game(kind, **options)
    found = []
    for _ in range(steps):
        model.reset_metrics()
        logs = model.train_on_batch(*next(data), return_dict=True)
        found.append([round(float(logs[name]), 6) for name in model.losses_of_step])
    return found
