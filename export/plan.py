"""Which layer of a mixed file computes in what: by hand, or by a search within a budget of accuracy."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal, get_args

from export.flatbuffer import operations
from keras_resnets.errors import UsageError

Choice = Literal["float32", "int8", "int4"]
Plan = Mapping[str, Choice]


def check_plan(plan: Plan, names: set[str]) -> None:
    """Finds what no network can be built after.

    Args:
        plan: Shell patterns of the names of Keras layers, each with the type that these layers compute in: "float32",
            "int8", or "int4" for 4-bit weights of a convolution or dense layer under 8-bit activations. Later ones
            overrule earlier ones; a layer that none speaks of computes in int8.
        names: Names of the model's layers.

    Raises:
        UsageError: If a type is unknown, or a pattern matches no layer.
    """
    for pattern, choice in plan.items():
        if choice not in get_args(Choice):
            raise UsageError(f"plan: {pattern}={choice}: choose one of {', '.join(get_args(Choice))}")
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(f"plan: no layer matches {pattern!r}; the layers are those of model.summary()")


def resolve(plan: Plan, data: bytes, names: set[str]) -> dict[str, Choice]:
    """What each tensor of a float32 file is to be, by its name; tensors that are int8 are left out.

    The converter fuses layers (convolution, BatchNorm, activation); a fused one follows the last pattern that speaks of
    any of its parts.
    """
    choices: dict[str, Choice] = {}
    for tensor in (tensor.name for step in operations(data) for tensor in step.outputs):
        layers = layers_of(tensor, names)
        for pattern, choice in plan.items():
            if any(fnmatchcase(layer, pattern) for layer in layers):
                choices[tensor] = choice
    return {tensor: choice for tensor, choice in choices.items() if choice != "int8"}


def layers_of(tensor: str, names: set[str]) -> list[str]:
    """The Keras layers that the parts of a tensor's name speak of; TensorFlow numbers a name that it meets again."""
    found: dict[str, None] = {}
    for word in re.split(r"[;/]", tensor):
        for candidate in (word, re.sub(r"_\d+$", "", word)):
            if candidate in names:
                found[candidate] = None
                break
    return list(found)
