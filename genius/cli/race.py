"""`python -m genius benchmark race`: GENIUS beside vector search, exact and not, as a collection grows."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from genius.cli.common import add_bundle, prepare
from genius.sources import ALL

if TYPE_CHECKING:
    from genius.benchmark.record import Race, RacePoint, RaceSettings


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments beside those that every benchmark has."""
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[1_000, 10_000, 100_000],
        metavar="N",
        help="how many candidates (1000 10000 100000); beyond the collection they are synthetic",
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["genius", "addresses", "flat", "ivf", "hnsw"],
        metavar="NAME",
        help="genius (re-ranked), addresses (not re-ranked), flat, ivf, hnsw; all if not given",
    )
    parser.add_argument(
        "--beams", type=int, nargs="+", default=[10, 30, 50], metavar="N", help="of GENIUS (10 30 50)"
    )
    parser.add_argument("--top-k", type=int, default=10, metavar="N", help="how many results (10)")
    parser.add_argument(
        "--faiss-most", type=int, metavar="N", help="leave larger collections to GENIUS alone"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    parser.add_argument(
        "--made-up", action="store_true", help="random vectors and weights of the paper's size, no collection"
    )
    parser.add_argument("--collection", default=ALL, metavar="NAME|FOLDER", help="what to search (all)")
    add_bundle(parser)
    parser.set_defaults(queries=100)


def run(args: argparse.Namespace) -> None:
    """Race, write, remember and print."""
    from genius.benchmark.record import RaceSettings, keep, to_json

    prepare(args, *args.sizes, *args.beams, args.top_k)
    settings = RaceSettings(
        tuple(args.sizes),
        tuple(args.methods),
        tuple(args.beams),
        args.queries,
        args.top_k,
        args.faiss_most,
    )
    found = _last(args, settings)
    if args.out is not None:
        args.out.write_text(to_json(found), encoding="utf-8")
    if not args.made_up:
        keep(found)
    print(to_json(found) if args.json else race_table(found))


def _last(args: argparse.Namespace, settings: RaceSettings) -> Race:
    from genius.benchmark.race import race, race_made_up
    from genius.engine import Engine

    def note(doing: str) -> None:
        print(f"genius: {doing}", file=sys.stderr)

    growing = (
        race_made_up(settings, note)
        if args.made_up
        else race(Engine.load(args.bundle, args.collection), settings, note=note)
    )
    *_, last = growing
    return last


def race_table(race: Race) -> str:
    """For people: one line a method and size, then what it comes to."""
    from genius.benchmark.summary import sentences

    machine = race.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    head = (
        f"{machine.processor}, {race.device} {race.dtype}, {machine.threads} of {machine.cores} cores, "
        f"load {machine.load}; {versions}",
        f"{race.collection}, {race.real:,} real candidates, {race.dim} dimensions, model {race.model}; "
        f"{race.queries} queries, {race.settings.top_k} results"
        + (f"; encoding a query {race.encode.p50:.1f} ms (not in “search”)" if race.encode else ""),
        *(f"{method}: {how}" for method, how in race.parameters.items()),
        "",
    )
    columns = (
        f"{'candidates':>12}  {'method':34}{'search p50':>11}{'p95':>9}{'p99':>9}{'in all p50':>11}"
        f"{'per s':>9}{'batched':>15}{'recall: exact':>15}{'labels':>8}{'bytes each':>12}{'build s':>9}"
    )
    points = [_row(point) for line in race.lines().values() for point in line]
    synthetic = any(point.real < point.size for point in race.points)
    said = ["* partly synthetic"] * synthetic + ["", *sentences(race), *race.notes]
    return "\n".join([*head, columns, *points, *said])


def _row(point: RacePoint) -> str:
    from genius.benchmark.summary import digits

    size = f"{point.size:,}" + ("*" if point.real < point.size else " ")
    search, whole = point.search, "" if point.whole is None else digits(point.whole.p50)
    return (
        f"{size:>13} {point.label:34}{digits(search.p50):>11}{digits(search.p95):>9}{digits(search.p99):>9}"
        f"{whole:>11}{digits(point.per_second):>9}{f'{digits(point.batched)} by {point.batch}':>15}"
        f"{_share(point.exact):>15}{_share(point.labelled):>8}{point.nbytes / point.size:>12,.1f}"
        f"{digits(point.build):>9}"
    )


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
