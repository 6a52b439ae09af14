"""Training curves."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

History = Mapping[str, Sequence[float]]


def draw_curves(histories: Mapping[str, History]) -> Figure:
    """Loss and accuracy over the epochs: training dashed, test solid, one colour a model.

    Args:
        histories: For each model, one value an epoch of loss, accuracy, val_loss and val_accuracy.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for axes, key, label in ((loss, "loss", "cross-entropy"), (accuracy, "accuracy", "accuracy")):
        for color, (name, history) in enumerate(histories.items()):
            epochs = range(1, len(history[key]) + 1)
            style = {"color": f"C{color}", "marker": "o", "markersize": 3}
            axes.plot(epochs, history[key], linestyle="--", alpha=0.6, **style)
            axes.plot(epochs, history[f"val_{key}"], label=name, **style)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    loss.set_yscale("log")
    accuracy.legend(title="test (training dashed)")
    return figure
