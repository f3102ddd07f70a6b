"""`python -m genius index`: encode a collection once, to search it at once later."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genius.cli.common import add_bundle, check_free, full_path, print_notes, progress_bar
from genius.parts import Arrays, contents, kept, key_of
from genius.schema import Candidate
from genius.sources import ALL, COLLECTIONS, open_collection, source_name

if TYPE_CHECKING:
    from genius.engine import Engine, Progress

PART = 2048
"""How many candidates are encoded between two savings."""


def add(commands: Any) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "index",
        help="encode a collection once, to search it at once later",
        description="Goes on where it stopped when the same command is given again.",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help=f"{', '.join((*COLLECTIONS, ALL))}, a folder of images, an M-BEIR pool (.jsonl), hub:owner/name",
    )
    parser.add_argument("--out", type=full_path, required=True, metavar="FOLDER", help="where the index goes")
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
    levels = bundle.quantizer.config.levels
    engine = Engine(bundle, CandidateIndex.empty(levels, bundle.encoder.dim), found.notes)
    parts = args.out.with_name(args.out.name + ".parts")
    with progress_bar("reading pictures and texts") as progress:
        codes, vectors = code_in_parts(engine, found.candidates, parts, progress)
    done = CandidateIndex.build(found.candidates, codes, vectors, levels)
    done.save(args.out, bundle.fingerprint, source_name(args.source))
    shutil.rmtree(parts)
    print(f"{len(done):,} candidates with {done.trie.unique_ids:,} addresses are in {args.out}")


def code_in_parts(
    engine: Engine, candidates: Sequence[Candidate], parts: Path, progress: Progress
) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
    """Codes [n, M] and vectors [n, d] of candidates. Finished parts are kept in a folder, and found there."""
    parts.mkdir(parents=True, exist_ok=True)
    codes, vectors = [], []
    for start in range(0, len(candidates), PART):
        part = candidates[start : start + PART]

        def code(part: Sequence[Candidate] = part, start: int = start) -> Arrays:
            def within(done: int, total: int) -> None:
                progress(start + len(part) * done // total, len(candidates))

            coded = engine.code(part, within)
            return {"codes": coded.codes, "vectors": coded.vectors.astype(np.float16)}

        arrays = kept(parts / f"{key_of(engine.bundle.fingerprint, contents(part))}.npz", code)
        progress(start + len(part), len(candidates))
        codes.append(arrays["codes"])
        vectors.append(arrays["vectors"])
    return np.concatenate(codes), np.concatenate(vectors)
