"""What holds for every registered network at its full size, too slow for the test suite: about an hour on two cores.

    make proof

builds every network on each backend with the same weights and compares the outputs for the same images, reloads it from
its `.keras` file, and converts it to a float32 `.tflite` with built-in operations only. Writes proof.json beside
this file as it goes; an interrupted run continues with what is missing there, so remove the file to prove all anew.
`python -m proof NAME...` in tests/ proves these networks alone.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # every network is compiled for one call

RESULTS = Path(__file__).with_suffix(".json")
BACKENDS = ("tensorflow", "jax", "torch")
AT_ONCE = 12  # networks after which the results are written
LARGEST = 64  # side of the images, where the network takes such small ones: the weights are all there


def build(name: str):
    """The network with weights that every backend draws alike, logits out, and what gives its logits for two images."""
    import keras
    import numpy as np
    from tiny import randomize, run

    from keras_resnets import create_model, get_variant

    variant = get_variant(name)
    full, _, channels = variant.data.input_shape
    side = min(full, max(LARGEST, variant.spec.min_size))
    model = create_model(name, input_shape=(side, side, channels), classifier_activation=None)
    if any(isinstance(layer, keras.layers.Flatten) for layer in model.layers):
        side = full  # the classifier reads every position of the last map: another image, other weights
        model = create_model(name, input_shape=(side, side, channels), classifier_activation=None)
    branches = sum(isinstance(layer, keras.layers.Add) for layer in model.layers)
    # What hundreds of branches add up to must stay finite, and a gate that reads huge numbers flips at their last bit.
    gated = any(layer.name.endswith("_se_gate") for layer in model.layers)
    randomize(model, variance=2 * branches ** (-1 / 3) if branches > (12 if gated else 100) else 2)
    images = np.random.default_rng(1).normal(size=(2, side, side, channels)).astype("float32")
    # JAX is faster when it compiles the network, the others when they call it layer by layer.
    jax = keras.backend.backend() == "jax"
    return model, lambda other: other.predict(images, verbose=0) if jax else run(other, images)


def run_all(names: list[str], folder: Path) -> None:
    """Saves the outputs of every network on the backend of this process."""
    import keras
    import numpy as np

    for name in names:
        start = time.perf_counter()
        model, output = build(name)
        np.save(folder / f"{name}.npy", output(model))
        print(f"{keras.backend.backend()} {name} {time.perf_counter() - start:.1f} s", flush=True)
        del model, output
        keras.backend.clear_session()


def reload_and_convert(names: list[str], folder: Path) -> None:
    """Reloads every network from its `.keras` file and converts it, on TensorFlow."""
    import keras
    import numpy as np

    from export import load_model, to_tflite

    for name in names:
        start = time.perf_counter()
        model, output = build(name)
        expected = output(model)
        model.save(folder / "model.keras")
        loaded = output(load_model(folder / "model.keras"))
        found = {"keras_file": difference(loaded, expected), "output": float(np.abs(expected).max())}
        file = to_tflite(model, folder / "model.tflite", min_agreement=0)
        kinds = file.verification.operations
        found["tflite"] = file.verification.max_error / found["output"]
        found["operations"] = sum(kinds.values())
        found["not_builtin"] = sorted(kind for kind in kinds if kind.startswith(("CUSTOM", "FLEX")))
        (folder / f"{name}.json").write_text(json.dumps(found))
        print(f"tflite {name} {time.perf_counter() - start:.1f} s", flush=True)
        del model, output
        keras.backend.clear_session()


def difference(found, expected) -> float:
    """Largest difference, as a share of the largest output."""
    import numpy as np

    return float(np.abs(found - expected).max() / np.abs(expected).max())


def prove(names: list[str]) -> dict[str, dict]:
    """What was found for each network; two processes at a time, about as long as each other."""
    import numpy as np

    with tempfile.TemporaryDirectory() as root:
        folders = {stage: Path(root) / stage for stage in (*BACKENDS, "tflite")}

        def work(stages: tuple[str, ...]) -> None:
            for stage in stages:
                folders[stage].mkdir()
                command = [sys.executable, "-m", "proof", "--stage", stage, str(folders[stage]), *names]
                env = os.environ | {"KERAS_BACKEND": stage if stage in BACKENDS else "tensorflow"}
                subprocess.run(command, env=env, cwd=RESULTS.parent, check=True)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(work, (BACKENDS, ("tflite",))))
        results = {}
        for name in names:
            outputs = {backend: np.load(folders[backend] / f"{name}.npy") for backend in BACKENDS}
            found = json.loads((folders["tflite"] / f"{name}.json").read_text())
            found["backends"] = max(difference(outputs[backend], outputs["tensorflow"]) for backend in ("jax", "torch"))
            results[name] = found
    return results


def main(names: list[str]) -> None:
    from export.environment import describe_environment
    from keras_resnets import list_models

    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"networks": {}}
    names = names or [name for name in list_models() if name not in results["networks"]]
    for first in range(0, len(names), AT_ONCE):
        found = prove(names[first : first + AT_ONCE])
        results["networks"] |= found
        results["environment"] = describe_environment()
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        for name in found:
            print(name, found[name], flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--stage"]:
        stage, folder, *chosen = sys.argv[2:]
        (reload_and_convert if stage == "tflite" else run_all)(chosen, Path(folder))
    else:
        main(sys.argv[1:])
