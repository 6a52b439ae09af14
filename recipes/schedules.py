"""Optimizers of a training run, and how their learning rate changes over it."""

import math
from typing import Any

import keras
from keras import ops

from recipes.config import TrainConfig

MOMENTUM = 0.9
# Where nothing is said, of each optimizer: learning rate, weight decay
USUAL = {"sgd": (0.05, 1e-4), "adamw": (1e-3, 0.05)}
WARMUP = {"cosine": 0.1, "step": 0.1, "onecycle": 0.3}  # share of the steps
START = {"cosine": 0.0, "step": 0.0, "onecycle": 1 / 25}  # of the warm-up, share of the peak
DROPS, FACTOR = (0.5, 0.75), 0.1  # He et al. 2015, section 4.2: at 32k and 48k of 64k steps
SPARED = ["gamma", "beta", "bias"]  # by weight decay


@keras.saving.register_keras_serializable("keras_resnets")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that warms up to its peak and then falls.

    Args:
        shape: "cosine" (to 0 after a linear warm-up), "step" (a tenth after half and after three quarters of the steps)
            or "onecycle" (up from a 25th of the peak and down to 0, both by a cosine).
        peak: The highest rate.
        steps: Steps of the whole run.
        warmup: Share of them that leads to the peak.

    References: cosine: Loshchilov & Hutter 2016, arXiv:1608.03983; step: He et al. 2015, arXiv:1512.03385, section 4.2;
        one cycle: Smith & Topin 2017, arXiv:1708.07120, in the form without a cycle of the momentum.
    """

    def __init__(self, shape: str, peak: float, steps: int, warmup: float) -> None:
        super().__init__()
        self.shape, self.peak, self.steps, self.warmup = shape, peak, steps, warmup

    def __call__(self, step: Any) -> Any:
        """The rate of a step, counted from 0."""
        step = ops.cast(step, "float32")
        rising = max(1, round(self.warmup * self.steps))
        up = ops.minimum((step + 1) / rising, 1.0)
        down = ops.clip((step - rising) / max(1, self.steps - rising), 0.0, 1.0)
        if self.shape == "onecycle":
            up = (1 - ops.cos(math.pi * up)) / 2
        start = START[self.shape]
        rate = start + (1 - start) * up
        if self.shape == "step":
            drops = sum(ops.cast(step >= round(share * self.steps), "float32") for share in DROPS)
            return self.peak * rate * FACTOR**drops
        return self.peak * rate * (1 + ops.cos(math.pi * down)) / 2

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"shape": self.shape, "peak": self.peak, "steps": self.steps, "warmup": self.warmup}


def optimizer_of(config: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    """The optimizer of a run of so many batches; its weight decay spares normalisation and biases.

    Its schedule counts batches, also where the gradients of several are one step.
    """
    rate, decay = USUAL[config.optimizer]
    warmup = WARMUP[config.schedule] if config.warmup is None else config.warmup
    shared: dict[str, Any] = {
        "learning_rate": Schedule(config.schedule, config.learning_rate or rate, steps, warmup),
        "weight_decay": decay if config.weight_decay is None else config.weight_decay,
        "global_clipnorm": config.clip,
        "gradient_accumulation_steps": config.accumulate if config.accumulate > 1 else None,
    }
    if config.ema:
        shared |= {"use_ema": True, "ema_momentum": config.ema}
    if config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(**shared)
    else:
        optimizer = keras.optimizers.SGD(momentum=MOMENTUM, nesterov=True, **shared)
    optimizer.exclude_from_weight_decay(var_names=SPARED)
    if config.precision == "mixed_float16":  # whose small gradients would round to 0
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
