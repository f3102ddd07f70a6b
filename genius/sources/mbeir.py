"""A candidate pool of M-BEIR on disk: a `.jsonl` file, with the pictures below a folder above it.

A line is `{"did": "9:5", "txt": …, "img_path": …, "modality": "image" | "text" | "image,text"}`; picture
paths start at M-BEIR's root, the nearest folder above the file in which most of them exist.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from genius.schema import Candidate, Modality, UserError

SUFFIX = ".jsonl"
MODALITIES = {"image": Modality.IMAGE, "text": Modality.TEXT, "image,text": Modality.PAIR}
"""How M-BEIR writes a modality."""

_NAMED = 5
_TRIED = 100
"""So many pictures are looked for to find the root: some may be missing."""


def candidates(
    pool: Path, progress: Callable[[int, int], None] | None = None
) -> tuple[list[Candidate], tuple[str, ...]]:
    """Return the pool's candidates in its order, and notes on what was left out.

    Pictures are not opened here: a pool may have millions.

    Raises
    ------
    UserError
        If there is no such file, a line of it is no candidate, two have the same id, or nothing in it can be
        used.
    """
    name = pool.stem.removeprefix("mbeir_").removesuffix("_cand_pool")
    root = picture_root(pool)
    found: list[Candidate] = []
    left_out: list[str] = []
    line_of: dict[str, int] = {}
    for line, row, position in _rows(pool):
        before = line_of.setdefault(str(row["did"]), line)
        if before != line:
            raise UserError(
                f"Lines {before} and {line} of {pool} have the same did, {row['did']}. Give each its own."
            )
        try:
            candidate = candidate_of(row, root)
        except UserError:
            left_out.append(str(row["did"]))
        else:
            found.append(replace(candidate, id=f"{name}/{candidate.id}", collection=name))
        if progress and len(found) % 1000 == 0:
            progress(position, pool.stat().st_size)
    if not found:
        raise UserError(
            f"No candidate of {pool} can be used. Its pictures should lie below a folder above it."
        )
    if not left_out:
        return found, ()
    some = ", ".join(left_out[:_NAMED]) + (" …" if len(left_out) > _NAMED else "")
    note = f"{len(left_out)} candidates of {pool.name} are left out, as their picture is not there: {some}"
    return found, (note,)


def picture_root(pool: Path) -> Path | None:
    """M-BEIR's root: the nearest folder above the pool that has most of its first pictures; None if none has.

    Raises
    ------
    UserError
        If there is no such file, or one of the lines that were read is no candidate.
    """
    if not pool.is_file():
        raise UserError(f"There is no file {pool}. Check the path.")
    pictures = (row.get("img_path") for _, row, _ in _rows(pool) if row.get("modality") != "text")
    first = list(islice((place for place in pictures if isinstance(place, str) and place), _TRIED))
    above = list(pool.resolve().parents)[:-1]  # pictures are served from it: never from all of the disk
    there = {folder: sum(_inside(folder, place) is not None for place in first) for folder in above}
    root = max(there, key=there.__getitem__, default=None)  # of equals the first, which is the nearest
    return root if root is not None and there[root] else None


def _rows(pool: Path) -> Iterator[tuple[int, Mapping[str, object], int]]:
    """Yield every candidate's line: number, what it says, and how many bytes have been read."""
    for number, row, position in lines_of(pool):
        if row is None or "did" not in row:
            raise UserError(f"Line {number} of {pool} is no M-BEIR candidate: it needs did, txt, img_path.")
        yield number, row, position


def lines_of(path: Path) -> Iterator[tuple[int, Mapping[str, object] | None, int]]:
    """Yield every line that is not blank: number, what it says (None if it is no JSON object), bytes read."""
    position = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            position += len(line)
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            yield number, row if isinstance(row, dict) else None, position


def candidate_of(row: Mapping[str, object], root: Path | None) -> Candidate:
    """The candidate of a pool's line, by its own id; UserError if it holds no such thing as it says."""
    modality = modality_of(row.get("modality"))
    text, image = content_of(modality, row.get("txt"), row.get("img_path"), root)
    return Candidate(str(row["did"]), modality, text, image)


def modality_of(written: object) -> Modality:
    """The modality that M-BEIR writes so."""
    if not isinstance(written, str) or written not in MODALITIES:
        raise UserError(f"there is no modality {written!r}; write one of {', '.join(MODALITIES)}")
    return MODALITIES[written]


def content_of(
    modality: Modality, text: object, place: object, root: Path | None
) -> tuple[str | None, Path | None]:
    """Text and picture of something of a modality; UserError if one of them is not there.

    Without a root there are no pictures.
    """
    words = " ".join(text.split()) if isinstance(text, str) else ""
    image = _inside(root, place) if root is not None and isinstance(place, str) and place else None
    wants_image, wants_text = modality is not Modality.TEXT, modality is not Modality.IMAGE
    if wants_image and image is None:
        raise UserError(f"there is no picture {place} in {root}")
    if wants_text and not words:
        raise UserError("there is no text")
    return words if wants_text else None, image if wants_image else None


def _inside(root: Path, place: str) -> Path | None:
    """Return a picture below the root; a path that leads out of it is none of the pool's."""
    path = root / place
    if ".." in Path(place).parts or not path.is_relative_to(root) or not path.is_file():
        return None
    return path
