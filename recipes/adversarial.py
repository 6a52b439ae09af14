"""Adversarial training with `fit`: players that train against each other, each with an optimizer of its own.

A subclass of `Adversarial` writes one step in `keras.ops` and calls `minimize` for each player; the same lines train on
TensorFlow, JAX and PyTorch.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import keras
from keras import ops

from keras_resnets import UsageError
from recipes._backend import Steps

Objective = Literal["non-saturating", "minimax"]

COLLAPSED = 1e-3  # above its least: a discriminator's loss over an epoch that it has won
BROKEN = 10.0  # the same of one that has lost; guessing costs 2 log 2


class OptimizerGroup(keras.Optimizer):
    """The players' optimizers, as the single one that `compile` takes.

    On JAX a compiled step sees only the state of `model.optimizer`: an optimizer kept elsewhere would train from its
    first state for ever, without an error.

    Args:
        members: Optimizers by player, built.
    """

    def __init__(self, members: Mapping[str, keras.Optimizer]) -> None:
        super().__init__(learning_rate=0.0, name="optimizer_group")
        self.members = dict(members)
        self.built = True

    @property
    def variables(self) -> list[keras.Variable]:
        """Those of all members, in their order."""
        return [variable for member in self.members.values() for variable in member.variables]

    @property
    def learning_rate(self) -> Any:
        """There is none, so that a callback which would set it fails instead of doing nothing."""
        raise AttributeError("a group has no learning rate: give each of its members a schedule")

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Not used: a gradient belongs to one member."""
        raise TypeError("a group has no gradient of its own; call Adversarial.minimize(loss, player)")


class Adversarial(Steps, keras.Model):
    """A game between networks that `fit` trains.

    Of Keras's callbacks, those that save take `save_weights_only=True`, and learning rates follow schedules of the
    players' optimizers.

    Args:
        players: The networks that learn, by name. Other networks that a step uses are attributes of the subclass.
    """

    losses_of_step: ClassVar[tuple[str, ...]]
    """Names of the values that `adversarial_step` returns, which `fit` shows as means over the epoch."""

    def __init__(self, players: Mapping[str, keras.Model]) -> None:
        super().__init__()
        self.players = dict(players)
        self.means = {name: keras.metrics.Mean(name=name) for name in self.losses_of_step}
        self.built = True  # the players are

    def adversarial_step(self, data: Any) -> dict[str, Any]:
        """One step of every player on a batch, by calls of `minimize`; returns a value for each of `losses_of_step`."""
        raise NotImplementedError(f"{type(self).__name__} is a game without rules; define adversarial_step(self, data)")

    def compile(self, optimizers: Mapping[str, keras.Optimizer], **options: Any) -> None:
        """Gives each player its optimizer.

        Args:
            optimizers: A fresh optimizer for each player.
            options: Those of `keras.Model.compile` that concern the step, such as `jit_compile` and `run_eagerly`.

        Raises:
            UsageError: If there is not one optimizer for every player, and another for each; or under mixed_float16.
        """
        if set(optimizers) != set(self.players) or len({id(one) for one in optimizers.values()}) < len(self.players):
            raise UsageError(f"each of {', '.join(self.players)} needs an optimizer of its own, got {dict(optimizers)}")
        if keras.config.dtype_policy().name == "mixed_float16":
            raise UsageError("games have no loss scaling, without which float16 gradients vanish; use mixed_bfloat16")
        for name, player in self.players.items():
            optimizers[name].build(player.trainable_variables)
        group = OptimizerGroup({name: optimizers[name] for name in self.players})
        super().compile(group, auto_scale_loss=False, **options)

    def minimize(self, loss: Callable[[], Any], player: str) -> Any:
        """Takes one step of a player's optimizer along the gradient of `loss()`; returns the loss before the step."""
        variables = self.players[player].trainable_variables
        value, gradients = self.value_and_gradients(loss, variables)
        self.optimizer.members[player].apply(gradients, variables)
        return value

    def step(self, data: Any) -> dict[str, Any]:
        """One training step, and the means of its losses since the epoch began."""
        for name, value in self.adversarial_step(data).items():
            self.means[name].update_state(value)
        return {name: mean.result() for name, mean in self.means.items()}


class Collapse(keras.callbacks.Callback):
    """Stops a game that is over: the discriminator tells everything apart, or nothing any more.

    Args:
        smoothing: Of the label of real images, whose entropy is the least that the discriminator's loss can be.

    Raises:
        UsageError: Behind such an epoch, before it is saved.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.least = -sum(share * math.log(share) for share in (smoothing, 1 - smoothing) if share)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        loss = float((logs or {})["d_loss"])
        if math.isnan(loss):
            return  # `Checkpoints` names the step
        if not COLLAPSED < loss - self.least < BROKEN:
            reason = "its opponent has nothing to learn from" if loss < BROKEN else "it has lost all it knew"
            raise UsageError(
                f"the discriminator's loss is {loss:.2g} in epoch {epoch + 1}, which is not saved: {reason}; start "
                f"again with --overwrite and a lower --learning-rate"
            )


def one_logit(logits: Any) -> Any:
    """The logit of "real" from a discriminator with one output, or with two of which the second says "real".

    The softmax of two logits is the logistic function of their difference, so the losses below serve both.

    Args:
        logits: Shape (batch, 1) or (batch, 2).

    Returns:
        Tensor, shape (batch,).
    """
    return logits[:, 0] if logits.shape[-1] == 1 else logits[:, 1] - logits[:, 0]


def discriminator_loss(real: Any, fake: Any, smoothing: float = 0.0) -> Any:
    """-E[log D(real)] - E[log(1 - D(fake))], D the logistic function of the logits.

    With one-sided label smoothing real images have the label 1 - smoothing (Salimans et al. 2016, section 3.4).

    Args:
        real: Logits of real images, shape (batch, 1) or (batch, 2); see `one_logit`.
        fake: Those of generated ones.
        smoothing: From 0 to 1.

    Returns:
        Scalar; its negative is the value V(G, D) when smoothing is 0.

    References: Goodfellow et al. 2014, arXiv:1406.2661, eq. 1 and algorithm 1.
    """
    real, fake = one_logit(real), one_logit(fake)
    return ops.mean(ops.softplus(real) - (1 - smoothing) * real) + ops.mean(ops.softplus(fake))


def generator_loss(fake: Any, objective: Objective = "non-saturating") -> Any:
    """What a generator minimizes: -E[log D(fake)], or E[log(1 - D(fake))] for "minimax".

    The first is the discriminator's loss with inverted labels. Both have the same fixed point; the second has hardly a
    gradient while the discriminator wins.

    Args:
        fake: Logits of generated images, shape (batch, 1) or (batch, 2); see `one_logit`.
        objective: Which of the two.

    Returns:
        Scalar.

    References: Goodfellow et al. 2014, arXiv:1406.2661, section 3.
    """
    fake = one_logit(fake)
    return ops.mean(ops.softplus(-fake)) if objective == "non-saturating" else -ops.mean(ops.softplus(fake))
