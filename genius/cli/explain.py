"""`python -m genius explain`: what the codes of an index mean, worked out once and kept beside it."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from genius.cli.common import add_bundle, full_path, print_notes, progress_bar
from genius.schema import UserError


def add(commands: Any) -> None:
    """The command and its arguments."""
    parser = commands.add_parser("explain", help="name the codes of an index, map it, measure it")
    parser.add_argument(
        "--index", type=full_path, metavar="FOLDER", help="one that `index` wrote (the one in assets/)"
    )
    parser.add_argument(
        "--groceries", type=Path, metavar="FOLDER", help="labelled photographs to hold the codes against, too"
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="a Markdown file whose tables and figures are written anew",
    )
    parser.add_argument(
        "--names", action="store_true", help="name the codes again, and keep the maps and measures there are"
    )
    add_bundle(parser)
    parser.set_defaults(handle=explain)


def explain(args: argparse.Namespace) -> None:
    """Work it out, save it beside the index, and print the measures."""
    if args.report is not None and not args.report.is_file():
        raise UserError(f"There is no {args.report}. Name a file with marked places, such as docs/codes.md.")
    if args.names and args.groceries is not None:
        raise UserError("--names measures nothing. Leave out --groceries, whose measures are kept.")
    index = _existing(args.index)
    from genius.engine import Engine
    from genius.explain import compute, report
    from genius.explain.explanation import open_explanation

    engine = Engine.load(args.bundle, index)
    print_notes(engine.notes)
    known = open_explanation(index, engine.index.candidates) if args.names else None
    if args.names and known is None:
        raise UserError(f"{index} has not been explained yet. Leave out --names.")
    with ExitStack() as bars:
        shown: dict[str, Any] = {}

        def progress(doing: str, done: int, total: int) -> None:
            if doing not in shown:
                bars.close()
                shown[doing] = bars.enter_context(progress_bar(doing))
            shown[doing](done, total)

        explanation = (
            compute.explain(engine, progress)
            if known is None
            else compute.named_again(known, engine, progress)
        )
        if args.groceries is not None:
            explanation = compute.with_groceries(explanation, engine, args.groceries, progress)
    folder = explanation.save(index)
    if args.report is not None:
        report.write(args.report, explanation, engine.index)
    print(report.tables(explanation))
    named = sum(bool(name.text) for name in explanation.names.values())
    print(f"{named:,} names and {len(explanation.maps)} maps are in {folder}")


def _existing(named: Path | None) -> Path:
    """The folder of an index, the shipped one if none is named; UserError if there is none."""
    from genius.index import SHIPPED_INDEX, is_index

    index = named or SHIPPED_INDEX
    if not is_index(index):
        raise UserError(
            f"There is no index in {index}. Build it: python -m genius index SOURCE --out {index}"
        )
    return index
