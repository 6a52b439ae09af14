"""tensorflow-model-optimization at work, a program: it makes TensorFlow use tf_keras, so it has a process of its own.

    KERAS_BACKEND=tensorflow python -m export._tfmot FOLDER

reads wanted.json and model.keras in FOLDER, answers with one line of JSON on its standard output, and then so to each
line of JSON on its standard input, some with arrays after them as raw bytes. `export.tfmot` talks to it.
"""

import importlib
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.clustering.keras import cluster_config
from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster as cluster_experimental
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import (
    default_8bit_cluster_preserve_quantize_scheme as cluster_preserve,
)
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.prune_preserve import (
    default_8bit_prune_preserve_quantize_scheme as prune_preserve,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_configs as configs,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_scheme as default,
)

from export import _bridge
from export.flatbuffer import add_signature
from export.layers import PIXELS, are_pixels
from export.qat import MOVES
from export.ranges import is_dead, range_of_logits
from export.rounding import NARROWEST
from keras_resnets.errors import UsageError, first_line
from keras_resnets.layers import deep_graphs

# Of a cluster's gradients: tfmot's default, their sum, steps a thousand times too far where they are a thousand
AVERAGE = cluster_config.GradientAggregation.AVG
KINDS = (tf_keras.layers.Conv2D, tf_keras.layers.Dense, tf_keras.layers.SeparableConv2D)  # pruned and clustered
CALIBRATING = 32  # images a step
MOST_ZEROS = 0.99  # share of a layer: none is to vanish
BOUNDED = ("sigmoid", "softmax", "tanh")  # activations whose range LiteRT fixes
SCHEMES = {
    None: default.Default8BitQuantizeScheme,
    "sparsity": prune_preserve.Default8BitPrunePreserveQuantizeScheme,
    "clusters": lambda: cluster_preserve.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=False),
    "sparsity and clusters": lambda: cluster_preserve.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=True),
}


class Pruned:
    """Magnitude pruning: Zhu & Gupta 2017, arXiv:1710.01878; over all layers: Han et al. 2015, arXiv:1506.02626."""

    def __init__(self, model: keras.Model, sparsity: float, steps: int, pattern: list[int] | None) -> None:
        pruning, rebuilt = tfmot.sparsity.keras, _bridge.rebuild(model)
        shares = _shares(rebuilt, sparsity)

        def wrap(layer: Any) -> Any:
            if layer.name not in shares:
                return layer
            if pattern:
                schedule, options = pruning.ConstantSparsity(0.5, 0), {"sparsity_m_by_n": tuple(pattern)}
            else:
                schedule = pruning.PolynomialDecay(0.0, shares[layer.name], 0, steps, frequency=max(1, steps // 20))
                options = {}
            return pruning.prune_low_magnitude(layer, schedule, **options)

        self.model = tf_keras.models.clone_model(rebuilt, clone_function=wrap)
        self._steps = pruning.UpdatePruningStep()
        self._steps.set_model(self.model)
        self._steps.on_train_begin()

    def stripped(self) -> tf_keras.Model:
        """The model with the zeros in its weights."""
        self._steps.on_epoch_end(0)
        return tfmot.sparsity.keras.strip_pruning(self.model)


def _shares(model: tf_keras.Model, sparsity: float) -> dict[str, float]:
    """The share of each layer's weights that is among the smallest of all layers together.

    The same share in each would take from a stem or a classifier, which are small and have large weights, what shows.
    """
    kernels = {
        layer.name: np.abs(layer.pointwise_kernel if isinstance(layer, KINDS[-1]) else layer.kernel)
        for layer in model.layers
        if isinstance(layer, KINDS) and layer.trainable
    }
    if not kernels:
        raise UsageError(f"{model.name} has nothing to prune: depthwise and frozen layers are spared")
    threshold = np.quantile(np.concatenate([one.ravel() for one in kernels.values()]), sparsity)
    return {name: min(float(np.mean(one <= threshold)), MOST_ZEROS) for name, one in kernels.items()}


class Clustered:
    """Weights that share a few values in each layer: Han et al. 2016, arXiv:1510.00149, section 3."""

    def __init__(self, model: keras.Model, clusters: int, keep: str | None) -> None:
        options: dict[str, Any] = {
            "number_of_clusters": clusters,
            "cluster_centroids_init": tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
            "cluster_gradient_aggregation": AVERAGE,
        }
        cluster = tfmot.clustering.keras.cluster_weights
        if keep == "sparsity":
            cluster, options["preserve_sparsity"] = cluster_experimental.cluster_weights, True

        rebuilt = _bridge.rebuild(model)
        if not any(isinstance(layer, KINDS) and layer.trainable for layer in rebuilt.layers):
            raise UsageError(f"{model.name} has nothing to cluster: depthwise and frozen layers are spared")

        def wrap(layer: Any) -> Any:
            if not isinstance(layer, KINDS) or not layer.trainable:
                return layer
            if _values(layer, keep) > clusters:
                return cluster(layer, **options)
            layer.trainable = layer.trainable and not keep  # it would lose its zeros
            return layer

        self.model = tf_keras.models.clone_model(rebuilt, clone_function=wrap)

    def stripped(self) -> tf_keras.Model:
        """The model with the shared values in its weights."""
        return tfmot.clustering.keras.strip_clustering(self.model)


def _values(layer: Any, keep: str | None) -> int:
    """Weights of a layer among which the values that they are to share are chosen.

    Beside zeros that stay, tfmot chooses half of the values among the weights of each sign.
    """
    kernel = max((np.asarray(weight) for weight in layer.weights), key=np.size)
    return 2 * min(int(np.sum(kernel > 0)), int(np.sum(kernel < 0))) if keep else kernel.size


class Rounded:
    """Quantization-aware training: Jacob et al. 2018, arXiv:1712.05877."""

    def __init__(self, model: keras.Model, keep: str | None) -> None:
        self._source = model
        self._images = np.empty((0,))
        moving = {layer.name for layer in model.layers if isinstance(layer, MOVES)}

        def annotate(layer: Any) -> Any:
            return tfmot.quantization.keras.quantize_annotate_layer(layer, _config(layer, moving))

        objects = {
            "NoOpQuantizeConfig": configs.NoOpQuantizeConfig,
            "Default8BitOutputQuantizeConfig": configs.Default8BitOutputQuantizeConfig,
        }
        with tfmot.quantization.keras.quantize_scope(_bridge.CUSTOM | objects):
            self._plain = _bridge.rebuild(model, for_rounding=True)
            annotated = tf_keras.models.clone_model(self._plain, clone_function=annotate)
            self.model = tfmot.quantization.keras.quantize_apply(annotated, SCHEMES[keep]())
        for wrapper in self.model.layers:  # tfmot's: it lists a kernel as one to train also where its layer is frozen
            if hasattr(wrapper, "layer") and not wrapper.layer.trainable:
                wrapper._non_trainable_weights += wrapper._trainable_weights
                wrapper._trainable_weights = []

    def read_ranges(self, images: np.ndarray) -> None:
        """Sets the ranges of the activations, before the first step, to what a network without rounding shows.

        tfmot starts every range at +-6 with a slow moving average: what is clipped there at first, and in all later
        layers, training does not mend soon.
        """
        self._images = images
        layers = [layer for layer in self._plain.layers if not isinstance(layer.output, list)]
        probe = tf_keras.Model(self._plain.inputs, [layer.output for layer in layers])
        batches = [
            images[start : start + CALIBRATING].astype(np.float32) for start in range(0, len(images), CALIBRATING)
        ]
        found = np.array([[(tf.reduce_min(one), tf.reduce_max(one)) for one in probe(batch)] for batch in batches])
        ends = np.stack([found[..., 0].min(0), found[..., 1].max(0)], axis=-1)
        seen = {layer.name: pair for layer, pair in zip(layers, ends, strict=True)}
        image = self._plain.inputs[0].name
        if are_pixels(self._source, images):
            seen[image] = np.array(PIXELS)
        self.model(batches[0], training=True)  # sets the ranges of the weights
        for variable in self.model.variables:
            layer, _, name = variable.name.partition("/")
            if re.fullmatch("(output|post_activation|quantize_layer)_(min|max):0", name):
                least, largest = seen[layer.removeprefix("quant_")] if layer != "quantize_layer" else seen[image]
                if is_dead(least, largest):
                    least, largest = 0.0, 1.0
                variable.assign(min(least, 0.0) if "min" in name else max(largest, 0.0))

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Meanwhile, logits that a softmax at the end reads are clipped where its probabilities suffer least.

        The range that moves with the batches spans all their values.
        """
        last = self.model.layers[-1]
        if getattr(getattr(last.layer, "activation", None), "__name__", None) != "softmax":
            yield
            return
        source = last.input._keras_history.layer
        features = tf_keras.Model(self.model.inputs, source.input).predict(
            self._images, batch_size=CALIBRATING, verbose=0
        )
        source(features, training=False)  # leaves its kernel rounded
        if isinstance(source.layer, tf_keras.layers.Dense):  # whose own call rounds what comes out
            logits = features @ source.layer.kernel
            logits = source.layer.activation.activation(logits + source.layer.bias if source.layer.use_bias else logits)
        else:
            logits = source.layer(features)
        least, largest = range_of_logits(np.asarray(logits))
        ends = [one for one in source.variables if re.search("/(output|post_activation)_(min|max):0$", one.name)]
        moving = [end.numpy() for end in ends]
        if largest - least >= NARROWEST:
            for end in ends:
                end.assign(least if "_min" in end.name else largest)
        try:
            yield
        finally:
            for end, value in zip(ends, moving, strict=True):
                end.assign(value)

    def converted(self) -> bytes:
        """The int8 file, with int8 input and output."""
        shape = (1, *self.model.input_shape[1:])
        function = tf.function(
            lambda image: self.model(image, training=False), input_signature=[tf.TensorSpec(shape, name="image")]
        ).get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], self.model)
        converter.experimental_lower_to_saved_model = False
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        with self.settled():
            return add_signature(converter.convert())


def _config(layer: Any, moving: set[str]) -> Any:
    """How the output of a layer is rounded, None for tfmot's own rule."""
    bounded = isinstance(layer, tf_keras.layers.Activation) and layer.activation.__name__ in BOUNDED
    if layer.name in moving or bounded:
        return configs.NoOpQuantizeConfig()
    if isinstance(layer, (tf_keras.layers.Multiply, *_bridge.CUSTOM.values())):
        return configs.Default8BitOutputQuantizeConfig()
    return None


def _optimizer(described: dict[str, Any]) -> Any:
    """By hand, because tf_keras's own way leads to its legacy optimizers."""
    config = dict(described["config"])
    if isinstance(config["learning_rate"], dict):
        config["learning_rate"] = tf_keras.optimizers.schedules.deserialize(config["learning_rate"])
    kind = getattr(tf_keras.optimizers, described["class_name"], None)
    if kind is None:
        raise UsageError(f"tf_keras has no optimizer {described['class_name']}; use SGD or Adam")
    optimizer = kind(**config)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer


METHODS: dict[str, Any] = {"prune": Pruned, "cluster": Clustered, "quantize": Rounded}


class Worker:
    """Answers messages about one model."""

    def __init__(self, folder: Path) -> None:
        wanted = json.loads((folder / "wanted.json").read_text())
        for module in wanted["modules"]:
            importlib.import_module(module)
        keras.utils.set_random_seed(wanted["seed"])
        self.source = keras.models.load_model(folder / "model.keras", compile=False)
        self.work = METHODS[wanted["method"]](self.source, **wanted["options"])
        self.folder = folder

    def compile(self, optimizer: dict[str, Any], loss: dict[str, Any] | str) -> None:
        """Takes the configurations of a Keras 3 optimizer and loss, or the loss's name."""
        self.work.model.compile(
            _optimizer(optimizer),
            tf_keras.losses.deserialize(loss),
            metrics=["accuracy"],
        )

    def train(self, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """One step; loss and accuracy of the batch."""
        return {
            key: float(value) for key, value in self.work.model.train_on_batch(images, labels, return_dict=True).items()
        }

    def read_ranges(self, images: np.ndarray) -> None:
        """Ranges before the first step."""
        self.work.read_ranges(images)

    def predict(self, images: np.ndarray) -> None:
        """Writes what the model makes of images, rounded as in a file where it is trained for one."""
        with self.work.settled() if isinstance(self.work, Rounded) else nullcontext():
            predicted = self.work.model.predict(images, verbose=0)
        np.save(self.folder / "predicted.npy", predicted, allow_pickle=False)

    def state(self) -> None:
        """Writes all that the training goes on from, in an order that `set_state` knows."""
        np.savez(self.folder / "state.npz", *(variable.numpy() for variable in self._variables()))

    def set_state(self, *values: np.ndarray) -> None:
        """Goes back to a state."""
        variables = self._variables()
        wanted = [(tuple(variable.shape), variable.dtype.as_numpy_dtype) for variable in variables]
        if [(value.shape, value.dtype) for value in values] != wanted:
            raise UsageError("the state is of another model, method or optimizer")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def _variables(self) -> list[tf.Variable]:
        model = self.work.model
        model.optimizer.build(model.trainable_variables)  # otherwise the first step does
        return [*model.variables, *model.optimizer.variables]

    def strip(self) -> None:
        """Writes the weights, by layer and place."""
        found = _bridge.weights_of(self.work.stripped(), self.source)
        arrays = {f"{layer}/{place}": value for layer, values in found.items() for place, value in enumerate(values)}
        np.savez(self.folder / "weights.npz", **arrays)  # type: ignore[arg-type]  # read as savez's own option

    def convert(self) -> None:
        """Writes the int8 file."""
        (self.folder / "int8.tflite").write_bytes(self.work.converted())


def _read_array(header: dict[str, Any]) -> np.ndarray:
    dtype, shape = np.dtype(header["dtype"]), header["shape"]
    data = sys.stdin.buffer.read(dtype.itemsize * int(np.prod(shape)))
    return np.frombuffer(data, dtype).reshape(shape)


def main(folder: Path) -> None:
    """Works until the standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not an answer
    worker, reply = _tried(lambda: Worker(folder))
    print(json.dumps(reply | {"answer": None}), file=answers, flush=True)
    while worker is not None and (line := sys.stdin.buffer.readline()):
        message = json.loads(line)
        arrays = [_read_array(header) for header in message["arrays"]]
        call = getattr(worker, message["call"])
        answer, reply = _tried(lambda: call(*arrays, **message["options"]))  # noqa: B023 - called at once
        print(json.dumps(reply | {"answer": answer}), file=answers, flush=True)


def _tried(work: Callable[[], Any]) -> tuple[Any, dict[str, str]]:
    """What comes of some work, or nothing and why."""
    try:
        with deep_graphs():
            return work(), {}
    except UsageError as mistake:
        return None, {"mistake": str(mistake)}
    except Exception as error:  # another library's, of any kind: the parent raises it
        traceback.print_exc()
        return None, {"error": first_line(error)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
