"""Query–target pairs for the eight tasks: drawn here for every stage, encoded here for the later two."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from genius.encoder import Encoder, batches
from genius.instructions import TASKS, Task, format_text, instructed_text
from genius.quantizer import kmeans, nearest
from genius.schema import Modality
from genius.training.corpus import Item, Kind
from genius.training.loop import mixed_precision
from genius.training.wordings import wording

_TEXT_TO_TEXT = tuple(task for task in TASKS if task.query is task.target is Modality.TEXT)

UNINSTRUCTED = 0.12  # share of queries that do not say what they want
FAMILY = 24  # items of like names, more or less
FAMILIES = 4096  # at most, for the sake of time
BUNCH = 32  # rows of a family that come together

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
        own = rng.choice(item.texts) if sentences or rng.random() < 0.35 else item.texts[0]
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
class Drawn:
    """Rows before encoding, as places in two tables: the items that show something, and the distinct texts.

    texts: distinct, "" first; item, own, query int [n]: the target's item and text, the query's text;
    picture int [n]: the item whose picture is in the query, -1 for none; task int [n], a place in TASKS;
    instructed bool [n].
    """

    texts: list[str]
    item: Tensor
    own: Tensor
    query: Tensor
    picture: Tensor
    task: Tensor
    instructed: Tensor

    def __len__(self) -> int:
        return len(self.item)

    def names(self, items: Sequence[Item]) -> Tensor:
        """Where the own texts of the items stand among the texts."""
        text_row = {text: n for n, text in enumerate(self.texts)}
        return torch.tensor([text_row[format_text(item.texts[0])] for item in items])


def draw(
    items: Sequence[Item], changes: Changes, *, seed: int, rounds: int = 1, uninstructed: float = UNINSTRUCTED
) -> Drawn:
    """Every item as the answer to every task, `rounds` times its own; the texts hold all of the items'."""
    rng = random.Random(seed)
    sampler = Sampler(items, changes, uninstructed)
    place = {item.id: n for n, item in enumerate(items)}
    rows = [
        sampler.row(item, task, rng)
        for item in items
        for _ in range(rounds * item.rounds)
        for task in tasks_of(item)
        if item.kind is not Kind.CLASS or task.target is Modality.TEXT
    ]
    own = {format_text(text) for item in items for text in item.texts}
    texts = sorted({"", *own, *(row.query for row in rows)}, key=lambda text: (len(text), text))
    text_row = {text: n for n, text in enumerate(texts)}
    shown = [-1 if row.task.query is Modality.TEXT else place[(row.partner or row.item).id] for row in rows]
    return Drawn(
        texts,
        item=torch.tensor([place[row.item.id] for row in rows]),
        own=torch.tensor([text_row[row.own] for row in rows]),
        query=torch.tensor([text_row[row.query] for row in rows]),
        picture=torch.tensor(shown),
        task=torch.tensor([TASKS.index(row.task) for row in rows]),
        instructed=torch.tensor([row.instructed for row in rows]),
    )


def families(names: Tensor, *, seed: int) -> Tensor:
    """The family [n] of each item, a cluster of the features [n, d] of names: what is easily confused."""
    x = F.normalize(names.float(), dim=-1)
    return nearest(x, kmeans(x, min(max(1, len(x) // FAMILY), FAMILIES), seed=seed))


def bunched(family: Tensor, generator: torch.Generator) -> Tensor:
    """All rows [n] in random order, families in bunches: only what comes together is told apart."""
    order = torch.randperm(len(family), generator=generator)
    order = order[family[order].argsort(stable=True)]
    ordered = family[order]
    rank = torch.arange(len(order)) - torch.searchsorted(ordered, ordered)  # within the family
    bunch = (rank % BUNCH == 0).cumsum(0) - 1
    places = torch.rand(len(order), generator=generator)[bunch]
    return order[places.argsort(stable=True)]


@dataclass(frozen=True)
class Pairs:
    """Encoded pairs (half precision).

    query_image, query_text [n, d]; target int [n], a row of the pool; task [n], the task's place in TASKS;
    family int [n] of the target's item; pool_image, pool_text [c, d]; modality [c] of every pool candidate.
    """

    query_image: Tensor
    query_text: Tensor
    target: Tensor
    task: Tensor
    family: Tensor
    pool_image: Tensor
    pool_text: Tensor
    modality: Tensor

    def __len__(self) -> int:
        return len(self.target)

    @property
    def dim(self) -> int:
        """Width of the encoder's features."""
        return self.pool_image.shape[1]

    def save(self, path: Path, made_of: Mapping[str, str] | None = None) -> None:
        """Write all tensors, and a word on what they were made of."""
        unfinished = path.with_suffix(".tmp")
        tensors = {name: value.contiguous() for name, value in vars(self).items()}
        save_file(tensors, unfinished, None if made_of is None else dict(made_of))
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> Pairs:
        """Read what `save` wrote."""
        return cls(**load_file(path))


@torch.inference_mode()
def project(pooled: Tensor, encoder: Encoder) -> Tensor:
    """Image features [n, V, d], half precision, of the image tower's pooled features [n, V, 1280]."""
    head = encoder.clip.visual.head.eval()
    return torch.cat([head(pooled[part].float()).half() for part in batches(len(pooled), 1024)])


@torch.inference_mode()
def project_texts(raw: Tensor, encoder: Encoder) -> Tensor:
    """Text features [t, d], half precision, of what the text tower computed before its projection [t, d]."""
    projection = encoder.clip.text.proj
    return torch.cat([projection(raw[part].float()).half() for part in batches(len(raw), 8192)])


@torch.inference_mode()
def encode_distinct(texts: Sequence[str], encoder: Encoder) -> Tensor:
    """Features [t, d], half precision, of texts sorted by length; "" gives zeros."""
    out = torch.zeros(len(texts), encoder.dim, dtype=torch.float16)
    first = texts.count("")
    with mixed_precision():
        for part in tqdm(list(batches(len(texts) - first, 256)), desc="text features"):
            rows = slice(part.start + first, part.stop + first)
            out[rows] = encoder.encode_texts(texts[rows]).half()
    return out


def build_pairs(items: Sequence[Item], drawn: Drawn, image: Tensor, text: Tensor, *, seed: int) -> Pairs:
    """The rows, encoded: `image` [n, V, d] are the items' features, `text` [t, d] those of the texts."""
    text_row = {words: n for n, words in enumerate(drawn.texts)}
    own_texts = sorted({format_text(words) for item in items for words in item.texts})
    own_rows = torch.tensor([text_row[words] for words in own_texts])
    named = drawn.names(items)
    pictured = torch.tensor([n for n, item in enumerate(items) if item.image is not None])
    image_slot = torch.full((len(items),), -1).index_copy(0, pictured, torch.arange(len(pictured)))
    text_slot = torch.full((len(drawn.texts),), -1).index_copy(0, own_rows, torch.arange(len(own_rows)))

    wanted = torch.tensor([int(task.target) for task in TASKS])[drawn.task]
    slots = torch.stack(
        [
            image_slot[drawn.item],
            len(pictured) + text_slot[drawn.own],
            len(pictured) + len(own_rows) + image_slot[drawn.item],
        ]
    )
    views = torch.randint(image.shape[1], (len(drawn),), generator=torch.Generator().manual_seed(seed))
    query_image = image[drawn.picture, views].masked_fill((drawn.picture < 0)[:, None], 0)
    plain, names, own = image[pictured, 0], text[named[pictured]], text[own_rows]
    return Pairs(
        query_image=query_image,
        query_text=text[drawn.query],
        target=slots[wanted, torch.arange(len(drawn))],
        task=drawn.task,
        family=families(text[named], seed=seed)[drawn.item],
        pool_image=torch.cat([plain, torch.zeros_like(own), plain]),
        pool_text=torch.cat([torch.zeros_like(names), own, names]),
        modality=torch.tensor([0] * len(pictured) + [1] * len(own) + [2] * len(pictured)),
    )
