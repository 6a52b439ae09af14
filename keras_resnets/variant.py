"""A variant: one named network of a paper, and the callable that builds it."""

import dataclasses
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import keras

from keras_resnets import layers
from keras_resnets.errors import UsageError


@dataclass(frozen=True)
class Spec(ABC):
    """What a family's networks differ in. A family derives from it and every field becomes an option.

    Attributes:
        family: Name of the family.
    """

    family: ClassVar[str]

    @property
    @abstractmethod
    def stride(self) -> int:
        """Input pixels per pixel of the last feature map, in one direction."""

    @property
    def head_dropout(self) -> float:
        """Share of the pooled features that training drops in front of the classifier."""
        return 0.0

    @abstractmethod
    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        """Builds the body on the feature map `x`; yields (name, output) of the stem and of each stage."""


@dataclass(frozen=True)
class Variant:
    """One published network: call it to build a `keras.Model`.

    `keras_resnets.ResNet50(classes=10, shortcut="A")` takes keras.applications' arguments and, as options, any
    field of the variant's `spec`.

    Args:
        python_name: The Python name, such as "ResNet50"; `name` is the same in lower case.
        spec: The family's spec with this variant's values.
        reference: Paper and table.
        input_shape: Shape that the paper's input has, (height, width, channels).
        classes: Classes of the paper's data set.
        fixed: Fields of the spec that make this variant what it is and are therefore no options.
    """

    python_name: str
    spec: Spec
    reference: str
    input_shape: tuple[int, int, int] = (224, 224, 3)
    classes: int = 1000
    fixed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name in the registry."""
        return self.python_name.lower()

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
        pixel_stats: tuple[Sequence[float], Sequence[float]] | None = None,
        **options: Any,
    ) -> keras.Model:
        """Builds the network.

        Args:
            include_top: Whether the model ends in the classifier. Without it, it ends in the last feature map.
            weights: Path of a `.weights.h5` file, written by `model.save_weights` of the same network, or None for a
                random initialisation.
            input_shape: (height, width, channels), in the order of `keras.config.image_data_format()`. Height and
                width may be None. Defaults to the paper's.
            pooling: Without the top: None, "avg" or "max" over all positions of the last feature map.
            classes: Number of classes. Defaults to the paper's.
            classifier_activation: Activation of the classifier; None returns logits.
            name: Name of the model. Defaults to the variant's.
            pixel_stats: Per-channel mean and standard deviation of the training pixels. If given, the model begins
                by normalising with them, so that raw pixels go in.
            **options: Fields of `spec` to change, such as `shortcut="A"`; see `options`.

        Returns:
            A functional model: (batch, height, width, channels) -> (batch, classes).

        Raises:
            TypeError: If an option is not a field of the spec; the message lists the fields.
            UsageError: If a value is out of range, the image is too small for the strides, or the weights do
                not fit. A ValueError.
        """
        spec = self._configure(options)
        if pooling not in (None, "avg", "max"):
            raise UsageError(f"pooling={pooling!r}: choose 'avg', 'max' or None")
        classes = self.classes if classes is None else classes
        if classes < 1:
            raise UsageError(f"classes={classes}: a classifier needs at least 1 class")
        inputs = keras.Input(self.resolve_input(input_shape, spec), name="image")
        x = inputs if pixel_stats is None else layers.normalize(inputs, *pixel_stats)
        *_, (_, x) = spec.stages(x)
        if include_top:
            x = layers.top(x, classes, classifier_activation, spec.head_dropout)
        else:
            x = layers.headless(x, pooling)
        with layers.deep_graphs():
            model = keras.Model(inputs, x, name=name or self.name)
        if weights is not None:
            _load_weights(model, Path(weights))
        return model

    def _configure(self, options: dict[str, Any]) -> Spec:
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            raise TypeError(
                f"{self.python_name} has no option {', '.join(unknown)}; its options are: {', '.join(self.options)}"
            )
        return dataclasses.replace(self.spec, **options)

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
        stride = (spec or self.spec).stride
        last = layers.channel_axis() == -1
        if shape is None:
            shape = self.input_shape if last else (self.input_shape[2], *self.input_shape[:2])
        if len(shape) != 3 or any(side is not None and side < 1 for side in shape):
            raise UsageError(f"input_shape={tuple(shape)}: give three positive numbers, (height, width, channels)")
        height, width, count = shape if last else (*shape[1:], shape[0])
        if count is None:
            raise UsageError(f"input_shape={tuple(shape)}: the number of channels must be known")
        if any(side is not None and side < stride for side in (height, width)):
            raise UsageError(
                f"{self.name} divides the image by {stride} and needs at least {stride}x{stride} pixels, "
                f"got {height}x{width}; use larger images or a CIFAR-sized model"
            )
        return tuple(shape)


def _load_weights(model: keras.Model, path: Path) -> None:
    if not path.name.endswith(".weights.h5"):
        # A .keras file holds a whole model: loading only its weights would silently leave its normalisation behind.
        raise UsageError(f"weights: {path} is no .weights.h5 file; a .keras file is loaded by keras.models.load_model")
    if not path.is_file():
        raise UsageError(f"weights: no file {path}; give the path of a .weights.h5 file, or None")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns of layers that the file does not hold
            model.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"weights: {path} does not fit {model.name}: {reason}") from error
