"""Where a quantized file loses what its model knew: the noise of every layer, and the layers where it enters."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from export.convert import check_exportable, check_images, to_tflite
from export.flatbuffer import operations
from export.layers import in_float32
from export.loading import load_model
from export.plan import Layers
from export.qat import is_quantize_aware, strip
from export.ranges import logits_of
from export.recipe import fingerprint, read_recipe
from export.report.formats import titled_table
from export.runtimes.litert import decode, encode, open_traced
from keras_resnets.errors import UsageError, first_line

NO_NOISE = 99.0  # decibels at which noise is as good as none
LABELLED = 5  # layers, in the plot


@dataclass(frozen=True)
class LayerNoise:
    """What quantization did to one tensor of the network.

    Attributes:
        layers: Keras layers whose result the tensor is; several where the converter fused them.
        operation: Kind of the operation that writes it.
        snr: Signal-to-noise ratio, decibels: power of the float values over that of the difference.
        entered: Noise that this operation adds, as a share of the signal's power: its own less that of its noisiest
            input; negative where the operation averages noise away.
    """

    layers: tuple[str, ...]
    operation: str
    snr: float
    entered: float


def diagnose(model: keras.Model | str | Path, path: str | Path, images: np.ndarray) -> list[LayerNoise]:
    """Runs a quantized file beside its model and compares every tensor that both have, but for logits with a softmax.

    Args:
        model: The Keras model, or the path of its `.keras` file; one from `quantize_aware` stands for its weights as
            the file has them.
        path: A file that was exported from it.
        images: Images, shape (n, height, width, channels); a few dozen are enough.

    Returns:
        The noise of each tensor, in the order of the network.

    Raises:
        UsageError: If the file does not run, or was not exported from this model.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"no file {path}; `keras-resnets export` writes .tflite files")
    model = load_model(model) if isinstance(model, str | Path) else model
    check_exportable(model)
    check_images(model, "given", images)
    mistaken = UsageError(f"{path} was not exported from this {model.name}; give it the model that it came from")
    said = read_recipe(path).get("fingerprint")
    if said and said != fingerprint(in_float32(model)):
        raise mistaken
    if is_quantize_aware(model):
        model, _ = strip(model)
    with tempfile.TemporaryDirectory() as folder:
        floats = to_tflite(model, Path(folder) / "float32.tflite", test=images, min_agreement=0).path.read_bytes()
    try:
        reference, quantized = _Run(floats, model), _Run(path.read_bytes(), model)
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"{path} does not run in LiteRT: {first_line(error)}") from error
    shared = [name for name in quantized.indices if name in reference.indices and name not in quantized.logits]
    if not shared or reference.shapes([None, *shared]) != quantized.shapes([None, *shared]):
        raise mistaken
    signal, noise = dict.fromkeys(shared, 0.0), dict.fromkeys(shared, 0.0)
    for image in images:
        for run in (reference, quantized):
            run.invoke(image)
        for name in shared:
            expected = reference.value(name)
            signal[name] += float(np.square(expected, dtype=np.float64).sum())
            noise[name] += float(np.square(expected - quantized.value(name), dtype=np.float64).sum())
    shares = {name: noise[name] / signal[name] if signal[name] else float(noise[name] > 0) for name in shared}
    return [
        LayerNoise(
            layers=tuple(quantized.layers(name)) or (name,),
            operation=quantized.producers[quantized.indices[name]].kind,
            snr=_decibels(shares[name]),
            entered=shares[name]
            - max((shares[one] for one in quantized.sources(quantized.indices[name], shares)), default=0.0),
        )
        for name in shared
    ]


def noise_table(found: Sequence[LayerNoise], worst: int, title: str) -> Table:
    """The layers where most noise enters, as a table for the terminal.

    Args:
        found: What `diagnose` returned.
        worst: Number of layers to list.
        title: Its heading.
    """
    table = titled_table(title)
    for column in ("layers", "operation", "noise entered, of signal", "signal to noise, dB"):
        table.add_column(column, justify="right" if "signal" in column else "left")
    for one in sorted(found, key=lambda one: -one.entered)[:worst]:
        table.add_row(" ".join(one.layers), one.operation, f"{one.entered:.3%}", f"{one.snr:.1f}")
    return table


def draw_diagnosis(found: Sequence[LayerNoise]) -> Figure:
    """Signal-to-noise ratio along the network; the layers where most noise enters are named."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([one.snr for one in found], marker=".", color="C0")
    for place in sorted(range(len(found)), key=lambda place: -found[place].entered)[:LABELLED]:
        axes.scatter(place, found[place].snr, color="C3", zorder=3)
        axes.annotate(
            found[place].layers[-1],
            (place, found[place].snr),
            xytext=(0, -8),
            textcoords="offset points",
            rotation=-30,
            va="top",
            fontsize=8,
            color="C3",
        )
    axes.margins(x=0.08, y=0.25)
    axes.set_xlabel("tensors, in the order of the network")
    axes.set_ylabel("signal-to-noise ratio, dB")
    axes.grid(alpha=0.25)
    return figure


class _Run:
    """A file that keeps the values of all its tensors.

    Args:
        data: The file.
        model: Its model.
    """

    def __init__(self, data: bytes, model: keras.Model) -> None:
        self._interpreter = open_traced(data)
        (self._input,) = self._interpreter.get_input_details()
        self._tensors = {tensor["index"]: tensor for tensor in self._interpreter.get_tensor_details()}
        steps = operations(data)
        moving = {self._input["index"], *(tensor.index for step in steps for tensor in step.outputs)}
        computed = [step for step in steps if any(tensor.index in moving for tensor in step.inputs)]  # no weights
        self.producers = {tensor.index: step for step in computed for tensor in step.outputs}
        self.indices = {tensor.name: tensor.index for step in computed for tensor in step.outputs}
        # They may be clipped where no probability suffers: what becomes of them is the noise of their layer.
        self.logits = logits_of(steps)
        self._layers = Layers.of_file(computed, model)

    def shapes(self, names: Sequence[str | None]) -> list[list[int]]:
        """Of tensors, by their names; None is the image."""
        found = (self._input if name is None else self._tensors[self.indices[name]] for name in names)
        return [one["shape"].tolist() for one in found]

    def invoke(self, image: np.ndarray) -> None:
        self._interpreter.set_tensor(self._input["index"], encode(image[None], self._input))
        self._interpreter.invoke()

    def value(self, name: str) -> np.ndarray:
        index = self.indices[name]
        return decode(self._interpreter.get_tensor(index), self._tensors[index])

    def layers(self, name: str) -> list[str]:
        """The Keras layers whose result a tensor is; probabilities may have no name but that of the output."""
        step = self.producers[self.indices[name]]
        logits = [layer for one in self.logits for layer in self._layers.of(one)]
        return self._layers.of(name) or (logits if step.kind == "SOFTMAX" else [])

    def sources(self, index: int, known: dict[str, float]) -> Iterator[str]:
        """The nearest tensors in `known` that this one is computed from."""
        for source in self.producers[index].inputs:
            if source.name in known:
                yield source.name
            elif source.index in self.producers:  # what is not written is the image, or a weight
                yield from self.sources(source.index, known)


def _decibels(share: float) -> float:
    return float(-10 * np.log10(max(share, 10 ** (-NO_NOISE / 10))))
