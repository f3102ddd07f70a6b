"""What a race measures, and how that is kept. Without torch: the page shows a race before it can run one."""

from __future__ import annotations

import csv
import io
import json
import os
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, is_dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from genius.benchmark.machine import Machine, Times
from genius.schema import UserError

GENIUS, ADDRESSES, FLAT, IVF, HNSW = "genius", "addresses", "flat", "ivf", "hnsw"
OURS = (GENIUS, ADDRESSES)
METHODS = {
    GENIUS: "GENIUS, re-ranked",
    ADDRESSES: "GENIUS, addresses only",
    FLAT: "exact search (Faiss Flat)",
    IVF: "Faiss IVF",
    HNSW: "Faiss HNSW",
}
"""What can race, in words. Addresses only: ordered by the model's own probability, no vector is read."""

SHIPPED = Path(__file__).resolve().parents[2] / "assets" / "race.json"
FORMAT = 1

Line = tuple[str, int | None]
"""A method and its beam width: one line of a chart."""


@dataclass(frozen=True)
class RaceSettings:
    """What to measure. `faiss_most`: collections of more candidates are left to GENIUS alone.

    Raises
    ------
    UserError
        If a number is out of range, or a method does not exist.
    """

    sizes: tuple[int, ...] = (1_000, 10_000, 100_000)
    methods: tuple[str, ...] = (GENIUS, FLAT, IVF, HNSW)
    beams: tuple[int, ...] = (10, 50)
    queries: int = 100
    top_k: int = 10
    faiss_most: int | None = None

    def __post_init__(self) -> None:
        if not self.sizes or not self.methods:
            raise UserError("Choose at least one size and one method to race.")
        if unknown := [method for method in self.methods if method not in METHODS]:
            raise UserError(f"There is no method {unknown[0]!r}. Choose among {', '.join(METHODS)}.")
        if not self.beams and set(self.methods) & set(OURS):
            raise UserError("Choose at least one beam width for GENIUS.")
        _in_range("number of candidates", self.sizes, 10, 1_000_000_000)
        _in_range("beam width", self.beams, 1, 1000)
        _in_range("number of queries", (self.queries,), 1, 10_000)
        _in_range("number of results", (self.top_k,), 1, 1000)


@dataclass(frozen=True)
class RacePoint:
    """One method on one collection.

    search: from the encoder's output to `top_k` results; whole: encoding added, query by query. per_second:
    queries one at a time; batched: `batch` queries at once. exact: share of the results that exact search has
    too; labelled: share of the queries whose own picture is among the results; None where nobody can tell.
    nbytes: of all that the method keeps. build: seconds, for GENIUS with giving every candidate its codes.
    """

    size: int
    real: int
    method: str
    beams: int | None
    search: Times
    whole: Times | None
    per_second: float
    batched: float
    batch: int
    exact: float | None
    labelled: float | None
    nbytes: int
    build: float

    def __post_init__(self) -> None:
        if self.method not in METHODS or self.size < 1:
            raise ValueError(f"no point of a race: {self.method!r} at {self.size}")

    @property
    def line(self) -> Line:
        """Which line of a chart it belongs to."""
        return self.method, self.beams

    @property
    def label(self) -> str:
        """The method in words."""
        return label(self.method, self.beams)


@dataclass(frozen=True)
class Race:
    """A race so far, and what it was run on: every point adds to the one before.

    real: candidates of the collection; beyond them they are synthetic. queries: different ones that count;
    labelled: of these, how many have a known answer. encode: reading one query. notes: what was left out.
    """

    machine: Machine
    time: str
    device: str
    dtype: str
    collection: str
    model: str
    real: int
    dim: int
    levels: tuple[int, ...]
    queries: int
    labelled: int
    encode: Times | None
    settings: RaceSettings
    parameters: dict[str, str]
    notes: tuple[str, ...] = ()
    points: tuple[RacePoint, ...] = ()
    finished: bool = False
    format: int = FORMAT

    def lines(self) -> dict[Line, list[RacePoint]]:
        """The points of each method and beam width, smallest collection first."""
        found: dict[Line, list[RacePoint]] = {}
        for point in sorted(self.points, key=lambda point: point.size):
            found.setdefault(point.line, []).append(point)
        order = list(METHODS)
        return dict(sorted(found.items(), key=lambda item: (order.index(item[0][0]), item[0][1] or 0)))


def label(method: str, beams: int | None) -> str:
    """A method in words."""
    return METHODS[method] + (f", {beams} {'beam' if beams == 1 else 'beams'}" if beams else "")


def to_json(race: Race) -> str:
    """All of it, as a file."""
    return json.dumps(asdict(race), indent=1) + "\n"


def from_json(text: str) -> Race:
    """A race from a file's text; UserError if it is not one of ours."""
    try:
        race: Race = _read(Race, json.loads(text))
        if race.format != FORMAT:
            raise ValueError(f"format {race.format}, not {FORMAT}")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            f"This is no race that can be read ({error}). Run one: python -m genius benchmark race"
        ) from error
    return race


def to_csv(race: Race) -> str:
    """One line a point; times in milliseconds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    times = [field.name for field in fields(Times)]
    plain = [field.name for field in fields(RacePoint) if field.name not in ("search", "whole")]
    writer.writerow(["label", *plain, *(f"search_{name}" for name in times), *(f"whole_{n}" for n in times)])
    for point in race.points:
        measured = [getattr(part, name, None) for part in (point.search, point.whole) for name in times]
        writer.writerow([point.label, *(getattr(point, name) for name in plain), *measured])
    return out.getvalue()


def own_record() -> Path:
    """Where this machine's last race is kept."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "genius" / "race.json"


def keep(race: Race) -> None:
    """Remember a race as this machine's last; where nothing may be written, it is not remembered."""
    with suppress(OSError, RuntimeError):
        path = own_record()
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".partial")
        aside.write_text(to_json(race), encoding="utf-8")
        os.replace(aside, path)


def recorded() -> tuple[Race, bool] | None:
    """The last race of this machine (True), or else the one that was shipped (False), if there is any."""
    for path, own in ((own_record, True), (lambda: SHIPPED, False)):
        with suppress(OSError, RuntimeError, UserError):
            return from_json(path().read_text(encoding="utf-8")), own
    return None


def _in_range(what: str, numbers: tuple[int, ...], least: int, most: int) -> None:
    for number in numbers:
        if not least <= number <= most:
            raise UserError(f"The {what} must be {least:,} to {most:,}, not {number:,}.")


def _read(kind: Any, value: Any) -> Any:
    """A value as its annotation says, all the way down; ValueError or TypeError if it is something else."""
    reader = _READERS.get(get_origin(kind) or kind)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        if not isinstance(value, dict) or value.keys() != hints.keys():
            raise ValueError(f"other fields than those of a {getattr(kind, '__name__', kind)}")
        return kind(**{name: _read(hint, value[name]) for name, hint in hints.items()})  # type: ignore[operator]
    if reader is None:
        raise TypeError(f"no value of {kind}")
    return reader(get_args(kind), value)


def _read_optional(kinds: tuple[Any, ...], value: Any) -> Any:
    [kind] = [kind for kind in kinds if kind is not type(None)]
    return None if value is None else _read(kind, value)


def _read_float(_: tuple[Any, ...], value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _plain(kind: type) -> Callable[[tuple[Any, ...], Any], Any]:
    def read(_: tuple[Any, ...], value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"{value!r} is no {kind.__name__}")
        return value

    return read


def _members(kinds: tuple[Any, ...], value: Any) -> Iterator[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is no list")
    return (_read(kinds[0], member) for member in value)


_READERS: dict[Any, Callable[[tuple[Any, ...], Any], Any]] = {
    float: _read_float,
    **{kind: _plain(kind) for kind in (int, str, bool)},
    tuple: lambda kinds, value: tuple(_members(kinds, value)),
    dict: lambda kinds, value: {_read(kinds[0], k): _read(kinds[1], v) for k, v in dict(value).items()},
    types.UnionType: _read_optional,
    Union: _read_optional,
}
