"""What every source yields, and the candidates made from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from genius.schema import Candidate, Modality


@dataclass(frozen=True)
class Picture:
    """One picture of a collection.

    `id` is unique within its collection and stable; `text` is what a person would call it ("" if nobody
    said); `aliases` are other names for it; `group` is a coarse kind, "" when there is none.
    """

    id: str
    image: Path
    text: str = ""
    aliases: tuple[str, ...] = ()
    group: str = ""


def candidates_of(pictures: Iterable[Picture], collection: str) -> list[Candidate]:
    """Return up to three candidates a picture: its image, its text, and both as a pair.

    A text that several pictures share is one candidate, named after the first of them.
    """
    candidates = []
    seen = set()
    for picture in pictures:
        name = f"{collection}/{picture.id}"
        candidates.append(Candidate(f"{name}:image", Modality.IMAGE, None, picture.image, collection))
        if not picture.text:
            continue
        if picture.text not in seen:
            seen.add(picture.text)
            candidates.append(Candidate(f"{name}:text", Modality.TEXT, picture.text, None, collection))
        candidates.append(Candidate(f"{name}:pair", Modality.PAIR, picture.text, picture.image, collection))
    return candidates
