"""The generated parts of the README, of export/README and of the configs: `make readme` writes them, a test compares.

A part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`, in a config in the line that begins with "Takes:",
and comes from the registry, the golden figures or a result file, never from a hand.
"""

import importlib
import json
import pkgutil
import re
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from export.quantize import MODES
from export.report.bench import markdown_table
from export.report.columns import ACCURACY, latency, plain_columns, short_columns, smallest_accelerator, speedup
from export.report.scatter import choose_style, plot
from export.results import json_schema, read_results
from keras_resnets import Variant, families
from keras_resnets.summary import read_figures
from recipes.compress import CALIBRATION, Compressed
from recipes.config import TrainConfig
from recipes.configs import find_config, list_configs
from recipes.degradation import LAST, Network, Outcome, sentences
from recipes.plots import draw_curves
from recipes.sweep import Row

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
EXPORT = ROOT / "export" / "README.md"
SWEEP = ROOT / "recipes" / "results" / "sweep.json"
COMPRESSED = sorted((ROOT / "recipes" / "results").glob("compress-*.json"))
GAMES = sorted((ROOT / "recipes" / "results").glob("*gan-*.json"))
ADAPTED = sorted((ROOT / "recipes" / "results").glob("adda-*.json"))
TRAINING = ROOT / "tests" / "benchmarks" / "training.json"
TRAINED = sorted((ROOT / "recipes" / "results").glob("trained-*.json"))
CONFIGS = ROOT / "recipes" / "configs"
COSTS = ROOT / "tests" / "benchmarks" / "configs.json"
DEGRADATION = ROOT / "recipes" / "results" / "degradation.json"
CURVES = DEGRADATION.with_suffix(".png")
STEPS = ROOT / "tests" / "benchmarks" / "adversarial.json"
DEVICES = ROOT / "recipes" / "results" / "devices.json"
CONVERTER = ROOT / "tests" / "benchmarks" / "converter.json"
HARNESS = ROOT / "tests" / "benchmarks" / "harness.json"
SCHEMA = ROOT / "export" / "results.schema.json"
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


def quickstart() -> str:
    results = read_results(QUICKSTART)
    environment, faster = results.environment, speedup(results.entries)
    first, *_ = timings = [time for entry in results.entries for time in entry.litert.timings]
    note = (
        f"Measured by `make quickstart`: {results.data}, {environment['training']}, seed {results.seed} (n = 1), "
        f"{results.entries[0].images} test images; {environment['processor']}, {environment['cores']} cores, "
        f"LiteRT {environment['ai-edge-litert']}, Keras {environment['keras']}, {first.threads} thread, at least "
        f"{min(time.runs for time in timings)} runs a file in turns."
    )
    ratios = {f"{entry.name} ({faster.text(entry)})": faster.number(entry) for entry in results.entries}
    slow = [name for name, ratio in ratios.items() if ratio and ratio < SLOWER]
    warning = f" Slower than float32 on this processor: {', '.join(slow)}." if slow else ""
    return f"{markdown_table(results, plain_columns(results))}\n\n{note}{warning}"


def tradeoff() -> Figure:
    """The report's plot of accuracy against latency, with the legend that the page has beside it."""
    entries = read_results(QUICKSTART).entries
    style = choose_style(entries)
    figure, _ = plot(latency(entries), ACCURACY, entries, style)
    figure.set_size_inches(9, 4.5)
    handles = [Line2D([], [], color=color, linewidth=3, label=model) for model, color in style.colors.items()]
    handles += [
        Line2D([], [], color="gray", linestyle="", marker=marker, label=mode) for mode, marker in style.markers.items()
    ]
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    return figure


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


def sweep() -> str:
    results = json.loads(SWEEP.read_text())
    lines = ["| network | Keras | epochs | mode | bytes | accuracy | agreement | p50 ms |"]
    lines.append("| :-- | --: | --: | :-- | --: | --: | --: | --: |")
    for name, model in results["models"].items():
        network = f"| {name} | {model['accuracy']:.2%} | {model['training']['epochs']}"
        lines += [
            f"{network} | {row.mode} | {row.bytes:,} | {row.accuracy:.2%} | {row.agreement:.2%} | {row.p50_ms:.3f} |"
            for row in (Row(**file) for file in model["files"])
        ]
    last = list(results["models"].values())[-1]
    environment = last["environment"]
    note = (
        f"`keras-resnets sweep` after training on {results['data']} as in `make edge`, seed "
        f"{last['training']['seed']} (n = 1): networks of few epochs are far from their best. "
        f"Calibrated on {CALIBRATION} training images, all {results['test_images']:,} test images; QAT: "
        f"quantization-aware training for "
        f"{last['fine_tuning']['epochs']} epoch; {environment['processor']}, {environment['cores']} cores, LiteRT "
        f"{environment['ai-edge-litert']}, 1 thread, the files of a network in turns."
    )
    return "\n".join(lines) + f"\n\n{note}"


def compress() -> str:
    lines = ["| network | Keras | file | epochs | bytes | gzip | non-zero | values | accuracy | agreement | p50 ms |"]
    lines.append("| :-- | --: | :-- | --: | --: | --: | --: | --: | --: | --: | --: |")
    seen = set()
    found = (json.loads(path.read_text()) for path in COMPRESSED)
    for results in sorted(found, key=lambda one: -one["keras_accuracy"]):
        network = results["model"], results["keras_accuracy"]
        for row in (Compressed(**one) for one in results["files"]):
            label, is_original = label_of(results, row), row.name.startswith("original")
            if is_original and network in seen:
                continue
            seen.add(network)
            lines.append(
                f"| {results['model']} | {results['keras_accuracy']:.2%} | {label} | "
                f"{'' if is_original else results['config']['epochs']} | {row.bytes:,} | {row.gzip_bytes:,} | "
                f"{row.nonzero / row.weights:.1%} | {row.most_values} | {row.accuracy:.2%} | {row.agreement:.2%} | "
                f"{row.p50_ms:.3f} |"
            )
    note = (
        "`keras-resnets compress`, as `make edge` calls it. Epochs: of each method; values: in the layer with most "
        "different ones, which the scales of int8 multiply; agreement: with the Keras model before. Calibrated on "
        f"{CALIBRATION} training images."
    )
    return "\n".join(lines) + f"\n\n{note}"


def label_of(results: dict, row: Compressed) -> str:
    config = results["config"]
    named = {
        "prune": lambda: f"prune {config['sparsity']:.0%}",
        "cluster": lambda: f"cluster {config['clusters']}",
        "qat": lambda: f"QAT {config['engine']}",
    }
    words = [named[method]() for method in config["method"]]
    return row.name if row.name.startswith("original") else ", ".join([*words, config["then"]])


def adversarial() -> str:
    adapted, games = ({path.stem: json.loads(path.read_text()) for path in paths} for paths in (ADAPTED, GAMES))
    lines = [
        "| from, to | trained on | source only | renormalized | adapted | target labels | backend | seeds | minutes |"
    ]
    lines.append("| :-- | :-- | --: | --: | --: | --: | :-- | --: | --: |")
    for results in adapted.values():
        scores = " | ".join(
            f"{results[key]['mean']:.2%} ± {100 * results[key]['std']:.2f}"
            for key in ("source_only", "renormalized", "adapted", "target_supervised")
        )
        config = results["config"]
        images = "distorted" if config.get("augment") in ("distortions", ["distort"]) else "as they are"
        lines.append(f"| {', '.join(config['data'])} | {images} | {scores} | {repeated(results)} |")
    lines += ["", "| game | epochs | FID | precision | recall | rarest class | backend | seeds | minutes |"]
    lines.append("| :-- | --: | --: | --: | --: | --: | :-- | --: | --: |")
    for name, results in games.items():
        scores = " | ".join(f"{results[key]['mean']:.1%}" for key in ("precision", "recall", "smallest_share"))
        epochs, fid = results["config"]["epochs"], results["fid"]["mean"]
        config = results["config"]
        average = f", EMA {config['ema']}" if config.get("ema") else ""
        packing = f", packing {config['packing']}" if config.get("packing", 1) > 1 else ""
        lines.append(
            f"| {name.removesuffix('-gpu')}{average}{packing} | {epochs} | {fid:.2f} | {scores} | {repeated(results)} |"
        )
    environment, scored = results["environment"], results["runs"][-1]
    scorer = min(run["scorer_accuracy"] for results in games.values() for run in results["runs"])
    note = (
        f"As in `make adversarial`: full training sets, all test images, the last epoch; mean and standard deviation "
        f"over the seeds, minutes of one; renormalized: the source's weights, the target's pixel statistics. No run of "
        f"ADDA sees a target label, but its settings were chosen with the target's test accuracy in view. "
        f"{environment['processor']} where no GPU is named, Keras {environment['keras']}. FID, precision "
        f"and recall by the features of a LeNet-5 trained here ({scorer:.2%} or more on the test images), "
        f"so that they compare runs of this project only: {scored['images']:,} real and as many generated images, "
        f"{scored['samples']:,} samples for the classes."
    )
    return "\n".join(lines) + f"\n\n{note}"


def repeated(results: dict) -> str:
    minutes = statistics.mean(run["seconds"] for run in results["runs"]) / 60
    gpu = results["environment"].get("gpus", "none")
    on = results["backend"] if gpu == "none" else f"{results['backend']}, {gpu}"
    return f"{on} | {len(results['seeds'])} | {minutes:.2g}"


def steps() -> str:
    results = json.loads(STEPS.read_text())
    lines = ["| backend | GAN step | ADDA step |", "| :-- | --: | --: |"]
    lines += [
        f"| {backend} | {result['gan']['ratio']:.2f} | {result['adda']['ratio']:.2f} |"
        for backend, result in results.items()
    ]
    environment = next(iter(results.values()))["environment"]
    note = (
        f"`make bench`: the steps of `keras-resnets gan` and `adda` by `fit` over a loop written by hand for the "
        f"backend, the same networks and batches, in turns; "
        f"{environment['processor']}, {environment['cores']} cores."
    )
    return "\n".join(lines) + f"\n\n{note}"


def training() -> str:
    results = json.loads(TRAINING.read_text())
    lines = ["| on | network | backend | images per second | PyTorch by hand | ratio |"]
    lines.append("| :-- | :-- | :-- | --: | --: | --: |")
    for found in results.values():
        for network, backends in found.items():
            lines += [
                f"| {hardware(found['environment'])} | {network} | {backend} | {rates['images_per_second']:,.0f} | "
                f"{rates['by_hand']:,.0f} | {rates['ratio']:.2f} |"
                for backend, rates in (backends.items() if network not in ("environment", "pipelines") else ())
            ]
    inputs = results["cpu"]["pipelines"]
    note = (
        f"`make bench`: `fit` as `train` has it against a loop by hand in the same process, in turns, `channels_last` "
        f"and with the same augmentation; medians, the ratio that of the turns. resnet20: images of 32x32, batches of "
        f"128, crops and mirrored images, float32 (TensorFlow and PyTorch in one process slow each other on a CPU). "
        f"resnet50v1_5: 224x224 from memory, batches of 256, mirrored images, bfloat16; by hand with `torch.compile` "
        f"and autocast. Its turns had 24 batches, of whose time the checkpoint "
        f"at the end of an epoch took a good part, so its ratio is pessimistic; they have 200 now, not yet run on a "
        f"GPU. The input pipeline alone "
        f"delivers {inputs['memory']:,.0f} images of 32x32 a second from memory, and {inputs['files']:,.0f} of JPEG "
        f"files of 500x375 by {inputs['workers']} worker, both on the CPU."
    )
    return "\n".join(lines) + f"\n\n{note}"


def hardware(environment: dict[str, str]) -> str:
    gpus = environment.get("gpus", "none")
    return f"{environment['processor']}, {environment['cores']} cores" if gpus == "none" else gpus


def trained() -> str:
    runs = [json.loads(path.read_text()) for path in TRAINED]
    configs = {name: find_config(name) for name in list_configs()}
    named = [next(name for name, config in configs.items() if ran(config, run)) for run in runs]
    lines = ["| config | test accuracy | to reach | epochs | batch | precision | backend | on | minutes |"]
    lines.append("| :-- | --: | --: | --: | --: | :-- | :-- | :-- | --: |")
    for name, run in sorted(zip(named, runs, strict=True), key=lambda pair: pair[1]["accuracy"]):
        reached = re.search(r"[\d.]+%", list_configs()[name])
        assert reached, f"the first line of {name} says no accuracy"
        lines.append(
            f"| {name} | {run['accuracy']:.2%} | {reached.group()} | "
            f"{run['epochs']} | {run['batch_size']} | {run.get('precision', 'float32')} | {run['backend']} | "
            f"{hardware(run['environment'])} | {run['seconds'] / 60:.0f} |"
        )
    missing = [name for name in configs if name not in named]
    note = (
        f"`keras-resnets train --config CONFIG`, `--precision mixed_bfloat16` where it says so; seed 0 (n = 1), all "
        f"test images, by the float32 model that was written. What is to be reached is told in the config. The GPU "
        f"trained several networks at once, which the minutes contain. Configs not run to their end: "
        f"{', '.join(missing)}."
    )
    return "\n".join(lines) + f"\n\n{note}"


def ran(config: TrainConfig, run: dict) -> bool:
    """Whether a run had these settings, but for the precision."""
    wanted = json.loads(json.dumps(asdict(config))) | {"precision": run.get("precision")}
    return all(run.get(key, value) == value for key, value in wanted.items())


def degradation() -> str:
    results = json.loads(DEGRADATION.read_text())
    outcomes = outcomes_of(results)
    config = results["config"]
    lines = ["| network | parameters | training loss | training accuracy | test accuracy |"]
    lines.append("| :-- | --: | --: | --: | --: |")
    for one in outcomes:
        loss, accuracy, test_accuracy = (one.history[key][-1] for key in LAST)
        lines.append(
            f"| {one.network.label} | {one.parameters:,} | {loss:.3f} | {accuracy:.2%} | {test_accuracy:.2%} |"
        )
    said = "; ".join(sentences(outcomes))
    depths = " ".join(map(str, config["depths"]))
    note = (
        f"`keras-resnets degradation --depths {depths} --data {config['data']} --epochs {config['epochs']} "
        f"--batch-size {config['batch_size']} --learning-rate {config['learning_rate']} --augment "
        f"{' '.join(config['augment'])}`, seed {config['seed']} (n = 1), {results['backend']}, "
        f"{hardware(results['environment'])}. {said[0].upper()}{said[1:]}."
    )
    return "\n".join(lines) + f"\n\n{note}"


def curves() -> Figure:
    return draw_curves({one.network.label: one.history for one in outcomes_of(json.loads(DEGRADATION.read_text()))})


def outcomes_of(results: dict[str, Any]) -> list[Outcome]:
    return [
        Outcome(Network(**one["network"]), *(one[key] for key in ("parameters", "macs", "history", "seconds")))
        for one in results["networks"]
    ]


def devices() -> str:
    results = read_results(DEVICES)
    shown = [column for column in short_columns(results) if column.title != "file"]  # a star tells them apart
    lines = [[" ".join(column.title.split()).replace("agree- ment", "agreement") for column in shown]]
    lines.append([":--" if column.rank is None else "--:" for column in shown])
    for entry in results.entries:
        model, *rest = (column.text(entry) for column in shown)
        lines.append([f"{model} \\*" if "matched" in Path(entry.word).parts else model, *rest])
    own, plain, ratio = (json.loads(CONVERTER.read_text())[key] for key in ("own", "plain", "ratio"))
    harness = json.loads(HARNESS.read_text())
    cost = max(harness[mode]["cost"] for mode in ("float32", "int8")) - 1
    drift = max(abs(harness[mode]["repeated"]) for mode in ("float32", "int8"))
    environment = results.environment
    npu = smallest_accelerator(results.entries)
    note = (
        f"`make devices`: {results.data}, seed {results.seed} (n = 1), {results.entries[0].images:,} test images; "
        f"networks as trained below (What it reaches), those with a star in fewer epochs, for about ResNet-8's "
        f"accuracy; no: the runtime does not take the file. p50: median on LiteRT "
        f"{environment['ai-edge-litert']} with the wider half of its interval; arena: TFLite Micro, bytes; NPU: {npu}, "
        f"by Vela {environment['ethos-u-vela']}; browser: LiteRT.js {environment['litert.js']}. "
        f"{environment['processor']}, {environment['cores']} cores. For comparison, TensorFlow's converter on the same "
        f"ResNet-8 in plain Keras layers, int8 io, both calibrated on 500 images: {plain['bytes']:,} bytes and "
        f"{plain['accuracy']:.2%}, against {own['bytes']:,} bytes and {own['accuracy']:.2%} in {ratio:.3f} times its "
        f"time. The harness adds "
        f"{cost:.2%} to a bare loop around `invoke()`; two runs back to back differed by {drift:.2%} (`make bench`, "
        f"int8 and float32)."
    )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{note}"


def schema() -> str:
    return json.dumps(json_schema(), indent=2) + "\n"


PARTS = {
    README: {
        "models": models,
        "quickstart": quickstart,
        "proof": proof,
        "cost": cost,
        "devices": devices,
        "training": training,
        "trained": trained,
        "degradation": degradation,
        "adversarial": adversarial,
        "steps": steps,
    },
    EXPORT: {"modes": modes, "sweep": sweep, "compress": compress},
}


def configs() -> dict[Path, str]:
    """The files of the configs, with how long each takes."""
    costs = json.loads(COSTS.read_text())
    environment = costs["environment"]
    on = f"{environment['cores']} cores of an {environment['processor']}, {costs['backend']}"
    pages = {}
    for name in list_configs():
        found = costs["configs"].get(name) or sys.exit(f"{COSTS} has no {name}; `make costs` measures it")
        line = (
            f"Takes: {duration(found['hours'])} on {on}, by {found['steps']} steps of {found['images']} (`make costs`)."
        )
        path = CONFIGS / f"{name}.py"
        pages[path], count = re.subn(r"^Takes:.*$", line, path.read_text(), flags=re.M)
        if not count:
            sys.exit(f"{path} has no line that begins with Takes:")
    return pages


def duration(hours: float) -> str:
    """In the largest unit of which there are two."""
    if hours < 2:
        return f"{60 * hours:.0f} minutes"
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:,.0f} days"


def render(path: Path, text: str) -> str:
    for name, make in PARTS[path].items():
        part = make()
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(\n<!-- end {name} -->)", re.DOTALL)
        if not pattern.search(text):
            sys.exit(f"{path} has no part {name}; add <!-- begin {name} --> and <!-- end {name} -->")
        text = pattern.sub(lambda found, part=part: f"{found[1]}{part}{found[2]}", text)
    return text


if __name__ == "__main__":
    for page in PARTS:
        page.write_text(render(page, page.read_text()))
    for file, content in configs().items():
        file.write_text(content)
    SCHEMA.write_text(schema())
    tradeoff().savefig(PLOT, dpi=110)
    curves().savefig(CURVES, dpi=80)
