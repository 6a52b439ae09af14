"""How long the settings in recipes/configs train on this machine, from a few steps of each.

    make costs
    KERAS_BACKEND=torch python tests/benchmarks/configs.py resnet20_cifar10_modern

prints hours for each config and writes them to configs.json beside this file, from which the config's docstring takes
them. A config is trained twice by `keras-resnets train`'s own function, on images that are made up, for one step and
for some more; the difference is the time of those, and the whole is as many times that as the config has steps. What
a run does besides (its start, the test behind each epoch, decoding of photos) is left out.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

STEPS, LONG = (3, 40), 15.0  # as many as last 15 seconds
TRAINING = {"cifar10": (50_000, 32, 10), "imagenet": (1_281_167, 224, 1000)}  # images, side, classes
MOST = 32  # photos in a batch: more do not fit in the memory of a small machine
RESULTS = Path(__file__).with_name("configs.json")


def measure(name: str) -> dict[str, Any]:
    """Seconds of a step, images in it, and hours of the whole."""
    from recipes.configs import find_config
    from recipes.data import Dataset
    from recipes.train import train

    config = find_config(name)
    count, side, classes = TRAINING[config.data]
    size = config.batch_size if side == 32 else MOST
    random = np.random.default_rng(0)

    def seconds(steps: int) -> float:
        images = random.integers(0, 256, (steps * size, side, side, 3), np.uint8)
        labels = np.arange(len(images)) % classes
        data = Dataset("made up", images, labels, images[:size], labels[:size], classes)
        short = replace(config, epochs=1, batch_size=size)
        start = time.perf_counter()
        train(short, data)
        return time.perf_counter() - start

    seconds(1)  # what is set up once
    start = seconds(1)
    steps = int(np.clip(LONG / max(seconds(2) - start, 1e-3), *STEPS))
    step = (seconds(1 + steps) - start) / steps
    return {"step_s": step, "images": size, "steps": steps, "hours": step * (count / size) * config.epochs / 3600}


def main() -> None:
    from export.environment import describe_environment
    from recipes.configs import list_configs

    environment = describe_environment()
    before = json.loads(RESULTS.read_text())
    same = all(before["environment"][key] == environment[key] for key in ("processor", "cores", "keras", "torch"))
    found = before["configs"] if len(sys.argv) > 1 and same else {}
    for name in sys.argv[1:] or list_configs():
        found[name] = one = measure(name)
        print(f"{name}: {one['hours']:.3g} hours ({one['step_s']:.3g} s for {one['images']} images)", flush=True)
    configs = {name: found[name] for name in list_configs() if name in found}
    results = {"backend": keras.backend.backend(), "configs": configs, "environment": environment}
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
