"""`python -m genius search`: find pictures and texts."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from genius.cli.common import add_bundle, print_notes, progress_bar
from genius.images import open_image
from genius.report import result_to_json
from genius.schema import Hit, Modality, Query, SearchOptions, SearchResult, UserError, bounded_text
from genius.sources import ALL, COLLECTIONS

MODALITIES = {"auto": None, "image": Modality.IMAGE, "text": Modality.TEXT, "pair": Modality.PAIR}


def add(commands: Any) -> None:
    """The command and its arguments."""
    usual = SearchOptions()
    parser = commands.add_parser("search", help="find pictures and texts")
    parser.add_argument("text", nargs="?", default="", metavar="TEXT", help="what you look for, in words")
    parser.add_argument("--image", type=Path, metavar="FILE", help="a picture to search with")
    parser.add_argument(
        "--instruction", default="", metavar="TEXT", help='what to do with them: "Find a similar picture."'
    )
    parser.add_argument("--minus", default="", metavar="TEXT", help="words whose meaning is taken away")
    parser.add_argument(
        "--modality", choices=MODALITIES, default="auto", help="what to find; auto: the model decides"
    )
    parser.add_argument(
        "--collection",
        default=ALL,
        metavar="NAME|FOLDER",
        help=f"{', '.join((*COLLECTIONS, ALL))}, a folder of images, an M-BEIR pool (.jsonl), "
        "hub:owner/name, or one that `index` wrote (all)",
    )
    parser.add_argument(
        "--top-k", type=int, default=usual.top_k, metavar="N", help=f"how many results ({usual.top_k})"
    )
    parser.add_argument(
        "--beams", type=int, default=usual.beams, metavar="N", help=f"addresses to write ({usual.beams})"
    )
    parser.add_argument("--no-rerank", dest="rerank", action="store_false", help="keep the decoder's order")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_bundle(parser)
    parser.set_defaults(handle=search)


def search(args: argparse.Namespace) -> None:
    """Find, and print what was found."""
    query, options = _query(args), _options(args)
    from genius.engine import Engine

    with progress_bar("reading pictures") as progress:
        engine = Engine.load(args.bundle, args.collection, progress=progress)
    print_notes(engine.notes)
    result = engine.search([query], options)[0]
    if args.json:
        print(json.dumps(result_to_json(result), ensure_ascii=False, indent=1))
    else:
        print(as_table(result))


def _query(args: argparse.Namespace) -> Query:
    text, instruction, minus = (
        bounded_text(getattr(args, name), name) for name in ("text", "instruction", "minus")
    )
    query = Query(None if args.image is None else open_image(args.image), text, instruction, minus)
    if not query.text.strip() and query.image is None:
        raise UserError("Nothing to search for: give a text, a picture with --image FILE, or both.")
    return query


def _options(args: argparse.Namespace) -> SearchOptions:
    target = MODALITIES[args.modality]
    prefix = () if target is None else (int(target),)
    return SearchOptions(args.top_k, args.beams, args.rerank, prefix)


def as_table(result: SearchResult) -> str:
    """What was found, for people: one line a candidate, then how long each stage took.

    `score` is the cosine between query and candidate, `log p` how sure the decoder was of the address.
    """
    rows = [("rank", "score", "log p", "address", "kind", "what"), *map(_row, result.hits)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(map(str.ljust, row[:5], widths)) + f"  {row[5]}" for row in rows]
    timings = result.timings
    stages = f"encode {timings.encode:.0f}, fuse {timings.fuse:.0f}, decode {timings.decode:.0f}"
    lines.append(f"{timings.total:.0f} ms: {stages}, re-rank {timings.rerank:.0f}")
    return "\n".join(lines)


def _row(hit: Hit) -> tuple[str, str, str, str, str, str]:
    candidate = hit.candidate
    log_prob = "" if hit.log_prob is None else f"{hit.log_prob:.2f}"
    address = "·".join(str(code) for code in hit.semantic_id)
    what = " — ".join(str(part) for part in (candidate.text, candidate.image) if part)
    return str(hit.rank), f"{hit.score:.3f}", log_prob, address, candidate.modality.label, what
