"""`python -m genius`: one file per command, each with `add(commands)`, which declares it.

Torch takes seconds to import, so every handler imports what it needs: `--help` and mistakes answer at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from genius.cli import benchmark, benchmark_set, convert, evaluate, explain, index, search, train
from genius.schema import UserError

COMMANDS = (search, index, explain, train, evaluate, benchmark_set, convert, benchmark)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 for a mistake one can mend, 130 when interrupted."""
    args = build_parser().parse_args(arguments)
    try:
        args.handle(args)
        sys.stdout.flush()
    except UserError as error:
        print(f"genius: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("genius: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, `head` for instance, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m genius", description="Search pictures and words by writing addresses."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser
