"""What the training recipe costs over a plain PyTorch loop, as ratios of images per second measured in turns.

    make bench

prints them for each backend and writes them to training.json beside this file: ResNet-20, batches of 128, crops and
mirrored images, SGD with Nesterov's momentum and weight decay, float32. Ours is `fit` with the parts and callbacks of
`keras-resnets train`; the other is a loop by hand with `channels_last` images and the same augmentation. Beside it: how
many images a second the input pipeline alone delivers, from memory and from JPEG files.
"""

import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

SIZE, STEPS, TURNS = 128, 16, 5
PHOTOS, SIDE = 256, 224
RESULTS = Path(__file__).with_name("training.json")
TRANSFORMS = ("crop", "flip")
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.integers(0, 256, (SIZE * STEPS, 32, 32, 3), np.uint8), RANDOM.integers(0, 10, SIZE * STEPS)


def recipe() -> Callable[[], object]:
    from keras_resnets import create_model
    from recipes._backend import native
    from recipes.augment import Augmented
    from recipes.batches import Targets, batches
    from recipes.checkpoint import Checkpoints, Progress
    from recipes.config import TrainConfig
    from recipes.progress import FitProgress
    from recipes.schedules import optimizer_of
    from recipes.train import jit_compile

    network = create_model("resnet20", pixel_stats=([125.0] * 3, [63.0] * 3), classifier_activation=None)
    model = Augmented(native(network), TRANSFORMS)
    targets = Targets(10)
    model.compile(
        optimizer_of(TrainConfig(model="resnet20", warmup=0.0), 10_000),
        targets.loss(),
        metrics=["accuracy"],
        jit_compile=jit_compile(),
    )
    model.optimizer.build(model.trainable_variables)
    images = batches(lambda chosen: X[chosen], Y, X.shape[1:], SIZE, seed=0, targets=targets, transforms=TRANSFORMS)

    class Quiet(FitProgress):
        def on_epoch_end(self, epoch, logs=None):
            pass

    folder = Path(tempfile.mkdtemp())
    callbacks = [Checkpoints(folder / "checkpoint.npz", Progress(), 0), Quiet(lambda *_: None, 1)]
    return lambda: model.fit(images, steps_per_epoch=STEPS, shuffle=False, verbose=0, callbacks=callbacks)


class Block(nn.Module):
    """Two convolutions and a shortcut without weights (option A)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(*shape, 3, step, 1, bias=False)
            for shape, step in (((before, width), stride), ((width, width), 1))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))
        self.stride, self.more = stride, width - before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.norms[0](self.convs[0](x)))
        y = self.norms[1](self.convs[1](y))
        if self.more:
            half = self.more // 2
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        return functional.relu(x + y)


def by_hand() -> Callable[[], object]:
    blocks = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *itertools.starmap(Block, blocks),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    ).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
    images, labels = torch.from_numpy(X), torch.from_numpy(Y)

    def epoch() -> float:
        net.train()
        seen = 0.0
        for chosen in torch.randperm(len(labels)).split(SIZE):
            padded = functional.pad(images[chosen], (0, 0, 4, 4, 4, 4))
            rows, columns = (torch.randint(0, 9, (len(chosen), 1)) + torch.arange(32) for _ in range(2))
            which = torch.arange(len(chosen))[:, None, None]
            batch = padded[which, rows[:, :, None], columns[:, None, :]].float()
            batch = torch.where(torch.rand(len(chosen), 1, 1, 1) < 0.5, batch.flip(2), batch)
            batch = ((batch - 125) / 63).permute(0, 3, 1, 2)
            optimizer.zero_grad(set_to_none=True)
            outputs = net(batch)
            loss = functional.cross_entropy(outputs, labels[chosen])
            loss.backward()
            optimizer.step()
            seen += float(loss.detach()) + float((outputs.argmax(1) == labels[chosen]).float().mean())
        return seen

    return epoch


def rate(run: Callable[[], object], images: int) -> float:
    start = time.perf_counter()
    run()
    return images / (time.perf_counter() - start)


def pipelines() -> dict[str, float]:
    """Images per second that are ready for a step."""
    from recipes.batches import Targets, batches
    from recipes.folders import open_folder

    stream = batches(lambda chosen: X[chosen], Y, X.shape[1:], SIZE, seed=0, targets=Targets(10), transforms=TRANSFORMS)
    memory = statistics.median(
        rate(lambda: list(itertools.islice(stream, 10 * STEPS)), 10 * STEPS * SIZE) for _ in range(TURNS)
    )
    with tempfile.TemporaryDirectory() as name:
        smooth = Image.fromarray(RANDOM.integers(0, 256, (30, 40, 3), np.uint8)).resize((500, 375))
        for part, count in (("train", PHOTOS), ("val", 1)):
            folder = Path(name) / part / "photos"
            folder.mkdir(parents=True)
            for one in range(count):
                smooth.save(folder / f"{one}.jpg", quality=90)
        photos = open_folder(Path(name), SIDE)
        images = photos.training(32, seed=0, targets=Targets(2), transforms=("crop",), epoch=0, step=0)
        next(images)  # the workers start
        files = statistics.median(rate(lambda: list(itertools.islice(images, 8)), 256) for _ in range(TURNS))
    return {"memory": memory, "files": files, "workers": photos.workers}


def main() -> None:
    from export.environment import describe_environment

    backend = keras.backend.backend()
    runs = {"recipe": recipe(), "by hand": by_hand()}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(TURNS + 1):
        for name in sorted(runs, reverse=bool(turn % 2)):
            found = rate(runs[name], len(X))
            if turn:  # the first compiles
                rates[name].append(found)
    ours, theirs = (statistics.median(rates[name]) for name in ("recipe", "by hand"))
    ratio = statistics.median(own / other for own, other in zip(rates["recipe"], rates["by hand"], strict=True))
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[backend] = {"images_per_second": ours, "by_hand": theirs, "ratio": ratio}
    print(
        f"{backend}: ResNet-20 trains on {ours:,.0f} images a second, a PyTorch loop by hand on {theirs:,.0f}: "
        f"{ratio:.2f} (median of {TURNS} turns of {STEPS} batches of {SIZE})"
    )
    if backend == "torch":
        results["pipelines"] = found = pipelines()
        print(
            f"input alone: {found['memory']:,.0f} images a second from memory ({found['memory'] / ours:,.0f} times "
            f"what ResNet-20 takes), {found['files']:,.0f} of 500x375 JPEG files by {found['workers']} worker"
        )
    results["environment"] = describe_environment()
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
