"""The report of `keras-resnets bench`: a page, the same as Markdown, a table for programs and one for the terminal."""

import csv
import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich.box
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from export.files import replacing
from export.report.card import describe
from export.report.columns import (
    ACCURACY,
    ARENA,
    BYTES,
    MACS,
    Column,
    accelerators_of,
    columns,
    latency,
    threads_of,
)
from export.report.findings import findings, say_untrained
from export.report.formats import operation_rates
from export.report.page import data_uri, render
from export.report.scatter import Plot, Style, choose_style, draw, marker_path
from export.results import (
    RUNTIMES,
    BrowserFigures,
    Entry,
    Failure,
    LiteRTFigures,
    Results,
    VelaFigures,
)

Note = tuple[str, str]  # a runtime and why it does not run a file
TIMING = "p50_ms p50_low_ms p50_high_ms p90_ms p99_ms mean_ms std_ms runs"


@dataclass(frozen=True)
class Opening:
    """What a report tells before the measurements.

    Attributes:
        title: Its heading.
        sentence: Where the files come from.
        figures: Caption and figure, in the order of the page.
    """

    title: str
    sentence: str
    figures: Mapping[str, Figure]


def write_report(results: Results, folder: Path, opening: Opening | None = None) -> None:
    """Writes `report.html`, `report.md` and `results.csv`.

    Args:
        results: What was measured.
        folder: Where to.
        opening: What comes before it; the figures are in `report.html` alone.

    Raises:
        UsageError: If the folder cannot be written.
    """
    for name, content in (
        ("report.html", _page(results, opening)),
        ("report.md", _markdown(results, opening)),
        ("results.csv", _csv(results)),
    ):
        with replacing(folder / name) as part:
            part.write_text(content, encoding="utf-8", newline="")


@dataclass(frozen=True)
class _Cell:
    """A figure in a table.

    Attributes:
        text: As it is shown.
        number: By which the table is sorted; None where the text is what counts, or there is none.
        is_missing: Whether there is none.
        note: Number of the note that says why.
    """

    text: str
    number: float | None
    is_missing: bool
    note: int | None


def _notes(entries: Sequence[Entry]) -> dict[Note, int]:
    """Why runtimes do not run files, numbered; the same reason has the same number."""
    notes: dict[Note, int] = {}
    for entry in entries:
        for runtime, title in RUNTIMES.items():
            figures = getattr(entry, runtime)
            if isinstance(figures, Failure):
                notes.setdefault((title, figures.reason), len(notes) + 1)
    return notes


def _cell(column: Column, entry: Entry, notes: dict[Note, int]) -> _Cell:
    value = column.read(entry)
    note = notes[column.group, value.reason] if isinstance(value, Failure) else None
    number = column.number(entry)
    is_missing = value is None if column.rank is None else number is None
    return _Cell(column.text(entry), number, is_missing, note)


def _title(results: Results, opening: Opening | None) -> str:
    return opening.title if opening else f"keras-resnets bench{f': {results.data}' if results.data else ''}"


def _sentences(results: Results, opening: Opening | None) -> list[str]:
    return [*([opening.sentence] if opening else []), *findings(results)]


def _page(results: Results, opening: Opening | None) -> str:
    shown, notes, entries = columns(results), _notes(results.entries), results.entries
    style = choose_style(entries)
    groups: dict[str, int] = {}
    for column in shown:
        groups[column.group] = groups.get(column.group, 0) + 1
    return render(
        "bench.html.j2",
        title=_title(results, opening),
        summary=_sentences(results, opening),
        figures={caption: data_uri(figure) for caption, figure in opening.figures.items()} if opening else {},
        groups=groups,
        columns=shown,
        rows=[(entry, [_cell(column, entry, notes) for column in shown]) for entry in entries],
        rejected=results.rejected,
        notes=notes,
        zip=zip,
        plots=_plots(results, style),
        colors=style.colors,
        markers={mode: marker_path(marker) for mode, marker in style.markers.items()},
        cards=[describe(entry, results) for entry in entries],
        environment=_environment(results),
    )


def _plots(results: Results, style: Style) -> list[Plot]:
    """Accuracy against each cost; where none is known, what costs against what."""
    entries, time = results.entries, latency(results.entries)
    costs = {"latency": time, "bytes": BYTES, "MACs": MACS, "arena": ARENA}
    if any(ACCURACY.number(entry) is not None for entry in entries):
        pairs = {f"Accuracy against {name}": (cost, ACCURACY) for name, cost in costs.items() if cost}
    else:
        pairs = {"Latency against bytes": (BYTES, time)} if time else {}
    drawn = [draw(caption, x, y, entries, style) for caption, (x, y) in pairs.items()]
    return [plot for plot in drawn if plot]


def _environment(results: Results) -> dict[str, str]:
    peak = results.peak
    speeds = {} if peak is None else {"peak of one thread": operation_rates(peak)}
    return results.environment | speeds | {"seed": str(results.seed)}


def _markdown(results: Results, opening: Opening | None) -> str:
    notes = _notes(results.entries)
    lines = [f"# {_plain(_title(results, opening))}", ""]
    lines += [f"{_plain(sentence)}\n" for sentence in _sentences(results, opening)]
    lines += [markdown_table(results, columns(results))]
    lines += ["", *(f"{number}. {title}: {_plain(reason)}" for (title, reason), number in notes.items()), ""]
    lines += [f"- {key}: {_plain(value)}" for key, value in _environment(results).items()]
    return "\n".join(lines) + "\n"


def markdown_table(results: Results, shown: Sequence[Column]) -> str:
    """Columns of the results as a Markdown table, with what could not be measured below."""
    notes = _notes(results.entries)
    rows = [
        [_plain(column.full_title) for column in shown],
        [":--" if column.rank is None else "--:" for column in shown],
        *([_marked(_cell(column, entry, notes)) for column in shown] for entry in results.entries),
        *(
            [_plain(one.name), _plain(f"not measured: {one.reason}")] + [""] * (len(shown) - 2)
            for one in results.rejected
        ),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _marked(cell: _Cell) -> str:
    return _plain(cell.text) + (f" ({cell.note})" if cell.note else "")


def _plain(text: str) -> str:
    """Text that Markdown takes for nothing else."""
    return re.sub(r"([\\`*_~\[\]|])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _csv(results: Results) -> str:
    threads, accelerators = threads_of(results.entries), accelerators_of(results.entries)
    rows = [_record(entry, threads, accelerators) for entry in results.entries]
    rows += [{"name": one.name, "reason": one.reason} for one in results.rejected]
    fields = list(dict.fromkeys(field for row in rows for field in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _record(entry: Entry, threads: Sequence[int], accelerators: Sequence[str]) -> dict[str, Any]:
    """An entry as a row of numbers. What was not measured is empty, as is the accuracy of random weights."""
    litert = entry.litert if isinstance(entry.litert, LiteRTFigures) else None
    times = {time.threads: time for time in litert.timings} if litert else {}
    vela = entry.vela if isinstance(entry.vela, VelaFigures) else None
    npus = {npu.accelerator: npu for npu in vela.accelerators} if vela else {}
    browser = entry.browser if isinstance(entry.browser, BrowserFigures) else None
    record = {
        **_fields("", entry, "name word model mode file sha256 bytes"),
        "trained": str(entry.trained).lower(),
        **_fields("", entry, "parameters macs"),
        "input_type": entry.input.type,
        "output_type": entry.output.type,
        **_fields("", entry, "float_operations images"),
        "accuracy": entry.accuracy if entry.trained else None,
        "agreement": entry.agreement,
    }
    for number in threads:
        record |= _fields(f"litert_{number}t_", times.get(number), TIMING)
    record |= _fields("litert_", litert, "init_ms first_ms memory_bytes peak_share")
    record |= _fields("tflm_", entry.tflm, "arena_bytes flash_bytes largest_difference largest_error")
    for name in accelerators:
        prefix, npu = name.replace("-", "_") + "_", npus.get(name)
        record |= _fields(prefix, npu, "ms cycles sram_bytes dram_bytes flash_bytes npu_operations")
        record[f"{prefix}cpu_operations"] = sum(npu.cpu_operations.values()) if npu else None
    record |= _fields("browser_", browser.timing if browser else None, TIMING)
    record |= _fields("browser_", browser, "load_ms agreement largest_error")
    record |= _fields("android_", entry.android, "mean_ms std_ms min_ms max_ms init_ms first_ms memory_bytes")
    failures = {f"{runtime}_failure": getattr(getattr(entry, runtime), "reason", None) for runtime in RUNTIMES}
    return record | failures | {"reason": None}


def _fields(prefix: str, source: object, names: str) -> dict[str, Any]:
    """Attributes by name, None where the source, a failure or nothing at all, has none."""
    return {f"{prefix}{name}": getattr(source, name, None) for name in names.split()}


def terminal_table(results: Results, shown: Sequence[Column], title: str | None = None) -> Table:
    """Columns of the results as a table for the terminal; why something was not measured stands below it."""
    notes, entries = _notes(results.entries), results.entries
    lines = [f"({number}) {title}: {reason}" for (title, reason), number in notes.items()]
    lines += [f"not measured: {one.name}: {one.reason}" for one in results.rejected]
    lines += filter(None, [say_untrained(entries)])
    table = Table(
        title=title,
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
        padding=0,  # the box itself puts a space between columns
        caption=Text("\n".join(lines)) if lines else None,
        caption_justify="left",
    )
    for column in shown:
        if column.rank is None:  # names fold where it is narrow, figures never do
            table.add_column(column.title, overflow="fold", min_width=9)
        else:
            table.add_column(column.title, justify="right", no_wrap=True)
    for entry, after in zip(entries, [*entries[1:], None], strict=False):
        cells = [_cell(column, entry, notes) for column in shown]
        texts = [Text(cell.text + (f" ({cell.note})" if cell.note else "")) for cell in cells]  # names are no markup
        table.add_row(*texts, end_section=after is None or after.model != entry.model)
    return table
