"""A spec: what the networks of a family differ in, as checked fields that are the options of every call."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

import keras
import numpy as np

from keras_resnets import layers
from keras_resnets.errors import UsageError


@dataclass(frozen=True)
class Spec(ABC):
    """What a family's networks differ in. A family derives from it and every field becomes an option.

    Args:
        norm: Normalisation after every convolution: "batch", "layer", "instance", "group" or "none".
        activation: A Keras activation name.

    Attributes:
        family: Name of the family.
        top_layers: Classes of the layers that `head` adds, as Keras writes them, but for pools.
    """

    family: ClassVar[str]
    top_layers: ClassVar[tuple[str, ...]] = ("activation", "dense", "dropout", "flatten")

    norm: layers.Norm = "batch"
    activation: str = "relu"

    def __post_init__(self) -> None:
        for field, hint in _field_types(type(self)).items():
            value = plain(getattr(self, field))
            if not fits(value, hint):
                raise UsageError(f"{field}={value!r}: give {_describe(hint)}")
            object.__setattr__(self, field, value)
        self._check_choice("norm", layers.Norm)
        try:
            keras.activations.get(self.activation)
        except ValueError:
            raise UsageError(f"activation={self.activation!r}: Keras has no activation of that name") from None

    def _check_choice(self, field: str, choices: Any) -> None:
        value = getattr(self, field)
        if value not in get_args(choices):
            raise UsageError(f"{field}={value!r}: choose one of {', '.join(map(str, get_args(choices)))}")

    def _check_share(self, field: str) -> None:
        value = getattr(self, field)
        if not 0 <= value < 1:
            raise UsageError(f"{field}={value}: give a share from 0 to below 1")

    @property
    def style(self) -> layers.ConvStyle:
        """How this network writes convolution, normalisation and activation."""
        return layers.ConvStyle(norm=self.norm, activation=self.activation)

    @property
    @abstractmethod
    def stride(self) -> int:
        """Input pixels per pixel of the last feature map, in one direction."""

    @property
    def min_size(self) -> int:
        """Smallest side of an image."""
        return self.stride

    @property
    def head_dropout(self) -> float:
        """Share of the pooled features that training drops in front of the classifier."""
        return 0.0

    @property
    def has_auxiliary_heads(self) -> bool:
        """Whether more classifiers than one come out, in a dict."""
        return False

    @abstractmethod
    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        """Builds the body on the feature map `x`; yields (name, output) of the stem and of each stage.

        Layers are named after the stage they belong to (`stem_...`, `stage2_...`); what shrinks the map at the
        end of a stage belongs to the next one.
        """

    def head(self, features: dict[str, Any], classes: int, activation: str | None) -> Any:
        """Builds the classifier on what `stages` yielded; returns the model's output.

        Raises:
            UsageError: If the classifier needs an image of known size and has none.
        """
        return layers.top(list(features.values())[-1], classes, activation, self.head_dropout)

    def depth(self, longest_path: int) -> int:
        """The number of layers as the family's paper counts them, from the weighted layers on the longest path."""
        return longest_path


@dataclass(frozen=True)
class ResidualSpec(Spec):
    """What every family with branches around which the input is added can do.

    Args:
        drop_path: Share of the images that lose the last block's branch in training; earlier blocks lose linearly
            less (stochastic depth, 1 - p_L of the paper).
        zero_init_residual: Whether every branch starts as nothing: its last normalisation, in a pre-activation
            block its last convolution, starts at zero.

    References: Huang et al. 2016, arXiv:1603.09382, eq. 4; Goyal et al. 2017, arXiv:1706.02677, section 5.1.
    """

    drop_path: float = 0.0
    zero_init_residual: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_share("drop_path")

    def drop_rate(self, block: int, blocks: int) -> float:
        """Share of the images that lose the branch of a block, counted from 1."""
        return self.drop_path * block / blocks


@cache
def _field_types(spec: type[Spec]) -> dict[str, Any]:
    hints = get_type_hints(spec)
    return {field.name: hints[field.name] for field in dataclasses.fields(spec)}


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type: a number, a switch, a name or a tuple of such."""
    if hint is float:
        return isinstance(value, Real) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    if get_origin(hint) is not tuple:
        return True
    parts = get_args(hint)
    if not isinstance(value, tuple | list):
        return False
    if parts[-1] is Ellipsis:
        return all(fits(part, parts[0]) for part in value)
    return len(value) == len(parts) and all(map(fits, value, parts))


def plain(value: Any) -> Any:
    """Python's own numbers, switches and tuples in place of NumPy's, which Keras refuses, and of lists."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return tuple(map(plain, value)) if isinstance(value, tuple | list) else value


def _describe(hint: Any) -> str:
    """An annotated type in words."""
    words = {int: "a whole number", float: "a number", bool: "True or False", str: "a name"}
    return f"a tuple of {_parts_of(hint)}" if get_origin(hint) is tuple else words.get(hint, "another value")


def _parts_of(hint: Any) -> str:
    """What a tuple's annotation says is in it."""
    part, *_ = parts = get_args(hint)
    words = {int: "whole numbers", float: "numbers", str: "names"}
    what = f"tuples of {_parts_of(part)}" if get_origin(part) is tuple else words.get(part, "other values")
    return what if parts[-1] is Ellipsis else f"{len(parts)} {what}"
