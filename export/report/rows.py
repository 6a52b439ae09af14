"""Measurements as a table, a plot and a page."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.table import Table

from export.bench import Row
from export.files import replacing
from export.report.formats import NOT_MEASURED, count, counted, millions, milliseconds, percent, titled_table
from export.report.page import render
from export.report.scatter import MARKERS

COLUMNS: Mapping[str, str] = {
    "model": "name of the network",
    "parameters": "trainable parameters",
    "MACs": "multiply-accumulates for one image",
    "mode": "how the file is quantized",
    "bytes": "size of the file",
    "accuracy": "share of the test images classified correctly, by the file",
    "agreement": "share of the test images on which file and Keras model name the same class",
    "p50 ms": "median latency of one image",
    "p90 ms": "nine of ten runs are faster",
    "speed-up": "over the same model's float32 file",
}


def cells(row: Row) -> list[str]:
    """The figures of a row as text, one for each of `COLUMNS`."""
    return [
        row.model,
        NOT_MEASURED if row.parameters is None else count(row.parameters),
        NOT_MEASURED if row.macs is None else millions(row.macs),
        row.mode or NOT_MEASURED,
        count(row.bytes),
        percent(row.accuracy),
        NOT_MEASURED if row.agreement is None else percent(row.agreement),
        milliseconds(row.p50_ms),
        milliseconds(row.p90_ms),
        NOT_MEASURED if row.speedup is None else f"{row.speedup:.2f}x",
    ]


def terminal_table(rows: Sequence[Row], title: str) -> Table:
    """The rows as a table for the terminal, a line between models."""
    table = titled_table(title)
    for column in COLUMNS:
        narrow = column == "model"  # on a narrow terminal long names fold, figures never do
        justify = "left" if column in ("model", "mode") else "right"
        table.add_column(column, justify=justify, no_wrap=not narrow, overflow="fold")  # type: ignore[arg-type]
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        table.add_row(*cells(row), end_section=after is None or after.model != row.model)
    return table


def markdown_table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    rules = [":--" if column in ("model", "mode") else "--:" for column in COLUMNS]
    lines = [list(COLUMNS), rules, *(cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw_accuracy_latency(rows: Sequence[Row]) -> Figure:
    """Accuracy against median latency: one colour a model, one marker a mode."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    models = list(dict.fromkeys(row.model for row in rows))
    modes = dict.fromkeys(row.mode for row in rows)
    markers = {mode: MARKERS[place % len(MARKERS)] for place, mode in enumerate(modes)}
    threads = " or ".join(counted(number, "thread") for number in sorted({row.threads for row in rows}))
    for color, model in enumerate(models):
        points = [row for row in rows if row.model == model]
        axes.plot([p.p50_ms for p in points], [p.accuracy for p in points], color=f"C{color}", alpha=0.25, zorder=1)
        for point in points:
            marker = markers[point.mode]
            axes.scatter(point.p50_ms, point.accuracy, s=70, color=f"C{color}", marker=marker, zorder=2)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.2%}")
    axes.set_xlabel(f"median latency of one image, ms, {threads} (log scale)")
    axes.set_ylabel("test accuracy")
    axes.grid(which="both", alpha=0.25)
    handles = [Line2D([], [], color=f"C{i}", linewidth=3, label=model) for i, model in enumerate(models)]
    handles += [
        Line2D([], [], color="gray", linestyle="", marker=marker, label=mode or NOT_MEASURED)
        for mode, marker in markers.items()
    ]
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    return figure


def write_page(
    path: Path,
    *,
    title: str,
    summary: Sequence[str],
    rows: Sequence[Row],
    figures: Mapping[str, Figure],
    environment: Mapping[str, str],
) -> None:
    """Writes a self-contained HTML page: summary, figures, table and environment.

    Args:
        path: The page.
        title: Its heading.
        summary: Sentences under the heading.
        rows: The measurements.
        figures: Caption and figure, in the order of the page.
        environment: What it was measured on.
    """
    page = render(
        "rows.html.j2",
        title=title,
        summary=summary,
        columns=COLUMNS,
        zip=zip,
        rows=[(row, cells(row)) for row in rows],
        figures={caption: _data_uri(figure) for caption, figure in figures.items()},
        environment=environment,
    )
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8")


def _data_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
