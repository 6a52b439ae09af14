"""Pruning, clustering and quantization-aware training by tensorflow-model-optimization, from any backend.

That library takes tf_keras models alone, so it works in a process of its own on a copy of the network; batches go
there, weights or an int8 file come back.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import keras
import numpy as np

from export.layers import as_functional, check_graph, in_float32, layer_modules, with_weights_of
from keras_resnets.errors import UsageError
from keras_resnets.layers import deep_graphs

Keep = Literal["sparsity", "clusters", "sparsity and clusters"]
Method = Literal["prune", "cluster", "quantize"]
LOSSES = ("binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy")  # named by a word
LOG_TAIL = 4000  # characters of the other process's log that an error shows


class TfmotModel:
    """A model in training under tensorflow-model-optimization, in another process, which ends with this object.

    `prune`, `cluster` and `quantize_aware(..., engine="tfmot")` return one.

    Args:
        source: A functional Keras 3 model.
        method: What is done to it.
        options: Arguments of the method in the other process.
        seed: Seed of the other process and of the order of images.

    Attributes:
        source: The Keras 3 model it came from, which stays as it is.
        method: "prune", "cluster" or "quantize".

    Raises:
        UsageError: If the model is not one that tf_keras can hold.
    """

    def __init__(self, source: keras.Model, method: Method, options: dict[str, Any], *, seed: int = 0) -> None:
        check_graph(source, "tensorflow-model-optimization takes")
        source = as_functional(source)
        _check_model(source)
        source = in_float32(source)
        wanted = json.dumps({"method": method, "options": options, "seed": seed, "modules": layer_modules(source)})
        self.source = source
        self.method = method
        self._random = np.random.default_rng(seed)
        self._compiled = False
        # Cleaned up by a finalizer, because a __del__ may run after Python has taken its modules down.
        folder = tempfile.TemporaryDirectory()
        self._folder = Path(folder.name)
        source.save(self._folder / "model.keras")
        (self._folder / "wanted.json").write_text(wanted)
        # It trains on a GPU, where TensorFlow has one, without taking all of its memory.
        environment = {"KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "1", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        self._log = (self._folder / "log.txt").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "export._tfmot", folder.name],
            env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._end = weakref.finalize(self, _end, self._process, self._log, folder)
        try:
            self._answer()
        except BaseException:
            self._end()
            raise

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str = "sgd",
        loss: keras.losses.Loss | str = "sparse_categorical_crossentropy",
    ) -> None:
        """Sets the optimizer and the loss, Keras 3's own, and starts the optimizer anew.

        Args:
            optimizer: An optimizer that tf_keras has, too. Weight decay spares normalisation and biases.
            loss: A loss that tf_keras has, too, or the name of one; by default cross-entropy with integer classes.

        Raises:
            UsageError: If tf_keras has no such optimizer, or the settings ask for what it cannot do.
        """
        if not isinstance(loss, keras.losses.Loss) and loss not in LOSSES:
            raise UsageError(f"loss {loss!r}: give {', '.join(LOSSES)} or an object of a class of keras.losses")
        described = loss if isinstance(loss, str) else _described(loss)
        self._call("compile", optimizer=_described(keras.optimizers.get(optimizer)), loss=described)
        self._loss = loss if isinstance(loss, str) else type(loss).__name__
        self._compiled = True

    def fit(
        self,
        x: np.ndarray | keras.utils.PyDataset,
        y: np.ndarray | None = None,
        *,
        batch_size: int = 32,
        epochs: int = 1,
        on_step: Callable[[], object] = lambda: None,
    ) -> dict[str, list[float]]:
        """Trains for some epochs.

        Args:
            x: Images, shape (n, height, width, channels), or a PyDataset of batches (images, what the loss takes).
            y: What the loss takes, with images: classes, shape (n,), or probabilities, shape (n, classes).
            batch_size: Images a step, shuffled anew each epoch, with images.
            epochs: Passes over the data.
            on_step: Called after each step.

        Returns:
            Mean loss and accuracy over the batches of each epoch.

        Raises:
            UsageError: If the model is not compiled, images and labels do not fit each other, or it diverges.
        """
        self._check_compiled()
        history: dict[str, list[float]] = {"loss": [], "accuracy": []}
        for _ in range(epochs):
            steps = []
            for step in self._train(_batches(x, y, batch_size, self._random)):
                steps.append(step)
                on_step()
            for key, values in history.items():
                values.append(float(np.mean([step[key] for step in steps])))
            if not np.isfinite(history["loss"][-1]):
                raise UsageError(f"{self.source.name} diverged; lower the learning rate")
        return history

    def _train(self, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[dict[str, float]]:
        """Loss and accuracy of each step, which the other process computes while the next batch is made here."""
        is_training = False
        try:
            for images, labels in batches:
                if is_training:
                    is_training = False
                    yield self._answer()
                self._check_batch(images, labels)
                self._send("train", images, labels)
                is_training = True
            if is_training:
                is_training = False
                yield self._answer()
        except Exception:  # in making the next batch
            if is_training and self._end.alive:
                self._answer()  # of the step, or it would be that of the next call
            raise
        except BaseException:
            if is_training:
                self._end()
            raise

    def _check_compiled(self) -> None:
        if not self._compiled:
            raise UsageError("compile the model before its training")

    def _check_batch(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Checks in one line what TensorFlow would answer with pages of log."""
        self._check_images(images)
        classes = self.source.output_shape[-1]
        numbers, shares = (len(images),), (len(images), classes)
        kind = self._loss.lower()
        wanted = [numbers] if kind.startswith("sparse") else [shares] if kind.startswith("categ") else [numbers, shares]
        if labels.shape not in wanted:
            raise UsageError(
                f"labels of shape {labels.shape} for {len(images)} images: {self._loss} takes shape "
                f"{' or '.join(map(str, wanted))}"
            )
        if labels.ndim == 1 and classes > 1 and not (labels.min() >= 0 and labels.max() < classes):
            raise UsageError(f"labels from {labels.min()} to {labels.max()}: {self.source.name} has {classes} classes")

    def _check_images(self, images: np.ndarray) -> None:
        takes = self.source.input_shape[1:]
        if images.shape[1:] != takes:
            raise UsageError(f"images of shape {images.shape[1:]} do not fit {self.source.name}, which takes {takes}")

    def predict(self, images: np.ndarray) -> np.ndarray:
        """What the model makes of images, shape (n, height, width, channels)."""
        self._check_images(images)
        self._call("predict", images)
        return np.load(self._folder / "predicted.npy", allow_pickle=False)

    def read_ranges(self, images: np.ndarray) -> None:
        """Sets the ranges of the activations by images, before the first step of quantization-aware training."""
        self._call("read_ranges", images)

    def state(self) -> list[np.ndarray]:
        """All that the training goes on from, once the model is compiled: weights, masks, clusters, ranges, optimizer.

        The random numbers of a dropout are not in it.
        """
        self._check_compiled()
        self._call("state")
        with np.load(self._folder / "state.npz", allow_pickle=False) as arrays:
            return [arrays[f"arr_{place}"] for place in range(len(arrays.files))]

    def set_state(self, state: Sequence[np.ndarray]) -> None:
        """Goes back to the state of a model that was started and compiled as this one.

        Raises:
            UsageError: If its arrays are of other shapes or types than this model's; the model is then as it was.
        """
        self._check_compiled()
        self._call("set_state", *state)

    def strip(self) -> keras.Model:
        """A Keras 3 model like the source with the weights that pruning or clustering has come to.

        Raises:
            UsageError: If the training is a quantization-aware one, whose result is a file.
        """
        if self.method == "quantize":
            raise UsageError("a model trained for int8 has no other form: give it to to_tflite(mode='int8')")
        self._call("strip")
        with deep_graphs():
            stripped = with_weights_of(self.source, keras.models.clone_model(self.source))
        with np.load(self._folder / "weights.npz", allow_pickle=False) as arrays:
            for layer in stripped.layers:
                keys = [f"{layer.name}/{place}" for place in range(len(layer.weights))]
                if keys and keys[0] in arrays:
                    layer.set_weights([arrays[key] for key in keys])
        return stripped

    def convert(self) -> bytes:
        """The int8 file of quantization-aware training, with int8 input and output."""
        self._call("convert")
        return (self._folder / "int8.tflite").read_bytes()

    def _call(self, call: str, *arrays: np.ndarray, **options: Any) -> Any:
        self._send(call, *arrays, **options)
        return self._answer()

    def _send(self, call: str, *arrays: np.ndarray, **options: Any) -> None:
        if not self._end.alive:
            raise UsageError("the training process has ended; start anew")
        described = [{"dtype": str(array.dtype), "shape": array.shape} for array in arrays]
        message = {"call": call, "arrays": described, "options": options}
        content = json.dumps(message).encode() + b"\n" + b"".join(array.tobytes() for array in arrays)
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101 - for mypy: it was asked for
        try:
            with contextlib.suppress(BrokenPipeError):  # that there is no answer says more
                pipe.write(content)
                pipe.flush()
        except BaseException:  # broken off: half of a message would be taken for the next
            self._end()
            raise

    def _answer(self) -> Any:
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101 - for mypy: it was asked for
        try:
            line = pipe.readline()
            reply = json.loads(line) if line else {"error": "it ended without an answer"}
            if "mistake" in reply:
                raise UsageError(reply["mistake"])
            if "error" in reply:
                self._log.flush()
                log = (self._folder / "log.txt").read_text()[-LOG_TAIL:]
                raise RuntimeError(f"the process of tensorflow-model-optimization failed: {reply['error']}\n{log}")
            return reply["answer"]
        except UsageError:
            raise
        except BaseException:  # broken off: what comes next would be the answer to this
            self._end()
            raise


def _check_model(model: keras.Model) -> None:
    if keras.config.image_data_format() != "channels_last":
        raise UsageError("tensorflow-model-optimization wants channels last; set image_data_format to channels_last")
    names = {layer.name for layer in model.layers}
    for entry in model.get_config()["layers"]:
        if entry["name"] not in names:
            raise UsageError(f"{model.name}: {entry['name']} is an operation, not a layer; write it as a layer")
        if len(entry["inbound_nodes"]) > 1:
            raise UsageError(f"{model.name} uses {entry['name']} more than once; tensorflow-model-optimization cannot")


def prune(
    model: keras.Model, sparsity: float, *, steps: int, pattern: Sequence[int] | None = None, seed: int = 0
) -> TfmotModel:
    """Starts to prune a trained model: the smallest weights of convolutions and dense layers become zero.

    Args:
        model: A functional Keras 3 model. Depthwise convolutions, few and small, are spared, and frozen layers.
        sparsity: Share of zeros in all layers together at the end, above 0 and below 1. In each it is that of its
            weights among the smallest of all at the start: less in a stem and a classifier, more where many are small.
        steps: Training steps over which the zeros grow to that share, fast first; train longer than that.
        pattern: (2, 4) for two zeros in any four neighbours along the input channels, from the first step, instead of
            zeros anywhere; the sparsity is 0.5 then, and steps is not used.
        seed: Seed of the other process.

    Returns:
        A model to `compile` and `fit`, then to `strip`.

    Raises:
        UsageError: If the sparsity is none, or a layer is unknown to tf_keras.

    References: Zhu & Gupta 2017, arXiv:1710.01878; Han et al. 2015, arXiv:1506.02626.
    """
    if steps < 1:
        raise UsageError(f"steps must be at least 1, got {steps}")
    if not 0 < sparsity < 1:
        raise UsageError(f"sparsity must be above 0 and below 1, got {sparsity}")
    if pattern is not None and (tuple(pattern) != (2, 4) or sparsity != 0.5):
        raise UsageError(f"pattern {pattern} at sparsity {sparsity}: the known one is (2, 4) at 0.5")
    return TfmotModel(model, "prune", {"sparsity": sparsity, "steps": steps, "pattern": pattern}, seed=seed)


def cluster(model: keras.Model, clusters: int, *, keep: Literal["sparsity"] | None = None, seed: int = 0) -> TfmotModel:
    """Starts to cluster a trained model: the weights of a layer share a few values.

    Args:
        model: A functional Keras 3 model. Depthwise convolutions, frozen layers and those of fewer weights are spared.
        clusters: Values a layer has, at least 2.
        keep: "sparsity" for zeros that are to stay zeros.
        seed: Seed of the other process.

    Returns:
        A model to `compile` and `fit`, then to `strip`.

    Raises:
        UsageError: If there are too few clusters, or a layer is unknown to tf_keras.

    References: Han et al. 2016, arXiv:1510.00149, section 3.
    """
    if keep not in (None, "sparsity"):
        raise UsageError(f"keep {keep!r}: clustering keeps 'sparsity' or nothing")
    if clusters < 2:
        raise UsageError(f"clusters must be at least 2, got {clusters}")
    return TfmotModel(model, "cluster", {"clusters": clusters, "keep": keep}, seed=seed)


def quantize_by_tfmot(model: keras.Model, images: np.ndarray, keep: Keep | None = None) -> TfmotModel:
    """Starts quantization-aware training, its ranges read off the images; see `export.quantize_aware`."""
    if keep not in (None, *get_args(Keep)):
        raise UsageError(f"keep {keep!r}: there are {', '.join(get_args(Keep))}")
    started = TfmotModel(model, "quantize", {"keep": keep})
    started.read_ranges(images)
    return started


def _end(process: "subprocess.Popen[bytes]", log: Any, folder: "tempfile.TemporaryDirectory[str]") -> None:
    process.kill()
    process.communicate()
    log.close()
    folder.cleanup()


def _described(thing: Any) -> dict[str, Any]:
    """Class and settings of an optimizer, a schedule or a loss as tf_keras reads them: without what Keras 3 added."""
    added = ("loss_scale_factor", "gradient_accumulation_steps", "dtype")
    config = thing.get_config()
    if any(config.get(key) for key in added[:2]):
        raise UsageError(f"{type(thing).__name__}: tf_keras has no loss scale and no gradient accumulation")
    settings = {key: value for key, value in config.items() if key not in added}
    schedule = getattr(thing, "_learning_rate", None)
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        settings["learning_rate"] = _described(schedule)
    return {"class_name": type(thing).__name__, "config": settings}


def _batches(
    x: np.ndarray | keras.utils.PyDataset, y: np.ndarray | None, batch_size: int, random: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if isinstance(x, keras.utils.PyDataset):
        for index in range(len(x)):
            images, labels, *_ = (np.asarray(keras.ops.convert_to_numpy(one)) for one in x[index])
            yield images, labels
        x.on_epoch_end()
        return
    if y is None or len(x) != len(y):
        raise UsageError("fit takes images and one class an image, or a PyDataset")
    order = random.permutation(len(x))
    for start in range(0, len(x), batch_size):
        chosen = order[start : start + batch_size]
        yield x[chosen], y[chosen]
