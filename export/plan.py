"""Which layer of a mixed file computes in what: by hand, or by a search within a budget of accuracy."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal, get_args

from export.flatbuffer import operations
from keras_resnets.errors import UsageError

Choice = Literal["float32", "int8", "int4"]
Plan = Mapping[str, Choice]


def check_plan(plan: Plan, names: Collection[str]) -> None:
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


def resolve(plan: Plan, data: bytes, names: Sequence[str]) -> dict[str, Choice]:
    """What each tensor of a float32 file is to be, by its name; tensors that are int8 are left out.

    The converter fuses layers (convolution, BatchNorm, activation); a fused one follows the last pattern that speaks of
    any of its parts. `names` are those of the model's layers, the output's at the end.
    """
    choices: dict[str, Choice] = {}
    tensors = [tensor.name for step in operations(data) for tensor in step.outputs]
    layers = Layers(tensors, names, output=tensors[-1])
    for tensor in tensors:
        for pattern, choice in plan.items():
            if any(fnmatchcase(layer, pattern) for layer in layers.of(tensor)):
                choices[tensor] = choice
    return {tensor: choice for tensor, choice in choices.items() if choice != "int8"}


class Layers:
    """Finds the Keras layers that the names of tensors speak of.

    TensorFlow numbers a name that it meets again, so `conv2d_1` is the layer of that name, or `conv2d` met twice. It
    numbers all layers or none; the names that can be read in one way alone tell which.

    Args:
        tensors: The names of all tensors of a file or graph.
        names: Names of the model's layers, the output's at the end.
        output: The tensor that leaves the network, to which the converter gives a name of its own.
    """

    def __init__(self, tensors: Iterable[str], names: Sequence[str], output: str | None = None) -> None:
        self._names, self._output = names, output
        words = {word for tensor in tensors for word in _words(tensor)}
        whole = any(word in names for word in words if _bare(word) == word)
        self._numbered = not whole and any(_bare(word) in names and word not in names for word in words)

    def of(self, tensor: str) -> list[str]:
        """The layers of one tensor, each once; a fused operation names all its parts."""
        found: dict[str, None] = {}
        for word in _words(tensor):
            readings = (_bare(word), word) if self._numbered else (word, _bare(word))
            found |= dict.fromkeys([one for one in readings if one in self._names][:1])
        return list(found) or ([self._names[-1]] if tensor == self._output else [])


def _words(tensor: str) -> list[str]:
    return re.split(r"[;/]", tensor)


def _bare(word: str) -> str:
    return re.sub(r"_\d+$", "", word)
