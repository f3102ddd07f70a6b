"""A benchmark set in M-BEIR's files: all eight tasks, in five data sets whose pools are searched together.

Photographs and groceries are those kept out of training. The three collections were trained on, since they
are what the page searches; their data sets are named so.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from genius.evaluation.things import PICTURES, DataSet, Things
from genius.instructions import TASKS, format_text
from genius.schema import Modality, UserError
from genius.sources import COLLECTIONS, clipart, load_pictures, mbeir, open_collection, openmoji, stamps
from genius.training.corpus import Item, load_corpus, only

PHOTOS, GROCERIES = "photos", "groceries"
NAMES = (PHOTOS, GROCERIES, openmoji.NAME, stamps.NAME, clipart.NAME)
SEEN = "{} (seen in training)"
MOST = 300
"""Of a collection's possible queries for a task, so many are drawn."""

QUERIES, POOLS = "query", "cand_pool"
INSTRUCTIONS = Path("instructions", "query_instructions.tsv")

_WRITTEN = {modality: word for word, modality in mbeir.MODALITIES.items()}
_TASKS = {task.id: task for task in TASKS}


@dataclass(frozen=True)
class Question:
    """A query before it is written: text and picture are what its task's modality has."""

    task: int
    text: str | None
    shown: Item | None
    answers: tuple[str, ...]


@dataclass(frozen=True)
class MadeSet:
    """How much was written: candidates in all, and queries by task number."""

    candidates: int
    queries: Mapping[int, int]


def make_benchmark_set(photos: Path, groceries: Path, out: Path, *, seed: int = 0) -> MadeSet:
    """Write the set into a new folder: queries, pools, instructions, and links to the pictures.

    Parameters
    ----------
    photos, groceries
        Folders of the training data; only what is marked as validation is taken.
    out
        A folder that is empty or not there yet. It appears when all of it is written.

    Raises
    ------
    UserError
        If data or a collection are missing, or something lies in the folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already. Name a new folder.")
    for name in COLLECTIONS:
        open_collection(name)  # says how to install it, if it is not
    rng = random.Random(seed)
    sets, questions = _choose(load_corpus(photos, groceries, None, None), rng)
    aside = out.with_name(out.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    for data in sets:
        _write_data_set(aside, data, questions[data.name])
    _write_instructions(aside / INSTRUCTIONS, sets, questions)
    if out.exists():
        out.rmdir()
    aside.rename(out)
    asked = Counter(question.task for some in questions.values() for question in some)
    return MadeSet(sum(len(data.rows) for data in sets), dict(sorted(asked.items())))


def _choose(items: Sequence[Item], rng: random.Random) -> tuple[list[DataSet], dict[str, list[Question]]]:
    """All data sets, and the questions of each."""
    unseen = only(items, train=False)
    chosen = {
        name: [item for item in (unseen if name in (PHOTOS, GROCERIES) else items) if _of(item, name)]
        for name in NAMES
    }
    for name in (PHOTOS, GROCERIES):
        if not chosen[name]:
            raise UserError(f"None of the {name} is for validation: mark some with another split than train.")
    sets = [
        DataSet(number, name, SEEN.format(name) if name in COLLECTIONS else name, chosen[name])
        for number, name in enumerate(NAMES, start=1)
    ]
    asked, filed = _halves(chosen[GROCERIES])
    things = Things()
    for data in sets:
        things.file(
            data,
            filed if data.name == GROCERIES else chosen[data.name],
            texts=None if data.name == PHOTOS else 1,
        )
    by_name = {data.name: data for data in sets}
    known = {said for data in sets for said in data.text}
    questions = {
        PHOTOS: list(_about_photos(chosen[PHOTOS], by_name[PHOTOS], things)),
        GROCERIES: list(_about_groceries(asked, filed, things)),
    }
    for name in COLLECTIONS:
        possible = [*_about_collection(name, chosen[name], things, known)]
        if name == openmoji.NAME:
            possible += _about_changes(chosen[name], by_name[name])
        questions[name] = list(_drawn(possible, rng))
    return sets, questions


def _of(item: Item, name: str) -> bool:
    return item.image is not None and item.id.startswith(f"{name}/")


def _halves(items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Photographs to ask with and to find: of each kind every second, for none may find itself."""
    asked, filed = [], []
    for _, kind in groupby(sorted(items, key=lambda item: (item.noun, item.id)), lambda item: item.noun):
        some = list(kind)
        filed += some[::2]
        asked += some[1::2]
    return asked, filed


def _about_photos(items: Sequence[Item], data: DataSet, things: Things) -> Iterator[Question]:
    """Photographs and their sentences. What a sentence asks for is never that sentence itself."""
    for item in items:
        first, second = item.texts[0], item.texts[-1]
        sentences = things.answers(item, Modality.TEXT)
        for text in item.texts:
            yield Question(0, text, None, things.answers(item, Modality.IMAGE))
        if others := things.answers(item, Modality.TEXT, but=data.text[format_text(first)]):
            yield Question(1, first, None, others)
        yield Question(2, second, None, things.answers(item, Modality.PAIR))
        yield Question(3, None, item, sentences)
        yield Question(6, item.question, item, sentences)


def _about_groceries(asked: Sequence[Item], filed: Sequence[Item], things: Things) -> Iterator[Question]:
    """Names of products, and photographs of the same product as one that is shown."""
    for item in {item.noun: item for item in filed}.values():
        yield Question(0, item.texts[0], None, things.answers(item, Modality.IMAGE))
        yield Question(2, item.texts[0], None, things.answers(item, Modality.PAIR))
    for item in asked:
        names, pairs = things.answers(item, Modality.TEXT), things.answers(item, Modality.PAIR)
        yield Question(3, None, item, names)
        yield Question(4, None, item, things.answers(item, Modality.IMAGE))
        yield Question(6, item.question, item, names)
        yield Question(8, item.question, item, pairs)


def _about_collection(
    name: str, items: Sequence[Item], things: Things, known: set[str]
) -> Iterator[Question]:
    """Pictures and their names; another name asks for the usual one, where it is no candidate itself."""
    for item in items:
        names = things.answers(item, Modality.TEXT)
        yield Question(0, item.texts[0], None, things.answers(item, Modality.IMAGE))
        yield Question(2, item.texts[-1], None, things.answers(item, Modality.PAIR))
        yield Question(3, None, item, names)
        if name == openmoji.NAME:
            yield Question(6, item.question, item, names)
            if format_text(item.texts[-1]) not in known:
                yield Question(1, item.texts[-1], None, names)


def _about_changes(items: Iterable[Item], data: DataSet) -> Iterator[Question]:
    """A drawing and what is to be different: the drawings so changed, and these with their names."""
    by_id = {item.id: item for item in items}
    targets: dict[tuple[str, str], list[str]] = {}
    for source, words, target in openmoji.composed_triplets(load_pictures(openmoji.NAME)):
        ids = f"{openmoji.NAME}/{source.id}", f"{openmoji.NAME}/{target.id}"
        if ids[0] in by_id and ids[1] in by_id:
            targets.setdefault((ids[0], words), []).append(ids[1])
    for (source_id, words), found in targets.items():
        yield Question(7, words, by_id[source_id], tuple(data.image[one] for one in found))
        yield Question(8, words, by_id[source_id], tuple(data.pair[one] for one in found))


def _drawn(questions: Iterable[Question], rng: random.Random) -> Iterator[Question]:
    """At most `MOST` questions a task, in their order."""
    by_task: dict[int, list[Question]] = {}
    for question in questions:
        by_task.setdefault(question.task, []).append(question)
    for _, some in sorted(by_task.items()):
        yield from (some[n] for n in sorted(rng.sample(range(len(some)), min(MOST, len(some)))))


def _write_data_set(root: Path, data: DataSet, questions: Sequence[Question]) -> None:
    _write(root / POOLS / f"mbeir_{data.name}_cand_pool.jsonl", data.rows)
    by_task: dict[int, list[dict[str, object]]] = {}
    for number, question in enumerate(questions, start=1):
        row: dict[str, object] = {
            "qid": f"{data.number}:{number}",
            "query_txt": question.text,
            "query_img_path": None if question.shown is None else data.place(question.shown),
            "query_modality": _WRITTEN[_TASKS[question.task].query],
            "query_src_content": None,
            "pos_cand_list": list(question.answers),
            "neg_cand_list": [],
            "task_id": question.task,
        }
        by_task.setdefault(question.task, []).append(row)
    for task, rows in by_task.items():
        _write(root / QUERIES / f"mbeir_{data.name}_task{task}_test.jsonl", rows)
    link = root / PICTURES / data.name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(data.folder.resolve(), target_is_directory=True)


def _write_instructions(
    path: Path, sets: Iterable[DataSet], questions: Mapping[str, Sequence[Question]]
) -> None:
    """The wordings that training never used."""
    lines = ["query_modality\tcand_modality\tdataset_name\tdataset_id\tprompt_1\tprompt_2"]
    for data in sets:
        for number in sorted({question.task for question in questions[data.name]}):
            task = _TASKS[number]
            cells = (_WRITTEN[task.query], _WRITTEN[task.target], data.title, str(data.number))
            lines.append("\t".join((*cells, *task.held_out_wordings)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
