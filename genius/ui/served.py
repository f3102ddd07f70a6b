"""What may be served: a collection's folders, but nothing hidden in them, and the examples' pictures."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import islice
from pathlib import Path

from genius.ui.examples import PICTURES

MOST = 100
"""So many hidden files and folders are refused: gradio compares each with every file that is asked for."""

LOOKED = 100_000
"""So many files and folders are looked at, so that a large collection does not keep the page waiting."""

_HARMLESS = ("._", ".DS_Store")  # what macOS leaves beside everything


def allowed(folders: Iterable[str]) -> list[str]:
    """What may be served: folders of pictures, and the examples' pictures, file by file."""
    return sorted({*folders, *PICTURES})


def blocked(folders: Iterable[str], needed: Iterable[str | Path] = ()) -> list[str]:
    """What may not: hidden files and folders in those folders and below, first those nearest to the top.

    Of a hidden folder, what is needed, is one of the folders or is linked to stays open, for git-annex keeps
    pictures in `.git/annex`. What the host blocks stays blocked.
    """
    real = {Path(os.path.realpath(folder)) for folder in folders}
    ends = {*real, *(Path(os.path.realpath(path)) for path in needed)}
    hidden: list[tuple[int, Path]] = []  # a heap, by depth
    tops = sorted(folder for folder in real if real.isdisjoint(folder.parents))
    for entry in islice(_entries(tops), LOOKED):
        path = Path(entry.path)
        if entry.name.startswith("."):
            heappush(hidden, (len(path.parts), path))
        elif entry.is_symlink():
            ends.add(Path(os.path.realpath(path)))
    ways = {folder for end in ends for folder in end.parents}
    found: list[str] = []
    while hidden and len(found) < MOST:
        depth, path = heappop(hidden)
        if path in ways:
            for inside in _inside(path):
                heappush(hidden, (depth + 1, inside))
        elif path not in ends:
            found.append(str(path))
    by_host = os.environ.get("GRADIO_BLOCKED_PATHS", "").split(",")  # what is given here would replace it
    return [*found, *(path.strip() for path in by_host if path)]


def _entries(tops: Iterable[Path]) -> Iterator[os.DirEntry[str]]:
    """Everything in some folders and below, level by level; hidden folders and links are not entered."""
    coming = deque(map(str, tops))
    while coming:
        try:
            with os.scandir(coming.popleft()) as entries:
                for entry in entries:
                    if entry.name.startswith(_HARMLESS):
                        continue
                    yield entry
                    if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                        coming.append(entry.path)
        except OSError:  # what cannot be read cannot be served either
            continue


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
