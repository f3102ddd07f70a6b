"""Tux Paint stamps: photographs and drawings with English captions (Debian's `tuxpaint-stamps-default`)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from genius.sources.picture import Picture

NAME = "stamps"
FOLDER = Path("/usr/share/tuxpaint/stamps")
HOW_TO_GET = "sudo apt-get install tuxpaint-stamps-default"

# A sentence ends before a capital; "St. Bernard" does not.
_NEXT_SENTENCE = re.compile(r"(?<=[\w)”’\"]{2}[.!?…])\s+(?=[A-Z“])")
_LINKS_TO_A_FILE = "household/arttools/pencil2.svg"


def pictures(folder: Path = FOLDER) -> list[Picture]:
    """Return every captioned stamp but symbols and mirror images; none if the package is not installed.

    A stamp drawn as an SVG is used where there is no PNG of it.
    """
    files = {path.with_suffix(""): path for kind in ("*.svg", "*.png") for path in folder.rglob(kind)}
    found = []
    seen = set()
    for stem in sorted(files):
        place = files[stem].relative_to(folder)
        if place.parts[0] == "symbols" or stem.name.endswith("_mirror") or str(place) == _LINKS_TO_A_FILE:
            continue
        caption = _caption(stem.with_suffix(".txt"))
        content = hashlib.sha256(files[stem].read_bytes()).digest()
        if not caption or content in seen:
            continue
        seen.add(content)
        text = _NEXT_SENTENCE.split(caption)[0].strip(" .–!")
        aliases = dict.fromkeys(alias for alias in (caption.strip(" .–!"), _words(stem.name)) if alias)
        aliases.pop(text, None)
        found.append(Picture(str(place.with_suffix("")), files[stem], text, tuple(aliases), place.parts[0]))
    return found


def _words(file_name: str) -> str:
    """Return the words of a file name: `apple_core_01` → "apple core"; some say more than the caption."""
    words = re.findall(r"[A-Za-z]{2,}", file_name)
    return " ".join(words).lower()


def _caption(path: Path) -> str:
    """Return the first line, in English; the other lines are translations."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except FileNotFoundError:
        return ""
