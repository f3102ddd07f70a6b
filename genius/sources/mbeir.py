"""A candidate pool of M-BEIR on disk: a `.jsonl` file, with the pictures below a folder above it.

A line is `{"did": "9:5", "txt": …, "img_path": …, "modality": "image" | "text" | "image,text"}`; picture
paths start at M-BEIR's root, the nearest folder above the file in which they exist.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from genius.schema import Candidate, Modality, UserError

SUFFIX = ".jsonl"
_MODALITIES = {"image": Modality.IMAGE, "text": Modality.TEXT, "image,text": Modality.PAIR}
_NAMED = 5


def candidates(
    pool: Path, progress: Callable[[int, int], None] | None = None
) -> tuple[list[Candidate], tuple[str, ...]]:
    """Return the pool's candidates in its order, and notes on what was left out.

    Pictures are not opened here: a pool may have millions.

    Raises
    ------
    UserError
        If there is no such file, a line of it is no candidate, or nothing in it can be used.
    """
    name = pool.stem.removeprefix("mbeir_").removesuffix("_cand_pool")
    root = picture_root(pool)
    found: list[Candidate] = []
    left_out: list[str] = []
    size = pool.stat().st_size
    for row, position in _rows(pool):
        candidate = _candidate(row, name, root)
        if candidate is None:
            left_out.append(str(row["did"]))
        else:
            found.append(candidate)
        if progress and len(found) % 1000 == 0:
            progress(position, size)
    if not found:
        raise UserError(
            f"No candidate of {pool} can be used. Its pictures should lie below a folder above it."
        )
    if not left_out:
        return found, ()
    some = ", ".join(left_out[:_NAMED]) + (" …" if len(left_out) > _NAMED else "")
    note = f"{len(left_out)} candidates of {pool.name} are left out, as their picture is not there: {some}"
    return found, (note,)


def picture_root(pool: Path) -> Path:
    """M-BEIR's root: the nearest folder above the pool in which its first picture is, or the pool's own."""
    if not pool.is_file():
        raise UserError(f"There is no file {pool}. Check the path.")
    first = next((row["img_path"] for row, _ in _rows(pool) if row.get("img_path")), None)
    above = pool.resolve().parents
    return next((folder for folder in above if first and (folder / str(first)).is_file()), above[0])


def _rows(pool: Path) -> Iterator[tuple[Mapping[str, object], int]]:
    """Yield every candidate's line, and how many bytes have been read."""
    position = 0
    with pool.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            position += len(line)
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict) or "did" not in row:
                raise UserError(
                    f"Line {number} of {pool} is no M-BEIR candidate: it needs did, txt, img_path."
                )
            yield row, position


def _candidate(row: Mapping[str, object], name: str, root: Path) -> Candidate | None:
    """Return the candidate of a line; none if its picture is not there, or nothing is said to be in it."""
    text, place = row.get("txt"), row.get("img_path")
    modality = _MODALITIES.get(str(row.get("modality")))
    image = _inside(root, place) if isinstance(place, str) and place else None
    words = " ".join(text.split()) if isinstance(text, str) else ""
    wants_image, wants_text = modality is not Modality.TEXT, modality is not Modality.IMAGE
    if modality is None or (wants_image and image is None) or (wants_text and not words):
        return None
    return Candidate(
        f"{name}/{row['did']}", modality, words if wants_text else None, image if wants_image else None, name
    )


def _inside(root: Path, place: str) -> Path | None:
    """Return a picture below the root; a path that leads out of it is none of the pool's."""
    path = root / place
    if ".." in Path(place).parts or not path.is_relative_to(root) or not path.is_file():
        return None
    return path
