"""Candidate pools in M-BEIR's files, read line by line: what is remembered of a candidate is a few bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genius.evaluation.problems import Problems
from genius.schema import Candidate, Modality, UserError
from genius.sources import mbeir

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Placed:
    """A candidate, and the line that it stands in."""

    candidate: Candidate
    file: Path
    line: int


@dataclass(frozen=True, eq=False)
class Pool:
    """All candidates of several files, by row.

    row: of each id; dataset, modality [n]: number of the data set, and what a candidate is made of;
    lines: for each file, the lines [k] that are candidates, in the order of the rows.
    """

    row: Mapping[str, int]
    dataset: NDArray[np.int32]
    modality: NDArray[np.int8]
    files: tuple[Path, ...]
    lines: tuple[NDArray[np.int64], ...]
    root: Path

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Placed]:
        """Read the files again, one candidate a row."""
        for file, kept in zip(self.files, self.lines, strict=True):
            wanted = iter(kept.tolist())
            following = next(wanted, None)
            for number, row, _ in mbeir.lines_of(file):
                if number == following and row is not None:
                    yield Placed(mbeir.candidate_of(row, self.root), file, number)
                    following = next(wanted, None)

    def own(self, dataset: int, modality: Modality) -> NDArray[np.int64]:
        """Rows of one data set's candidates of one modality: the pool of a task by itself."""
        return np.flatnonzero((self.dataset == dataset) & (self.modality == modality))


def read_pool(
    files: Sequence[Path], root: Path, problems: Problems, progress: Progress | None = None
) -> Pool:
    """Look through pools. An id that two files give the same contents is one candidate.

    Raises
    ------
    UserError
        If there is no such file, or nothing in it can be used. Bad lines go to `problems`.
    """
    row: dict[str, int] = {}
    looks: list[int] = []
    dataset: list[int] = []
    modality: list[int] = []
    lines = []
    sizes = [size_of(file) for file in files]
    for file, before in zip(files, np.cumsum([0, *sizes]).tolist(), strict=False):
        kept = []
        here: set[str] = set()
        for number, said, position in mbeir.lines_of(file):
            if progress is not None and number % 1000 == 0:
                progress(before + position, sum(sizes))
            try:
                candidate, source = _candidate(said, root)
            except UserError as error:
                problems.add("no usable candidate", file, number, str(error))
                continue
            look = hash((candidate.modality, candidate.text, candidate.image))
            known = row.get(candidate.id)
            if candidate.id in here or (known is not None and looks[known] != look):
                problems.add("an id that another candidate has", file, number, candidate.id)
            elif known is None:
                row[candidate.id] = len(row)
                looks.append(look)
                dataset.append(source)
                modality.append(candidate.modality)
                kept.append(number)
            here.add(candidate.id)
        lines.append(np.array(kept, dtype=np.int64))
    problems.refuse()
    if not row:
        raise UserError(f"No candidate of {', '.join(map(str, files))} can be used. Check --images-root.")
    return Pool(
        row, np.array(dataset, np.int32), np.array(modality, np.int8), tuple(files), tuple(lines), root
    )


def size_of(file: Path) -> int:
    """Bytes of a file; UserError if there is none."""
    if not file.is_file():
        raise UserError(f"There is no file {file}. Check the path.")
    return file.stat().st_size


def dataset_of(identity: object) -> int:
    """The number of the data set in an id: 9 of `9:5`."""
    number, colon, _ = str(identity).partition(":")
    if not colon or not number.isdecimal() or int(number) >= 1 << 31:
        raise UserError(f"{identity!r} is no id such as 9:5: the number of the data set, a colon, another")
    return int(number)


def _candidate(said: Mapping[str, object] | None, root: Path) -> tuple[Candidate, int]:
    if said is None or "did" not in said:
        raise UserError("it is no JSON object with did, txt, img_path and modality")
    return mbeir.candidate_of(said, root), dataset_of(said["did"])
