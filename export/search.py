"""The search for a mixed plan: the smallest file that loses no more accuracy than the budget allows."""

import math
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np

from export._quantizer import FOUR_BITS, Refused, quantize
from export.calibrate import Calibration, check_labels
from export.convert import check_exportable, check_images, to_tflite
from export.diagnosis import diagnose
from export.flatbuffer import operations
from export.layers import are_pixels
from export.loading import load_model
from export.plan import Choice, Layers, resolve
from export.quantize import get_mode
from export.ranges import Clipping, check_clipping, choose_clipping, observe
from export.runtimes.litert import LiteRT
from keras_resnets.errors import UsageError

BUDGET = 0.003  # 0.3 points
MIXED = get_mode("mixed")
DIAGNOSED = 32  # images that the noise of the layers is read from


def search_plan(
    model: keras.Model | str | Path,
    calibration: Calibration | np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    budget: float = BUDGET,
    clipping: Clipping | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, Choice]:
    """Finds the types of the layers for `to_tflite(mode="mixed", plan=...)`.

    Greedy. From all layers in int8, first the layers where most noise enters become float32 until the accuracy is
    within the budget, and those that prove needless become int8 again. Then the layers with most weights become int4,
    one by one, and stay so where the accuracy stays within the budget. What is within the budget on a thousand images
    can be a point beyond it on others: give many.

    Args:
        model: The model, or the path of its `.keras` file.
        calibration: Training images for the ranges, as in `to_tflite`.
        images: Images that the accuracy is measured on, shape (n, height, width, channels): held out from the training
            images, never the test images, which the plan would be fitted to.
        labels: Their classes, shape (n,).
        budget: Accuracy that may be lost against float32, as a share: 0.003 are 0.3 points.
        clipping: As in `to_tflite`.
        on_step: Called after each file that was tried.

    Returns:
        The layers that are not int8, by name.

    Raises:
        UsageError: If the budget is below 0, the images do not fit, or even all layers in float32 lose more than the
            budget.
    """
    if not budget >= 0:
        raise UsageError(f"budget={budget}: give the accuracy that may be lost, such as {BUDGET}")
    check_clipping(clipping)
    model = load_model(model) if isinstance(model, str | Path) else model
    calibration = Calibration(calibration) if isinstance(calibration, np.ndarray) else calibration
    check_exportable(model)
    check_images(model, "calibration", calibration.images)
    images, labels = np.asarray(images), np.asarray(labels)
    check_images(model, "held-out", images)
    check_labels(images, labels, model.output_shape[-1])
    with tempfile.TemporaryDirectory() as folder:
        floats = to_tflite(model, Path(folder) / "float32.tflite", test=images[:DIAGNOSED], min_agreement=0).path
        chosen = choose_clipping(clipping, MIXED, "quantizer")
        trial = _Trial(model, floats, calibration.images, chosen, images, labels, on_step)
        enough = trial.accuracy_of(floats) - budget
        plan: dict[str, Choice] = {}
        weights = _weighted_layers(floats.read_bytes(), model)
        if trial.accuracy(plan) < enough:
            plan = _keep_in_float(trial, enough, _noisiest(trial, calibration.images[:DIAGNOSED]), weights)
        for layer in sorted(weights.keys() - plan.keys(), key=lambda layer: -weights[layer]):
            attempt: dict[str, Choice] = plan | {layer: "int4"}
            if trial.accuracy(attempt) >= enough:
                plan = attempt
        return plan


class _Trial:
    """Writes files after plans and measures their accuracy."""

    def __init__(
        self,
        model: keras.Model,
        floats: Path,
        calibration: np.ndarray,
        clipping: Clipping,
        images: np.ndarray,
        labels: np.ndarray,
        on_step: Callable[[], None],
    ) -> None:
        self.model, self.floats, self.images, self.labels, self.on_step = model, floats, images, labels, on_step
        self.data = floats.read_bytes()
        self.observed = observe(self.data, calibration, clipping, pixels=are_pixels(model, calibration))
        self.names = {layer.name for layer in model.layers}

    def write(self, plan: dict[str, Choice]) -> Path:
        path = self.floats.with_name("trial.tflite")
        path.write_bytes(quantize(self.data, MIXED, self.observed, resolve(plan, self.data, self.model)))
        return path

    def accuracy(self, plan: dict[str, Choice]) -> float:
        try:
            path = self.write(plan)
        except Refused:
            return 0.0
        return self.accuracy_of(path)

    def accuracy_of(self, path: Path) -> float:
        named = LiteRT(path).classify(self.images)
        self.on_step()
        return float(np.mean(named == self.labels))


def _keep_in_float(trial: _Trial, enough: float, noisiest: Iterable[str], weights: dict[str, int]) -> dict[str, Choice]:
    """Float32 for the layers where noise enters, until it is enough; then int8 again where it is not needed."""
    plan: dict[str, Choice] = {}
    for layer in noisiest:
        plan[layer] = "float32"
        if trial.accuracy(plan) >= enough:
            break
    else:
        raise UsageError(f"{trial.model.name}: no plan keeps within the budget; allow more, or train longer")
    for layer in sorted(plan, key=lambda layer: -weights.get(layer, 0)):
        attempt = {name: choice for name, choice in plan.items() if name != layer}
        if trial.accuracy(attempt) >= enough:
            plan = attempt
    return plan


def _noisiest(trial: _Trial, images: np.ndarray) -> list[str]:
    """The layers, those first where most noise enters; a fused operation goes by the name of its last layer."""
    found = diagnose(trial.model, trial.write({}), images)
    entered = {one.layers[-1]: one.entered for one in found if one.layers[-1] in trial.names}
    return sorted(entered, key=lambda layer: -entered[layer])


def _weighted_layers(data: bytes, model: keras.Model) -> dict[str, int]:
    """The Keras layers whose weights may have 4 bits, with the number of these."""
    weights, steps = {}, operations(data)
    layers = Layers.of_file(steps, model)
    for step in steps:
        found = layers.of(step.outputs[0].name)
        if found and step.kind in FOUR_BITS:
            weights[found[-1]] = math.prod(step.inputs[1].shape)  # of image, kernel and bias
    return weights
