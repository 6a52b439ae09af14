"""Two figures of every file against each other, as SVG that lies inside a page."""

import colorsys
import io
import itertools
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Affine2D

from export.pareto import pareto_front
from export.report.columns import Column
from export.results import Entry, Timing

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
INK = "#0a0b0c"  # stands for the colour of the page's text until the page has the plot
LUMINANCE = (0.18, 0.27)  # seen on white and on near black alike; neighbours in hue take turns
SPACE = 4  # between labels and points, in points
LABEL_SIZE = 8
LONGEST = 40  # characters of a name
LIFTS_UP, LIFTS_DOWN = (3, 14, 25, 36), (-14, -25, -36, -47)
# Of a label from its point: side, and lift in points, best first. To the left of a point on the front there is nothing
# above it, or below it where less is better.
OFFSETS = {
    more_is_better: [(side, lift) for lift in lifts for side in (-1, 1, 0)]
    for more_is_better, lifts in {True: LIFTS_UP + LIFTS_DOWN, False: LIFTS_DOWN + LIFTS_UP}.items()
}
SETTINGS: Any = {
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), INK
    ),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "",  # the same results give the same page
}
NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Style:
    """How files are told apart in the plots of one page.

    Attributes:
        colors: One for each model.
        markers: One for each mode.
    """

    colors: Mapping[str, str]
    markers: Mapping[str | None, str]


@dataclass(frozen=True)
class Plot:
    """A drawn plot.

    Attributes:
        caption: What is against what.
        svg: The drawing, safe to put into a page as it is.
        front: The files on the Pareto front, from the lowest cost.
    """

    caption: str
    svg: str
    front: list[Entry]


def choose_style(entries: Sequence[Entry]) -> Style:
    """A colour for each model and a marker for each mode."""
    models = list(dict.fromkeys(entry.model for entry in entries))
    modes = list(dict.fromkeys(entry.mode for entry in entries))
    return Style(
        colors={model: color(place / len(models), LUMINANCE[place % 2]) for place, model in enumerate(models)},
        markers={mode: MARKERS[place % len(MARKERS)] for place, mode in enumerate(modes)},
    )


def color(turn: float, luminance: float) -> str:
    """The colour at a turn of the wheel, from blue on, that has a relative luminance (WCAG 2, from 0 to 1)."""
    low, high = 0.0, 1.0
    for _ in range(20):
        lightness = (low + high) / 2
        rgb = np.array(colorsys.hls_to_rgb((0.6 + turn) % 1, lightness, 0.7))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        low, high = (lightness, high) if linear @ (0.2126, 0.7152, 0.0722) < luminance else (low, lightness)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def marker_path(marker: str) -> str:
    """A marker as the path of an SVG whose view box is -12 -12 24 24, for the legend."""
    style = MarkerStyle(marker)
    shape = style.get_path().transformed(style.get_transform() + Affine2D().scale(16, -16))
    outlines: list[np.ndarray] = shape.to_polygons()  # type: ignore[assignment]
    return " ".join("M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in outline) + "Z" for outline in outlines)


def draw(caption: str, x: Column, y: Column, entries: Sequence[Entry], style: Style) -> Plot | None:
    """Draws one figure against another, with the Pareto front as a line whose members are named.

    Args:
        caption: What is against what; no two plots of a page have the same.
        x: What a file costs.
        y: What it gives, or costs as well.
        entries: The files; those without either figure are left out.
        style: How they are told apart.

    Returns:
        The plot, or None where fewer than two files have both figures.
    """
    shown = [entry for entry in entries if x.number(entry) is not None and y.number(entry) is not None]
    if len(shown) < 2:
        return None
    figure, front = plot(x, y, shown, style)
    svg = io.BytesIO()
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # the browser has its own fonts
        figure.savefig(svg, format="svg", transparent=True, metadata=NO_METADATA)
    titles = [f"{one.name}: {x.text(one)}, {y.text(one)}" for one in shown]
    return Plot(caption, _embed(svg.getvalue().decode(), caption, titles), front)


def plot(x: Column, y: Column, shown: Sequence[Entry], style: Style) -> tuple[Figure, list[Entry]]:
    """The same as a figure, with the files on the Pareto front, from the lowest cost; each must have both figures."""
    points = [(x.known(entry), y.known(entry)) for entry in shown]
    front = pareto_front([(cost, gain if y.more_is_better else -gain) for cost, gain in points])
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # the browser has its own fonts
        figure = Figure(figsize=(4.6, 3.4), dpi=72, layout="constrained")  # a pixel is a point, as in the SVG
        axes = figure.subplots()
        _draw_points(axes, x, shown, points, style)
        edge = zip(*(points[one] for one in front), strict=True)
        axes.plot(*edge, color=INK, alpha=0.5, linewidth=1.2, zorder=1, drawstyle="steps-post")
        _scale(axes, x, y, points)
        FigureCanvasAgg(figure).draw()  # lays the axes out
        anchors = {shown[one].name: points[one] for one in front}
        _name(axes, anchors, _drawn(axes, points, front), OFFSETS[y.more_is_better])
    return figure, [shown[one] for one in front]


def _draw_points(
    axes: Axes, x: Column, entries: Sequence[Entry], points: Sequence[tuple[float, float]], style: Style
) -> None:
    for i, (entry, (cost, gain)) in enumerate(zip(entries, points, strict=True)):
        drawn = axes.scatter(
            cost, gain, s=34, color=style.colors[entry.model], marker=style.markers[entry.mode], zorder=3, linewidths=0
        )
        drawn.set_gid(f"point{i}")
        figure = x.read(entry)
        if isinstance(figure, Timing):
            axes.hlines(gain, figure.p50_low_ms, figure.p50_high_ms, color=style.colors[entry.model], zorder=2)


def _scale(axes: Axes, x: Column, y: Column, points: Sequence[tuple[float, float]]) -> None:
    sides: tuple[tuple[str, Axis], tuple[str, Axis]] = ("x", axes.xaxis), ("y", axes.yaxis)
    for (side, axis), column, values in zip(sides, (x, y), zip(*points, strict=True), strict=True):
        is_log = not column.more_is_better and min(values) > 0 and max(values) > 3 * min(values)
        if is_log:
            axes.set(**{f"{side}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if is_log else MaxNLocator(5))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _, column=column: column.tick(value)))
        axis.set_label_text(f"{column.full_title}{' (log scale)' if is_log else ''}")
    axes.margins(0.1, 0.14)
    axes.grid(alpha=0.15)


def _drawn(axes: Axes, points: Sequence[tuple[float, float]], front: Sequence[int]) -> np.ndarray:
    """Boxes, shape (n, 4): the squares that the markers take, and the strokes of the front."""
    centers = axes.transData.transform(points)
    squares = np.hstack([centers - SPACE, centers + SPACE])
    strokes = [
        stroke
        for (x, y), (right, up) in itertools.pairwise(centers[front])
        for stroke in ((x, y, right, y + 1), (right, min(y, up), right + 1, max(y, up)))
    ]
    return np.vstack([squares, np.reshape(strokes, (-1, 4))])


def _name(
    axes: Axes, anchors: Mapping[str, tuple[float, float]], taken: np.ndarray, offsets: Sequence[tuple[int, int]]
) -> None:
    """Writes names beside points, each where it covers least of what is there already."""
    frame = np.array([axes.bbox.extents])
    for full, anchor in anchors.items():
        name = _shortened(full)
        text = axes.annotate(name, anchor, fontsize=LABEL_SIZE, parse_math=False)
        size = np.array(text.get_window_extent().size)
        text.remove()
        center = axes.transData.transform(anchor)
        boxes = [_box(center, size, side, lift) for side, lift in offsets]
        covered = [_shared(box, taken) + size.prod() - _shared(box, frame) for box in boxes]
        best = covered.index(min(covered))
        _label(axes, name, anchor, *offsets[best])
        taken = np.vstack([taken, boxes[best]])


def _shortened(name: str) -> str:
    """A name that leaves a plot room for others, without its middle; the point's title has it whole."""
    half = LONGEST // 2
    return name if len(name) <= LONGEST else f"{name[:half]}…{name[-half:]}"


def _box(center: np.ndarray, size: np.ndarray, side: int, lift: int) -> np.ndarray:
    """Where a label lies: left of a point, above it in the middle, or right of it."""
    corner = center + np.array([side * SPACE + (side - 1) / 2 * size[0], lift])
    return np.hstack([corner, corner + size])


def _shared(box: np.ndarray, others: np.ndarray) -> float:
    """The area that a box has in common with others."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return float(sides.clip(0).prod(axis=1).sum())


def _label(axes: Axes, name: str, anchor: tuple[float, float], side: int, lift: int) -> None:
    label = axes.annotate(
        name,
        anchor,
        (side * SPACE, lift),
        textcoords="offset points",
        horizontalalignment={-1: "right", 0: "center", 1: "left"}[side],
        verticalalignment="bottom",
        fontsize=LABEL_SIZE,
        parse_math=False,
        arrowprops={"arrowstyle": "-", "color": INK, "alpha": 0.4, "linewidth": 0.6} if abs(lift) > 12 else None,
    )
    label.set_in_layout(False)


def _embed(svg: str, caption: str, titles: Sequence[str]) -> str:
    """Fits a file's SVG into a page: the page's ink and font, names of its own, a title to read out and for points."""
    own = caption.replace(" ", "-")

    def fit(tag: re.Match[str]) -> str:
        named = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{own}-", tag[0])
        return re.sub(rf"(?<=: ){INK}", "currentColor", named)

    body = re.sub(r"<defs>\s*<style.*?</defs>", "", svg[svg.index("<svg") :], count=1, flags=re.DOTALL)
    body = re.sub(r"<[^>]+>", fit, body)
    for place, title in enumerate(titles):
        tag = f'<g id="{own}-point{place}">'
        body = body.replace(tag, f"{tag}<title>{escape(title)}</title>")
    return body.replace("<svg ", f'<svg role="img" aria-label="{escape(caption)}" ', 1)
