"""What decides a training run or a compression, as the command line and the recipes share it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run."""

    model: str
    """Registered name; see `keras-resnets list`."""
    data: str = "digits"
    """digits (built in), cifar10, cifar100, mnist, fashion_mnist, or the path of a .npz file. A NAME.npz in the
    folder $KERAS_RESNETS_DATA comes before a download."""
    epochs: int = 5
    """Passes over the training set."""
    batch_size: int | None = None
    """Images per step; None: 32 for sets below 10,000 images, else 128."""
    learning_rate: float = 0.05
    """Peak of the schedule: a tenth of the steps warms up to it, a cosine leads to 0."""
    weight_decay: float = 1e-4
    """Share of each kernel taken off per step and unit of learning rate (decoupled; BatchNorm and biases spared)."""
    augment: bool = False
    """Crop each image at random out of its frame padded by 4 pixels and mirror half of them; for photographs such as
    CIFAR's, not for digits."""
    seed: int = 0
    """Seed of initialisation, shuffling and augmentation."""

    def check(self) -> None:
        """Refuses values that no run can have.

        Raises:
            UsageError: If a value is out of range.
        """
        from keras_resnets import UsageError  # here, because `--help` must not wait for Keras

        for field, valid, rule in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size is None or self.batch_size >= 1, "at least 1"),
            ("learning_rate", 0 < self.learning_rate < float("inf"), "a number above 0"),
            ("weight_decay", 0 <= self.weight_decay < float("inf"), "a number from 0"),
            ("seed", 0 <= self.seed < 2**32, "from 0 to 2**32 - 1"),
        ):
            if not valid:
                raise UsageError(f"{field} must be {rule}, got {getattr(self, field)}")


@dataclass(frozen=True, kw_only=True)
class CompressConfig:
    """Everything that decides how a trained model is made smaller."""

    method: tuple[Literal["prune", "cluster", "qat"], ...] = ("prune",)
    """What to do, one after the other; each keeps what the ones before it have reached: prune (the smallest weights
    become zero), cluster (the weights of a layer share a few values), qat (quantization-aware training)."""
    sparsity: float = 0.5
    """Share of zeros that pruning ends with in each layer."""
    two_of_four: bool = False
    """Prune two of any four neighbouring weights, which some processors skip; goes with sparsity 0.5."""
    clusters: int = 16
    """Values that the weights of a layer share."""
    engine: Literal["native", "tfmot"] = "native"
    """Of qat: native trains on the backend that runs, tfmot by tensorflow-model-optimization, which keeps clusters."""
    epochs: int = 2
    """Passes over the training set for each method."""
    learning_rate: float | None = None
    """Of each method, where a cosine to 0 starts; None: 0.02 to prune, 0.002 to cluster, for qat 0.0001 (native: the
    BatchNorms are folded), 0.001 (tfmot) or 0.00003 (keeping clusters)."""
    augment: bool | None = None
    """Crop and mirror images as `train --augment`; None: as the model was trained."""
    then: Literal["int8", "float32", "float16", "dynamic", "int16x8", "int8-weights", "int4-weights"] = "int8"
    """Mode of the file; see `keras-resnets export`."""
    data: str | None = None
    """Data the model was trained on; None: as the config.json beside the model says."""
    seed: int = 0
    """Seed of shuffling, augmentation, calibration and clusters."""

    def check(self) -> None:
        """Refuses values that no compression can have.

        Raises:
            UsageError: If a value is out of range, or methods do not go together.
        """
        from keras_resnets import UsageError

        for field, valid, rule in (
            ("method", self.method and len(set(self.method)) == len(self.method), "given, each method once"),
            ("method", "qat" not in self.method[:-1], "such that qat comes last: its result is a file"),
            ("method", self.method[:2] != ("cluster", "prune"), "such that prune comes before cluster"),
            ("sparsity", 0 < self.sparsity < 1, "above 0 and below 1"),
            ("two_of_four", not self.two_of_four or self.sparsity == 0.5, "off, or sparsity 0.5"),
            ("clusters", self.clusters >= 2, "at least 2"),
            ("epochs", self.epochs >= 1, "at least 1"),
            ("learning_rate", self.learning_rate is None or 0 < self.learning_rate < float("inf"), "a number above 0"),
            ("then", "qat" not in self.method or self.then == "int8", "int8 after qat"),
            (
                "engine",
                self.engine == "tfmot" or not {"cluster", "qat"} <= set(self.method),
                "tfmot for qat to keep clusters",
            ),
            ("seed", 0 <= self.seed < 2**32, "from 0 to 2**32 - 1"),
        ):
            if not valid:
                raise UsageError(f"{field} must be {rule}, got {getattr(self, field)}")
