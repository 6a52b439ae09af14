from dataclasses import replace

import pytest
from bench_results import entry, litert, results, tflm, vela

from export.choose import Limits, choose, parse_bytes, parse_time
from export.results import Failure, VelaFigures
from keras_resnets import UsageError

pytestmark = pytest.mark.once

SMALL = entry("small", accuracy=0.80, bytes=50_000, litert=litert(0.5), tflm=tflm(30_000), vela=vela(1.0))
MIDDLE = entry("middle", accuracy=0.85, bytes=100_000, litert=litert(1.0), tflm=tflm(60_000), vela=vela(2.0))
LARGE = entry("large", accuracy=0.90, bytes=300_000, litert=litert(3.0), tflm=tflm(200_000), vela=vela(6.0))
ALL = results(SMALL, MIDDLE, LARGE)


def test_the_most_accurate_wins_where_nothing_limits():
    choice = choose(ALL, Limits())
    assert (choice.entry, choice.lifted, choice.excluded) == (LARGE, (), {})


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(p50_ms=1.0), MIDDLE),
        (Limits(p50_ms=0.99), SMALL),
        (Limits(bytes=299_999), MIDDLE),
        (Limits(arena_bytes=200_000), LARGE),
        (Limits(arena_bytes=59_999), SMALL),
        (Limits(npu_ms=2.0), MIDDLE),
        (Limits(p50_ms=5.0, bytes=60_000), SMALL),
    ],
)
def test_a_limit_is_the_most_that_a_file_may_take(limits, expected):
    assert choose(ALL, limits).entry is expected


def test_of_equally_accurate_files_the_fastest_wins():
    fast, slow = entry("fast", litert=litert(0.5), bytes=9), entry("slow", litert=litert(0.6), bytes=1)
    assert choose(results(slow, fast), Limits()).entry is fast
    untimed = entry("untimed", litert=None)
    assert choose(results(untimed, slow), Limits()).entry is slow


def test_each_limit_is_lifted_alone():
    choice = choose(ALL, Limits(p50_ms=1.5, bytes=60_000, npu_ms=9.0))
    assert choice.entry is SMALL
    assert [(one.limit, one.entry.name, round(one.gain, 6)) for one in choice.lifted] == [
        ("p50 at 1 thread up to 1.500 ms", "small", 0.0),
        ("size up to 60,000 bytes", "middle", 0.05),
        ("time on ethos-u55-128 up to 9.000 ms", "small", 0.0),
        ("all limits together", "large", 0.1),
    ]


def test_a_lifted_limit_admits_files_that_lack_its_figure():
    unknown = entry("unknown", accuracy=0.95, tflm=Failure(reason="no such operation"))
    choice = choose(results(SMALL, unknown), Limits(arena_bytes=40_000))
    assert choice.entry is SMALL
    assert [one.entry for one in choice.lifted] == [unknown]
    assert choice.lifted[0].gain == pytest.approx(0.15)


def test_files_that_cannot_be_judged_are_listed_with_the_reason():
    odd = [
        entry("random", trained=False),
        entry("no data", accuracy=None),
        entry("fails", tflm=Failure(reason="no such operation")),
        entry("not asked", tflm=None),
    ]
    choice = choose(results(*odd, SMALL), Limits(arena_bytes=40_000))
    assert choice.entry is SMALL
    assert choice.excluded == {
        "random": "untrained: random weights",
        "no data": "no test data",
        "fails": "no arena: no such operation",
        "not asked": "no arena: not measured",
    }


def test_a_file_that_the_npu_runs_in_part_has_no_time_there():
    part = entry("part", accuracy=0.95, vela=vela(0.1, fallbacks=3))
    choice = choose(results(SMALL, part), Limits(npu_ms=2.0))
    assert choice.entry is SMALL
    assert choice.excluded == {
        "part": "no time on ethos-u55-128: the NPU leaves 3 SOFTMAX to the processor, whose time Vela does not know"
    }
    npu = vela(1.0).accelerators[0]
    ends = replace(npu, cpu_operations={"QUANTIZE": 1, "DEQUANTIZE": 1})
    moved = entry("moved", accuracy=0.95, vela=VelaFigures(accelerators=(ends,)))
    assert choose(results(SMALL, moved), Limits(npu_ms=2.0)).entry is moved


def test_untrained_files_never_win():
    with pytest.raises(UsageError, match=r"no file can be judged \(random: untrained"):
        choose(results(entry("random", trained=False, accuracy=0.99)), Limits())
    with pytest.raises(UsageError, match=r"there is none"):
        choose(results(), Limits(bytes=1))


def test_where_nothing_fits_the_nearest_miss_is_named():
    with pytest.raises(UsageError) as caught:
        choose(ALL, Limits(p50_ms=0.4, bytes=10_000))
    assert str(caught.value) == (
        "no trained file has p50 at 1 thread up to 0.400 ms, size up to 10,000 bytes; nearest is small with p50 at "
        "1 thread 0.500 ms, size 50,000 bytes"
    )
    with pytest.raises(UsageError, match=r"nearest is large with size 300,000 bytes$"):
        choose(results(LARGE), Limits(p50_ms=5.0, bytes=10_000))


@pytest.mark.parametrize(
    ("text", "expected"), [("2ms", 2.0), ("800us", 0.8), ("800 µs", 0.8), (".5s", 500.0), ("1.5MS", 1.5)]
)
def test_times(text, expected):
    assert parse_time(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["2", "ms", "-1ms", "0ms", "2m", "2ms3", "nanms", "infs", "", "1e3ms", "٣ms"])
def test_what_is_no_time_is_one_line(text):
    with pytest.raises(UsageError, match=r"is no time: write a number and us, ms or s, such as 2ms$"):
        parse_time(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("100", 100), ("100k", 100_000), ("64Ki", 65_536), ("1.5MB", 1_500_000), ("2 MiB", 2_097_152), ("1.15k", 1150),
     ("1g", 10**9), ("12B", 12), ("64kb", 64_000)],
)  # fmt: skip
def test_sizes_k_is_1000_and_ki_1024(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "k", "-1k", "0", "0.3", "1kk", "2ms", "1,000", "9" * 400])
def test_what_is_no_size_is_one_line_that_says_what_k_is(text):
    with pytest.raises(UsageError, match=r"is no size: .* k is 1,000 bytes and Ki is 1,024, so 64 KiB are 64Ki$"):
        parse_bytes(text)
