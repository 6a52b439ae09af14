"""Adversarial discriminative domain adaptation: a classifier of one domain learns another without its labels."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure

from export import load_model
from export import pick_calibration as pick
from export.files import ensure_folder, replacing
from keras_resnets import UsageError, create_model
from recipes._backend import Adam, native
from recipes.adversarial import Adversarial, Collapse, discriminator_loss, generator_loss
from recipes.checkpoint import Checkpoints, Progress, in_plain_words, is_begun, load_checkpoint, remove_checkpoint
from recipes.config import AddaConfig, TrainConfig
from recipes.data import Dataset, load, pixel_limit
from recipes.plots import draw_embedding, draw_losses
from recipes.progress import FitProgress, bar
from recipes.scores import head_of
from recipes.train import CHECKPOINT, SMALL_SET, jit_compile, pixel_stats_of, train
from recipes.train import check as check_training

ACCURACIES = ("source", "source_only", "renormalized", "adapted", "target_supervised")
LENET = {"widths": (20, 50), "head_widths": (500,), "activation": "relu"}  # as wide as Caffe's, which the paper adapts
EMBEDDED = 500  # test images of each domain in the plot


class ADDA(Adversarial):
    """A target encoder against a discriminator of source from target features.

    A batch is (source images, target images), without any label. The source encoder stands still, its BatchNorm in
    inference mode.

    Args:
        source: Trained encoder of the source domain: images -> features. It is frozen.
        target: Encoder of the target domain, which starts as a copy of it; no weights are shared.
        discriminator: Features -> logits of "source", (batch, 1) or (batch, 2).

    References: Tzeng et al. 2017, arXiv:1702.05464, eq. 9.
    """

    losses_of_step: ClassVar[tuple[str, ...]] = ("d_loss", "t_loss")

    def __init__(self, source: keras.Model, target: keras.Model, discriminator: keras.Model) -> None:
        super().__init__({"discriminator": discriminator, "target": target})
        source.trainable = False
        self.source = source

    def adversarial_step(self, data: Any) -> dict[str, Any]:
        source_images, target_images, _ = keras.utils.unpack_x_y_sample_weight(data)
        target, discriminator = self.players["target"], self.players["discriminator"]
        real, fake = self.source(source_images, training=False), target(target_images, training=True)
        d_loss = self.minimize(
            lambda: discriminator_loss(discriminator(real, training=True), discriminator(fake, training=True)),
            "discriminator",
        )
        t_loss = self.minimize(
            lambda: generator_loss(discriminator(target(target_images, training=True), training=True)), "target"
        )
        return {"d_loss": d_loss, "t_loss": t_loss}


def feature_discriminator(features: int, units: int, logits: int) -> keras.Model:
    """Two hidden layers of rectifiers: (batch, features) -> (batch, logits).

    References: Tzeng et al. 2017, arXiv:1702.05464, section 5.1, which has 500 units.
    """
    x = inputs = keras.Input((features,), name="features")
    for number in (1, 2):
        x = layers.Dense(units, "relu", kernel_initializer="he_normal", name=f"dense{number}")(x)
    return keras.Model(inputs, layers.Dense(logits, name="logits")(x), name="discriminator")


def encoder_of(classifier: keras.Model) -> keras.Model:
    """A classifier up to the features in front of its last dense layer and of a dropout before that.

    Dropped features would tell the target, which trains, from the source, which does not.

    Raises:
        UsageError: If it has no such layer on vectors.
    """
    head = head_of(classifier)
    before = classifier.layers[: classifier.layers.index(head)]
    while before and isinstance(before[-1], layers.Dropout):
        head = before.pop()
    features = head.input
    if len(features.shape) != 2:
        raise UsageError(f"{classifier.name}: its features have shape {features.shape[1:]}, adaptation needs vectors")
    return keras.Model(classifier.input, features, name="encoder")


def with_classifier(encoder: keras.Model, classifier: keras.Model) -> keras.Model:
    """An encoder with the last dense layer of a classifier after it: an ordinary model to save and to export."""
    head = head_of(classifier)
    copy = layers.Dense.from_config(head.get_config())
    model = keras.Model(encoder.input, copy(encoder.output), name=classifier.name)
    copy.set_weights(head.get_weights())
    return model


def pairs(
    source: np.ndarray, target: np.ndarray, batch_size: int, seed: int, epoch: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless batches of both domains, which seed and epoch alone decide; see `steps_of` for an epoch.

    Args:
        source: Images, shape (n, height, width, channels).
        target: Images, shape (m, height, width, channels).
        batch_size: Images of each.
        seed: Seed of both orders.
        epoch: The first one.

    Yields:
        Source and target images, batch_size of each.
    """
    count = steps_of(source, target, batch_size) * batch_size
    while True:
        orders = [
            _order(np.random.default_rng((seed, epoch, domain)), len(images), count)
            for domain, images in enumerate((source, target))
        ]
        for start in range(0, count, batch_size):
            yield source[orders[0][start : start + batch_size]], target[orders[1][start : start + batch_size]]
        epoch += 1


def _order(random: np.random.Generator, images: int, count: int) -> np.ndarray:
    """`count` indices: as many permutations as it takes."""
    return np.concatenate([random.permutation(images) for _ in range(-(-count // images))])[:count]


def steps_of(source: np.ndarray, target: np.ndarray, batch_size: int) -> int:
    """Steps of an epoch, in which the larger domain comes once and the smaller one again and again."""
    return max(1, max(len(source), len(target)) // batch_size)


def alike(source: Dataset, target: Dataset) -> tuple[Dataset, Dataset]:
    """Both domains in the larger of their sizes, and in the channels of either that has more.

    Images are resized bilinearly; grey becomes RGB of three equal channels.

    Raises:
        UsageError: If they have different classes, channels that do not fit, or pixels in different ranges.
    """
    if target.classes != source.classes:
        raise UsageError(
            f"{source.name} has {source.classes} classes, {target.name} {target.classes}; adapt to the same ones"
        )
    for one in (source, target):
        if one.image_shape[2] not in (1, 3):
            raise UsageError(
                f"{one.name} has images of shape {one.image_shape}; give (height, width, channels), grey or RGB"
            )
    limits = [pixel_limit(images) for one in (source, target) for images in (one.x_train, one.x_test)]
    if len(set(limits)) > 1:
        raise UsageError(
            f"{source.name} has pixels from 0 to {limits[0]} (test images: {limits[1]}), {target.name} from 0 to "
            f"{limits[2]} ({limits[3]}): adaptation fails between different ranges; scale them alike"
        )
    height, width, channels = map(max, source.image_shape, target.image_shape)

    def fit(images: np.ndarray) -> np.ndarray:
        if images.shape[1:3] != (height, width):
            pieces = (images[start : start + 1000] for start in range(0, len(images), 1000))
            resized = np.concatenate(
                [keras.ops.convert_to_numpy(keras.ops.image.resize(piece, (height, width))) for piece in pieces]
            )
            images = np.rint(resized).astype(images.dtype) if limits[0] == 255 else resized.astype(images.dtype)
        return images.repeat(channels // images.shape[3], axis=3)

    first, second = (replace(one, x_train=fit(one.x_train), x_test=fit(one.x_test)) for one in (source, target))
    return first, second


def adapt(config: AddaConfig, out: Path, *, resume: bool = False) -> dict[str, Any]:
    """Trains on the source, adapts to the target, and tests; nothing is chosen by a target label.

    The target encoder starts from the source's weights and normalises pixels by the target's own statistics. Three
    steps, each of which an interrupted run keeps: supervised training on the source (`source_model.keras`),
    adversarial adaptation (`checkpoint.npz`, then `target_model.keras`), and, for comparison alone, supervised training
    on the target (`supervised_model.keras`).

    Args:
        config: What decides the run.
        out: Folder of the results.
        resume: Whether to go on with what is there.

    Returns:
        Accuracies on the target's test images: `source_only`, `renormalized` (the same weights with the target's pixel
        statistics, from which adaptation starts), `adapted` (after the last epoch), `target_supervised`; and on the
        source's, `source`; epoch, history of the losses and seconds of adaptation.

    Raises:
        UsageError: If the domains do not go together, or the model cannot be adapted, or training breaks off.
    """
    config.check()
    source, target = domains(config)
    ensure_folder(out)
    classifier = _classifier(config, source, out / "source_model.keras", resume=resume)
    keras.utils.set_random_seed(config.seed)  # of a copy's dropout; a loaded classifier has drawn nothing
    start = with_statistics_of(target, config, classifier)
    before, after = encoder_of(classifier), encoder_of(start)
    began = accuracy(start, target)
    progress = _adapt(config, before, after, source, target, out / "checkpoint.npz", resume=resume)
    adapted = with_classifier(after, classifier)
    with replacing(out / "target_model.keras") as part:
        adapted.save(part)
    supervised = _classifier(config, target, out / "supervised_model.keras", resume=resume)
    with replacing(out / "embedding.png") as part:
        draw_features({"source encoder": before, "target encoder": after}, before, source, target).savefig(
            part, dpi=110
        )
    with replacing(out / "curves.png") as part:
        draw_losses(progress.history).savefig(part, dpi=110)
    return {
        "seed": config.seed,
        "source": accuracy(classifier, source),
        "source_only": accuracy(classifier, target),
        "renormalized": began,
        "adapted": accuracy(adapted, target),
        "target_supervised": accuracy(supervised, target),
        **asdict(progress),
    }


def check(config: AddaConfig) -> None:
    """Checks what would stop a run, before any time is spent on it.

    Raises:
        UsageError: If a setting is out of range, the domains do not go together, or the model cannot be adapted.
    """
    config.check()
    source, target = domains(config)
    name, options = network(config)
    for one in (source, target):
        check_training(TrainConfig(model=name, data=one.name, augment=config.augment, seed=config.seed), one)
    encoder_of(create_model(name, input_shape=source.image_shape, classes=source.classes, **options))


def network(config: AddaConfig) -> tuple[str, dict[str, Any]]:
    """The registered name of the classifier, and the options that make it as wide as the paper's."""
    return ("lenet5", LENET) if config.model == "lenet" else (config.model, {})


def with_statistics_of(target: Dataset, config: AddaConfig, classifier: keras.Model) -> keras.Model:
    """A copy of a classifier that normalises pixels by another domain's mean and deviation, which need no labels."""
    name, options = network(config)
    stats = pixel_stats_of(name, target)
    sized = {"input_shape": target.image_shape, "classes": target.classes, "pixel_stats": stats}
    copy = create_model(name, **sized, **options)
    copy.set_weights(classifier.get_weights())
    return copy


def draw_features(
    encoders: dict[str, keras.Model], source_encoder: keras.Model, source: Dataset, target: Dataset
) -> Figure:
    """Features of test images of both domains, those of the target by each of some encoders."""
    places = [list(pick(one.x_test, one.y_test, one.name, count=EMBEDDED).indices) for one in (source, target)]
    shown = [one.x_test[some] for one, some in zip((source, target), places, strict=True)]
    labels = [one.y_test[some] for one, some in zip((source, target), places, strict=True)]
    features = {
        name: [source_encoder.predict(shown[0], verbose=0), encoder.predict(shown[1], verbose=0)]
        for name, encoder in encoders.items()
    }
    return draw_embedding(features, labels, [source.name, target.name])


def domains(config: AddaConfig) -> tuple[Dataset, Dataset]:
    """Source and target, made alike.

    Raises:
        UsageError: If they do not go together.
    """
    return alike(load(config.data[0]), load(config.data[1]))


def _classifier(config: AddaConfig, data: Dataset, path: Path, *, resume: bool) -> keras.Model:
    if resume and path.exists():
        return load_model(path)
    name, options = network(config)
    epochs = config.source_epochs or (5 if len(data.x_train) >= SMALL_SET else 15)
    training = TrainConfig(model=name, data=data.name, epochs=epochs, augment=config.augment, seed=config.seed)
    folder = ensure_folder(path.with_suffix(""))
    try:
        model = train(training, data, folder=folder, resume=resume, **options).model
    except UsageError as error:  # whose advice is about options of `train`
        raise UsageError(f"the training of {path.name} breaks off: {str(error).split(';')[0]}") from error
    with replacing(path) as part:
        model.save(part)
    remove_checkpoint(folder / CHECKPOINT)
    return model


def _adapt(
    config: AddaConfig,
    source_encoder: keras.Model,
    target_encoder: keras.Model,
    source: Dataset,
    target: Dataset,
    path: Path,
    *,
    resume: bool,
) -> Progress:
    keras.utils.set_random_seed(config.seed)
    logits = 2 if config.discriminator == "softmax" else 1
    discriminator = feature_discriminator(source_encoder.output_shape[-1], config.units, logits)
    game = ADDA(native(source_encoder), native(target_encoder), native(discriminator))
    steps = steps_of(source.x_train, target.x_train, config.batch_size)
    epochs = config.epochs or (5 if max(len(source.x_train), len(target.x_train)) >= SMALL_SET else 25)
    schedule = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps * epochs)
    game.compile({player: Adam(schedule, beta_1=0.5) for player in game.players}, jit_compile=jit_compile())
    before = load_checkpoint(path, game) if resume and is_begun(path) else Progress()
    saved = Checkpoints(path, before, config.seed)
    if before.epoch < epochs:
        with bar(f"adda, seed {config.seed}", steps * (epochs - before.epoch)) as step, in_plain_words(path):
            game.fit(
                pairs(source.x_train, target.x_train, config.batch_size, config.seed, before.epoch),
                steps_per_epoch=steps,
                initial_epoch=before.epoch,
                epochs=epochs,
                shuffle=False,
                verbose=0,
                callbacks=[FitProgress(step, epochs), Collapse(), saved],
            )
    target_encoder.set_weights(game.players["target"].get_weights())
    return saved.progress


def accuracy(model: keras.Model, data: Dataset) -> float:
    """Share of a set's test images that a model names."""
    return float((model.predict(data.x_test, verbose=0).argmax(1) == data.y_test).mean())
