"""All texts and all pictures of the training, to be told apart from one that is asked for.

A batch holds some hundred items; the bank holds them all, so that every drawing is compared with each of
its siblings at every step. What says or shows the same as an item is no negative of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from genius.encoder import Encoder, batches
from genius.instructions import format_text
from genius.training.corpus import Item, Kind
from genius.training.loop import mixed_precision


class Bank:
    """Texts, each once, with the sentence encoder's own features; pictures are items that show something.

    texts: all texts, formatted; anchor [t, d]: their features, not normalised; shown: the items with a
    picture or a class prototype; text_row, shown_row: where a text or an item's id stands.
    """

    def __init__(self, items: Sequence[Item], encoder: Encoder, path: Path) -> None:
        """`encoder` is the one that training starts from; what it says of the texts is kept in `path`."""
        self.texts = sorted({format_text(text) for item in items for text in item.texts})
        self.text_row = {text: row for row, text in enumerate(self.texts)}
        self.anchor = kept(path, len(self.texts), lambda: embed(self.texts, encoder))
        self.shown = [item for item in items if item.kind is not Kind.WORD]
        self.shown_row = {item.id: row for row, item in enumerate(self.shown)}
        self._noun_texts: dict[str, set[int]] = {}
        self._noun_shown: dict[str, set[int]] = {}
        self._text_shown: dict[int, set[int]] = {}
        for item in items:
            rows = {self.text_row[format_text(text)] for text in item.texts}
            self._noun_texts.setdefault(item.noun, set()).update(rows)
            if item.kind is not Kind.WORD:
                place = self.shown_row[item.id]
                self._noun_shown.setdefault(item.noun, set()).add(place)
                for row in rows:
                    self._text_shown.setdefault(row, set()).add(place)

    def same_texts(self, item: Item, own: str) -> list[int]:
        """Rows of the texts that say what `item` is, in the words of `own` or others."""
        return sorted(self._noun_texts[item.noun] | {self.text_row[own]})

    def same_shown(self, item: Item, own: str) -> list[int]:
        """Rows of what shows the same thing as `item`, or goes by the text `own`."""
        named = self._text_shown.get(self.text_row[own], set())
        return sorted(self._noun_shown.get(item.noun, set()) | named)


def kept(path: Path, rows: int, compute: Callable[[], Tensor]) -> Tensor:
    """What was computed once and lies in `path`, if it is there and has that many rows."""
    if path.is_file():
        saved = torch.from_numpy(np.load(path, allow_pickle=False))
        if len(saved) == rows:
            return saved
    computed = compute()
    unfinished = path.with_suffix(".tmp.npy")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(unfinished, computed.numpy())
    unfinished.replace(path)
    return computed


@torch.inference_mode()
def embed(texts: Sequence[str], encoder: Encoder) -> Tensor:
    """Features [t, d] of texts, not normalised."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    out = torch.empty(len(texts), encoder.dim)
    with mixed_precision():
        for part in tqdm(list(batches(len(order), 256)), desc="texts"):
            rows = order[part]
            out[rows] = encoder.encode_texts([texts[row] for row in rows])
    return out.clone()


def against_bank(
    x: Tensor, bank: Tensor, rows: Sequence[int], alike: Sequence[Sequence[int]], scale: Tensor
) -> Tensor:
    """InfoNCE of x [N, d] for its targets, the `rows` of a bank [C, d] of unit vectors that stands still.

    `alike` lists for each row of x what is no negative. Only x learns: a target that could move while the
    negatives cannot would be drawn near by moving everything.
    """
    logits = scale * F.normalize(x, dim=-1) @ bank.T
    place = torch.tensor([n for n, some in enumerate(alike) for _ in some], dtype=torch.long)
    column = torch.tensor([column for some in alike for column in some], dtype=torch.long)
    hidden = torch.zeros(logits.shape, dtype=torch.bool)
    hidden[place, column] = True
    labels = torch.tensor(rows)
    hidden[torch.arange(len(x)), labels] = False
    return F.cross_entropy(logits.masked_fill(hidden, -torch.inf), labels)


def within_batch(x: Tensor, y: Tensor, scale: Tensor, alike: Tensor) -> Tensor:
    """InfoNCE of x [N, d] for y [N, d], row by row; `alike` bool [N, N] marks what is no negative."""
    logits = scale * F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).T
    return F.cross_entropy(logits.masked_fill(alike, -torch.inf), torch.arange(len(x)))


def alike(nouns: Sequence[str], texts: Sequence[str]) -> Tensor:
    """bool [N, N]: rows that would be false negatives of each other: same noun or same text."""
    same = [
        [a == b or s == t for b, t in zip(nouns, texts, strict=True)]
        for a, s in zip(nouns, texts, strict=True)
    ]
    return torch.tensor(same).fill_diagonal_(False)
