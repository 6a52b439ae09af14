"""How the reports write numbers: tables, pages, plots and messages take them from here."""

import numpy as np
import rich.box
from rich.table import Table

from export.results import Peak, Timing

NOT_MEASURED = "n/a"


def count(value: int) -> str:
    """A number of things, or of bytes: 1,234."""
    return f"{value:,}"


def counted(number: int, thing: str) -> str:
    """Things with their number: 1 thread, 2 threads."""
    return f"{count(number)} {thing}{'' if number == 1 else 's'}"


def millions(value: int) -> str:
    """A number of multiply-accumulates: 12.50 M."""
    return f"{value / 1e6:.2f} M"


def percent(share: float) -> str:
    """A share: 91.73%."""
    return f"{share:.2%}"


def points(share: float) -> str:
    """A difference of two shares: 1.20 points."""
    return f"{100 * share:.2f} points"


def milliseconds(value: float) -> str:
    """A time to about four digits: 0.271, 24.30, 812.5."""
    return f"{value:.{3 if value < 10 else 2 if value < 100 else 1}f}"


def interval(timing: Timing) -> str:
    """A median with its interval: 0.271 [0.270, 0.272]."""
    low, high = milliseconds(timing.p50_low_ms), milliseconds(timing.p50_high_ms)
    return f"{milliseconds(timing.p50_ms)} [{low}, {high}]"


def narrow_interval(timing: Timing) -> str:
    """The same where width is scarce, with the interval's wider half: 0.271±0.001."""
    half = max(timing.p50_high_ms - timing.p50_ms, timing.p50_ms - timing.p50_low_ms)
    return f"{milliseconds(timing.p50_ms)}±{milliseconds(half)}"


def ratio(value: float) -> str:
    """How many times as much: 3.40x."""
    return f"{value:.2f}x"


def megabytes(value: int) -> str:
    """Memory of a process: 12.4 MB."""
    return f"{value / 1e6:.1f} MB"


def tick(value: float) -> str:
    """A number beside an axis: 0.5, 200, 100 k, 12.5 M."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= 10 * unit or (value >= unit and unit > 1e3):
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def percent_tick(share: float) -> str:
    """A share beside an axis: 91.5%."""
    return f"{100 * share:.4g}%"


def megahertz(value: float) -> str:
    """A clock: 500 MHz."""
    return f"{value:g} MHz"


def operation_rates(peak: Peak) -> str:
    """What a processor reaches: 102.0 GFLOP/s in float32, 436.0 GOP/s in int8."""
    return f"{peak.float32_gops:.1f} GFLOP/s in float32, {peak.int8_gops:.1f} GOP/s in int8"


def error(value: float) -> str:
    """A difference of two outputs: 0.00391."""
    return f"{value:.3g}"


def float32(value: float) -> str:
    """A number as source code: the shortest that is the same number in float32."""
    return str(np.float32(value))


def titled_table(title: str) -> Table:
    """A table for the terminal, without columns yet."""
    return Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
