"""What decides a training run or a compression, as the command line and the recipes share it."""

from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

Augmentation = Literal["crop", "flip", "distort", "randaugment", "erase"]
Rule = tuple[str, Any, str]  # field, whether its value is valid, what it must be

SEEDS = range(2**32)
DEPTHS = {20, 32, 44, 56, 110}  # of the residual paper's networks for CIFAR-10 that have a plain twin
C = TypeVar("C", "TrainConfig", "DegradationConfig", "GanConfig", "DcganConfig", "AddaConfig", "CompressConfig")


def _check(config: Any, *rules: Rule) -> None:
    from keras_resnets import UsageError  # here, because `--help` must not wait for Keras

    for field, valid, rule in rules:
        if not valid:
            raise UsageError(f"{field} must be {rule}, got {getattr(config, field)}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run."""

    model: str
    """Registered name; see `keras-resnets list`."""
    data: str = "digits"
    """digits (built in), cifar10, cifar100, mnist, fashion_mnist, the path of a .npz file, or a folder with
    train/CLASS/* and val/CLASS/*. A NAME.npz in the folder $KERAS_RESNETS_DATA comes before a download."""
    image_size: int = 224
    """Side of the images that are made of those in a folder."""
    epochs: int = 5
    """Passes over the training set."""
    batch_size: int | None = None
    """Images per step; None: 32 for sets below 10,000 images, else 128."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with Nesterov's momentum of 0.9, or AdamW."""
    learning_rate: float | None = None
    """Peak of the schedule; None: 0.05 for SGD, 0.001 for AdamW."""
    schedule: Literal["cosine", "step", "onecycle"] = "cosine"
    """How the learning rate falls after its peak: along a cosine to 0, to a tenth after half and again after three
    quarters of the steps, or in one cycle, which rises longer."""
    warmup: float | None = None
    """Share of the steps in which the learning rate rises to its peak; None: 0.1, in one cycle 0.3."""
    weight_decay: float | None = None
    """Share of each kernel taken off per step and unit of learning rate (decoupled; normalisation and biases spared);
    None: 0.0001 for SGD, 0.05 for AdamW."""
    augment: tuple[Augmentation, ...] = ()
    """What is done to each training image at random: crop (out of its frame padded by
    4 pixels; of images in a folder, a part of any size and shape), flip (half of them are
    mirrored), distort (scaled, squeezed, sheared, shifted; for digits), randaugment (two of 14 operations), erase (a
    rectangle, in half of them)."""
    mixup: float = 0.0
    """Mix each image with another: alpha of the Beta distribution of their shares, such as 0.2; 0: do not."""
    cutmix: float = 0.0
    """Lay a piece of another image over each: alpha of the Beta distribution of its area, such as 1; 0: do not. With
    mixup: one or the other at random."""
    label_smoothing: float = 0.0
    """Probability that is spread over all classes, such as 0.1."""
    drop_path: float | None = None
    """Stochastic depth: share of the residual branches that training leaves out of the deepest block, fewer in those
    before it; None: as the network was published."""
    ema: float = 0.0
    """Test and keep moving averages of the weights and of BatchNorm's statistics, which keep this share of themselves
    in a batch, such as 0.999; 0: the weights themselves."""
    clip: float | None = None
    """Longest gradient, as the norm over all weights; None: any."""
    accumulate: int = 1
    """Batches whose gradients are averaged before the weights change."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """What the network computes in; the weights, and the file, are float32."""
    jit: Literal["auto", "on", "off"] = "auto"
    """Compile the step by XLA (TensorFlow, JAX) or TorchInductor; auto: as Keras does, not in TensorFlow on a CPU."""
    seed: int = 0
    """Seed of initialisation, shuffling and augmentation."""

    def check(self) -> None:
        """Refuses values that no run can have.

        Raises:
            UsageError: If a value is out of range.
        """
        _check(
            self,
            ("image_size", self.image_size >= 8, "at least 8"),
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size is None or self.batch_size >= 1, "at least 1"),
            ("learning_rate", self.learning_rate is None or 0 < self.learning_rate < float("inf"), "a number above 0"),
            ("warmup", self.warmup is None or 0 <= self.warmup <= 1, "a share from 0 to 1"),
            ("weight_decay", self.weight_decay is None or 0 <= self.weight_decay < float("inf"), "a number from 0"),
            ("mixup", 0 <= self.mixup < float("inf"), "a number from 0, such as 0.2"),
            ("cutmix", 0 <= self.cutmix < float("inf"), "a number from 0, such as 1"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "from 0 to below 1, such as 0.1"),
            ("drop_path", self.drop_path is None or 0 <= self.drop_path < 1, "from 0 to below 1"),
            ("ema", 0 <= self.ema < 1, "from 0 to below 1, such as 0.999"),
            ("clip", self.clip is None or 0 < self.clip < float("inf"), "a number above 0"),
            ("accumulate", self.accumulate >= 1, "at least 1"),
            ("seed", self.seed in SEEDS, "from 0 to 2**32 - 1"),
        )


@dataclass(frozen=True, kw_only=True)
class DegradationConfig:
    """Everything that decides the experiment of plain against residual networks."""

    depths: tuple[int, ...] = (20, 56)
    """Layers, of 20, 32, 44, 56 and 110: a plain and a residual network of each."""
    data: str = "digits"
    """digits (built in), cifar10, cifar100, mnist, fashion_mnist, or the path of a .npz file. A NAME.npz in the
    folder $KERAS_RESNETS_DATA comes before a download."""
    epochs: int = 4
    """Passes over the training set."""
    batch_size: int | None = None
    """Images per step; None: 32 for sets below 10,000 images, else 128."""
    learning_rate: float | None = None
    """Peak of the schedule, as for `train`."""
    weight_decay: float | None = None
    """As for `train`."""
    augment: tuple[Augmentation, ...] = ()
    """What is done to each training image at random, as for `train`."""
    shortcut: tuple[Literal["A", "B", "C"], ...] = ("A",)
    """Shortcuts of the residual networks: A (zero-padded identity), B (projection where shapes change), C (projection
    in every block)."""
    norm: tuple[Literal["batch", "layer", "instance", "group"], ...] = ("batch",)
    """Normalisations, of plain and residual networks."""
    drop_path: tuple[float, ...] = (0.0,)
    """Shares of the residual branches that training leaves out of the deepest block, fewer in those before it."""
    seed: int = 0
    """Seed of initialisation, shuffling and augmentation."""

    def check(self) -> None:
        """Refuses values that no experiment can have.

        Raises:
            UsageError: If a value is out of range.
        """
        lists = ("depths", "shortcut", "norm", "drop_path")
        _check(self, *((field, getattr(self, field), "given, at least one") for field in lists))
        _check(
            self,
            *(
                (field, len(set(getattr(self, field))) == len(getattr(self, field)), "different values")
                for field in lists
            ),
        )
        _check(
            self,
            ("depths", set(self.depths) <= DEPTHS, f"of {', '.join(map(str, sorted(DEPTHS)))}"),
            ("drop_path", all(0 <= rate < 1 for rate in self.drop_path), "shares from 0 to below 1"),
        )


@dataclass(frozen=True, kw_only=True)
class CompressConfig:
    """Everything that decides how a trained model is made smaller."""

    method: tuple[Literal["prune", "cluster", "qat"], ...] = ("prune",)
    """What to do, one after the other; each keeps what the ones before it have reached: prune (the smallest weights
    become zero), cluster (the weights of a layer share a few values), qat (quantization-aware training)."""
    sparsity: float | None = None
    """Share of zeros that pruning ends with, in all layers together; None: 0.5."""
    two_of_four: bool = False
    """Prune two of any four neighbouring weights, which some processors skip; goes with sparsity 0.5."""
    clusters: int | None = None
    """Values that the weights of a layer share; None: 16."""
    engine: Literal["native", "tfmot"] = "native"
    """Of qat: native trains on the backend that runs, tfmot by tensorflow-model-optimization, which keeps clusters."""
    epochs: int = 2
    """Passes over the training set for each method, in which the model learns to say what it said before."""
    learning_rate: float | None = None
    """Of each method, where a cosine to 0 starts; None: 0.02 to prune, 0.002 to cluster, for qat 0.001, or 0.00003
    where it keeps clusters."""
    weight_decay: float | None = None
    """While pruning, sparing normalisation and biases: share of the weights taken off per unit of learning rate; None:
    as the model was trained, if by SGD."""
    augment: tuple[Augmentation, ...] | None = None
    """What is done to each training image at random, as for `train`; None: as the model was trained."""
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
        _check(
            self,
            ("method", self.method and len(set(self.method)) == len(self.method), "given, each method once"),
            ("method", "qat" not in self.method[:-1], "such that qat comes last: its result is a file"),
            ("method", self.method[:2] != ("cluster", "prune"), "such that prune comes before cluster"),
            ("sparsity", self.sparsity is None or "prune" in self.method, "left out where nothing is pruned"),
            ("sparsity", self.sparsity is None or 0 < self.sparsity < 1, "above 0 and below 1"),
            ("two_of_four", not self.two_of_four or "prune" in self.method, "left out where nothing is pruned"),
            ("two_of_four", not self.two_of_four or self.sparsity in (None, 0.5), "off, or sparsity 0.5"),
            ("clusters", self.clusters is None or "cluster" in self.method, "left out where nothing is clustered"),
            ("clusters", self.clusters is None or self.clusters >= 2, "at least 2"),
            ("epochs", self.epochs >= 1, "at least 1"),
            ("learning_rate", self.learning_rate is None or 0 < self.learning_rate < float("inf"), "a number above 0"),
            ("weight_decay", self.weight_decay is None or 0 <= self.weight_decay < float("inf"), "at least 0"),
            ("weight_decay", self.weight_decay is None or "prune" in self.method, "left out where nothing is pruned"),
            ("then", "qat" not in self.method or self.then == "int8", "int8 after qat"),
            ("engine", self.engine == "native" or "qat" in self.method, "left out without qat"),
            (
                "engine",
                self.engine == "tfmot" or not {"cluster", "qat"} <= set(self.method),
                "tfmot for qat to keep clusters",
            ),
            ("seed", self.seed in SEEDS, "from 0 to 2**32 - 1"),
        )


@dataclass(frozen=True, kw_only=True)
class GameConfig:
    """What GAN and DCGAN have in common."""

    data: str = "digits"
    """Images to imitate: digits (built in), cifar10, cifar100, mnist, fashion_mnist, or the path of a .npz file. A
    NAME.npz in the folder $KERAS_RESNETS_DATA comes before a download."""
    epochs: int = 30
    """Passes over the training set; a finished run goes on with --resume and more of them."""
    batch_size: int = 64
    """Images of one step of one player."""
    latent: int = 100
    """Length of a latent vector."""
    objective: Literal["non-saturating", "minimax"] = "non-saturating"
    """What the generator minimizes: -log D(fake), or log(1 - D(fake))."""
    discriminator_steps: int = 1
    """Steps of the discriminator to one of the generator."""
    learning_rate: float = 2e-4
    """Of Adam with beta_1 = 0.5, for both players."""
    smoothing: float = 0.0
    """Real images have the label 1 - smoothing for the discriminator."""
    packing: int = 1
    """Images that the discriminator judges together, all real or all generated: with 2 it notices a generator that
    repeats itself; 1: each for itself, as in the paper. A divisor of batch_size."""
    ema: float = 0.0
    """Sample from a moving average of the generator's weights that keeps this share of itself in a step, such as 0.999;
    0: from the weights themselves."""
    seed: int = 0
    """Seed of initialisation, order and latent vectors."""

    def check(self) -> None:
        """Refuses values that no run can have.

        Raises:
            UsageError: If a value is out of range.
        """
        _check(
            self,
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 2, "at least 2"),
            ("latent", self.latent >= 1, "at least 1"),
            ("discriminator_steps", self.discriminator_steps >= 1, "at least 1"),
            ("learning_rate", 0 < self.learning_rate < float("inf"), "a number above 0"),
            ("smoothing", 0 <= self.smoothing < 1, "from 0 to below 1"),
            ("packing", self.packing >= 1 and self.batch_size % self.packing == 0, "a divisor of batch_size"),
            ("ema", 0 <= self.ema < 1, "from 0 to below 1, such as 0.999"),
            ("seed", self.seed in SEEDS, "from 0 to 2**32 - 1"),
        )


@dataclass(frozen=True, kw_only=True)
class GanConfig(GameConfig):
    """Everything that decides a run of a fully connected GAN."""

    dropout: float = 0.5
    """Share of the discriminator's hidden units dropped in training."""

    def check(self) -> None:
        super().check()
        _check(self, ("dropout", 0 <= self.dropout < 1, "from 0 to below 1"))


@dataclass(frozen=True, kw_only=True)
class DcganConfig(GameConfig):
    """Everything that decides a run of a DCGAN."""

    width: int = 64
    """Channels at half the size of the image, twice as many at each further halving; the paper's has 128."""
    spectral: bool = False
    """Spectral normalisation in the discriminator, in place of BatchNorm."""

    def check(self) -> None:
        super().check()
        _check(self, ("width", self.width >= 1, "at least 1"))


@dataclass(frozen=True, kw_only=True)
class AddaConfig:
    """Everything that decides a run of adversarial domain adaptation."""

    data: tuple[str, str] = ("digits", "digits_shifted")
    """Source, whose labels are used, and target, whose training labels serve the comparison alone: digits and
    digits_shifted (built in), mnist, usps, other names or paths of .npz files as for `train`."""
    model: str = "lenet"
    """Classifier: lenet (LeNet-5 in the widths of Caffe's, as the paper has it) or a registered name; its layers in
    front of the last dense one are the encoder."""
    source_epochs: int | None = None
    """Passes over the source in supervised training, and over the target for the comparison; None: 15 below 10,000
    images, else 5."""
    augment: tuple[Augmentation, ...] = ()
    """What is done at random to the images of supervised training, as for `train`: distort for digits."""
    epochs: int | None = None
    """Passes over the larger domain in adversarial adaptation; None: 25 below 10,000 images, else 5."""
    batch_size: int = 32
    """Images of each domain in a step."""
    learning_rate: float = 2e-4
    """Of Adam with beta_1 = 0.5, for target encoder and discriminator; a cosine leads from it to 0."""
    discriminator: Literal["binary", "softmax"] = "binary"
    """One logit with binary cross-entropy, or two with softmax cross-entropy: the same loss."""
    units: int = 500
    """Of each of the discriminator's two hidden layers."""
    seed: int = 0
    """Seed of initialisation and order."""

    def check(self) -> None:
        """Refuses values that no run can have.

        Raises:
            UsageError: If a value is out of range.
        """
        _check(
            self,
            ("data", self.data[0] != self.data[1], "two domains"),
            ("source_epochs", self.source_epochs is None or self.source_epochs >= 1, "at least 1"),
            ("epochs", self.epochs is None or self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 2, "at least 2"),
            ("learning_rate", 0 < self.learning_rate < float("inf"), "a number above 0"),
            ("units", self.units >= 1, "at least 1"),
            ("seed", self.seed in SEEDS, "from 0 to 2**32 - 1"),
        )


def config_of(kind: type[C], command: Any) -> C:
    """The part of a command's options that decides its results: the fields of `kind`, which it inherits."""
    return kind(**{field.name: getattr(command, field.name) for field in fields(kind)})
