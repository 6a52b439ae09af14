"""What the package costs over Keras itself, as ratios measured side by side: import and build time.

    make bench

prints the ratios and writes them to results.json beside this file, one backend at a time. Import: fresh processes, with
and without keras_resnets. Build: one process, alternating with the same network of keras.applications, for
the smallest network of every kind that both have.
"""

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORTS = 9
BUILDS = 15
RESULTS = Path(__file__).with_name("results.json")

TIMED_IMPORT = """
import time
start = time.perf_counter()
import keras
middle = time.perf_counter()
import keras_resnets
end = time.perf_counter()
print(middle - start, end - middle)
"""


def measure_imports() -> dict[str, float]:
    runs = []
    with tempfile.TemporaryDirectory() as cache:  # bytecode, which pip writes when it installs a package
        env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        env["PYTHONPYCACHEPREFIX"] = cache
        command = [sys.executable, "-c", TIMED_IMPORT]
        for _ in range(IMPORTS + 1):
            out = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
            runs.append([float(word) for word in out.split()])
    alone, added = (statistics.median(column) for column in zip(*runs[1:], strict=True))  # the first one compiles
    return {"keras_ms": alone * 1e3, "added_ms": added * 1e3, "ratio": (alone + added) / alone}


def measure_build(name: str) -> dict[str, float]:
    import keras

    from keras_resnets import create_model
    from keras_resnets.weights.applications import PUBLISHED

    published = PUBLISHED[name]
    twin = getattr(keras.applications, published.builder)
    builders = [
        lambda: create_model(name, **published.options),
        lambda: twin(weights=None, **published.arguments),
    ]
    seconds: list[list[float]] = [[], []]
    for turn in range(BUILDS + 1):
        for which in (0, 1) if turn % 2 else (1, 0):  # neither always pays for the other's garbage
            keras.backend.clear_session()
            gc.collect()
            start = time.perf_counter()
            builders[which]()
            if turn:  # the first turn pays for imports and kernels
                seconds[which].append(time.perf_counter() - start)
    ours, theirs = map(statistics.median, seconds)
    ratio = statistics.median(own / other for own, other in zip(*seconds, strict=True))  # of neighbours in time
    return {"keras_resnets_ms": ours * 1e3, "keras_applications_ms": theirs * 1e3, "ratio": ratio}


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from export.environment import describe_environment
    from keras_resnets.weights.applications import PUBLISHED

    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    imported = measure_imports()
    print(
        f"{backend}: import keras_resnets over import keras: {imported['ratio']:.3f} "
        f"(+{imported['added_ms']:.1f} ms on {imported['keras_ms']:.0f} ms, median of {IMPORTS})"
    )
    builds = {}
    for name in {published.rename: name for name, published in reversed(PUBLISHED.items())}.values():
        builds[name] = built = measure_build(name)
        print(
            f"{backend}: {name} over keras.applications: {built['ratio']:.3f} ({built['keras_resnets_ms']:.0f} ms "
            f"against {built['keras_applications_ms']:.0f} ms, median of {BUILDS})",
            flush=True,
        )
    middle = statistics.median(built["ratio"] for built in builds.values())
    print(f"{backend}: median ratio over {len(builds)} networks: {middle:.3f}")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[backend] = {"import": imported, "build": builds, "environment": describe_environment()}
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
