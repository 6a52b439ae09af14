"""What the benchmark's tables and plots show of a file: each figure with its name, its meaning and its form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from export.report.formats import (
    NOT_MEASURED,
    count,
    counted,
    interval,
    megabytes,
    millions,
    milliseconds,
    narrow_interval,
    percent,
    percent_tick,
    ratio,
    tick,
)
from export.results import RUNTIMES, Entry, Failure, LiteRTFigures, NpuFigures, Results, Timing, VelaFigures

UNTRAINED = "untrained"
MEDIAN = "median latency of one image, and between which medians 90% of the rounds lie"
MOVES = ("QUANTIZE", "DEQUANTIZE")  # of what the processor does: they only turn input and output into other types


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure of every file.

    Attributes:
        title: Head of the column.
        meaning: What the figure is.
        read: A file's figure; why there is none; or None where nobody asked.
        show: The figure as text.
        rank: The figure as a number, by which the table is sorted and the plot drawn; None for text.
        group: Name of the runtime, or nothing for what the file itself is.
        tick: The number beside an axis.
        more_is_better: Whether a higher number is the better one.
    """

    title: str
    meaning: str
    read: Callable[[Entry], Any]
    show: Callable[[Any], str] = count
    rank: Callable[[Any], float] | None = float
    group: str = ""
    tick: Callable[[float], str] = tick
    more_is_better: bool = False

    @property
    def full_title(self) -> str:
        """The head with the name of the runtime."""
        return f"{self.group} {self.title}".strip()

    def number(self, entry: Entry) -> float | None:
        """A file's figure as a number, None where it has none."""
        value = self.read(entry)
        missing = value is None or isinstance(value, str | Failure)
        return None if missing or self.rank is None else self.rank(value)

    def known(self, entry: Entry) -> float:
        """The figure of a file that has it.

        Raises:
            ValueError: If it has none: the caller has left such files out.
        """
        number = self.number(entry)
        if number is None:
            raise ValueError(f"{entry.name} has no {self.full_title}")
        return number

    def text(self, entry: Entry) -> str:
        """A file's figure as text, "no" where the runtime cannot run the file."""
        value = self.read(entry)
        if isinstance(value, Failure):
            return "no"
        return NOT_MEASURED if value is None else value if isinstance(value, str) else self.show(value)


MODEL = Column(title="model", meaning="name of the network", read=lambda entry: entry.model, rank=None)
MODE = Column(title="mode", meaning="how the file is quantized", read=lambda entry: entry.mode, rank=None)
NAME = Column(title="file", meaning="name of the file's results", read=lambda entry: entry.name, rank=None)
BYTES = Column(title="bytes", meaning="size of the file", read=lambda entry: entry.bytes)
PARAMETERS = Column(
    title="parameters", meaning="trainable parameters of the network", read=lambda entry: entry.parameters
)
MACS = Column(title="MACs", meaning="multiply-accumulates of one image", read=lambda entry: entry.macs, show=millions)
ACCURACY = Column(
    title="accuracy",
    meaning="share of the test images that the file classifies correctly; untrained: its weights are random",
    read=lambda entry: entry.accuracy if entry.trained else UNTRAINED,
    show=percent,
    tick=percent_tick,
    more_is_better=True,
)
AGREEMENT = Column(
    title="agreement",
    meaning="share of the test images on which file and Keras model name the same class",
    read=lambda entry: entry.agreement,
    show=percent,
    more_is_better=True,
)
FLOAT_OPERATIONS = Column(
    title="float ops", meaning="operations that compute in floating point", read=lambda entry: entry.float_operations
)


def _of(runtime: str, read: Callable[[Any], Any]) -> Callable[[Entry], Any]:
    """Reads a runtime's figures; its failure and its absence stay what they are."""

    def reader(entry: Entry) -> Any:
        figures = getattr(entry, runtime)
        return figures if figures is None or isinstance(figures, Failure) else read(figures)

    return reader


def _column(runtime: str, title: str, meaning: str, read: Callable[[Any], Any], **fields: Any) -> Column:
    return Column(title=title, meaning=meaning, read=_of(runtime, read), group=RUNTIMES[runtime], **fields)


def threads_of(entries: Sequence[Entry]) -> list[int]:
    """The numbers of threads that LiteRT was timed with."""
    figures = [entry.litert for entry in entries if isinstance(entry.litert, LiteRTFigures)]
    return sorted({time.threads for one in figures for time in one.timings})


def accelerators_of(entries: Sequence[Entry]) -> list[str]:
    """The configurations of the Ethos-U that were estimated, in the order of the results."""
    figures = [entry.vela for entry in entries if isinstance(entry.vela, VelaFigures)]
    return list(dict.fromkeys(npu.accelerator for one in figures for npu in one.accelerators))


def smallest_accelerator(entries: Sequence[Entry]) -> str | None:
    """The configuration with the fewest multiply-accumulates a cycle, which end its name: ethos-u55-128."""

    def size(accelerator: str) -> float:
        last = accelerator.rpartition("-")[2]
        return int(last) if last.isdigit() else float("inf")

    return min(accelerators_of(entries), key=size, default=None)


def p50(threads: int) -> Column:
    """The median latency on LiteRT."""
    return _timing(threads, "p50", MEDIAN, show=interval, rank=lambda time: time.p50_ms)


def _timing(threads: int, title: str, meaning: str, **fields: Any) -> Column:
    def read(figures: Any) -> Timing | None:
        return next((time for time in figures.timings if time.threads == threads), None)

    return _column("litert", f"{title} ms, {counted(threads, 'thread')}", meaning, read, **fields)


def _npu(accelerator: str | None) -> Callable[[Any], NpuFigures | None]:
    return lambda figures: next((one for one in figures.accelerators if one.accelerator == accelerator), None)


def _npu_title(accelerator: str | None, figure: str) -> str:
    return f"{(accelerator or '').removeprefix('ethos-')} {figure}".strip()


def npu_ms(accelerator: str | None) -> Column:
    """The time of one image on a configuration of the Ethos-U."""
    return _column(
        "vela",
        _npu_title(accelerator, "ms"),
        "one image on the NPU, as Vela estimates it",
        _npu(accelerator),
        show=lambda npu: milliseconds(npu.ms),
        rank=lambda npu: npu.ms,
    )


def whole_npu_ms(accelerator: str | None) -> Column:
    """The same of files that the NPU runs whole: what the processor computes takes time that Vela does not know."""

    def read(npu: NpuFigures | None) -> NpuFigures | Failure | None:
        left = {kind: number for kind, number in npu.cpu_operations.items() if kind not in MOVES} if npu else {}
        if not left:
            return npu
        kinds = ", ".join(f"{number} {kind}" for kind, number in left.items())
        return Failure(reason=f"the NPU leaves {kinds} to the processor, whose time Vela does not know")

    ms, find = npu_ms(accelerator), _npu(accelerator)
    return replace(ms, read=_of("vela", lambda figures: read(find(figures))))


def npu_cpu_operations(accelerator: str | None) -> Column:
    """The operations that a configuration of the Ethos-U leaves to the processor."""
    return _column(
        "vela",
        _npu_title(accelerator, "CPU ops"),
        "operations that the NPU leaves to the processor",
        _npu(accelerator),
        show=lambda npu: count(sum(npu.cpu_operations.values())),
        rank=lambda npu: sum(npu.cpu_operations.values()),
    )


ARENA = _column("tflm", "arena", "bytes of working memory", lambda figures: figures.arena_bytes)
BROWSER_P50 = _column(
    "browser",
    "p50 ms",
    MEDIAN,
    lambda figures: figures.timing,
    show=interval,
    rank=lambda time: time.p50_ms,
)
ANDROID_MEAN = _column(
    "android",
    "mean ms",
    "mean latency of one image, with its standard deviation",
    lambda figures: figures,
    show=lambda figures: f"{milliseconds(figures.mean_ms)}±{milliseconds(figures.std_ms)}",
    rank=lambda figures: figures.mean_ms,
)


def columns(results: Results) -> list[Column]:
    """The columns of the full table: of every file, and of the runtimes that were asked for."""
    entries = results.entries
    file = [*_identity(entries), BYTES, PARAMETERS, MACS, ACCURACY, AGREEMENT, FLOAT_OPERATIONS]
    makers = {"litert": _litert, "tflm": _tflm, "vela": _vela, "browser": _browser, "android": _android}
    asked = [runtime for runtime in RUNTIMES if any(getattr(entry, runtime) is not None for entry in entries)]
    return file + [column for runtime in asked for column in makers[runtime](entries)]


def _identity(entries: Sequence[Entry]) -> list[Column]:
    """What tells the files apart: two of one model and mode need their names."""
    told_apart = len({(entry.model, entry.mode) for entry in entries}) == len(entries)
    return [MODEL, MODE] if told_apart else [NAME, MODEL, MODE]


def _litert(entries: Sequence[Entry]) -> list[Column]:
    threads, faster = threads_of(entries), speedup(entries)
    return [
        *map(p50, threads),
        *(_tail(number, percentile) for number in threads[:1] for percentile in (90, 99)),
        *([faster] if any(faster.number(entry) not in (None, 1) for entry in entries) else []),
        _column("litert", "first ms", "first image of a new process", lambda one: one.first_ms, show=milliseconds),
        _column(
            "litert",
            "memory",
            "that opening and running it takes at most, without the interpreter's code",
            lambda one: one.memory_bytes,
            show=megabytes,
        ),
        _column(
            "litert",
            "of peak",
            "operations a second at one thread, as a share of what the processor reaches on a large matrix product",
            lambda one: one.peak_share,
            show=percent,
            more_is_better=True,
        ),
    ]


def _tail(threads: int, percentile: int) -> Column:
    def rank(time: Timing) -> float:
        return float(getattr(time, f"p{percentile}_ms"))

    meaning = f"{percentile} of 100 runs are faster"
    return _timing(threads, f"p{percentile}", meaning, show=lambda time: milliseconds(rank(time)), rank=rank)


def speedup(entries: Sequence[Entry]) -> Column:
    """How much faster a file is on LiteRT than the float32 file that was exported from the same model beside it."""
    time = p50(min(threads_of(entries), default=1))
    base = {entry.word: time.number(entry) for entry in entries if entry.mode == "float32"}

    def read(entry: Entry) -> float | None:
        own, before = time.number(entry), base.get(entry.word)
        return before / own if own and before else None

    meaning = "over the float32 file of the same model"
    return Column(
        title="speed-up",
        meaning=meaning,
        read=read,
        show=ratio,
        group=time.group,
        more_is_better=True,
    )


def _tflm(entries: Sequence[Entry]) -> list[Column]:
    steps = "largest difference of an output from LiteRT's, in steps of its quantization"
    return [ARENA, _column("tflm", "difference", steps, lambda figures: figures.largest_difference)]


def _vela(entries: Sequence[Entry]) -> list[Column]:
    names = accelerators_of(entries)
    if not names:  # no file could be run: the column says why
        return [_column("vela", "runs", "whether Vela compiles the file", lambda figures: None)]
    return [column for name in names for column in (npu_ms(name), npu_cpu_operations(name))]


def _browser(entries: Sequence[Entry]) -> list[Column]:
    agreement = "share of the images on which browser and LiteRT name the same class"
    return [BROWSER_P50, _column("browser", "agreement", agreement, lambda figures: figures.agreement, show=percent)]


def _android(entries: Sequence[Entry]) -> list[Column]:
    return [ANDROID_MEAN]


def short_columns(results: Results) -> list[Column]:
    """The columns of the terminal's table: what was measured, as narrow as can be."""
    entries = results.entries
    smallest = smallest_accelerator(entries)
    times = [
        replace(p50(number), title=f"p50 ms\n{counted(number, 'thread')}", show=narrow_interval)
        for number in threads_of(entries)
    ]
    wanted = [
        BYTES,
        ACCURACY,
        replace(AGREEMENT, title="agree-\nment"),
        *times,
        ARENA,
        replace(npu_ms(smallest), title="NPU\nms"),
        replace(npu_cpu_operations(smallest), title="CPU\nops"),
        replace(BROWSER_P50, title="browser\np50 ms", show=lambda time: milliseconds(time.p50_ms)),
    ]
    measured = [column for column in wanted if any(column.number(entry) is not None for entry in entries)]
    return [*_identity(entries), *measured]


def plain_columns(results: Results) -> list[Column]:
    """The columns of a table of trained networks on LiteRT alone."""
    entries = results.entries
    threads = min(threads_of(entries), default=1)
    middle = replace(p50(threads), title="p50 ms", show=lambda time: milliseconds(time.p50_ms))
    tail = replace(_tail(threads, 90), title="p90 ms")
    return [MODEL, PARAMETERS, MACS, MODE, BYTES, ACCURACY, AGREEMENT, middle, tail, speedup(entries)]


def latency(entries: Sequence[Entry]) -> Column | None:
    """The time by which files are compared: LiteRT's at the fewest threads, else that of another runtime."""
    smallest = smallest_accelerator(entries)
    candidates = [*map(p50, threads_of(entries)[:1]), BROWSER_P50, ANDROID_MEAN, whole_npu_ms(smallest)]
    return next((one for one in candidates if any(one.number(entry) is not None for entry in entries)), None)
