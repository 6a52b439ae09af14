"""Commands that measure files on devices, and read what was measured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Bench:
    """Measure networks and files on every kind of edge runtime; write report.html, report.md, results.csv and .json."""

    models: Annotated[Positional[tuple[str, ...]], arg(metavar="MODELS")] = ()
    """.tflite files; .keras files, which are exported first; registered names, which are built with random weights:
    latency, size and memory only."""
    suite: Literal["cifar", "imagenet"] | None = None
    """Add every registered network that is small enough for the edge, residual ones and baselines."""
    data: str | None = None
    """Data whose test images are classified and whose training images calibrate: those the models were trained on.
    None: as the config.json beside a .keras file says, else latency, size and memory only."""
    runtime: tuple[Literal["litert", "tflm", "vela", "browser", "android"], ...] | None = None
    """Where to run: litert (phones and computers, XNNPACK), tflm (microcontrollers, TFLite Micro), vela (NPUs, Arm
    Ethos-U, estimated), browser (LiteRT.js in Chromium), android (a phone, through adb); None: all that are there."""
    modes: tuple[str, ...] = ("float32", "int8")
    """How to export .keras files and registered names; see `keras-resnets export`."""
    io: Literal["float32", "uint8", "int8"] = "uint8"
    """Type of input and output of what is exported in mode int8. uint8 runs on every runtime; int8 takes two operations
    less on microcontrollers and NPUs, and no browser."""
    threads: tuple[int, ...] | None = None
    """Numbers of threads on litert; None: 1, 2 and all cores."""
    reference: Path | None = None
    """The .keras file that .tflite files were exported from; adds the agreement of those that were."""
    out: Path = Path("runs/bench")
    """Folder of the report and of what is exported; an earlier report there is replaced."""
    seed: int = 0
    """Seed of random weights, calibration and noise."""

    def run(self) -> None:
        from export.environment import cores
        from export.report.bench import terminal_table
        from export.report.columns import short_columns
        from recipes.bench import bench, choose_runtimes, suite
        from recipes.progress import console

        threads = (1, 2, cores()) if self.threads is None else self.threads
        results = bench(
            [*self.models, *(suite(self.suite) if self.suite else ())],
            runtimes=choose_runtimes(self.runtime, threads),
            source=self.data,
            modes=self.modes,
            io=self.io,
            reference=self.reference,
            out=self.out,
            seed=self.seed,
        )
        console.print(terminal_table(results, short_columns(results)))
        console.print(f"report: {self.out / 'report.html'}", soft_wrap=True)


@dataclass(frozen=True)
class Compare:
    """Show what got faster or slower, smaller or larger between two runs of bench; exit code 1 on a regression."""

    before: Annotated[Positional[Path], arg(metavar="BEFORE")]
    """The results.json to compare with."""
    after: Annotated[Positional[Path], arg(metavar="AFTER")]
    """The results.json in question."""
    tolerance: float = 0.05
    """Share by which a cost may grow: 0.05 for 5%. A latency counts as worse only where the whole interval of its ratio
    lies above; the interval knows how the rounds of each run scatter, not that a machine was busier in one of them."""
    max_fall: float = 0.005
    """Share of the test images by which accuracy or agreement may fall: 0.005 for half a point."""

    def run(self) -> None:
        from export.compare import compare, comparison_table, remarks
        from export.results import read_results
        from keras_resnets import UsageError
        from recipes.progress import console

        if not 0 <= self.tolerance < float("inf"):
            raise UsageError(f"--tolerance {self.tolerance}: give a share from 0, such as 0.05")
        if not 0 <= self.max_fall <= 1:
            raise UsageError(f"--max-fall {self.max_fall}: give a share from 0 to 1, such as 0.005")
        comparison = compare(read_results(self.before), read_results(self.after), self.tolerance, self.max_fall)
        shown = comparison_table(comparison, f"{self.before} -> {self.after}")
        if shown.row_count:
            console.print(shown)
        for line in remarks(comparison):
            console.print(line, soft_wrap=True)
        if comparison.is_regression:
            raise SystemExit(1)


@dataclass(frozen=True)
class Choose:
    """Name the most accurate file within limits of a device, and what each limit costs in accuracy."""

    results: Annotated[Positional[Path], arg(metavar="RESULTS")]
    """The results.json of bench."""
    max_latency: str | None = None
    """Longest median latency on LiteRT at 1 thread, such as 2ms or 800us."""
    max_bytes: str | None = None
    """Largest file, such as 100k or 1.5MB; k is 1,000 bytes and Ki is 1,024."""
    max_arena: str | None = None
    """Largest tensor arena on TFLite Micro, such as 64Ki."""
    max_npu: str | None = None
    """Longest time on the smallest Ethos-U, such as 5ms; of files that it runs whole."""

    def run(self) -> None:
        from export.choose import Limits, choose, parse_bytes, parse_time
        from export.results import read_results
        from recipes.progress import console

        limits = Limits(
            p50_ms=parse_time(self.max_latency) if self.max_latency is not None else None,
            bytes=parse_bytes(self.max_bytes) if self.max_bytes is not None else None,
            arena_bytes=parse_bytes(self.max_arena) if self.max_arena is not None else None,
            npu_ms=parse_time(self.max_npu) if self.max_npu is not None else None,
        )
        choice = choose(read_results(self.results), limits)
        console.print(f"{choice.entry.name}: {choice.entry.accuracy:.2%}, {choice.entry.origin}", soft_wrap=True)
        for lifted in choice.lifted:
            console.print(
                f"{lifted.limit}: costs nothing"
                if not lifted.gain
                else f"{lifted.limit}: costs {100 * lifted.gain:.2f} points; without, {lifted.entry.name}",
                soft_wrap=True,
            )
        for name, reason in choice.excluded.items():
            console.print(f"not judged: {name}: {reason}", soft_wrap=True)
