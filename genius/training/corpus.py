"""What the stages learn from: items, each one picture, ImageNet class or word, with the texts that name it.

Photos with sentences (Flickr8k layout), grocery photos with labels, the three open collections, the
thousand ImageNet classes and the common nouns of WordNet. Paths are arguments; nothing here is read at
import.
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
from genius.sources import COLLECTIONS, load_pictures, openmoji
from genius.training.lexicon import Sense, described, load_keywords, load_senses

_ARTICLE = re.compile(r"^(a|an|the|some|our|two|three)\s+", re.IGNORECASE)
_TAIL = re.compile(r"[\s.!?,;:0-9]+$")


class Kind(StrEnum):
    """How an item's picture was made; augmentation and teachers depend on it."""

    PHOTO = "photo"
    DRAWING = "drawing"
    CLASS = "class"  # an ImageNet class: no picture, only a prototype in feature space
    WORD = "word"  # a noun of WordNet: no picture, only its definition


@dataclass(frozen=True)
class Item:
    """One thing to learn. `texts[0]` is its own text; the others say the same in other words.

    Items with the same `noun` show the same thing. `question` asks what the picture shows. `weight` is how
    often an item comes while the towers learn, `rounds` how many pairs of each task are drawn for it.
    """

    id: str
    kind: Kind
    image: Path | None
    texts: tuple[str, ...]
    noun: str
    question: str = "What is this?"
    weight: float = 1.0
    rounds: int = 1
    train: bool = True


def noun_of(text: str) -> str:
    """Key under which pictures of the same thing meet: no article, no numbers, no final stop.

    >>> noun_of("A lion.")
    'lion'
    """
    return _TAIL.sub("", _ARTICLE.sub("", text.strip())).lower()


def load_corpus(
    photos: Path | None, groceries: Path | None, wordnet: Path | None, keywords: Path | None
) -> list[Item]:
    """All items, in a fixed order. A missing optional source is left out."""
    senses = load_senses(wordnet) if wordnet else {}
    tags = load_keywords(keywords) if keywords else {}
    items = [item for name in COLLECTIONS for item in _collection_items(name, senses, tags)]
    items += _class_items()
    if photos:
        items += _photo_items(photos)
    if groceries:
        items += _grocery_items(groceries)
    named = {item.noun for item in items}
    return items + [
        Item(f"word/{noun}", Kind.WORD, None, (noun, *sense.texts), noun, weight=0.5)
        for noun, sense in senses.items()
        if sense.common and noun not in named
    ]


def _collection_items(
    name: str, senses: dict[str, Sense], tags: dict[str, tuple[str, ...]]
) -> Iterable[Item]:
    for picture in load_pictures(name):
        noun = noun_of(picture.text)
        more = [*senses[noun].texts] if noun in senses else [described(noun, senses)]
        if name == openmoji.NAME and picture.id in tags:
            words = tags[picture.id]
            more += [", ".join(words), " ".join(words[::2]), " ".join(words[1::2])]
        yield Item(
            id=f"{name}/{picture.id}",
            kind=Kind.DRAWING if name != "stamps" or "/cartoon/" in str(picture.image) else Kind.PHOTO,
            image=picture.image,
            texts=tuple(dict.fromkeys((picture.text, *picture.aliases, *filter(None, more)))),
            noun=noun,
            weight=0.6 if picture.group == "skin tone" else 2.0 if name == "stamps" else 1.2,
            rounds=2,
        )


def _class_items() -> Iterable[Item]:
    info = ImageNetInfo()
    for index in range(1000):
        lemmas, _, gloss = info.index_to_description(index, detailed=True).partition(": ")
        names = [name.strip() for name in lemmas.split(",")]
        texts = (names[0], *names[1:], gloss)
        yield Item(f"imagenet/{index}", Kind.CLASS, None, texts, noun_of(names[0]), weight=1.5)


def _photo_items(folder: Path) -> Iterable[Item]:
    for row in _read_jsonl(folder / "captions.jsonl"):
        yield Item(
            id=f"photos/{row['image']}",
            kind=Kind.PHOTO,
            image=folder / "images" / row["image"],
            texts=tuple(re.sub(r"\s+([.,])", r"\1", caption) for caption in row["captions"]),
            noun=f"photos/{row['image']}",
            question="What is happening here?",
            rounds=2,
            train=row["split"] == "train",
        )


def _grocery_items(folder: Path) -> Iterable[Item]:
    for row in _read_jsonl(folder / "labels.jsonl"):
        fine, coarse = row["class"], row["coarse_class"]
        own = fine if coarse.lower() in fine.lower() else f"{fine}, {coarse.lower()}"
        kind = row["image"].partition("_")[2].partition("_")[0].lower()  # train_Fruit_Apple_001.jpg
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


def only(items: Iterable[Item], *, train: bool) -> list[Item]:
    """Items of one split."""
    return [item for item in items if item.train == train]
