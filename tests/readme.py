"""The generated parts of the README: `make readme` writes them, a test compares them.

A part stands between `<!-- begin NAME -->` and `<!-- end NAME -->` and comes from the registry, the golden figures
or a result file, never from a hand.
"""

import importlib
import json
import pkgutil
import re
import statistics
import sys
from pathlib import Path
from types import ModuleType

from golden.regenerate import read_figures

from export.bench import Row
from export.quantize import MODES
from export.report import draw_accuracy_latency, markdown_table
from keras_resnets import Variant, families

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
QUICKSTART = ROOT / "recipes" / "results" / "quickstart.json"
PLOT = QUICKSTART.with_suffix(".png")
SLOWER = 0.95  # a speed-up below this is more than the noise of a run
BENCHMARK = ROOT / "tests" / "benchmarks" / "results.json"
PROOF = ROOT / "tests" / "proof.json"
FOUND = ("backends", "tflite", "keras_file")  # differences that proof.json holds for every network


def models() -> str:
    """One folded table a family; `*` marks published Keras weights."""
    modules = (
        importlib.import_module(f"{families.__name__}.{found.name}")
        for found in pkgutil.iter_modules(families.__path__)
    )
    return "\n\n".join(filter(None, map(family_table, modules)))


def family_table(module: ModuleType) -> str:
    """The networks of one file of `keras_resnets/families` under its first line; nothing if it has none."""
    figures = read_figures()
    variants = [value for value in vars(module).values() if isinstance(value, Variant)]
    if not variants:
        return ""
    names = ", ".join(variant.python_name for variant in variants)
    lines = [
        "<details>",
        f"<summary>{module.__doc__.splitlines()[0]}<br>{names}</summary>",
        "",
        "| model | input | parameters | MACs | depth | error | source |",
        "| :-- | :-: | --: | --: | --: | --: | :-- |",
    ]
    for variant in variants:
        cost, size = figures[variant.name], "x".join(map(str, variant.data.input_shape))
        mark = "*" if variant.has_published_weights else ""
        error = f"{variant.error.percent:.2f}%" if variant.error else ""
        lines.append(
            f"| `{variant.python_name}`{mark} | {size} | {cost['parameters']:,} | {cost['macs'] / 1e6:,.2f} M | "
            f"{cost['depth']} | {error} | {variant.reference} |"
        )
    return "\n".join([*lines, "", "</details>"])


def modes() -> str:
    lines = ["| mode | | weights | activations | needs images |", "| :-- | :-- | :-- | :-- | :-- |"]
    for mode in MODES.values():
        note = "" if mode.has_fast_kernels else "; no fast kernels on a processor, an export says how slow"
        images = "yes" if mode.calibrated else "no"
        lines.append(f"| `{mode.name}` | {mode.summary}{note} | {mode.weights} | {mode.activations} | {images} |")
    return "\n".join(lines)


def rows() -> list[Row]:
    return [Row(**entry) for entry in json.loads(QUICKSTART.read_text())["files"]]


def quickstart() -> str:
    results = json.loads(QUICKSTART.read_text())
    environment, config = results["environment"], results["models"][0]["config"]
    first = results["files"][0]
    note = (
        f"Measured by `make quickstart`: {results['data']['name']}, {config['epochs']} epochs, seed {config['seed']} "
        f"(n = 1), {results['data']['test']} test images; {environment['processor']}, {environment['cores']} cores, "
        f"LiteRT {environment['ai-edge-litert']}, Keras {environment['keras']} on {config['backend']}, "
        f"{first['threads']} thread, {first['runs']} runs a file in turns."
    )
    slow = [f"{row.model} {row.mode} ({row.speedup:.2f}x)" for row in rows() if row.speedup and row.speedup < SLOWER]
    warning = f" Slower than float32 on this processor: {', '.join(slow)}." if slow else ""
    return f"{markdown_table(rows())}\n\n{note}{warning}"


def cost() -> str:
    results = json.loads(BENCHMARK.read_text())
    lines = [
        "| backend | import, times that of keras | build, times that of keras.applications: median | least | most |",
        "| :-- | --: | --: | --: | --: |",
    ]
    for backend, result in results.items():
        ratios = {name: built["ratio"] for name, built in result["build"].items()}
        ends = (f"{ratios[name]:.2f} ({name})" for name in (min(ratios, key=ratios.get), max(ratios, key=ratios.get)))
        imported, middle = result["import"]["ratio"], statistics.median(ratios.values())
        lines.append(f"| {backend} | {imported:.3f} | {middle:.2f} | {' | '.join(ends)} |")
    environment = next(iter(results.values()))["environment"]
    note = (
        f"`make bench`: medians, side by side, for the smallest of each of {len(ratios)} kinds of network that both "
        f"packages have; "
        f"{environment['processor']}, {environment['cores']} cores, Keras {environment['keras']}."
    )
    return "\n".join(lines) + f"\n\n{note}"


def proof() -> str:
    results = json.loads(PROOF.read_text())
    networks, environment = results["networks"], results["environment"]
    backends, tflite, file = (max(found[part] for found in networks.values()) for part in FOUND)
    return (
        f"`make proof` built all {len(networks)} networks with the same weights on TensorFlow, JAX and torch, saved "
        f"and reloaded them and converted them to float32 `.tflite` with built-in operations. The largest differences, "
        f"as shares of the largest logit: {backends:.1e} between backends, {file:.1e} after the `.keras` file, "
        f"{tflite:.1e} in LiteRT ({environment['processor']}, Keras {environment['keras']}, LiteRT "
        f"{environment['ai-edge-litert']})."
    )


PARTS = {"models": models, "modes": modes, "quickstart": quickstart, "proof": proof, "cost": cost}


def render(text: str) -> str:
    for name, make in PARTS.items():
        part = make()
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(\n<!-- end {name} -->)", re.DOTALL)
        if not pattern.search(text):
            sys.exit(f"{README} has no part {name}; add <!-- begin {name} --> and <!-- end {name} -->")
        text = pattern.sub(lambda found, part=part: f"{found[1]}{part}{found[2]}", text)
    return text


if __name__ == "__main__":
    README.write_text(render(README.read_text()))
    draw_accuracy_latency(rows()).savefig(PLOT, dpi=110)
