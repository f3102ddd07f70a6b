"""Where candidates come from: the collections that packages bring, a person's own images, M-BEIR, the hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from genius.hub import HubAddress, is_hub
from genius.schema import Candidate, UserError
from genius.sources import clipart, folder, hub, mbeir, openmoji, stamps
from genius.sources.picture import Picture, candidates_of

__all__ = [
    *("ALL", "COLLECTIONS", "Collection", "Picture", "candidates_of"),
    *("indexed_source", "load_pictures", "open_collection", "picture_root", "source_name"),
]

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
    """Open a collection by its name ("all" for those installed), or one of a person's own.

    Parameters
    ----------
    name_or_folder
        One of `COLLECTIONS`, `ALL`, a folder of images, a candidate pool of M-BEIR (`.jsonl`), or a data set
        on the hub (`hub:owner/name[@revision]`); a name wins over a folder of that name.
    progress
        Called with how much has been looked at so far and how much there is.

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
    if is_hub(name):
        address = HubAddress.parse(name)
        title = address.repo.replace("/", "--")
        found, notes = hub.pictures(address, progress)
        return Collection(title, tuple(candidates_of(found, title)), notes)
    path = Path(name_or_folder).expanduser()
    if path.suffix == mbeir.SUFFIX:
        candidates, notes = mbeir.candidates(path, progress)
        return Collection(path.stem, tuple(candidates), notes)
    if not path.is_dir():
        names = ", ".join((*COLLECTIONS, ALL))
        raise UserError(f"There is no collection or folder {name!r}. Use one of {names}, or a folder's path.")
    title = path.resolve().name or "folder"
    found, notes = folder.pictures(path, progress)
    return Collection(title, tuple(candidates_of(found, title)), notes)


def source_name(name_or_folder: str | Path) -> str:
    """What an index notes as its source: a name or hub address as it is, a path in full."""
    name = str(name_or_folder)
    return name if name in (*COLLECTIONS, ALL) or is_hub(name) else str(Path(name).expanduser().resolve())


def indexed_source(index: str | Path, source: str) -> str:
    """What an index says it is of; UserError if one from the hub names a place on this machine."""
    if is_hub(index) and source not in (*COLLECTIONS, ALL) and not is_hub(source):
        raise UserError(
            f"The index {index} is of {source}, a place on the machine where it was made. Take one of "
            f"{', '.join((*COLLECTIONS, ALL))}, or of a data set on the hub."
        )
    return source


def picture_root(name_or_folder: str | Path) -> Path | None:
    """The folder below which the pictures of a person's own collection lie; None for a pool of texts only."""
    if is_hub(name_or_folder):
        return hub.picture_root(HubAddress.parse(str(name_or_folder)))
    path = Path(name_or_folder).expanduser()
    return mbeir.picture_root(path) if path.suffix == mbeir.SUFFIX else path.resolve()


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
