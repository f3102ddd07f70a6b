"""`python -m genius index`: encode a collection once, to search it at once later."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from genius.cli.common import add_bundle, check_free, print_notes, progress_bar
from genius.sources import ALL, COLLECTIONS, open_collection


def add(commands: Any) -> None:
    """The command and its arguments."""
    parser = commands.add_parser("index", help="encode a collection once, to search it at once later")
    parser.add_argument(
        "source", metavar="SOURCE", help=f"{', '.join((*COLLECTIONS, ALL))}, or a folder of images"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the index goes")
    add_bundle(parser)
    parser.set_defaults(handle=index)


def index(args: argparse.Namespace) -> None:
    """Encode a collection and save its index."""
    check_free(args.out)
    with progress_bar("looking at files") as progress:
        found = open_collection(args.source, progress)
    print_notes(found.notes)
    from genius.checkpoint import load_bundle
    from genius.engine import Engine
    from genius.index import CandidateIndex

    bundle = load_bundle(args.bundle)
    empty = CandidateIndex.empty(bundle.quantizer.config.levels, bundle.encoder.dim)
    engine = Engine(bundle, empty, found.notes)
    with progress_bar("reading pictures and texts") as progress:
        engine.add(found.candidates, progress)
    named = args.source in (*COLLECTIONS, ALL)
    source = args.source if named else str(Path(args.source).expanduser().resolve())
    engine.index.save(args.out, bundle.fingerprint, source)
    unique = engine.index.trie.unique_ids
    print(f"{len(engine.index):,} candidates with {unique:,} addresses are in {args.out}")
