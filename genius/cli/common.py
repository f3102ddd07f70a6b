"""What several commands share: the model's folder, notes, a progress bar, what is refused at once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from genius.schema import UserError

if TYPE_CHECKING:
    from genius.engine import Progress

BUNDLE = Path(__file__).resolve().parents[2] / "checkpoints" / "genius-mini"


def full_path(text: str) -> Path:
    """A folder's path in full, the `type` of an argument: what is written beside it is named after it."""
    return Path(text).expanduser().resolve()


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """`--bundle FOLDER`."""
    parser.add_argument(
        "--bundle",
        type=Path,
        default=BUNDLE,
        metavar="FOLDER",
        help=f"the model, or hub:owner/name ({BUNDLE})",
    )


def add_mbeir(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """M-BEIR's files: `--queries`, `--pool`, `--instructions`, `--images-root`, `--skip-bad`."""
    parser.add_argument("--queries", type=Path, nargs="+", required=required, metavar="FILE", help="*.jsonl")
    parser.add_argument(
        "--pool", type=Path, nargs="+", required=required, metavar="FILE", help="*.jsonl, searched together"
    )
    parser.add_argument(
        "--instructions", type=Path, required=required, metavar="FILE", help="a table: query_instructions.tsv"
    )
    parser.add_argument(
        "--images-root", type=Path, required=required, metavar="DIR", help="where the pictures' paths start"
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out bad lines instead of refusing them"
    )


def check_images_root(root: Path) -> None:
    """It must be there."""
    if not root.is_dir():
        raise UserError(f"There is no folder {root}. Check --images-root.")


def print_notes(notes: Sequence[str]) -> None:
    """Notes of a collection, on stderr."""
    for note in notes:
        print(f"genius: {note}", file=sys.stderr)


def check_free(folder: Path) -> None:
    """The index replaces its folder as a whole: nothing else may lie there."""
    from genius.index import is_index

    if not is_index(folder) and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} holds other files, which an index would replace. Name a new folder.")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file. Name a folder for the index.")


def prepare(args: argparse.Namespace, *numbers: int) -> None:
    """For benchmarks: refuse what cannot be measured, before anything slow; set the threads."""
    if min(args.queries, *numbers, 1 if args.threads is None else args.threads) < 1:
        raise UserError("Give numbers of at least 1.")
    if args.out is not None and not args.out.absolute().parent.is_dir():
        raise UserError(f"{args.out.parent} is no folder; create it first.")
    import torch

    if args.threads is not None:
        torch.set_num_threads(args.threads)


@contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """A bar on stderr that appears with the first report."""
    bar: tqdm[Any] | None = None

    def report(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(total=total, desc=label, unit="", leave=False)
        bar.update(done - bar.n)

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()
