"""Long work done in parts: each is kept in a file, named after all it depends on, and found there again."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genius.schema import Candidate

Arrays = dict[str, NDArray]
DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""All that reading a damaged `.npz` can raise, wherever a bit of it was flipped or the file was cut."""


def kept(path: Path, compute: Callable[[], Arrays]) -> Arrays:
    """The arrays in a file (`.npz`); computed and saved now if there is none, or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            return dict(saved)
    except DAMAGE:
        pass
    arrays = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp.npz")
    np.savez(aside, allow_pickle=False, **arrays)
    os.replace(aside, path)
    return arrays


def key_of(*said: object) -> str:
    """A name for a part, from whatever it depends on; everything must say all of itself in its repr."""
    digest = hashlib.sha256()
    for one in said:
        digest.update(repr(one).encode())
    return digest.hexdigest()[:32]


def contents(candidates: Iterable[Candidate]) -> str:
    """What candidates hold: changes with every text and every picture's size and time."""
    return key_of(*((c.id, c.text, stamp(c.image)) for c in candidates))


def stamp(picture: Path | None) -> tuple[str, int, int] | None:
    """Path, size and time of a picture's file; zeros for one that is not there."""
    if picture is None:
        return None
    try:
        status = picture.stat()
    except OSError:
        return str(picture), 0, 0
    return str(picture), status.st_size, status.st_mtime_ns
