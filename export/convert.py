"""A trained model of any backend -> checked `.tflite` files with their recipes beside them."""

import hashlib
import json
import os
import reprlib
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export import _tensorflow
from export.calibrate import Calibration, check_labels, warn_if_few
from export.files import replacing
from export.flatbuffer import set_io
from export.layers import check_graph, in_float32, layer_modules, takes_pixels
from export.loading import load_model
from export.metadata import Metadata, add_metadata, check_metadata
from export.plan import Plan, check_plan
from export.qat import Learned, is_quantize_aware, strip
from export.quantize import Io, Mode, check_io, get_mode
from export.ranges import Clipping, check_clipping, choose_clipping
from export.recipe import describe_export, recipe_path, write_recipe
from export.runtimes.litert import LiteRT, classes_of
from export.tfmot import TfmotModel
from export.verification import Verification, verify
from keras_resnets import UsageError, iter_layers

MIN_AGREEMENT = 0.9
TIMED_RUNS = 11


@dataclass(frozen=True)
class Exported:
    """A written file.

    Attributes:
        path: The `.tflite` file; its recipe lies beside it with the suffix `.json`.
        mode: Name of the mode.
        bytes: Size of the file.
        verification: Comparison with the Keras model, on the test images where there are any; on the calibration
            images it is in the recipe, too.
    """

    path: Path
    mode: str
    bytes: int
    verification: Verification


def to_tflite(
    model: keras.Model | TfmotModel | str | Path,
    out: str | Path,
    *,
    mode: str = "float32",
    calibration: Calibration | np.ndarray | None = None,
    clipping: Clipping | None = None,
    plan: Plan | None = None,
    io: Io = "float32",
    metadata: Metadata | None = None,
    test: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    min_agreement: float = MIN_AGREEMENT,
) -> Exported:
    """Writes one `.tflite` file and checks it against the model it came from.

    Args:
        model: A Keras model with one image input, or the path of a `.keras` file, from any backend; or what
            `quantize_aware` returned, trained.
        out: Path of the `.tflite` file.
        mode: One of `MODES`.
        calibration: Training images, shape (n, height, width, channels), in the range the model was trained on,
            or a `Calibration`, which also says where they come from; needed by int8 and int16x8. Fewer than
            `calibrate.FEW` warn.
        clipping: Where the range of an int8 activation ends: "minmax", "percentile" or "mse", see `ranges.observe`.
            Defaults to "mse", and to "minmax" where TensorFlow's converter writes the file.
        plan: With mode mixed: shell patterns of layer names, each with "float32", "int8" or "int4", later ones before
            earlier ones, such as {"stem_*": "float32", "stage4_*": "int4"}; `search_plan` finds one.
        io: Type of input and output. "float32" runs everywhere on a CPU. With mode int8 also "uint8", which phones
            and browsers take (MediaPipe, LiteRT.js), and "int8", which microcontrollers and NPUs take.
        metadata: Labels, normalisation, author and version to write into the file, for MediaPipe and Android.
        test: Images for the check, same shape and range, beside the calibration images; with neither it is on noise.
        labels: Classes of the test images, shape (m,), for the accuracies in the verification.
        min_agreement: Share of the images on which file and model must name the same class; a file below is
            not written, nor is a float file whose outputs differ by more than rounding. 0 writes any file whose
            outputs are finite.

    Returns:
        The file and its verification.

    Raises:
        UsageError: If the model or mode is unknown, the images do not fit, or the agreement is too low.
    """
    (exported,) = export_modes(
        model,
        {mode: Path(out)},
        calibration=calibration,
        clipping=clipping,
        plan=plan,
        io=io,
        metadata=metadata,
        test=test,
        labels=labels,
        min_agreement=min_agreement,
    )
    return exported


def export_modes(
    model: keras.Model | TfmotModel | str | Path,
    outs: Mapping[str, str | Path],
    *,
    calibration: Calibration | np.ndarray | None = None,
    clipping: Clipping | None = None,
    plan: Plan | None = None,
    io: Io = "float32",
    metadata: Metadata | None = None,
    test: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    min_agreement: float = MIN_AGREEMENT,
) -> Iterator[Exported]:
    """Writes one file a mode from one conversion graph; yields each as soon as it is written.

    Arguments and errors as in `to_tflite`; `outs` maps the name of a mode to the path of its file.
    """
    if not 0 <= min_agreement <= 1:
        raise UsageError(f"min_agreement must be from 0 to 1, got {min_agreement}")
    modes = [get_mode(name) for name in outs]
    paths = {name: Path(out) for name, out in outs.items()}
    plan = plan and dict(plan)
    check_clipping(clipping)
    for mode in modes:
        check_io(mode, io)
    trained = load_model(model) if isinstance(model, str | Path) else model
    if isinstance(trained, TfmotModel) and trained.method != "quantize":
        raise UsageError("pruning and clustering end with strip(): export the model that it returns")
    if not isinstance(trained, TfmotModel):
        check_exportable(trained)
        trained = in_float32(trained)
    network: keras.Model = trained.source if isinstance(trained, TfmotModel) else trained
    aware = "tfmot" if trained is not network else "native" if is_quantize_aware(network) else None
    if isinstance(calibration, np.ndarray):
        calibration = Calibration(calibration)
    if not isinstance(calibration, Calibration | None):
        raise UsageError(
            f"calibration is an array of images or what pick_calibration returns, not {reprlib.repr(calibration)}"
        )
    ranges = None if calibration is None else calibration.images
    test, labels = (None if values is None else np.asarray(values) for values in (test, labels))
    _check(network, paths.values(), modes, ranges, test, labels, aware=aware)
    if any(mode.needs_plan for mode in modes) != (plan is not None):
        raise UsageError("a plan goes with mode mixed: give both, or neither")
    check_plan(plan or {}, [layer.name for layer in network.layers])
    if metadata is not None:
        check_metadata(metadata, network.output_shape[-1], network.input_shape[-1])
        metadata = replace(metadata, name=metadata.name or network.name)
    if aware and [mode.name for mode in modes] != ["int8"]:
        raise UsageError(f"{network.name} was trained for int8: export it with mode int8")
    compared = _images_to_compare(network, ranges, test)
    expected = {source: _predict(trained, images) for source, images in compared.items()}
    if not all(np.isfinite(outputs).all() for outputs in expected.values()):
        raise UsageError(f"{network.name} has outputs that are not finite; its training diverged, train it again")
    floats = b""
    for mode, engine, data in _convert(trained, modes, ranges, clipping, plan or {}):
        floats = floats or data  # the first is float32
        if mode.name not in paths:
            continue
        out = paths[mode.name]
        with replacing(out) as part, replacing(recipe_path(out)) as recipe_part:
            content = set_io(data, io) if mode.calibrated else data
            content = content if metadata is None else add_metadata(content, metadata)
            part.write_bytes(content)
            checks = []
            for source, images in compared.items():
                outputs = expected[source]
                checks.append(verify(part, images, outputs, source, labels if source == "test" else None))
                _refuse_bad(out, mode, checks[-1], min_agreement, float(np.abs(outputs).max()))
            used = calibration if mode.calibrated and not aware else None
            clipped = used and choose_clipping(clipping, mode, engine)
            how = {"mode": asdict(mode), "engine": engine, "aware": aware, "clipping": clipped, "plan": plan, "io": io}
            how["sha256"] = hashlib.sha256(content).hexdigest()
            recipe = describe_export(network, how, used, checks[-1])
            recipe["on_calibration"] = asdict(checks[0]) if len(checks) > 1 else None
            if aware == "tfmot":  # whose weights are in the file alone
                recipe["fingerprint"] = None
            write_recipe(recipe_part, recipe)
            size = part.stat().st_size
        if not mode.has_fast_kernels:
            _warn_of_time(out, mode, floats, next(iter(compared.values()))[0])
        yield Exported(out, mode.name, size, checks[-1])


def _predict(model: keras.Model | TfmotModel, images: np.ndarray) -> np.ndarray:
    if isinstance(model, TfmotModel):
        return model.predict(images)
    try:
        return np.asarray(model.predict(images, verbose=0))
    except Exception as error:
        if keras.backend.backend() == "tensorflow":  # which traces the model for this, too
            raise _tensorflow.not_traced(model, error) from error
        raise


def _warn_of_time(out: Path, mode: Mode, floats: bytes, image: np.ndarray) -> None:
    """Measures how much longer than float32 a file runs, here and now, and says so."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "float32.tflite"
        base.write_bytes(floats)
        runners = [LiteRT(base), LiteRT(out)]
        for runner in runners:
            runner.load(image)
            runner.invoke()
        slowdowns = [runners[1].invoke() / runners[0].invoke() for _ in range(TIMED_RUNS)]
    warnings.warn(
        f"{out}: LiteRT has no fast kernels for {mode.name} on a processor; one image takes "
        f"{np.median(slowdowns):.2g} times as long as float32 here",
        stacklevel=3,
    )


def _images_to_compare(
    model: keras.Model, calibration: np.ndarray | None, test: np.ndarray | None
) -> dict[str, np.ndarray]:
    given = {"calibration": calibration, "test": test}
    if any(images is not None for images in given.values()):
        return {source: images for source, images in given.items() if images is not None}
    rng, shape = np.random.default_rng(0), (32, *model.input_shape[1:])
    noise = rng.uniform(0, 255, shape) if takes_pixels(model) else rng.normal(size=shape)
    return {"noise": noise.astype(np.float32)}


def _refuse_bad(out: Path, mode: Mode, found: Verification, min_agreement: float, largest: float) -> None:
    if not np.isfinite(found.max_error):
        raise UsageError(
            f"{out} not written: its outputs are not finite on {found.source} images; {mode.name} is too coarse for "
            f"this model, try another mode"
        )
    if found.agreement < min_agreement:
        raise UsageError(
            f"{out} not written: it agrees with the Keras model on {found.agreement:.1%} of {found.images} "
            f"{found.source} images, below {min_agreement:.1%}; train longer, try another mode or "
            f"clipping, or set min_agreement to 0 and see in `keras-resnets diagnose` where the error enters"
        )
    if mode.tolerance is not None and min_agreement > 0 and found.max_error > mode.tolerance * max(1.0, largest):
        raise UsageError(
            f"{out} not written: an output differs by {found.max_error:.2g} from the Keras model's, more than "
            f"{mode.name} explains; set min_agreement to 0 to write it all the same"
        )


def predict_classes(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """The class that a Keras model names for each image: (n, height, width, channels) -> (n,).

    Raises:
        UsageError: If the images do not have the model's input shape.
    """
    _check_fit(model, "test", images)
    return classes_of(model.predict(images, verbose=0))


def _check(
    model: keras.Model,
    outs: Iterable[Path],
    modes: list[Mode],
    calibration: np.ndarray | None,
    test: np.ndarray | None,
    labels: np.ndarray | None,
    *,
    aware: str | None,
) -> None:
    outs = list(outs)
    if len({out.resolve() for out in outs}) < len(outs):
        raise UsageError(f"two modes would be written to one file: {', '.join(map(str, outs))}")
    for out in outs:
        if out.suffix != ".tflite":
            raise UsageError(f"cannot write {out}: give it the suffix .tflite, its recipe goes beside it as .json")
    check_exportable(model)
    for mode in modes:
        if mode.calibrated and not aware and (calibration is None or not len(calibration)):
            raise UsageError(f"mode {mode.name} needs training images to calibrate on; give it the model's data")
    for name, images in (("calibration", calibration), ("test", test)):
        if images is not None:
            check_images(model, name, images)
    if labels is not None:
        if test is None:
            raise UsageError("labels are those of test images: give these, too")
        check_labels(test, labels, model.output_shape[-1])
    if any(mode.calibrated for mode in modes) and calibration is not None:
        warn_if_few(calibration, stacklevel=4)


def check_exportable(model: keras.Model) -> None:
    """Checks that a `.tflite` file can be made of a model.

    Raises:
        UsageError: If the model has not one image input of known size and one output of class scores, or holds code
            (a Lambda).
    """
    check_graph(model, "a .tflite file is made of")
    (image,), (scores,) = model.inputs, model.outputs
    if image.ndim != 4 or scores.ndim != 2:
        raise UsageError(
            f"a .tflite file is made of a model from an image, (height, width, channels), to class scores, (classes,); "
            f"{model.name} goes from {image.shape[1:]} to {scores.shape[1:]}"
        )
    if None in image.shape[1:]:
        raise UsageError(
            f"{model.name}: layer {image.name} takes images of any size, {image.shape[1:]}; build the model "
            f"with the size of the device's images and load its weights"
        )
    code = [layer.name for layer in iter_layers(model) if isinstance(layer, keras.layers.Lambda)]
    if code:
        raise UsageError(f"{model.name}: {', '.join(code)} holds Python code (Lambda); write it as a layer of a module")
    if keras.config.image_data_format() != "channels_last":
        raise UsageError("LiteRT takes images as (height, width, channels); set image_data_format to channels_last")


def check_images(model: keras.Model, name: str, images: np.ndarray) -> None:
    """Checks that a model can be calibrated or verified on images.

    Raises:
        UsageError: If they do not have its input's shape, there is none, or a pixel is infinite or NaN.
    """
    _check_fit(model, name, images)
    if images.dtype.kind in "OSU":
        raise UsageError(f"{name} images are of type {images.dtype}; give numbers")
    if not len(images) or not np.isfinite(images).all():
        raise UsageError(f"{name} images are {'infinite or NaN in places' if len(images) else 'none'}")


def _check_fit(model: keras.Model, name: str, images: np.ndarray) -> None:
    if images.shape[1:] != model.input_shape[1:]:
        raise UsageError(
            f"{name} images of shape {images.shape[1:]} do not fit {model.name}, "
            f"which takes {model.input_shape[1:]}; use the data that it was trained on"
        )


def _convert(
    model: keras.Model | TfmotModel,
    modes: list[Mode],
    images: np.ndarray | None,
    clipping: Clipping | None,
    plan: Plan,
) -> Iterator[_tensorflow.Converted]:
    if isinstance(model, TfmotModel):
        yield get_mode("int8"), "tfmot", model.convert()
        return
    learned: Learned | None = None
    if is_quantize_aware(model):
        model, learned = strip(model)
    if keras.backend.backend() == "tensorflow":
        yield from _tensorflow.convert(model, modes, images, clipping, plan, learned)
        return
    # TensorFlow traces only what runs on the TensorFlow backend: hand the model over to a process that has it.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder / "model.keras")
        names = [mode.name for mode in modes]
        wanted: dict[str, Any] = {"modes": names, "clipping": clipping, "plan": dict(plan), "learned": learned}
        wanted["modules"] = layer_modules(model)
        wanted["layers"] = {layer.name: type(layer).__name__ for layer in iter_layers(model)}
        (folder / "wanted.json").write_text(json.dumps(wanted))
        if images is not None:
            np.save(folder / "images.npy", images, allow_pickle=False)
        command = [sys.executable, "-P", "-m", "export._tensorflow", name]
        hidden = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}  # leaves the memory of GPUs alone
        environment = os.environ | hidden | {"PYTHONPATH": os.pathsep.join(sys.path)}
        child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        mistake = folder / "mistake.txt"
        if mistake.exists():
            raise UsageError(mistake.read_text())
        if child.returncode:
            raise RuntimeError(f"the conversion process failed:\n{child.stderr}")
        for one in dict.fromkeys(("float32", *names)):
            (path,) = folder.glob(f"{one}.*.tflite")
            yield get_mode(one), path.suffixes[0][1:], path.read_bytes()  # type: ignore[misc]
