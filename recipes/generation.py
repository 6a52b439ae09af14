"""Runs of GAN and DCGAN: trained, sampled, scored, and gone on with where they were interrupted."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export import load_model
from export.files import ensure_folder, replacing
from keras_resnets import UsageError, create_model, load_torch_weights
from keras_resnets.families.inception import INCEPTION_V3_2015
from recipes._backend import Adam, native, portable
from recipes.adversarial import Collapse
from recipes.averages import gather_statistics
from recipes.checkpoint import Checkpoints, Progress, in_plain_words, is_begun, load_checkpoint
from recipes.config import DcganConfig, GameConfig, GanConfig, TrainConfig
from recipes.data import Dataset, pixel_limit
from recipes.dcgan import conv_discriminator, conv_generator, halvings
from recipes.gan import GAN, batches, dense_discriminator, dense_generator
from recipes.plots import draw_losses
from recipes.progress import FitProgress, bar
from recipes.samples import draw_grid, write_film
from recipes.scores import NEIGHBOURS, frechet_distance, head_of, precision_and_recall
from recipes.train import jit_compile, train

SCORES = ("fid", "precision", "recall", "smallest_share")
SHOWN = 100  # samples of a grid
SAMPLES = 10_000  # whose classes are counted
SCORERS = {1: ("lenet5", 10), 3: ("resnet8", 5)}  # network and epochs for images of one and of three channels
STATISTICS = 32  # batches that BatchNorm's statistics are taken of
LATENTS_OF_SAMPLES, LATENTS_OF_STATISTICS = 2**32, 2**32 + 1  # seeds that no training takes


def generate(config: GameConfig, data: Dataset, scorer: "Scorer", out: Path, *, resume: bool = False) -> dict[str, Any]:
    """Trains a GAN or, by a `DcganConfig`, a DCGAN; writes samples, film, curves, the generator and its scores.

    Args:
        config: What decides the run.
        data: Images to imitate, uint8; labels serve the scores alone.
        scorer: Scores the samples.
        out: Folder of the results.
        resume: Whether to go on from the checkpoint that is there.

    Returns:
        The scores of the last epoch's generator, with epoch, history and seconds of the training.

    Raises:
        UsageError: If the images do not fit, a loss is no number, the discriminator leaves the generator behind, or
            the checkpoint does not belong to the run.
    """
    check(config, data)
    images = scaled(data.x_train, config)
    ensure_folder(out / "samples")
    model = build(config, data.image_shape)
    path = out / "checkpoint.npz"
    before = load_checkpoint(path, model) if resume and is_begun(path) else Progress()
    saved = Checkpoints(path, before, config.seed)
    steps = len(images) // (config.discriminator_steps * config.batch_size)
    if before.epoch < config.epochs:
        with (
            bar(
                f"{'dcgan' if isinstance(config, DcganConfig) else 'gan'}, seed {config.seed}",
                steps * (config.epochs - before.epoch),
            ) as step,
            in_plain_words(path),
        ):
            model.fit(
                batches(
                    images, config.latent, config.batch_size, config.discriminator_steps, config.seed, before.epoch
                ),
                steps_per_epoch=steps,
                initial_epoch=before.epoch,
                epochs=config.epochs,
                shuffle=False,  # the batches are
                verbose=0,
                callbacks=[
                    FitProgress(step, config.epochs),
                    Collapse(config.smoothing),
                    Samples(config, out / "samples"),
                    saved,
                ],
            )
    generator = sampled_generator(model, config)
    with replacing(out / "generator.keras") as part:
        generator.save(part)
    write_film([out / "samples" / name_of(epoch) for epoch in range(1, saved.progress.epoch + 1)], out / "film.gif")
    with replacing(out / "curves.png") as part:
        draw_losses(saved.progress.history).savefig(part, dpi=110)
    scores = scorer.score(draw(generator, config, SAMPLES), data)
    return {"seed": config.seed, **asdict(saved.progress), **scores}


def check(config: GameConfig, data: Dataset) -> None:
    """Checks what would stop a run, before any time is spent on it.

    Raises:
        UsageError: If a setting is out of range, or the images do not fit.
    """
    config.check()
    if data.image_shape[2] not in SCORERS:
        raise UsageError(f"{data.name} has images of {data.image_shape[2]} channels; give grey or RGB ones")
    if isinstance(config, DcganConfig):
        halvings(data.image_shape)
    if len(data.x_test) <= NEIGHBOURS:
        raise UsageError(f"{data.name} has {len(data.x_test)} test images; scores need more than {NEIGHBOURS}")
    if len(data.x_train) < config.discriminator_steps * config.batch_size:
        raise UsageError(
            f"{data.name} has {len(data.x_train)} training images; a step takes {config.discriminator_steps} x "
            f"{config.batch_size}: lower batch_size"
        )


def in_bytes(data: Dataset) -> Dataset:
    """Images as uint8 from 0 to 255, as samples are; those from 0 to 1 are scaled.

    Raises:
        UsageError: If a pixel is out of range.
    """
    limit = pixel_limit(data.x_train)
    if pixel_limit(data.x_test) > limit:
        raise UsageError(f"{data.name}: pixels of x_train end at 1, those of x_test do not; scale both alike")
    x_train, x_test = (np.rint(images * (255 / limit)).astype(np.uint8) for images in (data.x_train, data.x_test))
    return replace(data, x_train=x_train, x_test=x_test)


def build(config: GameConfig, image_shape: tuple[int, int, int]) -> GAN:
    """The compiled game, its weights decided by the seed."""
    keras.utils.set_random_seed(config.seed)
    judged = (*image_shape[:2], config.packing * image_shape[2])
    if isinstance(config, DcganConfig):
        generator = conv_generator(image_shape, config.latent, config.width)
        discriminator = conv_discriminator(judged, config.width, spectral=config.spectral)
    elif isinstance(config, GanConfig):
        generator = dense_generator(image_shape, config.latent)
        discriminator = dense_discriminator(judged, config.dropout)
    model = GAN(
        native(generator),
        native(discriminator),
        discriminator_steps=config.discriminator_steps,
        objective=config.objective,
        smoothing=config.smoothing,
        packing=config.packing,
    )
    average = {"use_ema": True, "ema_momentum": config.ema} if config.ema else {}
    model.compile(
        {
            "discriminator": Adam(config.learning_rate, beta_1=0.5),
            "generator": Adam(config.learning_rate, beta_1=0.5, **average),
        },
        jit_compile=jit_compile(),
    )
    return model


def sampled_generator(model: GAN, config: GameConfig) -> keras.Model:
    """The generator, or a copy with the moving average of its weights where the run keeps one.

    The averaged weights get BatchNorm statistics of their own: those of the weights in training fit them badly.
    """
    generator = portable(model.players["generator"])
    if not config.ema:
        return generator
    copy = keras.models.clone_model(generator)
    model.optimizer.members["generator"].finalize_variable_values(copy.trainable_variables)
    copy.set_weights(copy.get_weights())  # on JAX they were the optimizer's own arrays, which `predict` would give away
    take_statistics(copy, config)
    return copy


def take_statistics(generator: keras.Model, config: GameConfig) -> None:
    """Gives BatchNorm the means, over some batches, of the statistics that it has in each.

    References: Brock et al. 2019, arXiv:1809.11096, where such statistics are called standing.
    """
    random, shape = np.random.default_rng((config.seed, LATENTS_OF_STATISTICS)), (config.batch_size, config.latent)
    gather_statistics(generator, (random.standard_normal(shape, np.float32) for _ in range(STATISTICS)))


def lowest(config: GameConfig) -> float:
    """The generator's black: tanh reaches down to -1, the logistic function to 0; white is 1."""
    return -1.0 if isinstance(config, DcganConfig) else 0.0


def scaled(images: np.ndarray, config: GameConfig) -> np.ndarray:
    """uint8 pixels in the generator's range, float32."""
    low = lowest(config)
    return (images.astype(np.float32) / 255) * (1 - low) + low


def draw(generator: keras.Model, config: GameConfig, count: int) -> np.ndarray:
    """Samples of a generator, uint8, the same latent vectors whenever they are asked for."""
    latents = np.random.default_rng((config.seed, LATENTS_OF_SAMPLES)).standard_normal(
        (count, config.latent), np.float32
    )
    low = lowest(config)
    images = (generator.predict(latents, batch_size=config.batch_size, verbose=0) - low) / (1 - low)
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


def name_of(epoch: int) -> str:
    """File of an epoch's samples."""
    return f"epoch_{epoch:04}.png"


class Samples(keras.callbacks.Callback):
    """Draws a grid of samples after every epoch, from the same latent vectors.

    Args:
        config: What decides the run.
        folder: Where to.
    """

    def __init__(self, config: GameConfig, folder: Path) -> None:
        super().__init__()
        self.config, self.folder = config, folder

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        images = draw(sampled_generator(self.model, self.config), self.config, SHOWN)
        with replacing(self.folder / name_of(epoch + 1)) as part:
            draw_grid(images).save(part)


class Scorer:
    """A classifier of the real images, in whose features samples are compared with them.

    Args:
        model: Its last dense layer names the class.
        inception: `inception_features`, for the Fréchet distance as it is published, precision and recall.
        white: The model takes pixels from 0 to this, 255 or 1.
    """

    def __init__(self, model: keras.Model, inception: keras.Model | None = None, white: int = 255) -> None:
        self.model = model
        image = keras.Input(model.input_shape[1:])
        both = keras.Model(model.input, [head_of(model).input, model.output])
        self._both = keras.Model(image, both(keras.layers.Rescaling(white / 255)(image)))
        self._inception = inception

    def score(self, samples: np.ndarray, data: Dataset) -> dict[str, Any]:
        """Compares samples with the test images, as many as there are of both.

        Returns:
            `fid`, `precision`, `recall`, the number of `images` and the `features` they are of; `shares`, the share of
            all samples that the classifier puts into each class, the `smallest_share`, the number of `samples`, and
            `scorer_accuracy`, the classifier's on the test images.
        """
        count = min(len(samples), len(data.x_test))
        real, named = self._both.predict(data.x_test, verbose=0)
        fake, classes = self._both.predict(samples, verbose=0)
        features = f"{self.model.name} trained here, not comparable with other projects"
        if self._inception:
            real, fake = (self._inception.predict(images[:count], verbose=0) for images in (data.x_test, samples))
            features = "Inception of December 2015, the published distance"
        shares = np.bincount(classes.argmax(1), minlength=data.classes) / len(samples)
        precision, recall = precision_and_recall(real[:count], fake[:count])
        return {
            "fid": frechet_distance(real[:count], fake[:count]),
            "precision": precision,
            "recall": recall,
            "images": count,
            "features": features,
            "shares": shares.tolist(),
            "smallest_share": float(shares.min()),
            "samples": len(samples),
            "scorer_accuracy": float((named.argmax(1) == data.y_test).mean()),
        }


def read_scorer(path: Path, data: Dataset) -> keras.Model:
    """A classifier that was trained on the data.

    Raises:
        UsageError: If the file cannot be read, or the model does not take the data's images and name their classes.
    """
    model = load_model(path)
    if tuple(model.input_shape[1:]) != data.image_shape or model.output_shape[1:] != (data.classes,):
        raise UsageError(
            f"{path} takes {model.input_shape[1:]} and names {model.output_shape[1:]}; {data.name} has images of "
            f"{data.image_shape} in {data.classes} classes: give a classifier that `keras-resnets train` made of it"
        )
    head_of(model)
    return model


def white_of(scorer: keras.Model, data: Dataset, limit: int) -> int:
    """The brightest pixel that a given scorer takes: that of the data it was trained on, or 255 as samples have it.

    Args:
        scorer: What `read_scorer` returned.
        data: As `in_bytes` gives them.
        limit: What their pixels ended at before.
    """

    def accuracy(white: int) -> float:
        images = data.x_test.astype(np.float32) * (white / 255)
        return float(np.mean(scorer.predict(images, verbose=0).argmax(1) == data.y_test))

    return limit if limit == 255 else max((limit, 255), key=accuracy)


def train_scorer(data: Dataset, path: Path) -> keras.Model:
    """The classifier of an earlier run at a path, or one that is trained now and saved there."""
    if path.exists():
        return read_scorer(path, data)
    network, epochs = SCORERS[data.image_shape[2]]
    model = train(TrainConfig(model=network, data=data.name, epochs=epochs), data).model
    with replacing(path) as part:
        model.save(part)
    return model


def inception_features(weights: Path, image_shape: tuple[int, int, int]) -> keras.Model:
    """The network of the published Fréchet distance, (height, width, 1 or 3) with pixels from 0 to 255 -> (2048,).

    It is the Inception of December 2015, whose weights pytorch-fid distributes, on images enlarged to 299x299 as there.

    Args:
        weights: pytorch-fid's `pt_inception-2015-12-05-6726825d.pth`, or the same as `.safetensors`.
        image_shape: Of the images.

    Raises:
        UsageError: If the file cannot be read, or holds other weights.

    References: Heusel et al. 2017, arXiv:1706.08500.
    """
    network = create_model(
        "inceptionv3", classes=1008, blocks=INCEPTION_V3_2015, pixel_stats=([127.5] * 3, [127.5] * 3)
    )
    load_torch_weights(network, weights)
    features = keras.Model(network.input, head_of(network).input)
    x = inputs = keras.Input(image_shape)
    if image_shape[2] == 1:
        x = keras.layers.Concatenate()([x, x, x])
    return keras.Model(inputs, features(keras.layers.Resizing(299, 299)(x)))
