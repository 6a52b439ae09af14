"""What decides a training run, as the command line and the recipes share it."""

from dataclasses import dataclass


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
    seed: int = 0
    """Seed of initialisation and shuffling."""

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
