"""What the stages learn from: items, each one picture (or ImageNet class) with the texts that name it.

Photos with sentences (Flickr8k layout), grocery photos with labels, the three open collections and
the thousand ImageNet classes. Paths are arguments; nothing here is read at import.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from timm.data import ImageNetInfo

from genius.schema import UserError
from genius.sources import COLLECTIONS, load_pictures

_ARTICLE = re.compile(r"^(a|an|the|some|our|two|three)\s+", re.IGNORECASE)
_TAIL = re.compile(r"[\s.!?,;:0-9]+$")


class Kind(StrEnum):
    """How an item's picture was made; augmentation and teachers depend on it."""

    PHOTO = "photo"
    DRAWING = "drawing"
    CLASS = "class"  # an ImageNet class: no picture, only a prototype in feature space


@dataclass(frozen=True)
class Item:
    """One thing to learn. `texts[0]` is its own text; the others say the same in other words.

    Items with the same `noun` show the same thing. `question` asks what the picture shows.
    """

    id: str
    kind: Kind
    image: Path | None
    texts: tuple[str, ...]
    noun: str
    question: str = "What is this?"
    weight: float = 1.0
    train: bool = True


def noun_of(text: str) -> str:
    """Key under which pictures of the same thing meet: no article, no numbers, no final stop.

    >>> noun_of("A lion.")
    'lion'
    """
    return _TAIL.sub("", _ARTICLE.sub("", text.strip())).lower()


def load_corpus(photos: Path | None, groceries: Path | None, wordnet: Path | None) -> list[Item]:
    """All items, in a fixed order. A missing optional source is left out."""
    glosses = load_glosses(wordnet) if wordnet else {}
    items = [item for name in COLLECTIONS for item in _collection_items(name, glosses)]
    items += _class_items()
    if photos:
        items += _photo_items(photos)
    if groceries:
        items += _grocery_items(groceries)
    return items


def _collection_items(name: str, glosses: dict[str, str]) -> Iterable[Item]:
    for picture in load_pictures(name):
        noun = noun_of(picture.text)
        gloss = (glosses[noun],) if noun in glosses else ()
        yield Item(
            id=f"{name}/{picture.id}",
            kind=Kind.DRAWING if name != "stamps" or "/cartoon/" in str(picture.image) else Kind.PHOTO,
            image=picture.image,
            texts=(picture.text, *picture.aliases, *gloss),
            noun=noun,
            weight=0.3 if picture.group == "skin tone" else 2.0 if name == "stamps" else 1.0,
        )


def _class_items() -> Iterable[Item]:
    info = ImageNetInfo()
    for index in range(1000):
        lemmas, _, gloss = info.index_to_description(index, detailed=True).partition(": ")
        names = [name.strip() for name in lemmas.split(",")]
        texts = (names[0], *names[1:], gloss)
        yield Item(f"imagenet/{index}", Kind.CLASS, None, texts, noun_of(names[0]), weight=3.0)


def _photo_items(folder: Path) -> Iterable[Item]:
    for row in _read_jsonl(folder / "captions.jsonl"):
        yield Item(
            id=f"photos/{row['image']}",
            kind=Kind.PHOTO,
            image=folder / "images" / row["image"],
            texts=tuple(re.sub(r"\s+([.,])", r"\1", caption) for caption in row["captions"]),
            noun=f"photos/{row['image']}",
            question="What is happening here?",
            train=row["split"] == "train",
        )


def _grocery_items(folder: Path) -> Iterable[Item]:
    for row in _read_jsonl(folder / "labels.jsonl"):
        fine, coarse = row["class"], row["coarse_class"]
        own = fine if coarse.lower() in fine.lower() else f"{fine}, {coarse.lower()}"
        kind = row["image"].split("_")[1].lower()
        yield Item(
            id=f"groceries/{row['image']}",
            kind=Kind.PHOTO,
            image=folder / "images" / row["image"],
            texts=(own, f"{fine} in a shop", coarse),
            noun=noun_of(own),
            question={"fruit": "Which fruit is this?", "vegetables": "Which vegetable is this?"}.get(
                kind, "Which product is this?"
            ),
            weight=0.7,
            train=row["split"] == "train",
        )


def _read_jsonl(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise UserError(f"{path} does not exist. Give the folder that holds {path.name} and images/.")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def load_glosses(folder: Path) -> dict[str, str]:
    """Definition of each noun's most common sense, from WordNet's `index.noun` and `data.noun`."""
    data = (folder / "data.noun").read_bytes()
    glosses = {}
    for line in (folder / "index.noun").read_text(encoding="ascii").splitlines():
        if line.startswith(" "):
            continue
        fields = line.split()
        for offset in map(int, fields[-int(fields[2]) :]):  # senses are listed most frequent first
            record = data[offset : data.index(b"\n", offset)].decode("ascii")
            if " @i " not in record:  # skip persons and places
                glosses[fields[0].replace("_", " ")] = record.partition("| ")[2].split('; "')[0].strip()
                break
    return glosses


def only(items: Iterable[Item], *, train: bool) -> list[Item]:
    """Items of one split."""
    return [item for item in items if item.train == train]
