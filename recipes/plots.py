"""Training curves, and features in the plane."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.manifold import TSNE

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
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    loss.set_yscale("log")
    accuracy.legend(title="test (training dashed)")
    return figure


def draw_losses(history: History) -> Figure:
    """The players' losses over the epochs.

    Args:
        history: One value an epoch of each loss.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, values in history.items():
        axes.plot(range(1, len(values) + 1), values, marker="o", markersize=3, label=name)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss, mean of the epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def draw_embedding(
    features: Mapping[str, Sequence[np.ndarray]], labels: Sequence[np.ndarray], names: Sequence[str]
) -> Figure:
    """Features of two domains in the plane, by t-SNE: a colour a class, circles for the source, crosses for the target.

    Args:
        features: For each panel, those of source and target, shape (n, features) and (m, features).
        labels: Classes of both, shape (n,) and (m,).
        names: Of the domains.

    References: van der Maaten & Hinton 2008, JMLR 9.
    """
    figure, most = Figure(figsize=(11, 5.5), layout="constrained"), max(map(np.max, labels))
    for axes, (title, both) in zip(figure.subplots(1, len(features)), features.items(), strict=True):
        rows = np.concatenate(both)
        plane = TSNE(perplexity=min(30, (len(rows) - 1) / 3), init="pca", random_state=0).fit_transform(rows)
        for points, classes, marker, name in zip(np.split(plane, [len(both[0])]), labels, "ox", names, strict=True):
            style = {"cmap": "tab10", "vmin": 0, "vmax": most, "marker": marker, "s": 14, "linewidths": 0.8}
            axes.scatter(*points.T, c=classes, label=name, **style)
        axes.set_title(f"target images through the {title}")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.legend()
    return figure
