"""Query–target pairs for the eight tasks: drawn here for every stage, encoded here for the later two."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from genius.encoder import Encoder, batches
from genius.instructions import TASKS, Task, format_text, instructed_text
from genius.schema import Modality
from genius.training.corpus import Item, Kind
from genius.training.wordings import wording

_TEXT_TO_TEXT = tuple(task for task in TASKS if task.query is task.target is Modality.TEXT)

# For each item, the pictures that become it by a change, and the words for the change.
Changes = dict[str, list[tuple[Item, str]]]


@dataclass(frozen=True)
class Row:
    """A query and its target, before encoding.

    `own` is a text of the item, `query` the instructed query text. Where the query has a picture, it is
    the item's own, or the partner's: another picture of the same thing or, for a composed query, the
    picture to be changed.
    """

    item: Item
    own: str
    task: Task
    query: str
    instructed: bool
    partner: Item | None


def tasks_of(item: Item) -> tuple[Task, ...]:
    """The tasks that an item can answer: a word has no picture."""
    return _TEXT_TO_TEXT if item.kind is Kind.WORD else TASKS


class Sampler:
    """Draws rows."""

    def __init__(self, items: Sequence[Item], changes: Changes, uninstructed: float) -> None:
        self.changes, self.uninstructed = changes, uninstructed
        self.by_noun: dict[str, list[Item]] = {}
        for item in items:
            self.by_noun.setdefault(item.noun, []).append(item)

    def row(self, item: Item, task: Task, rng: random.Random) -> Row:
        """One query for which `item` (its image, text or both) is the answer."""
        sentences = item.id.startswith("photos/")
        own = rng.choice(item.texts) if sentences or rng.random() < 0.25 else item.texts[0]
        other = rng.choice([text for text in item.texts if text != own] or [own])
        said = own if not sentences and item.kind is not Kind.WORD and rng.random() < 0.5 else other
        words = {Modality.TEXT: said, Modality.IMAGE: "", Modality.PAIR: item.question}[task.query]
        partner = rng.choice(self.by_noun[item.noun]) if task.id in (4, 7, 8) else None
        if task.query is Modality.PAIR and rng.random() < 0.5:
            words = said
        if task.id == 7 and item.id in self.changes and rng.random() < 0.8:
            partner, words = rng.choice(self.changes[item.id])
        instructed = rng.random() >= self.uninstructed
        query = instructed_text(wording(task, rng) if instructed else "", words)
        return Row(item, format_text(own), task, query, instructed, partner)


@dataclass(frozen=True)
class Pairs:
    """Encoded pairs (half precision).

    query_image, query_text [n, d]; target int [n], a row of the pool; task [n], the task's place in TASKS;
    pool_image, pool_text [c, d]; modality [c] of every pool candidate.
    """

    query_image: Tensor
    query_text: Tensor
    target: Tensor
    task: Tensor
    pool_image: Tensor
    pool_text: Tensor
    modality: Tensor

    def __len__(self) -> int:
        return len(self.target)

    def save(self, path: Path) -> None:
        """Write all tensors."""
        save_file({name: value.contiguous() for name, value in vars(self).items()}, path)

    @classmethod
    def load(cls, path: Path) -> Pairs:
        """Read what `save` wrote."""
        return cls(**load_file(path))


@torch.inference_mode()
def project(pooled: Tensor, encoder: Encoder) -> Tensor:
    """Image features [n, V, d], half precision, of the image tower's pooled features [n, V, 1280]."""
    head = encoder.clip.visual.head.eval()
    return torch.cat([head(pooled[part].float()).half() for part in batches(len(pooled), 1024)])


def encode_unique(texts: Sequence[str], encoder: Encoder) -> tuple[Tensor, dict[str, int]]:
    """Features [t, d], half precision, of the distinct texts, and the row of each; "" is a row of zeros."""
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    out = torch.zeros(len(distinct), encoder.dim, dtype=torch.float16)
    first = 1 if distinct and distinct[0] == "" else 0
    with torch.autocast("cpu", torch.bfloat16):
        for part in tqdm(list(batches(len(distinct) - first, 256)), desc="text features"):
            rows = slice(part.start + first, part.stop + first)
            out[rows] = encoder.encode_texts(distinct[rows]).half()
    return out, {text: row for row, text in enumerate(distinct)}


def build_pairs(
    items: Sequence[Item],
    changes: Changes,
    image_features: Tensor,
    encoder: Encoder,
    *,
    rounds: int,
    uninstructed: float,
    seed: int,
) -> Pairs:
    """Every item as the answer to every task, `rounds` times; `image_features` [n, V, d] are the items'."""
    rng = random.Random(seed)
    sampler = Sampler(items, changes, uninstructed)
    place = {item.id: n for n, item in enumerate(items)}
    rows = [
        sampler.row(item, task, rng)
        for item in items
        for _ in range(rounds)
        for task in tasks_of(item)
        if item.kind is not Kind.CLASS or task.target is Modality.TEXT
    ]
    own_texts = sorted({format_text(text) for item in items for text in item.texts})
    text_features, text_row = encode_unique([*own_texts, *(row.query for row in rows)], encoder)
    pictured = [n for n, item in enumerate(items) if item.image is not None]
    image_slot = {n: slot for slot, n in enumerate(pictured)}
    text_slot = {text: len(pictured) + slot for slot, text in enumerate(own_texts)}
    pair_start = len(pictured) + len(own_texts)

    def target(row: Row) -> int:
        if row.task.target is Modality.TEXT:
            return text_slot[row.own]
        slot = image_slot[place[row.item.id]]
        return slot if row.task.target is Modality.IMAGE else pair_start + slot

    plain_image = image_features[pictured, 0]
    names = text_features[[text_row[format_text(items[n].texts[0])] for n in pictured]]
    plain_text = text_features[[text_row[text] for text in own_texts]]
    query_image = torch.zeros(len(rows), encoder.dim, dtype=torch.float16)
    for n, row in enumerate(rows):
        if row.task.query is not Modality.TEXT:
            shown = place[(row.partner or row.item).id]
            query_image[n] = image_features[shown, rng.randrange(image_features.shape[1])]
    return Pairs(
        query_image=query_image,
        query_text=text_features[[text_row[row.query] for row in rows]],
        target=torch.tensor([target(row) for row in rows]),
        task=torch.tensor([TASKS.index(row.task) for row in rows]),
        pool_image=torch.cat([plain_image, torch.zeros_like(plain_text), plain_image]),
        pool_text=torch.cat([torch.zeros_like(names), plain_text, names]),
        modality=torch.tensor([0] * len(pictured) + [1] * len(own_texts) + [2] * len(pictured)),
    )
