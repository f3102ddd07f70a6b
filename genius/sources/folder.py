"""A folder of a person's own images, with captions if there are any.

A caption stands in a text file beside its image (`cat.jpg` and `cat.txt`), or in `captions.jsonl` or
`captions.csv` at the top of the folder, with a column `file` (or `image`, `file_name`) and a column `text`
(or `caption`).
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from genius.images import check_image
from genius.schema import UserError
from genius.sources.picture import Picture

MAX_CAPTION = 2000
"""Longer captions are cut."""

_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff", ".svg"}
    | {".ico", ".ppm", ".pgm", ".tga", ".jp2"}
    | {".heic", ".heif", ".psd"}  # cannot be read: named as left out rather than passed over in silence
)
_FILE_COLUMNS = ("file", "image", "file_name")
_TEXT_COLUMNS = ("text", "caption")
_NAMED = 5


def pictures(
    folder: Path, progress: Callable[[int, int], None] | None = None
) -> tuple[list[Picture], tuple[str, ...]]:
    """Return the images in `folder` and below, in the order of their paths, and notes on what was left out.

    Parameters
    ----------
    folder
        Hidden files and links that lead out of it are passed over.
    progress
        Called with the number of images looked at so far and the number of all.

    Raises
    ------
    UserError
        If there is no such folder, its name is not UTF-8, or no image in it can be read.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Check the path.")
    home = str(folder.resolve())
    if home != _shown(home):
        raise UserError(f"The name of {_shown(home)} is not UTF-8. Rename the folder.")
    files = sorted(_files(folder))
    images = [file for file in files if file.suffix.lower() in _SUFFIXES]
    if not images:
        raise UserError(
            f"There are no images in {folder}. Put PNG, JPEG, WebP, GIF, TIFF or SVG files in it."
        )
    captions, notes = _captions(folder, files)
    found, left_out = [], []
    for number, image in enumerate(images, start=1):
        place = image.relative_to(folder).as_posix()
        try:
            place.encode()  # a name that is not UTF-8 fits into no page and no JSON
            check_image(image)
            found.append(Picture(place, image, captions.get(place, ""), (), _group(place)))
        except (UserError, UnicodeEncodeError):
            left_out.append(_shown(place))
        if progress:
            progress(number, len(images))
    if left_out:
        notes.append(
            f"Left out as damaged, too large, not an image or not named in UTF-8: {_listed(left_out)}."
        )
    if not found:
        raise UserError(f"No image in {folder} can be read. {notes[-1]} Save them again as PNG or JPEG.")
    return found, tuple(notes)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below `folder`, but hidden ones and links that lead out of it."""
    home = folder.resolve()
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        for name in names:
            path = Path(root, name)
            if not name.startswith(".") and path.is_file() and path.resolve().is_relative_to(home):
                yield path


def _group(place: str) -> str:
    """Return the subfolder that an image lies in, as far as the first level."""
    return place.partition("/")[0] if "/" in place else ""


def _captions(folder: Path, files: Iterable[Path]) -> tuple[dict[str, str], list[str]]:
    """Return the captions by place, and notes on what is unused. A text beside an image wins."""
    known = {file.relative_to(folder).as_posix(): file for file in files}
    captions: dict[str, str] = {}
    notes = []
    for name, read in (("captions.csv", _csv_rows), ("captions.jsonl", _json_rows)):
        if name not in known:
            continue
        unused = 0
        for row in read(known[name]):
            place, text = _field(row, _FILE_COLUMNS), _field(row, _TEXT_COLUMNS)
            place = place.replace("\\", "/").removeprefix("./")
            if place in known and text:
                captions[place] = _tidy(text)
            else:
                unused += 1
        if unused:
            notes.append(f"{unused} lines of {name} name no image of the folder or have no text.")
    for place, file in known.items():
        for beside in (place + ".txt", file.relative_to(folder).with_suffix(".txt").as_posix()):
            if beside != place and beside in known:
                captions[place] = _tidy(_read(known[beside], 4 * MAX_CAPTION))
    return captions, notes


def _csv_rows(file: Path) -> Iterator[Mapping[str, object]]:
    csv.field_size_limit(10_000_000)
    try:
        yield from csv.DictReader(io.StringIO(_read(file), newline=""))
    except csv.Error as error:
        raise UserError(
            f"{file} is not a table ({error}). Save it as CSV with columns file and text."
        ) from error


def _json_rows(file: Path) -> Iterator[Mapping[str, object]]:
    for line in _read(file).split("\n"):
        try:
            row = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            row = {}
        if row is not None:
            yield row if isinstance(row, dict) else {}


def _read(file: Path, characters: int = -1) -> str:
    """Return the text of a file; a caption that must not be read is no caption."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace", newline="") as opened:
            return opened.read(characters)
    except OSError:
        return ""


def _field(row: Mapping[str, object], names: tuple[str, ...]) -> str:
    values = (row.get(name) for name in names)
    return next((value.strip() for value in values if isinstance(value, str)), "")


def _tidy(text: str) -> str:
    return " ".join(text.split())[:MAX_CAPTION].strip()


def _shown(name: str) -> str:
    """A file's name as it can be printed: `\\udce9` stands for the byte E9 where that is not UTF-8."""
    return name.encode(errors="backslashreplace").decode()


def _listed(names: list[str]) -> str:
    """Return the first few names and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
