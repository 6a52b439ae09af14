"""What a GAN and an ADDA step cost over a loop written by hand for the backend, as ratios measured in turns.

    make bench

prints the ratios for JAX and PyTorch and writes them to adversarial.json beside this file. The same networks in their
usual sizes, the same batches as numpy arrays, Adam, nothing logged; `fit` against the loop, whole epochs in turns.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

EPOCHS, STEPS = 15, 100  # MNIST has 937 steps in an epoch
RATE, BETA = 2e-4, 0.5
RESULTS = Path(__file__).with_name("adversarial.json")
Epoch = Callable[[Iterator[tuple[np.ndarray, np.ndarray]]], Any]


def gan_batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    images, latents = random.random((64, 28, 28, 1), np.float32), random.standard_normal((128, 100), np.float32)
    while True:
        yield images, latents


def adda_batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    images = np.random.default_rng(0).random((2, 32, 28, 28, 1), np.float32)
    while True:
        yield images[0], images[1]


def keras_epoch(kind: str) -> Epoch:
    from keras_resnets import create_model
    from recipes._backend import Adam, native
    from recipes.adda import ADDA, LENET, encoder_of, feature_discriminator
    from recipes.gan import GAN, dense_discriminator, dense_generator
    from recipes.train import jit_compile

    if kind == "gan":
        shape = (28, 28, 1)
        model: Any = GAN(native(dense_generator(shape, 100)), native(dense_discriminator(shape, 0)))
    else:
        source, target = (encoder_of(create_model("lenet5", input_shape=(28, 28, 1), **LENET)) for _ in range(2))
        model = ADDA(native(source), native(target), native(feature_discriminator(500, 500, 1)))
    model.compile({name: Adam(RATE, BETA) for name in model.players}, jit_compile=jit_compile())
    return lambda batches: model.fit(batches, steps_per_epoch=STEPS, epochs=1, shuffle=False, verbose=0)


def torch_epoch(kind: str) -> Epoch:
    import torch
    from torch import nn
    from torch.nn.functional import softplus

    class Maxout(nn.Module):
        def forward(self, x):
            return x.unflatten(1, (240, 5)).amax(2)

    def encoder() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 20, 5, padding=2),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(20, 50, 5),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(1250, 500),
            nn.ReLU(),
        )

    if kind == "gan":
        player: nn.Module = nn.Sequential(
            nn.Linear(100, 1200, bias=False),
            nn.BatchNorm1d(1200),
            nn.ReLU(),
            nn.Linear(1200, 1200, bias=False),
            nn.BatchNorm1d(1200),
            nn.ReLU(),
            nn.Linear(1200, 784),
            nn.Sigmoid(),
            nn.Unflatten(1, (28, 28, 1)),
        )
        discriminator = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 1200), Maxout(), nn.Linear(240, 1200), Maxout(), nn.Linear(240, 1)
        )
    else:
        source, player = encoder(), encoder()
        discriminator = nn.Sequential(nn.Linear(500, 500), nn.ReLU(), nn.Linear(500, 500), nn.ReLU(), nn.Linear(500, 1))
    optimizers = [torch.optim.Adam(net.parameters(), RATE, (BETA, 0.999), eps=1e-7) for net in (discriminator, player)]

    def minimize(loss, optimizer):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def epoch(batches):
        for _ in range(STEPS):
            first, second = map(torch.from_numpy, next(batches))
            with torch.no_grad():
                if kind == "gan":
                    real, fake, last = first, player(second[:64]), second[64:]
                else:
                    second = second.permute(0, 3, 1, 2)
                    real, fake, last = source(first.permute(0, 3, 1, 2)), player(second), second
            loss = softplus(-discriminator(real)).mean() + softplus(discriminator(fake)).mean()
            minimize(loss, optimizers[0])
            loss = softplus(-discriminator(player(last))).mean()
            minimize(loss, optimizers[1])
        return loss.item()

    return epoch


def jax_epoch(kind: str) -> Epoch:
    import jax
    import jax.numpy as jnp
    from jax import lax
    from jax.nn import softplus

    random = np.random.default_rng(0)

    def weights(*shapes):
        return [(jnp.asarray(random.normal(0, 0.05, shape), jnp.float32), jnp.zeros(shape[-1])) for shape in shapes]

    def dense(x, pair):
        return x @ pair[0] + pair[1]

    def norm(x, gamma, beta):
        return (x - x.mean(0)) * lax.rsqrt(x.var(0) + 1e-5) * gamma + beta

    def maxout(x):
        return x.reshape(len(x), 240, 5).max(2)

    def pool(x):
        return lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4

    def convolve(x, pair, padding):
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, pair[0], (1, 1), padding, dimension_numbers=layout) + pair[1]

    def play(w, x):
        if kind == "gan":
            x = jax.nn.relu(norm(x @ w[0][0], *w[3]))
            return jax.nn.sigmoid(dense(jax.nn.relu(norm(x @ w[1][0], *w[4])), w[2]))
        x = pool(jax.nn.relu(convolve(x, w[0], [(2, 2), (2, 2)])))
        x = pool(jax.nn.relu(convolve(x, w[1], "VALID"))).reshape(len(x), -1)
        return jax.nn.relu(dense(x, w[2]))

    def tell(w, x):
        if kind == "gan":
            return dense(maxout(dense(maxout(dense(x.reshape(len(x), -1), w[0])), w[1])), w[2])
        return dense(jax.nn.relu(dense(jax.nn.relu(dense(x, w[0])), w[1])), w[2])

    def adam(w, gradients, state):
        count, mean, square = state
        count = count + 1
        mean = jax.tree.map(lambda m, g: BETA * m + (1 - BETA) * g, mean, gradients)
        square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, square, gradients)
        rate = RATE * jnp.sqrt(1 - 0.999**count) / (1 - BETA**count)
        return jax.tree.map(lambda p, m, s: p - rate * m / (jnp.sqrt(s) + 1e-7), w, mean, square), (count, mean, square)

    if kind == "gan":
        player = weights((100, 1200), (1200, 1200), (1200, 784))
        player += [(jnp.ones(1200), jnp.zeros(1200)) for _ in range(2)]
        discriminator = weights((784, 1200), (240, 1200), (240, 1))
    else:
        source = weights((5, 5, 1, 20), (5, 5, 20, 50), (1250, 500))
        player, discriminator = source, weights((500, 500), (500, 500), (500, 1))

    def step(state, first, second):
        p, p_state, d, d_state = state
        if kind == "gan":
            real, fake, last = first, play(p, second[:64]), second[64:]
        else:
            real, fake, last = play(source, first), play(p, second), second
        d_loss, gradients = jax.value_and_grad(
            lambda d: softplus(-tell(d, real)).mean() + softplus(tell(d, fake)).mean()
        )(d)
        d, d_state = adam(d, gradients, d_state)
        p_loss, gradients = jax.value_and_grad(lambda p: softplus(-tell(d, play(p, last))).mean())(p)
        p, p_state = adam(p, gradients, p_state)
        return (p, p_state, d, d_state), (d_loss, p_loss)

    compiled = jax.jit(step, donate_argnums=0)
    states = [(jnp.zeros(()), *(jax.tree.map(jnp.zeros_like, w) for _ in "mv")) for w in (player, discriminator)]
    copied = jax.tree.map(jnp.copy, player)  # the step gives its memory away, the source's stays
    state = [(copied, states[0], discriminator, states[1])]

    def epoch(batches):
        for _ in range(STEPS):
            state[0], losses = compiled(state[0], *next(batches))
        return float(losses[1])

    return epoch


def measure(kind: str) -> dict[str, float]:
    native = {"torch": torch_epoch, "jax": jax_epoch}[keras.backend.backend()]
    epochs = [keras_epoch(kind), native(kind)]
    batches = {"gan": gan_batches, "adda": adda_batches}[kind]()
    seconds: list[list[float]] = [[], []]
    for turn in range(EPOCHS + 1):
        for which in (0, 1) if turn % 2 else (1, 0):
            start = time.perf_counter()
            epochs[which](batches)
            if turn:  # the first compiles
                seconds[which].append(time.perf_counter() - start)
    ours, theirs = (statistics.median(one) / STEPS * 1e3 for one in seconds)
    ratio = statistics.median(own / other for own, other in zip(*seconds, strict=True))
    return {"ours_ms": ours, "native_ms": theirs, "ratio": ratio}


def main() -> None:
    from export.environment import describe_environment

    backend = keras.backend.backend()
    if backend not in ("jax", "torch"):
        print(f"{backend}: no loop by hand to compare with; KERAS_BACKEND=jax or torch")
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[backend] = {kind: measure(kind) for kind in ("gan", "adda")} | {"environment": describe_environment()}
    for kind in ("gan", "adda"):
        one = results[backend][kind]
        print(
            f"{backend}: a step of {kind} over a loop by hand: {one['ratio']:.2f} ({one['ours_ms']:.1f} ms against "
            f"{one['native_ms']:.1f} ms, median of {EPOCHS} epochs of {STEPS} steps)"
        )
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
