"""`python -m genius benchmark`: measure speed, size and exactness on this machine."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genius.cli import race
from genius.cli.common import add_bundle, prepare
from genius.schema import SearchOptions
from genius.sources import ALL

if TYPE_CHECKING:
    from genius.benchmark.decode import DecodeReport
    from genius.benchmark.machine import Machine
    from genius.benchmark.scale import ScaleReport
    from genius.benchmark.search import SearchReport

TEXTS = ("a cat", "two people holding hands", "something to keep the rain off", "a red apple", "an arrow")


def add(commands: Any) -> None:
    """The command, its sub-commands and their arguments."""
    parser = commands.add_parser("benchmark", help="measure speed, size and exactness on this machine")
    kinds = parser.add_subparsers(required=True, metavar="WHAT")
    decode = _add(kinds, "decode", "writing IDs, beside transformers' generate", _decode)
    decode.add_argument(
        "--bundle", type=Path, metavar="FOLDER", help="its decoder, not one of the paper's size"
    )
    decode.add_argument("--ids", type=int, default=20_000, metavar="N", help="how many IDs there are (20000)")
    decode.add_argument(
        "--beams", type=int, nargs="+", default=[1, 10, 30, 50], metavar="N", help="(1 10 30 50)"
    )
    decode.add_argument("--bfloat16", action="store_true", help="measure bfloat16 too")
    scale = _add(kinds, "scale", "searching as the collection grows, beside Faiss", _scale)
    scale.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[10_000, 100_000, 1_000_000, 10_000_000],
        metavar="N",
        help="how many candidates (10000 100000 1000000 10000000)",
    )
    scale.add_argument(
        "--faiss-most", type=int, default=1_000_000, metavar="N", help="largest for Faiss (1000000)"
    )
    search = _add(kinds, "search", "a whole search with a real model, stage by stage", _search)
    search.add_argument("--image", type=Path, metavar="FILE", help="ask with this picture, not with texts")
    search.add_argument("--collection", default=ALL, metavar="NAME|FOLDER", help="what to search (all)")
    add_bundle(search)
    race.add(_add(kinds, "race", "GENIUS beside vector search, as a collection grows", race.run))


def _add(kinds: Any, name: str, what: str, handle: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser(name, help=what)
    parser.add_argument("--queries", type=int, default=20, metavar="N", help="how many count (%(default)s)")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch and Faiss; all cores if not given")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write everything measured as JSON")
    parser.set_defaults(handle=handle)
    return parser


def _decode(args: argparse.Namespace) -> None:
    prepare(args, args.ids, *args.beams)
    from genius.benchmark.decode import measure_decode
    from genius.benchmark.made_up import PAPER, random_decoder, zipf_ids
    from genius.checkpoint import load_bundle

    decoder = load_bundle(args.bundle).decoder if args.bundle else random_decoder(PAPER)
    codes = zipf_ids(args.ids, decoder.config.levels)
    name = str(args.bundle or "random, of the paper's size")
    report = measure_decode(
        decoder, codes, name, beams=tuple(args.beams), queries=args.queries, half=args.bfloat16
    )
    _write(args, report)
    print(decode_table(report))


def _scale(args: argparse.Namespace) -> None:
    prepare(args, *args.sizes)
    from genius.benchmark.made_up import PAPER, random_decoder
    from genius.benchmark.scale import measure_scale

    report = measure_scale(
        random_decoder(PAPER),
        tuple(args.sizes),
        queries=args.queries,
        faiss_most=args.faiss_most,
        progress=print,
    )
    _write(args, report)
    print(scale_table(report))


def _search(args: argparse.Namespace) -> None:
    prepare(args)
    from genius.benchmark.search import measure_search
    from genius.engine import Engine
    from genius.images import open_image
    from genius.instructions import TASKS
    from genius.schema import Query

    image = None if args.image is None else open_image(args.image)
    wording = TASKS[0 if image is None else 4].wordings[0]
    texts = [TEXTS[i % len(TEXTS)] if image is None else "" for i in range(args.queries + 1)]
    queries = [Query(image, text, wording) for text in texts]
    engine = Engine.load(args.bundle, args.collection)
    report = measure_search(engine, queries, SearchOptions())
    _write(args, report)
    print(search_table(report))


def _write(args: argparse.Namespace, report: DecodeReport | ScaleReport | SearchReport) -> None:
    if args.out is not None:
        args.out.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")


def decode_table(report: DecodeReport) -> str:
    """For people: one line a way and width, then what limits it."""
    lines = [_where(report.machine), f"weights: {report.weights}; {report.ids:,} IDs", ""]
    lines.append(f"{'':28}{'beams':>6}{'p50 ms':>9}{'p95 ms':>9}{'faster':>8}  same IDs, log-probs within")
    for row in report.rows:
        pair = row.agreement
        beside = f"{pair.shared:.2%}, {pair.difference:.1e} beside {pair.other}" if pair else ""
        name = f"{row.way}, {row.dtype}"
        lines.append(
            f"{name:28}{row.beams:6}{row.times.p50:9.1f}{row.times.p95:9.1f}{row.faster:7.1f}×  {beside}"
        )
    lines.append(f"\nequal to generate: {'yes' if report.equal else 'NO'}")
    for way, rates in report.per_second.items():
        lines.append(
            f"{way}: " + ", ".join(f"{rate:.1f} queries/s in batches of {n}" for n, rate in rates.items())
        )
    f = report.floor
    lines.append(
        f"floor with log-probs: {f.operations} · 10⁹ operations at {f.rate} · 10⁹ a second = {f.ms:.0f} ms"
    )
    return "\n".join(lines)


def scale_table(report: ScaleReport) -> str:
    """For people: one line a collection."""
    lines = [_where(report.machine), f"{report.beams} beams; IDs {report.ids}", ""]
    ways = list(report.sizes[0].search)
    head = (
        "candidates",
        "bytes each",
        "build s",
        "memory",
        "insert ms",
        "remove ms",
        *(f"{w} ms" for w in ways),
    )
    lines.append("  ".join(f"{name:>18}" if name.endswith(" ms") else f"{name:>10}" for name in head))
    for size in report.sizes:
        facts = (
            f"{size.candidates:,}",
            f"{size.bytes_each:.2f}",
            f"{size.build_seconds:.2f}",
            f"{size.build_memory:.2f}×",
        )
        cells = [f"{fact:>10}" for fact in facts]
        cells += [f"{size.insert_ms:>18.1f}", f"{size.remove_ms:>18.1f}"]
        cells += [f"{_span(size.search[way]) if way in size.search else '':>18}" for way in ways]
        lines.append("  ".join(cells))
    flat = ", ".join(f"{way} {ratio:.2f}×" for way, ratio in report.flat.items())
    lines.append(f"\nlargest over smallest: {flat}")
    return "\n".join(lines)


def search_table(report: SearchReport) -> str:
    """For people: one line a stage."""
    lines = [
        _where(report.machine),
        f"{report.candidates:,} candidates, {report.beams} beams; p50 / p95 ms",
        "",
        ", ".join(f"{stage} {_span(times)}" for stage, times in report.stages.items()),
    ]
    return "\n".join(lines)


def _span(times: Any) -> str:
    return f"{times.p50:.1f} / {times.p95:.1f}"


def _where(machine: Machine) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    return f"{machine.processor}, {machine.threads} of {machine.cores} cores, load {machine.load}; {versions}"
