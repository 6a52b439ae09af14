"""What a benchmark run found, in sentences."""

from collections.abc import Sequence

from export.choose import most_accurate
from export.convert import MIN_AGREEMENT
from export.pareto import pareto_front
from export.report.card import standard_error
from export.report.columns import ACCURACY, BYTES, Column, latency
from export.report.formats import count, counted, milliseconds, percent, points
from export.results import RUNTIMES, Entry, Results, Timing

MOST_NAMES = 6  # in a sentence


def findings(results: Results) -> list[str]:
    """The best files by each measure, and what must not be read into them, as a few paragraphs."""
    entries = results.entries
    sentences = [_scope(results)]
    if entries:
        ranked = [entry for entry in entries if ACCURACY.number(entry) is not None]
        time = latency(entries)
        sentences += [_best(entries, ranked, time), _front(entries, ranked, time)]
    return [paragraph for paragraph in (*sentences, _warnings(results)) if paragraph]


def _scope(results: Results) -> str:
    entries = results.entries
    asked = [title for runtime, title in RUNTIMES.items() if any(getattr(one, runtime) is not None for one in entries)]
    networks, images = len({entry.model for entry in entries}), max((entry.images or 0 for entry in entries), default=0)
    files = f"{counted(len(entries), 'file')} of {counted(networks, 'network')}"
    where = f" on {_list(asked)}" if asked else ""
    data = f"; accuracy on {count(images)} test images of {results.data}" if images else ""
    return f"{files}{where}{data}."


def _best(entries: Sequence[Entry], ranked: Sequence[Entry], time: Column | None) -> str:
    shown = [ACCURACY, *([time] if time else []), BYTES]
    sentences = []
    if ranked:
        sentences.append(f"Most accurate: {_with_figures(most_accurate(ranked), shown)}.")
    if time:
        timed = [entry for entry in entries if time.number(entry) is not None]
        fastest = min(timed, key=time.known)
        equals = [entry.name for entry in timed if entry is not fastest and _overlap(time, entry, fastest)]
        apart = f", not told apart from {_list(equals)}" if equals else ""
        sentences.append(f"Fastest: {_with_figures(fastest, shown)}{apart}.")
    sentences.append(f"Smallest: {_with_figures(min(entries, key=BYTES.known), shown)}.")
    return " ".join(sentences)


def _overlap(time: Column, one: Entry, other: Entry) -> bool:
    first, second = time.read(one), time.read(other)
    if not isinstance(first, Timing):
        return False
    return bool(first.p50_low_ms <= second.p50_high_ms and second.p50_low_ms <= first.p50_high_ms)


def _with_figures(entry: Entry, shown: Sequence[Column]) -> str:
    forms = {ACCURACY: percent, BYTES: lambda size: f"{count(int(size))} bytes"}
    numbers = [(column, number) for column in shown if (number := column.number(entry)) is not None]
    texts = [forms.get(column, lambda time: f"{milliseconds(time)} ms")(number) for column, number in numbers]
    return f"{entry.name} ({', '.join(texts)})"


def _front(entries: Sequence[Entry], ranked: Sequence[Entry], time: Column | None) -> str:
    both = [entry for entry in ranked or entries if time is not None and time.number(entry) is not None]
    if time is None or not both:
        return ""
    gain = ACCURACY if ranked else BYTES
    sign = 1 if gain.more_is_better else -1
    front = pareto_front([(time.known(entry), sign * gain.known(entry)) for entry in both])
    names = _list([both[place].name for place in front])
    return f"On the Pareto front of {gain.title} and latency, where none is beaten in both: {names}."


def _warnings(results: Results) -> str:
    entries, rejected = results.entries, results.rejected
    low = [entry.name for entry in entries if entry.agreement is not None and entry.agreement < MIN_AGREEMENT]
    chances = [chance for entry in entries if (chance := standard_error(entry)) is not None]
    warnings = (
        f"One standard error of an accuracy is up to {points(max(chances))}." if chances else "",
        say_untrained(entries),
        f"Do not ship {_list(low)}: less than {percent(MIN_AGREEMENT)} agreement with the Keras model." if low else "",
        f"Not measured at all: {_list([one.name for one in rejected])}; the table says why." if rejected else "",
    )
    return " ".join(filter(None, warnings))


def say_untrained(entries: Sequence[Entry]) -> str:
    """Which networks have random weights, or nothing where none has."""
    untrained = list(dict.fromkeys(entry.model for entry in entries if not entry.trained))
    if untrained and not any(entry.trained for entry in entries):
        return "All networks have random weights: this compares what they cost, not how accurate they are."
    return f"With random weights, and not ranked by accuracy: {_list(untrained)}." if untrained else ""


def _list(names: Sequence[str]) -> str:
    if len(names) > MOST_NAMES:
        names = [*names[: MOST_NAMES - 1], f"{count(len(names) - MOST_NAMES + 1)} more"]
    comma = "; " if any("," in name for name in names) else ", "
    return " and ".join(part for part in (comma.join(names[:-1]), names[-1]) if part)
