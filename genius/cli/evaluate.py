"""`python -m genius evaluate`: how well a model finds what M-BEIR's files say it should."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genius.cli.common import BUNDLE, add_mbeir, check_images_root, print_notes, progress_bar
from genius.schema import UserError


def add(commands: Any) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "evaluate",
        help="measure recall on M-BEIR's files, task by task",
        description="Goes on where it stopped when the same command is given again.",
    )
    add_mbeir(parser, required=True)
    parser.add_argument(
        "--bundle", type=Path, nargs="+", default=[BUNDLE], metavar="FOLDER", help=f"models ({BUNDLE})"
    )
    parser.add_argument(
        "--beams", default="50", metavar="N,…", help="beam widths: 1,5,10,30,50 (50); tables show the widest"
    )
    parser.add_argument("--no-rerank", dest="rerank", action="store_false", help="leave re-ranking out")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where all figures go")
    parser.set_defaults(handle=evaluate)


def evaluate(args: argparse.Namespace) -> None:
    """Read the files, measure every model, write the figures and print the tables."""
    widths = beam_widths(args.beams)
    if not args.json.absolute().parent.is_dir():
        raise UserError(f"{args.json.parent} is no folder; create it first.")
    if args.json.is_dir():
        raise UserError(f"{args.json} is a folder. Name a file for the figures.")
    check_images_root(args.images_root)
    from genius.evaluation.pool import read_pool
    from genius.evaluation.problems import Problems
    from genius.evaluation.queries import read_instructions, read_queries

    problems = Problems(skip=args.skip_bad)
    instructions = read_instructions(args.instructions, problems)
    with progress_bar("reading pools") as progress:
        pool = read_pool(args.pool, args.images_root, problems, progress)
    queries = read_queries(args.queries, pool, instructions, args.images_root, problems)

    from genius.checkpoint import load_bundle
    from genius.evaluation.evaluate import Plan
    from genius.evaluation.evaluate import evaluate as measure
    from genius.evaluation.report import Report, tables

    parts = args.json.with_name(args.json.name + ".parts")
    plan = Plan(widths, args.rerank, parts)
    models = []
    distinct = len({path.name for path in args.bundle}) == len(args.bundle)
    for path in args.bundle:
        models.append(
            measure(
                load_bundle(path),
                path.name if distinct else str(path),
                pool,
                queries,
                instructions.names,
                plan,
                problems,
                progress_bar,
            )
        )
    report = Report(tuple(models), problems.left_out)
    args.json.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    for part in parts.glob("queries-*.npz"):
        part.unlink()  # another run searches anew, perhaps in another way; the candidates stay as they are
    print_notes(problems.notes)
    print(tables(report))
    print(f"All figures are in {args.json}. The candidates' vectors are kept in {parts} for another run.")


def beam_widths(written: str) -> tuple[int, ...]:
    """Beam widths from `1,5,50`: each once, rising."""
    try:
        widths = tuple(sorted({int(width) for width in written.split(",")}))
    except ValueError:
        widths = ()
    if not widths or widths[0] < 1:
        raise UserError(f"--beams takes whole numbers from 1 on, as in 1,5,50, not {written!r}.")
    return widths
