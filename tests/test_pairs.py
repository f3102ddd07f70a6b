"""Queries and targets: what is drawn for each task, in which words, and how it is encoded."""

from __future__ import annotations

import random
from itertools import groupby
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny import DIM
from torch import Tensor

from genius.checkpoint import Bundle
from genius.instructions import TASKS, Task, format_text
from genius.schema import Modality
from genius.training.corpus import Item, Kind
from genius.training.pairs import (
    BUNCH,
    FAMILY,
    Pairs,
    Row,
    Sampler,
    build_pairs,
    bunched,
    draw,
    encode_distinct,
    families,
    tasks_of,
)
from genius.training.wordings import wording

LION = Item("openmoji/lion", Kind.DRAWING, Path("lion.png"), ("lion", "king of beasts", "a big cat"), "lion")
STAMP = Item("stamps/lion", Kind.PHOTO, Path("stamp.png"), ("A lion.",), "lion", question="Which animal?")
PHOTO = Item(
    "photos/1", Kind.PHOTO, Path("1.png"), ("A dog runs.", "Dogs at play.", "Dogs outdoors."), "photos/1"
)
CUB = Item("openmoji/cub", Kind.DRAWING, Path("cub.png"), ("cub",), "cub")
CLASS = Item("imagenet/291", Kind.CLASS, None, ("lion", "a large cat of Africa"), "lion")
ITEMS = [LION, STAMP, PHOTO, CUB, CLASS]
CHANGES = {LION.id: [(CUB, "make it grown up")]}


def drawn(item: Item, task: Task, *, uninstructed: float = 0.0, count: int = 60) -> list[Row]:
    sampler, rng = Sampler(ITEMS, CHANGES, uninstructed), random.Random(0)
    return [sampler.row(item, task, rng) for _ in range(count)]


def said_by(texts: set[str], row: Row) -> str | None:
    """Which of the texts the query ends with, if any."""
    return next((text for text in sorted(texts, key=len, reverse=True) if row.query.endswith(text)), None)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.label)
@pytest.mark.parametrize("item", [LION, STAMP, PHOTO, CUB], ids=lambda item: item.id)
def test_rows_respect_their_task(item: Item, task: Task) -> None:
    rows = drawn(item, task)
    texts = {format_text(text) for text in item.texts}
    plain = {text for item_text in item.texts for text in (item_text, format_text(item_text))}
    plain = {text if text.endswith((".", "?", "!")) else text + "." for text in plain}
    asked = {item.question, "make it grown up."}
    for row in rows:
        assert row.item is item and row.task is task and row.instructed
        assert row.own in texts
        assert (row.partner is not None) == (task.id in (4, 7, 8))
        said = said_by(plain | asked, row)
        if task.query is Modality.TEXT:
            assert said in plain
        elif task.query is Modality.PAIR:
            assert said in plain | asked
            assert (said == "make it grown up.") == (row.partner is CUB and item is LION)
        if row.partner and row.partner is not CUB:
            assert row.partner.noun == item.noun
    assert len({row.query for row in rows}) > 1


def test_a_word_asks_by_its_definition_for_its_name() -> None:
    word = Item("word/zeal", Kind.WORD, None, ("zeal", "a feeling of strong eagerness"), "zeal")
    assert [(task.query, task.target) for task in tasks_of(word)] == [(Modality.TEXT, Modality.TEXT)]
    assert tasks_of(LION) == TASKS
    rows = [Sampler([word], {}, 0.0).row(word, tasks_of(word)[0], random.Random(seed)) for seed in range(100)]
    other = {"Zeal.": "a feeling of strong eagerness.", "A feeling of strong eagerness.": "zeal."}
    assert all(row.query.endswith(other[row.own]) for row in rows)
    assert sum(row.own == "Zeal." for row in rows) > 60


def test_some_queries_have_no_instruction() -> None:
    for task in TASKS:
        for row in drawn(LION, task, uninstructed=1.0, count=20):
            assert not row.instructed
            assert not any(wording in row.query for wording in task.wordings)
            assert (row.query == "") == (task.query is Modality.IMAGE)
    rows = drawn(LION, TASKS[0], uninstructed=0.25, count=400)
    assert 0.15 < sum(not row.instructed for row in rows) / 400 < 0.35


def test_a_composed_query_shows_the_picture_to_be_changed() -> None:
    seven = next(task for task in TASKS if task.id == 7)
    rows = drawn(LION, seven, count=200)
    composed = [row for row in rows if row.partner is CUB]
    assert 0.7 < len(composed) / 200 < 0.9
    assert all(row.query.endswith("make it grown up.") for row in composed)
    assert not any(row.partner is CUB for row in drawn(STAMP, seven))


def test_texts_vary_but_a_things_own_name_is_commonest() -> None:
    rows = drawn(LION, TASKS[0], count=300)
    assert sum(row.own == "Lion." for row in rows) > 200
    assert {row.own for row in rows} == {"Lion.", "King of beasts.", "A big cat."}
    sentences = [row.own for row in drawn(PHOTO, TASKS[0], count=300)]
    assert all(sentences.count(format_text(text)) > 60 for text in PHOTO.texts)


@pytest.fixture(scope="module")
def pairs_of_items(tiny_bundle: Bundle) -> tuple[Pairs, Tensor]:
    torch.manual_seed(0)
    features = torch.randn(len(ITEMS), 3, DIM).half()
    return encoded(features, tiny_bundle), features


def encoded(image: Tensor, bundle: Bundle) -> Pairs:
    rows = draw(ITEMS, CHANGES, rounds=4, uninstructed=0.2, seed=0)
    return build_pairs(ITEMS, rows, image, encode_distinct(rows.texts, bundle.encoder), seed=0)


def test_encoded_pairs_are_what_the_task_asks_for(
    pairs_of_items: tuple[Pairs, Tensor], tiny_bundle: Bundle
) -> None:
    pairs, features = pairs_of_items
    pictured = [n for n, item in enumerate(ITEMS) if item.image]
    texts = sorted({format_text(text) for item in ITEMS for text in item.texts})
    text_tasks = sum(task.target is Modality.TEXT for task in TASKS)
    assert len(pairs) == 4 * (len(pictured) * len(TASKS) + text_tasks)
    assert pairs.modality.tolist() == [0] * len(pictured) + [1] * len(texts) + [2] * len(pictured)
    has_image, has_text = pairs.pool_image.any(1), pairs.pool_text.any(1)
    assert torch.equal(has_image, pairs.modality != 1) and torch.equal(has_text, pairs.modality != 0)
    assert torch.equal(pairs.pool_image[: len(pictured)], features[pictured, 0])  # the plain view
    words = tiny_bundle.encoder.encode_texts(texts)
    stored = pairs.pool_text[pairs.modality == 1].float()
    assert F.cosine_similarity(stored, words).min() > 0.999  # autocast and half precision
    views = {tuple(view) for row in features.tolist() for view in row}
    for n in range(len(pairs)):
        task = TASKS[pairs.task[n]]
        assert pairs.modality[pairs.target[n]] == task.target
        assert pairs.query_image[n].any() == (task.query is not Modality.TEXT)
        if task.query is not Modality.TEXT:
            assert tuple(pairs.query_image[n].tolist()) in views
        else:
            assert pairs.query_text[n].any()
    # every pictured item is the answer to every task, in each modality
    for modality in Modality:
        answers = pairs.target[pairs.modality[pairs.target] == modality]
        assert len(answers.unique()) >= len(pictured)


def test_pairs_are_the_same_for_the_same_seed_and_survive_the_disk(
    pairs_of_items: tuple[Pairs, Tensor], tiny_bundle: Bundle, tmp_path: Path
) -> None:
    pairs, features = pairs_of_items
    again = encoded(features, tiny_bundle)
    pairs.save(tmp_path / "pairs.safetensors")
    loaded = Pairs.load(tmp_path / "pairs.safetensors")
    for name, value in vars(pairs).items():
        assert torch.equal(getattr(again, name), value)
        assert torch.equal(getattr(loaded, name), value)


def test_drawn_rows_point_at_distinct_texts(tiny_bundle: Bundle) -> None:
    rows = draw(ITEMS, CHANGES, rounds=4, uninstructed=0.2, seed=0)
    assert rows.texts[0] == "" and len(set(rows.texts)) == len(rows.texts)
    assert {format_text(text) for item in ITEMS for text in item.texts} <= set(rows.texts)
    for n, item in enumerate(rows.item.tolist()):
        assert rows.texts[rows.own[n]] in {format_text(text) for text in ITEMS[item].texts}
        assert (rows.picture[n] >= 0) == (TASKS[rows.task[n]].query is not Modality.TEXT)
    assert 0.1 < 1 - rows.instructed.float().mean() < 0.3


def test_no_text_is_zeros(tiny_bundle: Bundle) -> None:
    texts = ["", "Blue.", "Red circle."]
    features = encode_distinct(texts, tiny_bundle.encoder)
    assert not features[0].any()
    expected = tiny_bundle.encoder.encode_texts(texts[1:])
    assert F.cosine_similarity(features[1:].float(), expected).min() > 0.999


def test_families_come_in_bunches_and_every_row_once() -> None:
    torch.manual_seed(0)
    centres = F.normalize(torch.randn(4, 16), dim=-1).repeat_interleave(FAMILY, 0)
    family = families(centres + 0.01 * torch.randn(4 * FAMILY, 16), seed=1)
    assert len(family) == 4 * FAMILY and all(len(part.unique()) == 1 for part in family.split(FAMILY))
    rows = torch.arange(4).repeat(5 * BUNCH + 3)
    order = bunched(rows, torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(len(rows)))
    runs = [len(list(run)) for _, run in groupby(rows[order].tolist())]
    assert sum(runs) == len(rows) and len(runs) <= len(rows) / BUNCH + 4
    assert sum(run % BUNCH != 0 for run in runs) <= 2 * 4  # what is left over of each family, joined or not
    assert order.tolist() != bunched(rows, torch.Generator().manual_seed(1)).tolist()


# --- wordings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.label)
def test_wordings_are_many_and_the_held_out_are_never_among_them(task: Task) -> None:
    rng = random.Random(0)
    made = [wording(task, rng) for _ in range(3000)]
    assert len(set(made)) > 600
    assert set(task.train_wordings) <= set(made)
    held_out = {held.lower().rstrip(".?") for held in task.held_out_wordings}
    assert not held_out & {text.lower().rstrip(".?") for text in made}


def test_a_wording_belongs_to_one_kind_of_answer() -> None:
    """No instruction asks for an image in one task and for a text or a pair in another."""
    rng = random.Random(0)
    made = {target: set() for target in Modality}
    for task in TASKS:
        made[task.target] |= {wording(task, rng) for _ in range(4000)}
    for one, other in (
        (Modality.IMAGE, Modality.TEXT),
        (Modality.IMAGE, Modality.PAIR),
        (Modality.TEXT, Modality.PAIR),
    ):
        assert not made[one] & made[other]
