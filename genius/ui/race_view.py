"""A race as HTML, and its chart as data. Pure; a race may come from a file, so all texts are escaped."""

from __future__ import annotations

import json
from collections.abc import Sequence

from genius.benchmark.record import ADDRESSES, GENIUS, METHODS, OURS, Race, RacePoint, to_csv, to_json
from genius.benchmark.summary import digits, milliseconds, sentences
from genius.ui.render import esc, invite, plural

NO_CHART = "{}"
HEADLINES = 3
"""So many sentences stand above the table; the rest wait below it, folded."""


def chart(race: Race) -> str:
    """What race.js draws: each line's label, sizes, medians and more; where synthetic candidates begin."""
    return json.dumps(
        {
            "lines": [
                {
                    "label": points[0].label,
                    "method": method,
                    "beams": beams,
                    "size": [point.size for point in points],
                    "search": [point.search.p50 for point in points],
                    "whole": [None if point.whole is None else point.whole.p50 for point in points],
                    "slow": [milliseconds(point.search.p95) for point in points],
                    "recall": [_share(point.exact) for point in points],
                }
                for (method, beams), points in race.lines().items()
            ],
            "sizes": sorted(set(race.settings.sizes)),
            "real": race.real,
        }
    )


def about(race: Race, own: bool) -> str:
    """What was measured, where and when."""
    machine = race.machine
    whose = "This machine's last race" if own else "Recorded on another machine"
    versions = ", ".join(f"{name} {number}" for name, number in sorted(machine.versions.items()))
    encoding = (
        f" Reading a query takes {milliseconds(race.encode.p50)}, typically; only the chart “in all” has it."
        if race.encode
        else ""
    )
    return (
        f'<p class="g-lead"><b>{whose}</b>, {esc(race.time)}: {esc(machine.processor)}, '
        f"{machine.threads} of {plural(machine.cores, 'core')}, {esc(race.device)}, {esc(race.dtype)}. "
        f"{_collection(race)} {plural(race.queries, 'different query').replace('querys', 'queries')} "
        f"a point after a warm-up, {plural(race.settings.top_k, 'result')} each.{encoding}</p>"
        f'<p class="g-small">Model {esc(race.model)}, {race.dim} dimensions, {len(race.levels)} codes an '
        f"address; load {machine.load:g} at the start; {esc(versions)}.</p>"
    )


def result(race: Race) -> str:
    """Sentences, the table, parameters, and what can be downloaded; empty while nothing is measured."""
    if not race.points:
        return ""
    said = sentences(race)
    first = "".join(f"<p>{esc(sentence)}</p>" for sentence in said[:HEADLINES])
    notes = "".join(f'<p class="g-small">{esc(note)}</p>' for note in race.notes)
    lines = "".join(_line(points) for points in race.lines().values())
    downloads = "".join(
        f'<button type="button" data-act="{act}">{words}</button>'
        for act, words in (("json", "Download JSON"), ("csv", "Download CSV"), ("figure", "Download figure"))
    )
    parameters = " ".join(f"{METHODS.get(name, name)}: {how}." for name, how in race.parameters.items())
    return (
        f'<div class="g-race-said" role="status">{first}</div>'
        '<div class="g-scroll" tabindex="0" role="region" aria-label="All measurements">'
        f'<table class="g-table g-race-table"><thead>{_head()}</thead>{lines}</table></div>'
        f'{_rest(said[HEADLINES:])}{notes}<p class="g-small">{_key(race)} {esc(parameters)}</p>'
        f'<div class="g-codes"><div class="g-acts">{downloads}</div></div>'
        f'<pre hidden data-file="race.json">{esc(to_json(race))}</pre>'
        f'<pre hidden data-file="race.csv">{esc(to_csv(race))}</pre>'
    )


def doing(words: str, done: int, total: int) -> str:
    """What the race is at, as a bar."""
    share = 100 * done / max(1, total)
    return (
        '<div class="g-race-doing" role="status"><span class="g-bar">'
        f'<i style="width:{share:.0f}%"></i></span>'
        f"<span>{esc(words[:1].upper() + words[1:])} <small>{done} of {total} points</small></span></div>"
    )


def said(words: str) -> str:
    """A line in place of the bar."""
    return f'<p class="g-race-doing" role="status">{esc(words)}</p>'


def failed(words: str) -> str:
    """Why there is no race, in place of the bar."""
    return f'<p class="g-race-doing g-race-failed" role="alert">{esc(words)}</p>'


def nothing_recorded() -> str:
    """What stands below the chart before the first race."""
    return invite("No race has been run on this machine yet. Choose what should race, and press Run.")


def _collection(race: Race) -> str:
    if not race.real:
        return "All candidates are made up."
    beyond = " Beyond these they are synthetic: drawn with the same mean and covariance, coded by the model."
    synthetic = beyond if max(race.settings.sizes) > race.real else ""
    return f"{plural(race.real, 'real candidate')} ({esc(race.collection)}).{synthetic}"


def _head() -> str:
    names = (
        ("method", ""),
        ("candidates", ""),
        ("search", "median, 95 %, 99 % of queries"),
        ("in all", "median, with reading the query"),
        ("queries a second", "one at a time / several at once"),
        ("recall", "of what exact search finds"),
        ("right picture", "queries that found the picture of their caption"),
        ("memory", "bytes a candidate"),
        ("building", "seconds"),
    )
    return (
        "<tr>"
        + "".join(
            f'<th scope="col">{name}{f"<small>{hint}</small>" if hint else ""}</th>' for name, hint in names
        )
        + "</tr>"
    )


def _line(points: Sequence[RacePoint]) -> str:
    """The rows of one method, which is named once."""
    mine = " data-ours" if points[0].method in OURS else ""
    name = f'<th scope="rowgroup" rowspan="{len(points)}">{esc(points[0].label)}</th>'
    rows = "".join(f"<tr>{'' if n else name}{_cells(point)}</tr>" for n, point in enumerate(points))
    return f"<tbody{mine}>{rows}</tbody>"


def _cells(point: RacePoint) -> str:
    search = point.search
    synthetic = ' <small title="partly synthetic">synthetic</small>' if point.real < point.size else ""
    cells = (
        f"{point.size:,}{synthetic}",
        f"<b>{milliseconds(search.p50)}</b> "
        f"<small>{milliseconds(search.p95)}, {milliseconds(search.p99)}</small>",
        "–" if point.whole is None else milliseconds(point.whole.p50),
        f"{digits(point.per_second)} <small>/ {digits(point.batched)} ({point.batch} at once)</small>",
        _share(point.exact),
        _share(point.labelled),
        f"{point.nbytes / point.size:,.1f}",
        digits(point.build),
    )
    return "".join(f"<td>{cell}</td>" for cell in cells)


def _rest(more: Sequence[str]) -> str:
    """The comparisons that no headline made, to be unfolded."""
    if not more:
        return ""
    items = "".join(f"<li>{esc(sentence)}</li>" for sentence in more)
    title = plural(len(more), "more comparison")
    return f'<details class="g-race-rest"><summary>{title}</summary><ul>{items}</ul></details>'


def _key(race: Race) -> str:
    """What the words of the table mean, of those methods that are in it."""
    words = {
        GENIUS: "Re-ranked: the candidates whose addresses were written are put in order by their vectors. ",
        ADDRESSES: "Addresses only: ordered by the model's own probability; no vector is kept or read. ",
    }
    told = "".join(words[method] for method in words if method in race.settings.methods)
    return f"{told}Building GENIUS includes giving every candidate its codes."


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _dots(read: Sequence[int]) -> str:
    """Forty candidates, some of which are read."""
    return "".join(
        f'<circle cx="{x}" cy="{y}" r="5" class="{"g-read" if n in read else ""}"/>'
        for n, (x, y) in enumerate(_PLACES)
    )


def _lane(title: str, words: str, drawing: str, label: str) -> str:
    return (
        f'<figure><svg viewBox="0 0 204 84" role="img" aria-label="{label}">{drawing}</svg>'
        f"<figcaption><b>{title}</b> {words}</figcaption></figure>"
    )


_PLACES = [(12 + 20 * column, 12 + 20 * row) for row in range(4) for column in range(10)]
_WALK = (0, 11, 22, 33, 24, 35, 26)
_PATH = " ".join(f"{x},{y}" for x, y in (_PLACES[n] for n in _WALK))
_TREE = "".join(
    f'<path d="M{24 + 52 * n} 42 L{76 + 52 * n} {y}" class="{"g-written" if y == 42 else ""}"/>'
    f'<circle cx="{76 + 52 * n}" cy="{y}" r="5" class="{"g-read" if y == 42 else ""}"/>'
    for n in range(3)
    for y in (14, 70, 42)
)

LEAD = (
    '<div class="g-place"><h2>A race: writing addresses against comparing vectors</h2>'
    "<p>All begin alike: the encoder turns the query into a vector, so that its time is part of <em>in "
    "all</em> and of nothing else. <b>Exact search</b> then reads every vector of the collection and takes "
    "longer with each one added; <b>HNSW</b> and <b>IVF</b> read a few, for which they pay in memory, in "
    "building time and in what they miss. <b>GENIUS</b> reads none to find candidates: it writes an address, "
    "as many codes in a large collection as in a small one, and it may miss more, which is why recall (the "
    "share of what should be found that is found) stands beside every time.</p>"
    '<div class="g-lanes">'
    + _lane("Exact search", "reads every vector.", _dots(range(40)), "All of forty dots are marked")
    + _lane(
        "HNSW",
        "walks from neighbour to neighbour.",
        f'<polyline points="{_PATH}"/>{_dots(_WALK)}',
        "Seven of forty dots are marked and joined by a path",
    )
    + _lane(
        "GENIUS",
        "writes an address, code by code.",
        f'{_TREE}<circle cx="24" cy="42" r="5" class="g-read"/>',
        "One path through a tree",
    )
    + "</div></div>"
)
