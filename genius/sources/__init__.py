"""Where candidates come from: the collections that packages bring, and folders of a person's own images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from genius.schema import Candidate, UserError
from genius.sources import clipart, folder, openmoji, stamps
from genius.sources.picture import Picture, candidates_of

__all__ = ["ALL", "COLLECTIONS", "Collection", "Picture", "candidates_of", "load_pictures", "open_collection"]

ALL = "all"
"""Name of all installed collections together."""

_PICTURES: dict[str, Callable[[], list[Picture]]] = {
    openmoji.NAME: openmoji.pictures,
    stamps.NAME: stamps.pictures,
    clipart.NAME: clipart.pictures,
}
_HOW_TO_GET = {
    openmoji.NAME: openmoji.HOW_TO_GET,
    stamps.NAME: stamps.HOW_TO_GET,
    clipart.NAME: clipart.HOW_TO_GET,
}
COLLECTIONS = tuple(_PICTURES)


@dataclass(frozen=True)
class Collection:
    """What can be searched. `notes` says in a sentence each what was left out and how to get it."""

    name: str
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...] = ()


def load_pictures(name: str) -> list[Picture]:
    """Return the pictures of one of `COLLECTIONS`; none if its package is not installed."""
    return _PICTURES[name]()


def open_collection(
    name_or_folder: str | Path, progress: Callable[[int, int], None] | None = None
) -> Collection:
    """Open a collection by its name ("all" for those installed), or a folder of images.

    Parameters
    ----------
    name_or_folder
        One of `COLLECTIONS`, `ALL`, or a path; a name wins over a folder of that name.
    progress
        For a folder: called with the number of images looked at so far and the number of all.

    Raises
    ------
    UserError
        If there is neither such a collection nor such a folder, or nothing in it.
    """
    name = str(name_or_folder)
    if name == ALL:
        return _open_all()
    if name in _PICTURES:
        candidates = candidates_of(_PICTURES[name](), name)
        if not candidates:
            raise UserError(f"The collection {name} is not installed. Install it with: {_HOW_TO_GET[name]}")
        return Collection(name, tuple(candidates))
    path = Path(name_or_folder).expanduser()
    if not path.is_dir():
        names = ", ".join((*COLLECTIONS, ALL))
        raise UserError(f"There is no collection or folder {name!r}. Use one of {names}, or a folder's path.")
    title = path.resolve().name or "folder"
    found, notes = folder.pictures(path, progress)
    return Collection(title, tuple(candidates_of(found, title)), notes)


def _open_all() -> Collection:
    candidates: list[Candidate] = []
    notes = []
    for name, pictures in _PICTURES.items():
        found = candidates_of(pictures(), name)
        candidates += found
        if not found:
            notes.append(f"The collection {name} is left out: install it with {_HOW_TO_GET[name]}")
    if not candidates:
        raise UserError(f"No collection is installed. Install one with: {openmoji.HOW_TO_GET}")
    return Collection(ALL, tuple(candidates), tuple(notes))
