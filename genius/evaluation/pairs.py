"""Query–target pairs to train on, from M-BEIR's files: a row for each query and each of its positives."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from genius.encoder import Encoder
from genius.evaluation.pool import Placed, Pool, Progress, read_pool, size_of
from genius.evaluation.problems import Problems
from genius.evaluation.queries import Asked, Instructions, read_instructions, read_queries
from genius.instructions import TASKS, format_text, instructed_text
from genius.parts import key_of, stamp
from genius.schema import UserError
from genius.training.encoded import PictureEncoder
from genius.training.pairs import Pairs, encode_distinct, families

_BAD = "a picture that cannot be opened"


@dataclass(frozen=True)
class Asking:
    """A row before encoding: the query's text with an instruction, and the pool's row that answers it."""

    query: Asked
    text: str
    answer: int


@dataclass(frozen=True, eq=False)
class Files:
    """M-BEIR's files, as a recipe of pairs. Bad lines go to `problems`; `bar` is a progress bar by its label.

    Candidates that no query asks for teach nothing, and are left out.
    """

    queries: Sequence[Path]
    pool: Sequence[Path]
    instructions: Path
    root: Path
    seed: int
    problems: Problems
    bar: Callable[[str], AbstractContextManager[Progress]]

    @property
    def key(self) -> str:
        """Changes with every file, but not with the pictures; UserError if a file is missing."""
        files = [file.resolve() for file in (*self.queries, *self.pool, self.instructions)]
        for file in files:
            size_of(file)
        root = str(self.root.resolve())
        return key_of("M-BEIR", [stamp(file) for file in files], root, self.seed, self.problems.skip)

    def pairs(self, encoder: Encoder, pictures: PictureEncoder) -> Pairs:
        """Read the files and encode what they ask for.

        Raises
        ------
        UserError
            If a line cannot be used or a picture not opened, unless `problems` are to be skipped; or if
            nothing is left.
        """
        instructions = read_instructions(self.instructions, self.problems)
        with self.bar("reading pools") as progress:
            pool = read_pool(self.pool, self.root, self.problems, progress)
        asked = read_queries(self.queries, pool, instructions, self.root, self.problems)
        rows = rows_of(asked, pool, instructions, self.seed)
        wanted = {row.answer for row in rows}
        answers = {row: placed for row, placed in enumerate(pool) if row in wanted}
        picture = self._pictures(rows, answers, pictures)
        rows = [row for row in rows if picture.has(row.query.image)]
        rows = [row for row in rows if picture.has(answers[row.answer].candidate.image)]
        if not rows:
            raise UserError("Nothing can be learned: no picture of a query, or of its answer, can be opened.")
        return _encoded(rows, answers, picture, encoder, self.seed)

    def _pictures(
        self, rows: Sequence[Asking], answers: dict[int, Placed], pictures: PictureEncoder
    ) -> _Pictures:
        """Features of all pictures; those that cannot be opened are noted by the lines that name them."""
        lines: defaultdict[Path, list[tuple[Path, int]]] = defaultdict(list)
        for placed in answers.values():
            if placed.candidate.image is not None:
                lines[placed.candidate.image].append((placed.file, placed.line))
        for row in rows:
            if row.query.image is not None:
                lines[row.query.image].append((row.query.file, row.query.line))

        def bad(picture: Path) -> None:
            for file, line in lines[picture]:
                self.problems.add(_BAD, file, line)
            self.problems.refuse()

        features, opened = pictures(list(lines), bad)
        return _Pictures({path: row for row, path in enumerate(lines)}, features, opened.tolist())


@dataclass(frozen=True, eq=False)
class _Pictures:
    """Features [p, d] by path."""

    row: dict[Path, int]
    features: Tensor
    opened: list[bool]

    def has(self, path: Path | None) -> bool:
        """Whether there is nothing to open, or it could be opened."""
        return path is None or self.opened[self.row[path]]

    def of(self, paths: Sequence[Path | None]) -> Tensor:
        """Features [n, d], zeros where there is no picture."""
        places = torch.tensor([-1 if path is None else self.row[path] for path in paths])
        if not len(self.features):
            return self.features.new_zeros(len(paths), self.features.shape[1])
        return self.features[places].masked_fill((places < 0)[:, None], 0)


def rows_of(asked: Sequence[Asked], pool: Pool, instructions: Instructions, seed: int) -> list[Asking]:
    """Each query with each positive from its task's own pool, and any of its task's wordings."""
    rng = random.Random(seed)
    rows = []
    for query in asked:
        wordings = instructions.wordings[query.dataset, query.task.query, query.task.target]
        for answer in query.positives:
            if (pool.dataset[answer], pool.modality[answer]) == (query.dataset, query.task.target):
                rows.append(Asking(query, instructed_text(rng.choice(wordings), query.text), answer))
    return rows


def _encoded(
    rows: Sequence[Asking], answers: dict[int, Placed], picture: _Pictures, encoder: Encoder, seed: int
) -> Pairs:
    place = {answer: n for n, answer in enumerate(sorted({row.answer for row in rows}))}
    candidates = [answers[answer].candidate for answer in place]
    said = [format_text(candidate.text or "") for candidate in candidates]
    texts = sorted({"", *said, *(row.text for row in rows)}, key=lambda text: (len(text), text))
    words, text_row = encode_distinct(texts, encoder), {text: n for n, text in enumerate(texts)}
    pool_image = picture.of([candidate.image for candidate in candidates])
    pool_text = words[[text_row[text] for text in said]]
    target = torch.tensor([place[row.answer] for row in rows])
    return Pairs(
        query_image=picture.of([row.query.image for row in rows]),
        query_text=words[[text_row[row.text] for row in rows]],
        target=target,
        task=torch.tensor([TASKS.index(row.query.task) for row in rows]),
        family=families(pool_image + pool_text, seed=seed)[target],
        pool_image=pool_image,
        pool_text=pool_text,
        modality=torch.tensor([int(candidate.modality) for candidate in candidates]),
    )
