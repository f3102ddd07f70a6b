"""Queries and instructions in M-BEIR's files."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from genius.evaluation.pool import Pool, dataset_of, size_of
from genius.evaluation.problems import Problems
from genius.instructions import TASKS, Task
from genius.schema import Modality, UserError
from genius.sources import mbeir

_BY_ID = {task.id: task for task in TASKS}
_UNUSABLE = "no usable query"


@dataclass(frozen=True)
class Asked:
    """A query: text and picture are what its task's modality has; `positives` are rows of the pool."""

    id: str
    dataset: int
    task: Task
    text: str
    image: Path | None
    instruction: str
    positives: tuple[int, ...]
    file: Path
    line: int


@dataclass(frozen=True)
class Instructions:
    """Wordings by data set, modality of the query and of the target; names of the data sets."""

    wordings: Mapping[tuple[int, Modality, Modality], tuple[str, ...]]
    names: Mapping[int, str]

    def wording(self, dataset: int, task: Task, query: str) -> str:
        """One of the wordings: always the same for the same query, and evenly among many."""
        found = self.wordings.get((dataset, task.query, task.target))
        if found is None:
            raise UserError(f"there are no instructions for data set {dataset}, {task.label}")
        return found[zlib.crc32(query.encode()) % len(found)]


def read_instructions(file: Path, problems: Problems) -> Instructions:
    """Read the table: modality of query and candidate, a data set's name and number, then wordings.

    Raises
    ------
    UserError
        If there is no such file. Bad lines go to `problems`.
    """
    size_of(file)
    wordings: dict[tuple[int, Modality, Modality], tuple[str, ...]] = {}
    names: dict[int, str] = {}
    with file.open(encoding="utf-8", errors="replace") as lines:
        next(lines, None)  # the header
        for number, line in enumerate(lines, start=2):
            if not line.strip():
                continue
            try:
                key, name, said = _instruction(line)
            except UserError as error:
                problems.add("no usable instruction", file, number, str(error))
                continue
            if key in wordings:
                problems.add("instructions that are there already", file, number)
            else:
                wordings[key] = said
                names.setdefault(key[0], name)
    problems.refuse()
    return Instructions(wordings, names)


def _instruction(line: str) -> tuple[tuple[int, Modality, Modality], str, tuple[str, ...]]:
    cells = [cell.strip() for cell in line.split("\t")]
    said = tuple(cell for cell in cells[4:] if cell)
    if not said:
        raise UserError(
            "five columns or more are needed: query modality, candidate modality, name, number, wordings"
        )
    if not cells[3].isdecimal():
        raise UserError(f"{cells[3]!r} is no number of a data set")
    return (int(cells[3]), mbeir.modality_of(cells[0]), mbeir.modality_of(cells[1])), cells[2], said


def read_queries(
    files: Sequence[Path], pool: Pool, instructions: Instructions, root: Path, problems: Problems
) -> list[Asked]:
    """Read queries; one none of whose positives is in its task's pool is a bad line.

    Raises
    ------
    UserError
        If there is no such file, or no query in it can be used. Bad lines go to `problems`.
    """
    queries = []
    seen: set[tuple[int, str]] = set()
    for file in files:
        size_of(file)
        for number, said, _ in mbeir.lines_of(file):
            try:
                query = _query(said, pool, instructions, root, (file, number))
            except UserError as error:
                problems.add(_UNUSABLE, file, number, str(error))
                continue
            key = query.task.id, query.id
            if key in seen:
                problems.add("an id that another query has", file, number, query.id)
            elif not answerable(query, pool):
                problems.add("none of the positives is in the task's pool", file, number, query.id)
            else:
                queries.append(query)
            seen.add(key)
    problems.refuse()
    if not queries:
        raise UserError(f"No query of {', '.join(map(str, files))} can be used.")
    return queries


def answerable(query: Asked, pool: Pool) -> bool:
    """Whether any of the positives is in the pool of the query's own task."""
    rows = list(query.positives)
    return bool(((pool.dataset[rows] == query.dataset) & (pool.modality[rows] == query.task.target)).any())


def _query(
    said: Mapping[str, object] | None,
    pool: Pool,
    instructions: Instructions,
    root: Path,
    place: tuple[Path, int],
) -> Asked:
    if said is None or "qid" not in said:
        raise UserError("it is no JSON object with qid, query_txt, query_img_path, pos_cand_list and task_id")
    number = said.get("task_id")
    task = _BY_ID.get(number) if isinstance(number, int) else None
    if task is None:
        raise UserError(f"there is no task {number!r}; write one of {', '.join(map(str, _BY_ID))}")
    modality = mbeir.modality_of(said.get("query_modality"))
    if modality is not task.query:
        raise UserError(f"task {task.id} is {task.label}, but the query is of {modality.label}")
    text, image = mbeir.content_of(modality, said.get("query_txt"), said.get("query_img_path"), root)
    positives = said.get("pos_cand_list")
    if not isinstance(positives, list):
        raise UserError("pos_cand_list is no list of candidates")
    identity, dataset = str(said["qid"]), dataset_of(said["qid"])
    return Asked(
        id=identity,
        dataset=dataset,
        task=task,
        text=text or "",
        image=image,
        instruction=instructions.wording(dataset, task, identity),
        positives=tuple(dict.fromkeys(pool.row[did] for did in map(str, positives) if did in pool.row)),
        file=place[0],
        line=place[1],
    )
