"""A pool's codes and vectors: every candidate is encoded once, in parts that outlive an interruption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genius.engine import Coded, Engine
from genius.evaluation.pool import Placed, Pool, Progress
from genius.evaluation.problems import Problems
from genius.images import open_image
from genius.parts import Arrays, contents, kept, key_of
from genius.schema import UserError

PART = 2048
"""How many candidates are encoded between two savings."""


@dataclass(frozen=True, eq=False)
class CodedPool:
    """Codes [n, M] and unit vectors [n, d] (half precision) of a pool's rows.

    `usable` [n] is false where a picture could not be opened; `key` changes with model and contents.
    """

    codes: NDArray[np.int64]
    vectors: NDArray[np.float16]
    usable: NDArray[np.bool_]
    key: str


def code_pool(
    engine: Engine, pool: Pool, folder: Path, problems: Problems, progress: Progress | None = None
) -> CodedPool:
    """Encode a pool; finished parts are kept in a folder, and found there.

    Raises
    ------
    UserError
        If a picture cannot be opened, unless `problems` are to be skipped.
    """
    codes = np.zeros((len(pool), len(engine.bundle.quantizer.config.levels)), np.int64)
    vectors = np.zeros((len(pool), engine.bundle.encoder.dim), np.float16)
    usable = np.zeros(len(pool), bool)
    keys = []
    candidates = iter(pool)
    for start in range(0, len(pool), PART):
        part = list(islice(candidates, PART))
        if len(part) < min(PART, len(pool) - start):
            raise UserError(
                f"The files of the pool in {pool.files[0].parent} changed meanwhile; start again."
            )

        def code(part: Sequence[Placed] = part, start: int = start) -> Arrays:
            def within(done: int, total: int) -> None:
                if progress is not None:
                    progress(start + len(part) * done // total, len(pool))

            return _code(engine, part, within)

        keys.append(key_of(engine.bundle.fingerprint, contents(one.candidate for one in part)))
        arrays = kept(folder / f"candidates-{keys[-1]}.npz", code)
        rows = slice(start, start + len(part))
        codes[rows], vectors[rows], usable[rows] = (arrays[name] for name in ("codes", "vectors", "usable"))
        for place in np.flatnonzero(~arrays["usable"]).tolist():
            problems.add("a picture that cannot be opened", part[place].file, part[place].line)
        problems.refuse()
        if progress is not None:
            progress(rows.stop, len(pool))
    return CodedPool(codes, vectors, usable, key_of(*keys))


def _code(engine: Engine, part: Sequence[Placed], progress: Progress) -> Arrays:
    """Codes and vectors of a part; zeros where a picture cannot be opened."""
    usable = np.ones(len(part), bool)
    codes = np.zeros((len(part), len(engine.bundle.quantizer.config.levels)), np.int64)
    vectors = np.zeros((len(part), engine.bundle.encoder.dim), np.float16)
    try:
        coded = engine.code([one.candidate for one in part], progress)
    except UserError:  # rare, so that pictures are not all opened twice to be sure
        usable[:] = [one.candidate.image is None or opens(one.candidate.image) for one in part]
        good = [part[place].candidate for place in np.flatnonzero(usable).tolist()]
        coded = engine.code(good, progress) if good else Coded(codes[:0], vectors[:0].astype(np.float32))
    codes[usable], vectors[usable] = coded.codes, coded.vectors
    return {"codes": codes, "vectors": vectors, "usable": usable}


def opens(picture: Path) -> bool:
    """Whether a picture can be opened."""
    try:
        open_image(picture)
    except UserError:
        return False
    return True
