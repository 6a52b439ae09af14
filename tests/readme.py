"""The generated parts of the README: `make readme` writes them, a test compares them.

A part stands between `<!-- begin NAME -->` and `<!-- end NAME -->` and comes from the registry, the golden figures
or a result file, never from a hand.
"""

import json
import re
import sys
from pathlib import Path

from golden.regenerate import read_figures

from export.bench import Row
from export.report import draw_accuracy_latency, markdown_table
from keras_resnets import get_variant, list_models

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
QUICKSTART = ROOT / "recipes" / "results" / "quickstart.json"
PLOT = QUICKSTART.with_suffix(".png")
SLOWER = 0.95  # a speed-up below this is more than the noise of a run
BENCHMARK = ROOT / "tests" / "benchmarks" / "results.json"


def models() -> str:
    lines = ["| model | input | parameters | MACs | depth | source |", "| :-- | :-: | --: | --: | --: | :-- |"]
    figures = read_figures()
    for name in list_models():
        variant, cost = get_variant(name), figures[name]
        size = "x".join(map(str, variant.input_shape))
        lines.append(
            f"| `{variant.python_name}` | {size} | {cost['parameters']:,} | {cost['macs'] / 1e6:,.2f} M | "
            f"{cost['depth']} | {variant.reference} |"
        )
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
    imported, built, environment = results["import"], results["build"], results["environment"]
    return (
        f"`import keras_resnets` adds {imported['added_ms']:.1f} ms to `import keras` ({imported['ratio']:.3f} times "
        f"its time), and `ResNet50()` builds in {built['ratio']:.2f} times the time of "
        f"`keras.applications.ResNet50(weights=None)` (`make bench`: medians, side by side, "
        f"{environment['processor']}, Keras {environment['keras']} on {environment['backend']})."
    )


def render(text: str) -> str:
    for name, part in (("models", models()), ("quickstart", quickstart()), ("cost", cost())):
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(\n<!-- end {name} -->)", re.DOTALL)
        if not pattern.search(text):
            sys.exit(f"{README} has no part {name}; add <!-- begin {name} --> and <!-- end {name} -->")
        text = pattern.sub(lambda found, part=part: f"{found[1]}{part}{found[2]}", text)
    return text


if __name__ == "__main__":
    README.write_text(render(README.read_text()))
    draw_accuracy_latency(rows()).savefig(PLOT, dpi=110)
