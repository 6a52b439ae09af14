"""The ways to quantize, as data: types of weights and activations, and which engine writes them."""

from dataclasses import dataclass
from typing import Literal, get_args

from keras_resnets.errors import UsageError

Engine = Literal["converter", "quantizer", "tfmot"]
Io = Literal["float32", "uint8", "int8"]


@dataclass(frozen=True)
class Mode:
    """One way to write a `.tflite` file.

    Args:
        name: What `mode=` and `--mode` take.
        summary: One line for help and reports.
        weights: Type of the stored weights.
        activations: Type that LiteRT computes in; "dynamic" are integers whose ranges it finds as it runs.
        engines: What can write it, best first: TensorFlow's "converter" or ai-edge-"quantizer". The next one is taken
            where it leaves fewer operations in float.
        tolerance: Largest error of an output, relative to the largest output, that rounding explains; None where
            only the agreement counts.
        has_fast_kernels: Whether LiteRT has kernels that run it about as fast as float32, or faster.
        needs_plan: Whether the caller says which layer computes in what.
    """

    name: str
    summary: str
    weights: str = "float32"
    activations: str = "float32"
    engines: tuple[Engine, ...] = ("converter",)
    tolerance: float | None = None
    has_fast_kernels: bool = True
    needs_plan: bool = False

    @property
    def calibrated(self) -> bool:
        """Whether it needs images to find the ranges of the activations."""
        return self.activations.startswith("int")


# Engines: ai-edge-quantizer lets the ranges be chosen (`Clipping`) and keeps depthwise convolutions fast in "dynamic";
# the converter knows more operations.
MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        Mode("float32", "as trained", tolerance=1e-3),
        Mode("float16", "weights halved, arithmetic in float32", weights="float16", tolerance=5e-2),
        Mode(
            "dynamic",
            "int8 weights; integer arithmetic with ranges found at run time, depthwise convolutions in float32",
            weights="int8",
            activations="dynamic",
            engines=("quantizer",),
        ),
        Mode(
            "int8",
            "int8 weights and activations, ranges from images",
            weights="int8",
            activations="int8",
            engines=("quantizer", "converter"),
        ),
        Mode(
            "mixed",
            "int8 but for the layers that a plan keeps in float32, or stores in int4",
            weights="int8",
            activations="int8",
            engines=("quantizer",),
            needs_plan=True,
        ),
        Mode(
            "int16x8",
            "int8 weights and int16 activations, ranges from images",
            weights="int8",
            activations="int16",
            engines=("quantizer", "converter"),
            has_fast_kernels=False,
        ),
        Mode(
            "int8-weights",
            "int8 weights, arithmetic in float32",
            weights="int8",
            engines=("quantizer",),
            has_fast_kernels=False,
        ),
        Mode(
            "int4-weights",
            "int4 weights, arithmetic in float32",
            weights="int4",
            engines=("quantizer",),
            has_fast_kernels=False,
        ),
    )
}


FAST_MODES = tuple(name for name, mode in MODES.items() if mode.has_fast_kernels and not mode.needs_plan)


def get_mode(name: str) -> Mode:
    """The mode of that name.

    Raises:
        UsageError: If there is none; the message lists them.
    """
    if name not in MODES:
        raise UsageError(f"no mode named {name!r}; choose one of {', '.join(MODES)}")
    return MODES[name]


def check_io(mode: Mode, io: str) -> None:
    """Checks that a mode can have a type of input and output.

    Raises:
        UsageError: If there is no such type, or the mode computes in another one.
    """
    if io not in get_args(Io):
        raise UsageError(f"io={io!r}: choose one of {', '.join(get_args(Io))}")
    if io != "float32" and mode.name != "int8":
        raise UsageError(f"io={io!r} is for mode int8; a file of mode {mode.name} takes and gives float32")
