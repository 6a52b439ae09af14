"""A variant: one named network of a paper, and the callable that builds it."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_resnets import layers
from keras_resnets.errors import UsageError
from keras_resnets.spec import Spec, fits, plain
from keras_resnets.weights import applications, own

OWN_PIXELS = (
    "weights: the published weights have their own normalisation; "
    "give include_preprocessing=True instead of pixel_stats"
)
PixelStats = tuple[Sequence[float], Sequence[float]]


def _check_arguments(
    pooling: Any, classes: Any, activation: Any, pixel_stats: Any, weights: Any, *, include_top: bool
) -> None:
    """Checks the arguments of a call that do not depend on the network."""
    if pooling not in (None, "avg", "max"):
        raise UsageError(f"pooling={pooling!r}: choose 'avg', 'max' or None")
    if not fits(classes, int) or classes < 1:
        raise UsageError(f"classes={classes!r}: a classifier needs a whole number of classes, at least 1")
    try:
        function = keras.activations.get(activation)
    except (ValueError, TypeError):
        raise UsageError(f"classifier_activation={activation!r}: Keras has no activation of that name") from None
    if include_top and classes == 1 and function is keras.activations.softmax:
        raise UsageError("classes=1: a softmax of one score is always 1; give classifier_activation='sigmoid'")
    sequences = pixel_stats is None or (
        isinstance(pixel_stats, tuple) and len(pixel_stats) == 2 and all(isinstance(v, tuple) for v in pixel_stats)
    )
    if not sequences:
        raise UsageError(f"pixel_stats={pixel_stats!r}: give (means, standard deviations), one of each a channel")
    if pixel_stats is not None and not (_are_numbers(pixel_stats[0]) and _are_positive(pixel_stats[1])):
        raise UsageError(f"pixel_stats={pixel_stats!r}: means are finite, standard deviations finite and above 0")
    if not isinstance(weights, str | Path | None):
        raise UsageError(f"weights={weights!r}: give None, 'imagenet' or the path of a weights file")


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(fits(value, float) and math.isfinite(value) for value in values)


def _are_positive(values: Sequence[Any]) -> bool:
    return _are_numbers(values) and all(value > 0 for value in values)


@dataclass(frozen=True)
class DataSet:
    """The images that a network was published for.

    Args:
        name: Name of the data set.
        input_shape: (height, width, channels) of the images that go in.
        classes: Number of classes.
        mean: Mean of each channel of the training pixels, 0 to 255; 0 where the network takes pixels as they are.
        std: Standard deviation of each channel of the training pixels; 1 where the network takes pixels as they are.
    """

    name: str
    input_shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def is_raw(self) -> bool:
        """Whether the network takes pixels as they are, from 0 to 255."""
        return set(self.mean) == {0.0} and set(self.std) == {1.0}

    def sized(self, side: int) -> "DataSet":
        """The same with images of side x side pixels."""
        return dataclasses.replace(self, input_shape=(side, side, self.input_shape[2]))


IMAGENET = DataSet("ImageNet", (224, 224, 3), 1000, *applications.PIXEL_STATS["torch"])
CIFAR10 = DataSet("CIFAR-10", (32, 32, 3), 10, (125.3, 123.0, 113.9), (63.0, 62.1, 66.7))
MNIST = DataSet("MNIST", (28, 28, 1), 10, (33.3,), (78.6,))


@dataclass(frozen=True)
class Error:
    """A published error rate.

    Args:
        percent: Share of the test images that are named wrongly.
        source: What was measured how, and where it stands.
    """

    percent: float
    source: str


@dataclass(frozen=True)
class Variant:
    """One published network: call it to build a `keras.Model`.

    `keras_resnets.ResNet50(classes=10, shortcut="A")` takes keras.applications' arguments, by keyword and but for
    `input_tensor`, and, as options, any field of the variant's `spec`.

    Args:
        python_name: The Python name, such as "ResNet50"; `name` is the same in lower case.
        spec: The family's spec with this variant's values.
        reference: Paper and table.
        data: The images it was published for.
        error: The published error rate, where there is one.
        fixed: Fields of the spec that make this variant what it is and are therefore no options.
    """

    python_name: str
    spec: Spec
    reference: str
    data: DataSet = IMAGENET
    error: Error | None = None
    fixed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name in the registry."""
        return self.python_name.lower()

    @property
    def has_published_weights(self) -> bool:
        """Whether Keras publishes weights, which `weights="imagenet"` loads."""
        return self.name in applications.PUBLISHED

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the fields of the spec that a call may set."""
        return tuple(f.name for f in dataclasses.fields(self.spec) if f.name not in self.fixed)

    def __call__(
        self,
        *,
        include_top: bool = True,
        weights: str | Path | None = None,
        input_shape: Sequence[int | None] | None = None,
        pooling: layers.Pooling | None = None,
        classes: int | None = None,
        classifier_activation: str | None = "softmax",
        name: str | None = None,
        include_preprocessing: bool = False,
        pixel_stats: PixelStats | None = None,
        **options: Any,
    ) -> keras.Model:
        """Builds the network.

        Args:
            include_top: Whether the model ends in the classifier. Without it, it ends in the last feature map.
            weights: None for a random initialisation; "imagenet" for the weights that Keras publishes, where it
                does; the path of a `.weights.h5` file written by `model.save_weights` of the same network, also of
                one with a top where this is to have none; or the path of a file of the same network of
                keras.applications. Published weights, from Keras or from such a file, set the options that they were
                trained with.
            input_shape: (height, width, channels), in the order of `keras.config.image_data_format()`. Height and
                width may be None. Defaults to the paper's.
            pooling: Without the top: None, "avg" or "max" over all positions of the last feature map.
            classes: Number of classes. Defaults to the paper's.
            classifier_activation: Activation of the classifier; None returns logits.
            name: Name of the model. Defaults to the variant's.
            include_preprocessing: Whether raw pixels, RGB from 0 to 255, go in: the model begins by normalising
                them as the weights were trained, without weights by the statistics of the data set.
            pixel_stats: Per-channel mean and standard deviation of the training pixels, for a model that begins
                by normalising with these.
            **options: Fields of `spec` to change, such as `shortcut="A"`; see `options`.

        Returns:
            A functional model: (batch, height, width, channels) -> (batch, classes).

        Raises:
            TypeError: If an option is not a field of the spec; the message lists the fields.
            UsageError: If a value is out of range, the image is too small for the strides, or the weights do
                not fit. A ValueError.
        """
        self._check_options(options)
        options = {key: plain(value) for key, value in options.items()}
        classes, pixel_stats = plain(self.data.classes if classes is None else classes), plain(pixel_stats)
        _check_arguments(pooling, classes, classifier_activation, pixel_stats, weights, include_top=include_top)
        published = applications.find(self.name, weights)
        if published and (why := published.contradiction(self.spec, options)):
            raise UsageError(f"weights: {why}")
        if published and pixel_stats is not None:
            raise UsageError(OWN_PIXELS)
        if weights == "imagenet" and include_top and classes != self.data.classes:
            raise UsageError(
                f"weights='imagenet' have {self.data.classes} classes, not {classes}: give include_top=False and add a "
                f"classifier, or leave classes out"
            )

        def build(published: applications.Published | None) -> keras.Model:
            spec = dataclasses.replace(self.spec, **{**options, **(published.options if published else {})})
            inputs = keras.Input(self.resolve_input(input_shape, spec), name="image")
            stats = pixel_stats
            if include_preprocessing and stats is None:
                stats = published.pixel_stats if published else (self.data.mean, self.data.std)
                if len(stats[0]) != layers.channels(inputs):
                    raise UsageError(
                        f"include_preprocessing: images of {self.data.name} have {len(stats[0])} channels, these "
                        f"{layers.channels(inputs)}; give pixel_stats=(means, standard deviations)"
                    )
            x = inputs if stats is None else layers.normalize(inputs, *stats)
            if spec.has_auxiliary_heads and not include_top:
                raise UsageError("auxiliary=True adds classifiers: it needs include_top=True")
            features = dict(spec.stages(x))
            if include_top:
                x = spec.head(features, classes, classifier_activation)
            else:
                x = layers.headless(list(features.values())[-1], pooling)
            with layers.deep_graphs():
                return keras.Model(inputs, x, name=name or self.name)

        model = build(published)
        if weights is None:
            return model
        possible = applications.PUBLISHED.get(self.name)
        top = () if include_top else self.spec.top_layers
        fits = published or own.has_layers_of(model, Path(weights), top)
        if not fits and possible and not possible.contradiction(self.spec, options):
            model = build(possible)  # for a file of keras.applications' network, or of ours trained on from it
            published = None if own.has_layers_of(model, Path(weights), top) else possible
        if published:
            published.load(model, weights, include_top=include_top, classes=classes, raw_pixels=include_preprocessing)
            if pixel_stats is not None:
                raise UsageError(OWN_PIXELS)
            return model
        own_stats = (self.data.mean, self.data.std)
        if include_preprocessing and pixel_stats is None and possible and possible.pixel_stats != own_stats:
            raise UsageError(
                f"include_preprocessing: {weights} does not say which normalisation it was trained with, that of the "
                f"published weights or that of {self.data.name}; give pixel_stats=(mean, std)"
            )
        own.load(model, Path(weights), top)
        return model

    def preprocess_input(self, images: Any) -> Any:
        """Normalises images as keras.applications does for this network.

        With weights from elsewhere, torch's for one, normalise as they were trained: `include_preprocessing=True`
        without published weights goes by the data set, `pixel_stats` by what you give.

        Args:
            images: RGB pixels from 0 to 255, shape (batch, height, width, 3) or without the batch, as an array or a
                tensor, in the order of `keras.config.image_data_format()`.

        Returns:
            What the network with the weights that Keras publishes takes; where it publishes none, the pixels
            normalised by mean and standard deviation of the data set. Of the same shape, float32.

        Raises:
            UsageError: If the images do not have the channels of the data set.
        """
        published = applications.PUBLISHED.get(self.name)
        mean, std = published.pixel_stats if published else (self.data.mean, self.data.std)
        axis = -1 if layers.channel_axis() == -1 else -3
        if not hasattr(images, "shape"):
            raise UsageError(f"preprocess_input takes an array or a tensor, not a {type(images).__name__}")
        if len(images.shape) < 3 or images.shape[axis] != len(mean):
            raise UsageError(f"preprocess_input takes images of {len(mean)} channels, got shape {tuple(images.shape)}")
        shape = (-1,) if axis == -1 else (-1, 1, 1)
        if isinstance(images, np.ndarray):
            x = (images.astype("float32") - np.reshape(mean, shape)) / np.reshape(std, shape)
            x = np.flip(x, axis) if published and published.pixels == "caffe" else x
            return x.astype("float32")
        center, scale = (keras.ops.reshape(keras.ops.array(values, "float32"), shape) for values in (mean, std))
        x = (keras.ops.cast(images, "float32") - center) / scale
        return keras.ops.flip(x, axis) if published and published.pixels == "caffe" else x

    def decode_predictions(self, predictions: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
        """Names the most likely ImageNet classes, by the list that Keras downloads.

        Args:
            predictions: Output of the network, shape (batch, 1000).
            top: Classes to name for each image.

        Returns:
            For each image (WordNet id, name, probability) of the likeliest classes.
        """
        if self.data.name != "ImageNet":
            raise UsageError(
                f"{self.name}: decode_predictions names ImageNet classes; this network is for {self.data.name}"
            )
        return keras.applications.imagenet_utils.decode_predictions(predictions, top=top)

    def _check_options(self, options: dict[str, Any]) -> None:
        if "input_tensor" in options:
            raise TypeError(f"{self.python_name} takes no input_tensor: call the model on the tensor")
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            raise TypeError(
                f"{self.python_name} has no option {', '.join(unknown)}; its options are: {', '.join(self.options)}"
            )

    def resolve_input(
        self, shape: Sequence[int | None] | None = None, spec: Spec | None = None
    ) -> tuple[int | None, ...]:
        """The input shape a call would use; fails as the call would, without building anything.

        Args:
            shape: As `input_shape` of a call.
            spec: The spec after options; defaults to the variant's own.

        Raises:
            UsageError: If the shape is malformed or the image too small for the strides.
        """
        shape, least = plain(shape), (spec or self.spec).min_size
        last = layers.channel_axis() == -1
        order = "(height, width, channels)" if last else "(channels, height, width)"
        if shape is None:
            height, width, count = self.data.input_shape
            shape = (height, width, count) if last else (count, height, width)
        numbers = isinstance(shape, tuple | list) and all(
            side is None or (fits(side, int) and side > 0) for side in shape
        )
        if not numbers or len(shape) != 3:
            raise UsageError(f"input_shape={shape!r}: give three positive numbers, {order}")
        *sides, channels = shape if last else (*shape[1:], shape[0])
        if channels is None:
            raise UsageError(f"input_shape={tuple(shape)}: the number of channels must be known")
        if any(side is not None and side < least for side in sides):
            raise UsageError(
                f"{self.name} divides the image by {(spec or self.spec).stride} and needs at least {least}x{least} "
                f"pixels, got {sides[0]}x{sides[1]} of input_shape={tuple(shape)}, {order}; use larger images or a "
                f"CIFAR-sized model"
            )
        return tuple(shape)
