"""What the package costs over Keras itself, as ratios measured side by side: import and ResNet-50's build.

    make bench

prints both ratios and writes them to results.json beside this file. Import: fresh processes, alternating with and
without keras_resnets. Build: one process, alternating with keras.applications.ResNet50(weights=None).
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

IMPORTS = 9
BUILDS = 20
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
    for _ in range(IMPORTS):
        out = subprocess.run([sys.executable, "-c", TIMED_IMPORT], capture_output=True, text=True, check=True).stdout
        runs.append([float(word) for word in out.split()])
    alone, added = (statistics.median(column) for column in zip(*runs, strict=True))
    return {"keras_ms": alone * 1e3, "added_ms": added * 1e3, "ratio": (alone + added) / alone}


def measure_builds() -> dict[str, float]:
    import keras

    import keras_resnets

    builders = {
        "keras_resnets": keras_resnets.ResNet50,
        "keras.applications": lambda: keras.applications.ResNet50(weights=None),
    }
    seconds: dict[str, list[float]] = {name: [] for name in builders}
    for turn in range(BUILDS + 1):
        order = list(builders) if turn % 2 else list(reversed(builders))  # neither always pays for the other's garbage
        for name in order:
            keras.backend.clear_session()
            start = time.perf_counter()
            builders[name]()
            if turn:  # the first turn pays for imports and kernels
                seconds[name].append(time.perf_counter() - start)
    ours, theirs = (statistics.median(seconds[name]) for name in builders)
    return {"keras_resnets_ms": ours * 1e3, "keras_applications_ms": theirs * 1e3, "ratio": ours / theirs}


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from export.environment import describe_environment

    results = {"import": measure_imports(), "build": measure_builds()}
    environment = describe_environment() | {"backend": os.environ.get("KERAS_BACKEND", "tensorflow")}
    print(
        f"import keras_resnets over import keras: {results['import']['ratio']:.3f} "
        f"(+{results['import']['added_ms']:.1f} ms on {results['import']['keras_ms']:.0f} ms, median of {IMPORTS})"
    )
    print(
        f"ResNet50() over keras.applications.ResNet50(weights=None): {results['build']['ratio']:.3f} "
        f"({results['build']['keras_resnets_ms']:.0f} ms against {results['build']['keras_applications_ms']:.0f} ms, "
        f"median of {BUILDS})"
    )
    if environment["backend"] == "tensorflow":
        RESULTS.write_text(json.dumps(results | {"environment": environment}, indent=2) + "\n")


if __name__ == "__main__":
    main()
