"""Results of a benchmark run, made by hand."""

from typing import Any

from export.results import (
    BrowserFigures,
    End,
    Entry,
    LiteRTFigures,
    NpuFigures,
    Results,
    TflmFigures,
    Timing,
    VelaFigures,
)

ROUNDS = (0.98, 1.0, 1.02, 1.0, 0.99, 1.01)  # medians, as shares of the median of all


def timing(p50: float = 1.0, threads: int = 1) -> Timing:
    rounds = tuple(p50 * share for share in ROUNDS)
    return Timing(
        threads=threads,
        p50_ms=p50,
        p50_low_ms=min(rounds),
        p50_high_ms=max(rounds),
        p90_ms=1.1 * p50,
        p99_ms=1.3 * p50,
        mean_ms=1.02 * p50,
        std_ms=0.05 * p50,
        runs=60,
        rounds_ms=rounds,
    )


def litert(p50: float = 1.0) -> LiteRTFigures:
    return LiteRTFigures(
        timings=(timing(p50), timing(0.6 * p50, 2)), init_ms=2.0, first_ms=1.5, memory_bytes=3_000_000, peak_share=0.7
    )


def tflm(arena: int = 50_000) -> TflmFigures:
    return TflmFigures(
        arena_bytes=arena,
        arena={"head": arena // 2, "tail": arena - arena // 2},
        flash_bytes=90_000,
        images=4,
        largest_difference=1,
        largest_error=0.004,
    )


def vela(ms: float = 2.0, fallbacks: int = 0) -> VelaFigures:
    npu = NpuFigures(
        accelerator="ethos-u55-128",
        clock_mhz=500.0,
        cycles=int(ms * 500_000),
        ms=ms,
        sram_bytes=60_000,
        flash_bytes=70_000,
        npu_operations=20,
        cpu_operations={"SOFTMAX": fallbacks} if fallbacks else {},
    )
    return VelaFigures(accelerators=(npu,))


def browser(p50: float = 2.0) -> BrowserFigures:
    return BrowserFigures(
        browser="Chromium 150", timing=timing(p50), load_ms=30.0, images=32, agreement=1.0, largest_error=0.001
    )


def entry(name: str = "net int8", **changes: Any) -> Entry:
    values: dict[str, Any] = {
        "name": name,
        "word": "net.keras",
        "model": "net",
        "mode": "int8",
        "file": "net_int8.tflite",
        "sha256": "0" * 64,
        "bytes": 98_000,
        "trained": True,
        "parameters": 78_000,
        "macs": 12_500_000,
        "input": End(name="image", shape=(1, 32, 32, 3), type="int8", scale=1.0, zero_point=-128),
        "output": End(name="output", shape=(1, 10), type="int8", scale=1 / 256, zero_point=-128),
        "operations": {"CONV_2D": 9, "ADD": 3},
        "float_operations": 0,
        "labels": None,
        "quantization": None,
        "images": 10_000,
        "accuracy": 0.87,
        "agreement": 0.99,
        "litert": litert(),
        "tflm": tflm(),
        "vela": vela(),
        "browser": browser(),
    }
    return Entry(**values | changes)


def results(*entries: Entry, **changes: Any) -> Results:
    values: dict[str, Any] = {
        "environment": {"processor": "A"},
        "data": "cifar10",
        "seed": 0,
        "peak": None,
        "entries": entries,
        "rejected": (),
    }
    return Results(**values | changes)
