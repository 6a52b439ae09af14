"""Two benchmark runs side by side."""

import io

import numpy as np
import pytest
from bench_results import ROUNDS, entry, litert, results, tflm, vela
from rich.console import Console

from export.compare import compare, comparison_table, remarks
from export.results import Failure, Rejected

pytestmark = pytest.mark.once


def changes(before, after, tolerance=0.05):
    return {change.figure: change for change in compare(results(before), results(after), tolerance).changes}


def test_the_same_run_twice_is_no_regression():
    comparison = compare(results(entry()), results(entry()), 0.0)
    assert not comparison.is_regression
    assert {change.verdict for change in comparison.changes} == {"same"}
    assert {change.ratio for change in comparison.changes} == {1.0}


def test_the_interval_of_a_latency_is_that_of_the_ratios_of_all_rounds():
    change = changes(entry(), entry(litert=litert(1.2)))["LiteRT p50, threads 1"]
    ratios = [1.2 * new / old for new in ROUNDS for old in ROUNDS]
    assert change.ratio == pytest.approx(1.2)
    assert (change.low, change.high) == pytest.approx(tuple(np.percentile(ratios, (2.5, 97.5))))


@pytest.mark.parametrize(("p50", "verdict"), [(1.2, "worse"), (1.06, "same"), (0.95, "same"), (0.8, "better")])
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
    ],
)
def test_what_does_not_scatter_is_compared_exactly(figure, change, verdict):
    found = changes(entry(), entry(**change))[figure]
    assert found.verdict == verdict
    assert found.low == found.high == found.ratio


def test_what_fails_now_is_a_regression():
    comparison = compare(results(entry()), results(entry(tflm=Failure(reason="no SOFTMAX"))), 10.0)
    assert comparison.is_regression
    assert comparison.broken == {"net int8 on tflm": "no SOFTMAX"}


def test_what_only_one_run_has_is_said_and_no_regression():
    before, after = results(entry("a"), entry("b")), results(entry("b"), entry("c"))
    comparison = compare(before, after, 0.05)
    assert (comparison.only_before, comparison.only_after) == (("a",), ("c",))
    assert not comparison.is_regression


def test_the_environment_is_compared_but_for_the_load():
    before = results(entry(), environment={"processor": "A", "load": "0.1"})
    after = results(entry(), environment={"processor": "B", "load": "2.0", "jax": "1"})
    assert compare(before, after, 0.05).environment == {"processor": ("A", "B"), "jax": ("none", "1")}


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
    assert "only in the first run: gone" in text
    assert "3 worse" in text
    assert "arena bytes" not in text
