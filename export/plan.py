"""Which layer of a mixed file computes in what: by hand, or by a search within a budget of accuracy."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal, get_args

import keras

from export.flatbuffer import Operation, operations
from keras_resnets.errors import UsageError
from keras_resnets.graph import walk

Choice = Literal["float32", "int8", "int4"]
Plan = Mapping[str, Choice]


def check_plan(plan: Plan, names: Collection[str]) -> None:
    """Checks that a plan speaks of layers and types that there are.

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


def resolve(plan: Plan, data: bytes, model: keras.Model) -> dict[str, Choice]:
    """What each tensor of a float32 file is to be, by its name; tensors that are int8 are left out.

    The converter fuses layers (convolution, BatchNorm, activation); a fused one follows the last pattern that speaks of
    any of its parts.
    """
    choices: dict[str, Choice] = {}
    steps = operations(data)
    layers = Layers.of_file(steps, model)
    for tensor in (tensor.name for step in steps for tensor in step.outputs):
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
        names: Names of the model's layers.
        model: Its own name, with which all begin.
    """

    def __init__(self, tensors: Iterable[str], names: Collection[str], model: str = "") -> None:
        self._names, self._model = names, model
        self._told: dict[str, list[str]] = {}  # of tensors, what their names do not say
        words = {word for tensor in tensors for word in self._spoken(tensor)}
        whole = any(word in names for word in words if _bare(word) == word)
        self._numbered = not whole and any(_bare(word) in names and word not in names for word in words)

    @classmethod
    def of_file(cls, steps: Sequence[Operation], model: keras.Model) -> "Layers":
        """Those of all tensors of a model's file; that which leaves the network has a name of the converter's."""
        tensors = [tensor.name for step in steps for tensor in step.outputs]
        found = cls(tensors, [layer.name for layer in model.layers], model.name)
        found.tell_grouped(steps, model)
        spoken = {layer for tensor in tensors for layer in found.of(tensor)}
        last = _last_layers(model)
        computed = [step for step in steps if step.kind not in ("QUANTIZE", "DEQUANTIZE")]
        found._told[computed[-1].outputs[0].name] = [name for name in last if name not in spoken] or last[:1]
        return found

    def tell_grouped(self, steps: Sequence[Operation], model: keras.Model) -> None:
        """Learns from their order which grouped convolutions are which: the converter keeps no names of these."""
        outs = [
            step.outputs[0]
            for step in steps
            if step.kind == "CONV_2D" and step.inputs[0].shape[-1] != step.inputs[1].shape[-1]
        ]
        grouped = [layer for layer, _ in walk(model) if getattr(layer, "groups", 1) > 1 and hasattr(layer, "filters")]
        if [out.shape[-1] for out in outs] == [layer.filters for layer in grouped]:
            self._told |= {out.name: [layer.name] for out, layer in zip(outs, grouped, strict=True)}

    def of(self, tensor: str) -> list[str]:
        """The layers of one tensor, each once, the last first; a fused operation names all its parts."""
        found: dict[str, None] = {}
        for word in self._spoken(tensor):
            readings = (_bare(word), word) if self._numbered else (word, _bare(word))
            found |= dict.fromkeys([one for one in readings if one in self._names][:1])
        return list(found | dict.fromkeys(self._told.get(tensor, [])))

    def _spoken(self, tensor: str) -> Iterator[str]:
        """Of each part the outermost word that may be a layer; TensorFlow's own names, such as add_1, stand within."""
        for part in tensor.split(";"):
            words = part.split("/")
            if self._model in (words[0], _bare(words[0])):
                del words[0]
            yield from [word for word in words if word in self._names or _bare(word) in self._names][:1]


def _last_layers(model: keras.Model) -> list[str]:
    """The layer that gives the output, and those before it, back to one with a kernel: what one operation may do."""
    before = {layer.name: (layer, sources) for layer, sources in walk(model)}
    name, found = model.outputs[0]._keras_history.operation.name, []
    while name in before:
        layer, sources = before[name]
        found.append(name)
        if len(sources) != 1 or hasattr(layer, "kernel") or hasattr(layer, "pointwise_kernel"):
            break
        (name,) = sources
    return found


def _bare(word: str) -> str:
    return re.sub(r"_\d+$", "", word)
