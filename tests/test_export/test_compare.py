"""Two benchmark runs side by side."""

import io
from dataclasses import replace

import numpy as np
import pytest
from bench_results import ROUNDS, entry, litert, results, tflm, vela
from rich.console import Console

from export import compare as module
from export.compare import comparison_table, remarks
from export.results import Failure, Rejected
from keras_resnets import UsageError

pytestmark = pytest.mark.once


def compare(before, after, tolerance, max_fall=0.005):
    return module.compare(before, after, tolerance, max_fall)


def changes(before, after, tolerance=0.05):
    return {change.figure: change for change in compare(results(before), results(after), tolerance).changes}


def test_the_same_run_twice_is_no_regression():
    comparison = compare(results(entry()), results(entry()), 0.0)
    assert not comparison.is_regression
    assert {change.verdict for change in comparison.changes} == {"same"}
    assert {change.ratio for change in comparison.changes} == {1.0}


def test_the_interval_of_a_latency_holds_the_ratio_and_narrows_with_more_rounds():
    few = changes(entry(), entry(litert=litert(1.2)))["LiteRT p50, threads 1"]
    assert few.ratio == pytest.approx(1.2)
    assert 1.2 * min(ROUNDS) / max(ROUNDS) < few.low < 1.2 < few.high < 1.2 * max(ROUNDS) / min(ROUNDS)
    many = [
        entry(litert=replace(one, timings=(replace(one.timings[0], rounds_ms=one.timings[0].rounds_ms * 10),)))
        for one in (litert(), litert(1.2))
    ]
    narrow = changes(*many)["LiteRT p50, threads 1"]
    assert narrow.high - narrow.low < 0.5 * (few.high - few.low)


def test_noise_of_five_percent_hides_no_slowdown_of_fifteen():
    random = np.random.default_rng(0)
    runs = []
    for p50 in (1.0, 1.15):
        rounds = tuple(random.normal(p50, 0.05 * p50, 20))
        timing = replace(litert().timings[0], p50_ms=float(np.median(rounds)), rounds_ms=rounds)
        runs.append(entry(litert=replace(litert(), timings=(timing,))))
    assert changes(*runs)["LiteRT p50, threads 1"].verdict == "worse"


@pytest.mark.parametrize(("p50", "verdict"), [(1.2, "worse"), (1.05, "same"), (0.96, "same"), (0.8, "better")])
def test_a_latency_changes_where_its_whole_interval_lies_beyond_the_tolerance(p50, verdict):
    assert changes(entry(), entry(litert=litert(p50)))["LiteRT p50, threads 1"].verdict == verdict


@pytest.mark.parametrize(
    ("figure", "change", "verdict"),
    [
        ("bytes", {"bytes": 105_000}, "worse"),
        ("bytes", {"bytes": 99_000}, "same"),
        ("arena bytes", {"tflm": tflm(40_000)}, "better"),
        ("ethos-u55-128 ms", {"vela": vela(3.0)}, "worse"),
        ("ethos-u55-128 operations on the processor", {"vela": vela(fallbacks=1)}, "worse"),
        ("float operations", {"float_operations": 2}, "worse"),
        ("accuracy", {"accuracy": 0.7}, "worse"),
        ("accuracy", {"accuracy": 0.99}, "better"),
        ("accuracy", {"accuracy": 0.0}, "worse"),
        ("accuracy", {"accuracy": entry().accuracy - 0.006}, "worse"),
        ("agreement", {"agreement": entry().agreement - 0.005}, "same"),
    ],
)
def test_what_does_not_scatter_is_compared_exactly(figure, change, verdict):
    found = changes(entry(), entry(**change))[figure]
    assert found.verdict == verdict
    assert found.low == found.high == found.ratio


def test_memory_outside_of_an_npu_is_compared_where_there_is_any():
    (npu,) = vela().accelerators
    little, much = (entry(vela=replace(vela(), accelerators=(replace(npu, dram_bytes=one),))) for one in (1000, 3000))
    assert changes(little, much)[f"{npu.accelerator} DRAM bytes"].verdict == "worse"
    assert f"{npu.accelerator} DRAM bytes" not in changes(entry(), entry())


def test_what_fails_now_is_a_regression():
    comparison = compare(results(entry()), results(entry(tflm=Failure(reason="no SOFTMAX"))), 10.0)
    assert comparison.is_regression
    assert comparison.broken == {"net int8 on tflm": "no SOFTMAX"}


def test_a_figure_that_is_gone_is_a_regression():
    before, missing = results(entry()), "not measured in the second run"
    without = entry(agreement=None, vela=replace(vela(), accelerators=()))
    comparison = compare(before, results(without), 0.05)
    assert comparison.is_regression
    npu = vela().accelerators[0].accelerator
    assert {"net int8: agreement", f"net int8: {npu} ms"} <= comparison.broken.keys()
    assert set(comparison.broken.values()) == {missing}
    other = compare(before, replace(results(without), data="cifar100"), 0.05)
    assert "net int8: agreement" not in other.broken, "on other data it says nothing"
    lost = compare(before, results(entry(accuracy=None, agreement=None), data=None), 0.05)
    assert lost.broken == dict.fromkeys(("net int8: accuracy", "net int8: agreement"), missing), "there are no data now"


def test_a_number_of_threads_that_was_not_asked_for_is_not_lost():
    def with_threads(name, *threads):
        timings = tuple(replace(litert().timings[0], threads=count) for count in threads)
        return entry(name, litert=replace(litert(), timings=timings))

    assert not compare(results(with_threads("a", 1, 8)), results(with_threads("a", 1, 4)), 0.05).is_regression
    after = results(with_threads("a", 1), with_threads("b", 1, 8))
    lost = compare(results(with_threads("a", 1, 8)), after, 0.05)
    assert lost.broken == {"a: LiteRT p50, threads 8": "not measured in the second run"}


def test_the_reason_of_a_mode_that_failed_is_found():
    before = results(entry("a", word="a.keras", mode="int8, uint8 io"), entry("b"))
    rejected = (Rejected(name="a.keras int8", reason="too few images"),)
    assert compare(before, results(entry("b"), rejected=rejected), 0.05).broken == {"a": "too few images"}


def test_what_the_second_run_lacks_is_a_regression_and_what_it_adds_is_none():
    before, after = results(entry("a", word="a.keras"), entry("b")), results(entry("b"), entry("c"))
    comparison = compare(before, after, 0.05)
    assert comparison.broken == {"a": "not in the second run"}
    assert comparison.only_after == ("c",)
    assert comparison.is_regression
    assert not compare(after, results(entry("c"), entry("b"), entry("d")), 0.05).is_regression
    rejected = (Rejected(name="a.keras", reason="no file"),)
    assert compare(before, results(entry("b"), rejected=rejected), 0.05).broken == {"a": "no file"}
    assert compare(results(entry()), results(entry(vela=None)), 0.05).broken == {
        "net int8 on vela": "not measured in the second run"
    }


def test_runs_with_nothing_in_common_are_one_line():
    with pytest.raises(UsageError, match="no file in common"):
        compare(results(entry("a")), results(entry("b")), 0.05)


def test_accuracies_on_other_data_are_not_compared():
    comparison = compare(results(entry()), results(entry(accuracy=0.1), data="digits"), 0.05)
    assert comparison.environment == {"data": ("cifar10", "digits")}
    assert not comparison.is_regression


def test_the_environment_is_compared_and_the_load_where_a_machine_was_busy():
    before = results(entry(), environment={"processor": "A", "load": "0.10"})
    after = results(entry(), environment={"processor": "B", "load": "0.30", "jax": "1"})
    assert compare(before, after, 0.05).environment == {"processor": ("A", "B"), "jax": ("none", "1")}
    busy = results(entry(), environment={"processor": "A", "load": "1.90"})
    assert compare(before, busy, 0.05).environment == {"load": ("0.10", "1.90")}
    unknown = results(entry(), environment={"processor": "A", "load": "unknown"})
    assert compare(before, unknown, 0.05).environment == {}


@pytest.mark.parametrize("percent", range(1, 60))
def test_a_cost_that_grows_by_the_tolerance_itself_is_the_same(percent):
    found = changes(entry(bytes=100), entry(bytes=100 + percent), percent / 100)["bytes"]
    assert found.verdict == "same"
    assert changes(entry(bytes=100), entry(bytes=101 + percent), percent / 100)["bytes"].verdict == "worse"


def test_the_table_lists_changes_worst_first():
    after = entry(litert=litert(1.2), bytes=1_000_000)
    comparison = compare(
        results(entry(), entry("gone")), results(after, rejected=(Rejected(name="z", reason="r"),)), 0.05
    )
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(comparison_table(comparison, "title"))
    for line in remarks(comparison):
        console.print(line)
    text = console.export_text()
    assert text.index("bytes") < text.index("LiteRT p50, threads 1")
    assert "lost: gone: not in the second run" in text
    assert "3 worse" in text
    assert "arena bytes" not in text
