"""What a race comes to, in sentences: how each line grew, and where ours overtakes theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log

from genius.benchmark.record import FLAT, GENIUS, METHODS, OURS, Line, Race, RacePoint, label


@dataclass(frozen=True)
class Crossing:
    """From how many candidates on ours is faster than theirs; None where the lines do not cross.

    ahead: whether ours is the faster at the largest collection that both were measured on.
    """

    at: int | None
    ahead: bool
    largest: int


def crossing(ours: Sequence[RacePoint], theirs: Sequence[RacePoint]) -> Crossing | None:
    """Where the medians of two lines cross for the last time, ours being faster from there on.

    Between two sizes, lines are straight on logarithmic axes. None if no size was measured on both.
    """
    other = {point.size: point.search.p50 for point in theirs}
    gaps = [
        (point.size, log(point.search.p50 / other[point.size]))
        for point in sorted(ours, key=lambda point: point.size)
        if other.get(point.size, 0) > 0 and point.search.p50 > 0
    ]
    if not gaps:
        return None
    at = None
    for (size, gap), (larger, later) in pairwise(gaps):
        if gap > 0 >= later:
            at = round(exp(log(size) + log(larger / size) * gap / (gap - later)))
    ahead = gaps[-1][1] <= 0
    return Crossing(at if ahead else None, ahead, gaps[-1][0])


def sentences(race: Race) -> tuple[str, ...]:
    """First GENIUS at its widest beam beside exact search, and how both grew; then all else."""
    lines = race.lines()
    ours = [line for line in lines if line[0] in OURS]
    theirs = [line for line in lines if line[0] not in OURS]
    main = max(ours, key=lambda line: (line[0] == GENIUS, line[1] or 0), default=None)
    first = [line for line in lines if line in (main, (FLAT, None))]
    pairs = [(line, rival) for line in ours for rival in theirs if line == main or rival[0] == FLAT]
    pairs.sort(key=lambda pair: pair != (main, (FLAT, None)))  # the others stay in order
    crossings = [_crossing(lines, *pair) for pair in pairs]
    grown = {line: _growth(lines[line]) for line in sorted(lines, key=lambda line: line not in first)}
    told = [*crossings[:1], *(grown[line] for line in first), *crossings[1:]]
    told += [grown[line] for line in grown if line not in first]
    return tuple(sentence for sentence in told if sentence)


def digits(number: float) -> str:
    """At least three: 0.0213, 84.2, 1,234."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def milliseconds(ms: float) -> str:
    """A time in words: 84.2 ms."""
    return f"{digits(ms)} ms"


def rough(number: int) -> str:
    """To two digits, as an interpolation deserves: 183,512 is about 180,000."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return f"{round(number / unit) * unit:,}"


def _crossing(lines: dict[Line, list[RacePoint]], ours: Line, theirs: Line) -> str:
    found = crossing(lines[ours], lines[theirs])
    if found is None:
        return ""
    name, rival = label(*ours), METHODS[theirs[0]]
    if found.at is not None:
        return f"{name}, overtakes {rival} at about {rough(found.at)} candidates."
    own, other = (
        next(milliseconds(point.search.p50) for point in lines[line] if point.size == found.largest)
        for line in (ours, theirs)
    )
    if found.ahead:
        return (
            f"{name}, is faster than {rival} at every size measured ({own} against {other} at the largest)."
        )
    return (
        f"No crossing in this range: at {found.largest:,} candidates {rival} is still faster than {name} "
        f"({other} against {own})."
    )


def _growth(points: Sequence[RacePoint]) -> str:
    first, last = points[0], points[-1]
    if first.size == last.size or not first.search.p50:
        return ""
    recall = (
        ""
        if first.exact is None or last.exact is None or first.method == FLAT
        else f"; of what exact search finds it has {first.exact:.0%} and {last.exact:.0%}"
    )
    name = first.label[0].upper() + first.label[1:]
    return (
        f"{name}: {milliseconds(first.search.p50)} at {first.size:,} candidates, "
        f"{milliseconds(last.search.p50)} at {last.size:,}, "
        f"{digits(last.search.p50 / first.search.p50)} times as long{recall}."
    )
