"""What the training recipe costs over a plain PyTorch loop, as ratios of images per second measured in turns.

    make bench

prints them for each backend and writes them to training.json beside this file: ResNet-20, batches of 128, crops and
mirrored images, SGD with Nesterov's momentum and weight decay, float32; on a GPU with JAX, ResNet-50 on 224x224 pixels
in bfloat16, too. Ours is `fit` with the parts and callbacks of `keras-resnets train`, a turn an epoch with its
checkpoint; the other is a loop by hand with `channels_last` images and the same augmentation (of ResNet-50, by
`torch.compile` and with autocast). Beside it, on a CPU: how many images a second the input pipeline alone delivers,
from memory and from JPEG files.
"""

import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

TURNS = 5
MOST = 2048  # different images
PHOTOS, SIDE = 256, 224
RESULTS = Path(__file__).with_name("training.json")
RANDOM = np.random.default_rng(0)
GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")


@dataclass(frozen=True)
class Case:
    """A network and what it is trained on; both sides have these, and draw all else for themselves."""

    model: str
    side: int
    classes: int
    size: int
    steps: int
    precision: str
    transforms: tuple[str, ...]
    by_hand: Callable[[], nn.Module]

    @cached_property
    def images(self) -> np.ndarray:
        return RANDOM.integers(0, 256, (min(self.size * self.steps, MOST), self.side, self.side, 3), np.uint8)

    @cached_property
    def labels(self) -> np.ndarray:
        return RANDOM.integers(0, self.classes, self.size * self.steps)


def recipe(case: Case) -> Callable[[], object]:
    from keras_resnets import create_model
    from recipes._backend import native, steps_late
    from recipes.augment import Augmented
    from recipes.batches import Targets, batches
    from recipes.checkpoint import Checkpoints, Progress
    from recipes.config import TrainConfig
    from recipes.progress import FitProgress
    from recipes.schedules import optimizer_of
    from recipes.train import jit_compile

    keras.config.set_dtype_policy(case.precision)
    network = create_model(case.model, pixel_stats=([125.0] * 3, [63.0] * 3), classifier_activation=None)
    model = Augmented(native(network), case.transforms)
    targets = Targets(case.classes)
    model.compile(
        optimizer_of(TrainConfig(model=case.model, warmup=0.0), 10_000),
        targets.loss(),
        metrics=["accuracy"],
        jit_compile=jit_compile(),
    )
    model.optimizer.build(model.trainable_variables)
    images = batches(
        lambda chosen: case.images[chosen % MOST],
        case.labels,
        case.images.shape[1:],
        case.size,
        seed=0,
        targets=targets,
        transforms=case.transforms,
    )

    class Quiet(FitProgress):
        def on_epoch_end(self, epoch, logs=None):
            pass

    folder = Path(tempfile.mkdtemp())
    callbacks = [Checkpoints(folder / "checkpoint.npz", Progress(), 0, late=steps_late()), Quiet(lambda *_: None, 1)]
    return lambda: model.fit(images, steps_per_epoch=case.steps, shuffle=False, verbose=0, callbacks=callbacks)


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


class Bottleneck(nn.Module):
    """Three convolutions and a projection where the shape changes (ResNet v1.5)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(before, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 4 * width, 1, bias=False),
            nn.BatchNorm2d(4 * width),
        )
        projection = (nn.Conv2d(before, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))
        self.shortcut = nn.Sequential(*projection) if stride > 1 or before != 4 * width else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.branch(x) + self.shortcut(x), inplace=True)


def resnet20() -> nn.Module:
    blocks = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *itertools.starmap(Block, blocks),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def resnet50() -> nn.Module:
    blocks, before = [], 64
    for count, width, stride in ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)):
        for place in range(count):
            blocks.append(Bottleneck(before, width, stride if place == 0 else 1))
            before = 4 * width
    stem = (nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


RESNET20 = Case("resnet20", 32, 10, 128, 200 if GPU else 16, "float32", ("crop", "flip"), resnet20)
RESNET50 = Case("resnet50v1_5", 224, 1000, 256, 200, "mixed_bfloat16", ("flip",), resnet50)


def by_hand(case: Case) -> Callable[[], object]:
    net = case.by_hand().to(DEVICE, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
    call = torch.compile(net) if case is RESNET50 else net
    images, labels = torch.from_numpy(case.images), torch.from_numpy(case.labels)
    mixed = torch.autocast(DEVICE.type, torch.bfloat16, enabled=case.precision == "mixed_bfloat16")
    rows = torch.arange(case.side, device=DEVICE)

    def crop(batch: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(batch, (0, 0, 4, 4, 4, 4))
        down, right = (torch.randint(0, 9, (len(batch), 1), device=DEVICE) + rows for _ in range(2))
        which = torch.arange(len(batch), device=DEVICE)[:, None, None]
        return padded[which, down[:, :, None], right[:, None, :]]

    def epoch() -> float:
        net.train()
        seen = torch.zeros((), device=DEVICE)
        for chosen in torch.randperm(len(labels)).split(case.size):
            batch, wanted = images[chosen % MOST], labels[chosen]
            if GPU:
                batch, wanted = (one.pin_memory().to(DEVICE, non_blocking=True) for one in (batch, wanted))
            batch = (crop(batch) if "crop" in case.transforms else batch).float()
            batch = torch.where(torch.rand(len(chosen), 1, 1, 1, device=DEVICE) < 0.5, batch.flip(2), batch)
            batch = ((batch - 125) / 63).permute(0, 3, 1, 2)
            optimizer.zero_grad(set_to_none=True)
            with mixed:
                outputs = call(batch)
                loss = functional.cross_entropy(outputs, wanted)
            loss.backward()
            optimizer.step()
            seen += loss.detach() + (outputs.argmax(1) == wanted).float().mean()
        return float(seen)  # waits for the GPU

    return epoch


def rate(run: Callable[[], object], images: int) -> float:
    start = time.perf_counter()
    run()
    return images / (time.perf_counter() - start)


def pipelines() -> dict[str, float]:
    """Images per second that are ready for a step."""
    from recipes.batches import Targets, batches
    from recipes.folders import open_folder

    case = RESNET20
    steps, shape = 10 * case.steps, case.images.shape[1:]
    stream = batches(
        lambda chosen: case.images[chosen % MOST],
        case.labels,
        shape,
        case.size,
        seed=0,
        targets=Targets(case.classes),
        transforms=case.transforms,
    )
    memory = statistics.median(
        rate(lambda: list(itertools.islice(stream, steps)), steps * case.size) for _ in range(TURNS)
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


def compare(case: Case) -> dict[str, float]:
    runs = {"recipe": recipe(case), "by hand": by_hand(case)}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(TURNS + 1):
        for name in sorted(runs, reverse=bool(turn % 2)):
            found = rate(runs[name], len(case.labels))
            if turn:  # the first compiles
                rates[name].append(found)
    ours, theirs = (statistics.median(rates[name]) for name in ("recipe", "by hand"))
    ratio = statistics.median(own / other for own, other in zip(rates["recipe"], rates["by hand"], strict=True))
    print(
        f"{keras.backend.backend()}: {case.model} trains on {ours:,.0f} images a second, a PyTorch loop by hand on "
        f"{theirs:,.0f}: {ratio:.2f} (median of {TURNS} turns of {case.steps} batches of {case.size})",
        flush=True,
    )
    return {"images_per_second": ours, "by_hand": theirs, "ratio": ratio}


def main() -> None:
    from export.environment import describe_environment

    backend = keras.backend.backend()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    here = results.setdefault("gpu" if GPU else "cpu", {})
    for case in (RESNET20, RESNET50) if GPU and backend == "jax" else (RESNET20,):
        here.setdefault(case.model, {})[backend] = compare(case)
    if backend == "torch" and not GPU:
        here["pipelines"] = found = pipelines()
        print(
            f"input alone: {found['memory']:,.0f} images a second from memory, {found['files']:,.0f} of 500x375 JPEG "
            f"files by {found['workers']} worker"
        )
    here["environment"] = describe_environment()
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
