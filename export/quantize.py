"""The ways to quantize, as data: what each mode asks of TensorFlow's converter."""

from dataclasses import dataclass

from keras_resnets.errors import UsageError


@dataclass(frozen=True)
class Mode:
    """One way to write a `.tflite` file. Inputs and outputs are float32 in all of them.

    Args:
        name: What `mode=` and `--mode` take.
        summary: One line for help and reports.
        optimize: Whether the converter quantizes at all.
        weights: Type of the stored weights.
        calibrated: Whether it needs images to find the ranges of the activations.
        tolerance: Largest error of an output, relative to the largest output, that rounding explains; None where
            only the agreement counts.
    """

    name: str
    summary: str
    optimize: bool
    weights: str
    calibrated: bool = False
    tolerance: float | None = None


MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        Mode("float32", "as trained", optimize=False, weights="float32", tolerance=1e-3),
        Mode("float16", "weights halved, arithmetic in float32", optimize=True, weights="float16", tolerance=5e-2),
        Mode("dynamic", "int8 weights, activations quantized as they come", optimize=True, weights="int8"),
        Mode(
            "int8", "int8 weights and activations, ranges from images", optimize=True, weights="int8", calibrated=True
        ),
    )
}


def get_mode(name: str) -> Mode:
    """The mode of that name.

    Raises:
        UsageError: If there is none; the message lists them.
    """
    if name not in MODES:
        raise UsageError(f"no mode named {name!r}; choose one of {', '.join(MODES)}")
    return MODES[name]
