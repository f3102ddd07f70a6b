"""Candidates of a benchmark set, filed by what they show or name: every right answer counts as one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from genius.instructions import format_text
from genius.schema import Modality
from genius.sources import mbeir
from genius.training.corpus import Item

PICTURES = "mbeir_images"

_WRITTEN = {modality: word for word, modality in mbeir.MODALITIES.items()}


class DataSet:
    """One data set. `rows` are its candidates; `image`, `pair` and `text` their ids, by item and by text."""

    def __init__(self, number: int, name: str, title: str, items: Sequence[Item]) -> None:
        """`items` are all that the data set shows, in candidates or in queries."""
        self.number, self.name, self.title = number, name, title
        self.folder = Path(os.path.commonpath([one.image.parent for one in items if one.image is not None]))
        self.rows: list[dict[str, object]] = []
        self.image: dict[str, str] = {}
        self.pair: dict[str, str] = {}
        self.text: dict[str, str] = {}

    def place(self, item: Item) -> str:
        """Path of an item's picture, from the set's root."""
        assert item.image is not None
        return f"{PICTURES}/{self.name}/{item.image.relative_to(self.folder).as_posix()}"

    def add(self, modality: Modality, item: Item, text: str | None) -> str:
        """A new candidate; returns its id."""
        identity = f"{self.number}:{len(self.rows) + 1}"
        row = {"did": identity, "txt": text, "img_path": None, "modality": _WRITTEN[modality]}
        if modality is not Modality.TEXT:
            row["img_path"] = self.place(item)
        self.rows.append({**row, "src_content": None})
        return identity


class Things:
    """The candidates of all data sets by what they are of: one that shows the same thing is an answer too."""

    def __init__(self) -> None:
        self._ids: dict[tuple[Modality, str], dict[str, None]] = {}

    def file(self, data: DataSet, items: Sequence[Item], texts: int | None) -> None:
        """Make candidates: of each item its image, its first `texts` texts (all if None), and a pair."""
        for item in items:
            data.image[item.id] = self._note(item, Modality.IMAGE, data.add(Modality.IMAGE, item, None))
            for text in item.texts[:texts]:
                said = format_text(text)
                if said not in data.text:
                    data.text[said] = data.add(Modality.TEXT, item, text)
                self._note(item, Modality.TEXT, data.text[said])
            data.pair[item.id] = self._note(item, Modality.PAIR, data.add(Modality.PAIR, item, item.texts[0]))

    def answers(self, item: Item, modality: Modality, but: str | None = None) -> tuple[str, ...]:
        """Ids of all candidates of a modality that are of the same thing as an item, but one."""
        return tuple(i for i in self._ids.get((modality, _thing(item)), ()) if i != but)

    def _note(self, item: Item, modality: Modality, identity: str) -> str:
        self._ids.setdefault((modality, _thing(item)), {})[identity] = None
        return identity


def _thing(item: Item) -> str:
    return item.noun or item.id
