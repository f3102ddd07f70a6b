"""`python -m genius benchmark-set`: write the files that `evaluate` measures on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from genius.cli.common import full_path
from genius.schema import UserError


def add(commands: Any) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "benchmark-set",
        help="write a benchmark set in M-BEIR's files, for `evaluate`",
        description="Validation photographs and groceries, and the three collections: all eight tasks.",
    )
    parser.add_argument(
        "--photos", type=Path, required=True, metavar="DIR", help="photographs: images/, captions.jsonl"
    )
    parser.add_argument(
        "--groceries", type=Path, required=True, metavar="DIR", help="groceries: images/, labels.jsonl"
    )
    parser.add_argument("--out", type=full_path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of what is drawn (0)")
    parser.set_defaults(handle=benchmark_set)


def benchmark_set(args: argparse.Namespace) -> None:
    """Write the set, and say how to measure on it."""
    for folder in (args.photos, args.groceries):
        if not folder.is_dir():
            raise UserError(f"There is no folder {folder}. Give the folder that holds the data, unpacked.")
    from genius.evaluation.benchmark_set import INSTRUCTIONS, POOLS, QUERIES, make_benchmark_set

    made = make_benchmark_set(args.photos, args.groceries, args.out, seed=args.seed)
    asked = ", ".join(f"{count:,} of task {task}" for task, count in made.queries.items())
    total = sum(made.queries.values())
    print(f"{args.out} holds {made.candidates:,} candidates and {total:,} queries: {asked}.")
    print(
        f"Measure: python -m genius evaluate --queries {args.out / QUERIES}/*.jsonl "
        f"--pool {args.out / POOLS}/*.jsonl --instructions {args.out / INSTRUCTIONS} "
        f"--images-root {args.out} --json results.json"
    )
