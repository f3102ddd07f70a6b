"""What can be found: for every candidate its record, its code row and its re-ranking vector; nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genius.schema import Candidate, Modality, UserError
from genius.trie import FILE as TRIE_FILE
from genius.trie import CodeTrie

SHIPPED_INDEX = Path(__file__).resolve().parents[1] / "assets" / "index"
HEADER_FILE = "index.json"
IDS_FILE = "ids.txt"
VECTORS_FILE = "vectors.npy"
FORMAT = 2
BLOCK = 65_536
"""So many vectors are compared at once: in full, those of a large collection would not fit into memory."""


@dataclass(frozen=True)
class IndexHeader:
    """What an index on disk says of itself. `source` is a collection's name or a folder of images."""

    fingerprint: str
    source: str
    count: int
    format: int = FORMAT


class CandidateIndex:
    """Candidates by row, a trie of their semantic IDs, and unit vectors [n, d] in half precision."""

    def __init__(self, candidates: Sequence[Candidate], trie: CodeTrie, vectors: NDArray[np.float16]) -> None:
        self.candidates = list(candidates)
        self.trie = trie
        self.vectors = vectors
        self._row = {candidate.id: row for row, candidate in enumerate(self.candidates)}

    @classmethod
    def build(
        cls,
        candidates: Sequence[Candidate],
        codes: NDArray[np.int64],
        vectors: NDArray,
        levels: tuple[int, ...],
    ) -> CandidateIndex:
        """Index of n candidates with codes [n, M] and unit vectors [n, d]."""
        _check_distinct(candidates)
        return cls(candidates, CodeTrie.build(codes, levels), vectors.astype(np.float16))

    @classmethod
    def empty(cls, levels: tuple[int, ...], dim: int) -> CandidateIndex:
        """An index to add to."""
        return cls.build([], np.zeros((0, len(levels)), np.int64), np.zeros((0, dim)), levels)

    def __len__(self) -> int:
        return len(self.trie)

    @property
    def present(self) -> list[Candidate]:
        """The candidates that can be found: all but those removed."""
        return [self.candidates[row] for row in self._row.values()]

    def row(self, candidate_id: str) -> int:
        """Row of a candidate; UserError if it is not here."""
        row = self._row.get(candidate_id)
        if row is None:
            raise UserError(f"There is no candidate {candidate_id!r} in this collection.")
        return row

    def codes(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Semantic IDs [k, M] of rows [k]."""
        return self.trie.codes(self.trie.lines(rows))

    def score(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Cosine [k] between a unit query vector [d] and the vectors of rows [k]."""
        return self.vectors[rows].astype(np.float32) @ query

    def exact(
        self, queries: NDArray[np.float32], top_k: int, prefix: tuple[int, ...] = ()
    ) -> list[NDArray[np.int64]]:
        """Exact search: for each unit query [B, d] the rows of the `top_k` nearest vectors, best first."""
        rows = self.trie.rows(*self.trie.find(prefix))
        if not len(rows):
            raise UserError("No candidate is left to search under these codes; choose other codes or none.")
        whole = len(rows) == len(self.vectors)  # then they are read in their order, without picking them out
        rows = np.arange(len(rows)) if whole else rows
        top_k = min(top_k, len(rows))
        best = np.empty((len(queries), 0), np.float32)
        found = np.empty((len(queries), 0), np.int64)
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            vectors = self.vectors[start : start + BLOCK] if whole else self.vectors[some]
            best = np.hstack([best, queries @ vectors.astype(np.float32).T])
            found = np.hstack([found, np.tile(some, (len(queries), 1))])
            keep = np.argpartition(-best, min(top_k, best.shape[1]) - 1, axis=1)[:, :top_k]
            best, found = np.take_along_axis(best, keep, 1), np.take_along_axis(found, keep, 1)
        order = np.argsort(-best, axis=1, kind="stable")
        return list(np.take_along_axis(found, order, 1))

    def cosines(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosine [n] between a unit vector [d] and the vector of every row."""
        parts = [
            self.vectors[start : start + BLOCK].astype(np.float32) @ query
            for start in range(0, len(self.vectors), BLOCK)
        ]
        return np.concatenate(parts)

    def add(self, candidates: Sequence[Candidate], codes: NDArray[np.int64], vectors: NDArray) -> None:
        """Add candidates with codes [k, M] and unit vectors [k, d]."""
        _check_distinct(
            [*candidates, *(self.candidates[self._row[c.id]] for c in candidates if c.id in self._row)]
        )
        first = len(self.candidates)
        self.trie.insert(codes, np.arange(first, first + len(candidates)))
        self.candidates += candidates
        self.vectors = np.concatenate([self.vectors, vectors.astype(np.float16)])
        self._row.update({candidate.id: first + place for place, candidate in enumerate(candidates)})

    def remove(self, candidate_ids: Sequence[str]) -> None:
        """Take candidates out; the others keep their rows, and the vectors are dropped at the next save."""
        self.trie.remove([self.row(candidate_id) for candidate_id in candidate_ids])
        for candidate_id in set(candidate_ids):
            del self._row[candidate_id]

    def restricted(self, candidates: Mapping[str, Candidate]) -> CandidateIndex:
        """The index of those candidates that are given; the records are taken from the argument."""
        rows = np.array(
            [row for candidate_id, row in self._row.items() if candidate_id in candidates], dtype=np.int64
        )
        kept = [candidates[self.candidates[row].id] for row in rows]
        trie = CodeTrie.build(self.codes(rows), self.trie.levels)
        return CandidateIndex(kept, trie, self.vectors[rows])

    def save(self, folder: Path, fingerprint: str, source: str) -> None:
        """Write ids, codes and vectors, no pictures or captions; an index there before is replaced."""
        if folder.is_dir() and any(folder.iterdir()) and not is_index(folder):
            raise UserError(f"{folder} holds other files than an index. Choose an empty or a new folder.")
        whole = self.restricted({c.id: c for c in self.present})
        aside = folder.with_name(folder.name + ".partial")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        whole.trie.save(aside)
        np.save(aside / VECTORS_FILE, np.ascontiguousarray(whole.vectors), allow_pickle=False)
        (aside / IDS_FILE).write_text(
            "".join(f"{json.dumps(c.id)}\n" for c in whole.candidates), encoding="utf-8"
        )
        header = IndexHeader(fingerprint, source, len(whole.candidates))
        (aside / HEADER_FILE).write_text(json.dumps(vars(header)) + "\n", encoding="utf-8")
        before = _before(folder)
        if folder.exists():
            shutil.rmtree(before, ignore_errors=True)
            os.replace(folder, before)
        try:
            os.replace(aside, folder)
        except OSError:
            if before.exists():
                os.replace(before, folder)
            raise
        shutil.rmtree(before, ignore_errors=True)

    @classmethod
    def open(cls, folder: Path, candidates: Mapping[str, Candidate], fingerprint: str) -> CandidateIndex:
        """Open a saved index; vectors and codes stay on disk and are read as they are needed.

        Candidates that are not given (their package is not installed) are left out.

        Raises
        ------
        UserError
            If a file is missing or damaged, or the index was built with another model.
        """
        header = read_header(folder)
        if header.fingerprint != fingerprint:
            raise UserError(
                f"The index {folder} was built with another model. {_again(header.source, folder)}"
            )
        with _opening(folder / IDS_FILE, header):
            ids = [json.loads(line) for line in (folder / IDS_FILE).read_text(encoding="utf-8").splitlines()]
        with _opening(folder / VECTORS_FILE, header):
            vectors = np.load(folder / VECTORS_FILE, mmap_mode="r", allow_pickle=False)
        with _opening(folder / TRIE_FILE, header):
            trie = CodeTrie.open(folder)
        if not len(ids) == len(vectors) == len(trie) == header.count:
            raise UserError(
                f"The files of the index {folder} do not fit together. {_again(header.source, folder)}"
            )
        missing = [id_ for id_ in ids if id_ not in candidates]
        records = [candidates.get(id_) or _absent(id_) for id_ in ids]
        index = cls(records, trie, vectors)
        return index.restricted(candidates) if missing else index


def is_index(folder: Path) -> bool:
    """Whether an index lies in a folder; one that a save cut off had just moved aside is put back."""
    if not folder.exists() and (before := _before(folder)).exists():
        os.replace(before, folder)
    return (folder / HEADER_FILE).is_file()


def read_header(folder: Path) -> IndexHeader:
    """What the index in a folder says of itself; UserError if there is none."""
    path = folder / HEADER_FILE
    try:
        header = IndexHeader(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}). {_again('SOURCE', folder)}") from error
    if header.format != FORMAT:
        raise UserError(f"{path} has format {header.format}, not {FORMAT}. {_again(header.source, folder)}")
    return header


def _before(folder: Path) -> Path:
    """Where an index is kept until the one that replaces it is in place."""
    return folder.with_name(folder.name + ".before")


@contextmanager
def _opening(path: Path, header: IndexHeader) -> Iterator[None]:
    """Whatever goes wrong with a file becomes a sentence that names it."""
    try:
        yield
    except (OSError, ValueError, EOFError) as error:
        mend = _again(header.source, path.parent)
        raise UserError(f"{path} is missing or damaged: {error}. {mend}") from error


def _again(source: str, folder: Path) -> str:
    return f"Build it again: python -m genius index {source} --out {folder}"


def _absent(candidate_id: str) -> Candidate:
    """A stand-in for a record whose package is not installed, until `restricted` drops it."""
    return Candidate(candidate_id, Modality.IMAGE)


def _check_distinct(candidates: Sequence[Candidate]) -> None:
    seen: set[str] = set()
    for candidate in candidates:
        if candidate.id in seen:
            raise UserError(f"Two candidates have the id {candidate.id!r}; give each its own.")
        seen.add(candidate.id)
