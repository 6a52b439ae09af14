"""Every variant by name."""

import difflib
import re
from fnmatch import fnmatchcase
from typing import Any

import keras

from keras_resnets.errors import UsageError
from keras_resnets.variant import Variant

_VARIANTS: dict[str, Variant] = {}


def register(variant: Variant) -> Variant:
    """Adds a variant and returns it.

    Raises:
        ValueError: If the name is taken.
    """
    if variant.name in _VARIANTS:
        raise ValueError(f"a model named {variant.name!r} is registered already")
    _VARIANTS[variant.name] = variant
    return variant


def list_models(pattern: str = "*") -> list[str]:
    """Names that match a shell pattern such as "resnet*", in natural order (resnet8 before resnet18)."""
    return sorted((name for name in _VARIANTS if fnmatchcase(name, pattern.lower())), key=_natural)


def get_variant(name: str) -> Variant:
    """The variant of that name.

    Raises:
        UsageError: If there is none; the message names the nearest ones.
    """
    try:
        return _VARIANTS[name.lower()]
    except KeyError:
        near = difflib.get_close_matches(name.lower(), _VARIANTS, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "see `keras-resnets list`"
        raise UsageError(f"no model named {name!r}; {hint}") from None


def create_model(name: str, /, **options: Any) -> keras.Model:
    """Builds the variant of that name; options are those of `Variant.__call__`.

    Raises:
        UsageError: If there is no such name, or an option's value is out of range.
        TypeError: If an option is unknown.
    """
    return get_variant(name)(**options)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name) if part]
