"""Golden figures and weight names of every registered network, and losses of adversarial games.

`make golden` writes them anew. A difference is a change of a published interface: it belongs into the changelog.
"""

import json
from pathlib import Path
from typing import Any

import keras
from games import KINDS, losses_of_steps

from keras_resnets import count_macs, count_parameters, depth, feature_extractor, get_variant, list_models
from keras_resnets.summary import FIGURES

ADVERSARIAL = Path(__file__).parent / "adversarial.json"
STEPS = 20
WEIGHTS = Path(__file__).parent / "weights"


def describe_figures(name: str, model: keras.Model) -> dict[str, Any]:
    features = feature_extractor(model)
    return {
        "parameters": count_parameters(model),
        "total_parameters": model.count_params(),
        "macs": count_macs(model),
        "depth": get_variant(name).spec.depth(depth(model)),
        "stages": {stage: "x".join(map(str, map_.shape[1:])) for stage, map_ in features.output.items()},
        "strides": dict(features.strides),
    }


def describe_weights(model: keras.Model) -> str:
    """One line a layer with weights: its name and each weight's name and shape."""
    lines = []
    for layer in model.layers:
        if layer.weights:
            shapes = (f"{weight.name}({','.join(map(str, weight.shape))})" for weight in layer.weights)
            lines.append(f"{layer.name} {' '.join(shapes)}\n")
    return "".join(lines)


def write_adversarial() -> None:
    """The first losses of each game, on the backend that runs; the tests compare all backends with them."""
    losses = {kind: losses_of_steps(kind, STEPS) for kind in KINDS}
    ADVERSARIAL.write_text(json.dumps(losses) + "\n")


def main() -> None:
    figures = {}
    for path in WEIGHTS.glob("*.txt"):
        path.unlink()
    for name in list_models():
        model = get_variant(name)()
        figures[name] = describe_figures(name, model)
        (WEIGHTS / f"{name}.txt").write_text(describe_weights(model))
        print(name, figures[name])
        keras.backend.clear_session()
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
    write_adversarial()


if __name__ == "__main__":
    main()
