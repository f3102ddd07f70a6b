"""The trie: questions to the sorted matrix of semantic IDs.

A prefix of an ID is a span of lines of the matrix, its continuations are the distinct codes of one column
of the span, and the candidates under it are the span itself. There are no node objects and no hash map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genius.schema import UserError
from genius.trie import files
from genius.trie.matrix import Matrix
from genius.trie.packing import Packing, checked, wide

SPARSE = 4  # a level's nodes are listed if there is at most one per this many lines


@dataclass(frozen=True)
class Children:
    """Continuations of several spans, in the order of the spans and of the codes.

    parent : which of the spans [c]; code [c]; start, stop : the span of the continued prefix [c].
    """

    parent: NDArray[np.int64]
    code: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.code)

    def only(self, code: int) -> Children:
        """Those that continue with one code."""
        kept = self.code == code
        return Children(self.parent[kept], self.code[kept], self.start[kept], self.stop[kept])


class CodeTrie:
    """Sorted codes of n candidates, each of M levels. Several candidates may share an ID.

    A node stands for a prefix; level l has as many as there are distinct prefixes of l + 1 codes. Where a
    level's nodes are few, the lines at which they start are listed; where they are many, no node has many
    lines, and looking through these is as good.

    Insertion and removal move lines, so spans obtained earlier no longer hold.
    """

    def __init__(
        self, matrix: Matrix, nodes: NDArray[np.int64], starts: Sequence[NDArray[np.uint32]]
    ) -> None:
        """nodes [M] counts each level's nodes; starts, M lists, says where they start, if they are few."""
        self.levels = matrix.packing.levels
        self._matrix = matrix
        self._nodes = nodes
        self._starts = list(starts)

    @classmethod
    def build(cls, codes: ArrayLike, levels: tuple[int, ...], rows: ArrayLike | None = None) -> CodeTrie:
        """Trie of codes [n, M]; `rows` [n] numbers the candidates, 0 … n - 1 if not given.

        Raises
        ------
        UserError
            If a code lies outside its level, or shapes do not agree.
        """
        packing = Packing(levels)
        given = checked(codes, packing.levels)
        numbers = None if rows is None else _row_numbers(rows, len(given))
        trie = cls(Matrix.sorted(packing, given, numbers), np.zeros(len(levels), np.int64), ())
        trie._list_all()
        return trie

    def _list_all(self) -> None:
        """Count all nodes, and list those of the levels that have few."""
        depth = self._matrix.all_depths()
        self._nodes = _starting(depth, len(self.levels))
        self._starts = [
            np.flatnonzero(depth <= level).astype(np.uint32) if few else np.empty(0, np.uint32)
            for level, few in enumerate(self._few())
        ]

    def _few(self) -> NDArray[np.bool_]:
        """Which levels are listed [M]."""
        return self._nodes * SPARSE <= len(self)

    def __len__(self) -> int:
        return len(self._matrix)

    @property
    def unique_ids(self) -> int:
        """How many different semantic IDs there are."""
        return int(self._nodes[-1])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._arrays())

    def codes(self, lines: ArrayLike) -> NDArray[np.int64]:
        """Semantic IDs [k, M] of some lines [k]."""
        wanted = np.asarray(lines, dtype=np.int64)
        return np.stack([self._matrix.column(level, wanted) for level in range(len(self.levels))], axis=1)

    def rows(self, start: int, stop: int) -> NDArray[np.int64]:
        """Candidate rows under a span; those that share an ID come in the order of their insertion."""
        return wide(self._matrix.rows[start:stop])

    def lines(self, rows: ArrayLike) -> NDArray[np.int64]:
        """Where some candidates are [k], given their rows [k]; `codes(lines(rows))` are their IDs."""
        wanted, present = np.asarray(rows, dtype=np.int64), self.rows(0, len(self))
        found = np.flatnonzero(np.isin(present, wanted))
        found = found[np.argsort(present[found])]
        if not np.isin(wanted, present[found]).all():
            raise UserError(
                "One of these candidates is not in the index; list the candidates to see which are."
            )
        return found[np.searchsorted(present[found], wanted)]

    def find(self, prefix: tuple[int, ...]) -> tuple[int, int]:
        """Span of the IDs that start with these codes; start == stop if there is none."""
        if len(prefix) > len(self.levels):
            raise UserError(f"A semantic ID has {len(self.levels)} codes; the prefix {prefix} is longer.")
        checked(np.asarray([prefix], dtype=np.int64), self.levels[: len(prefix)])
        if not prefix:
            return 0, len(self)
        rest = np.array(self.levels[len(prefix) :], dtype=np.int64)
        start = self._matrix.places(np.array([[*prefix, *(0 * rest)]]), after=False)
        stop = self._matrix.places(np.array([[*prefix, *(rest - 1)]]), after=True)
        return int(start[0]), int(stop[0])

    def one_id(self, starts: ArrayLike, stops: ArrayLike) -> bool:
        """Whether each of several prefixes, given as spans [k], has at most one ID below it."""
        first, last = np.asarray(starts, dtype=np.int64), np.asarray(stops, dtype=np.int64)
        some = first < last
        ids = self._matrix.ids
        return bool((ids[first[some]] == ids[last[some] - 1]).all())

    def children(self, starts: ArrayLike, stops: ArrayLike, level: int) -> Children:
        """Distinct codes at a level under each of several prefixes of `level` codes, given as spans [k].

        An empty span has no children.
        """
        first, last = np.asarray(starts, dtype=np.int64), np.asarray(stops, dtype=np.int64)
        listed = self._starts[level]
        if len(listed):  # cost grows with the number of children
            # searched for in their own type, or numpy would convert the whole list
            low, high = (np.searchsorted(listed, ends.astype(listed.dtype)) for ends in (first, last))
            parent, places = _ranges(low, np.maximum(low, high))
            start = listed[places].astype(np.int64)
            code = self._matrix.column(level, start)
        else:  # cost grows with the number of lines, on average fewer than SPARSE a child
            parent, lines = _ranges(first, np.maximum(first, last))
            code = self._matrix.column(level, lines)
            starting = np.ones(len(lines), dtype=bool)
            starting[1:] = (code[1:] != code[:-1]) | (parent[1:] != parent[:-1])
            parent, start, code = parent[starting], lines[starting], code[starting]
        stop = last[parent]
        siblings = parent[1:] == parent[:-1]
        stop[:-1][siblings] = start[1:][siblings]
        return Children(parent, code, start, stop)

    def insert(self, codes: ArrayLike, rows: ArrayLike) -> None:
        """Add candidates, codes [k, M] and their rows [k]. A row can be there only once."""
        given, old = checked(codes, self.levels), self._matrix
        numbers = _row_numbers(rows, len(given))
        if np.isin(numbers, self.rows(0, len(self))).any():
            raise UserError(
                "One of these candidates is already in the index; remove it before adding it again."
            )
        order = np.lexsort(given.T[::-1])
        given, numbers = given[order], numbers[order]
        places = old.places(given, after=True)
        new = places + np.arange(len(places))
        self._replace(
            old.inserted(places, given, numbers),
            [starts + np.searchsorted(places, starts, side="right") for starts in self._starts],
            before=places[places < len(old)],
            after=np.union1d(new, new + 1),
        )

    def remove(self, rows: ArrayLike) -> None:
        """Take candidates out; the others keep their row numbers."""
        gone = np.sort(self.lines(np.unique(np.asarray(rows, dtype=np.int64))))
        kept = [starts[~np.isin(starts, gone)] for starts in self._starts]
        self._replace(
            self._matrix.removed(gone),
            [starts - np.searchsorted(gone, starts) for starts in kept],
            before=np.union1d(gone, gone + 1),
            after=gone - np.arange(len(gone)),  # where the line below each one ends up
        )

    def _replace(
        self,
        matrix: Matrix,
        starts: list[NDArray[np.int64]],
        *,
        before: NDArray[np.int64],
        after: NDArray[np.int64],
    ) -> None:
        """Take over another matrix, and `starts` that are wrong only where something has changed.

        Nodes may have started at the lines `before` of the old matrix, and may start at `after` of the new.
        """
        before, after = np.unique(before[before < len(self)]), np.unique(after[after < len(matrix)])
        levels, depth = len(self.levels), matrix.depths(after)
        nodes = self._nodes - _starting(self._matrix.depths(before), levels) + _starting(depth, levels)
        whole = [
            len(listed) > 0 or count == 0 for listed, count in zip(self._starts, self._nodes, strict=True)
        ]
        self._matrix, self._nodes = matrix, nodes
        if (self._few() > whole).any():  # a level has come to have few for so many lines
            self._list_all()
            return
        self._starts = [
            np.union1d(np.setdiff1d(listed, after), after[depth <= level]).astype(np.uint32)
            if few
            else np.empty(0, np.uint32)
            for level, (listed, few) in enumerate(zip(starts, self._few(), strict=True))
        ]

    def _arrays(self) -> list[NDArray]:
        m = self._matrix
        return [np.array(self.levels), m.ids, m.rows, m.first, self._nodes, *self._starts]

    def save(self, folder: Path | str) -> None:
        """Write one file into the folder; a trie saved there before is replaced at once or not at all."""
        files.write(Path(folder), self._arrays())

    @classmethod
    def open(cls, folder: Path | str) -> CodeTrie:
        """Open a saved trie; its arrays stay on disk and are read as they are needed.

        Raises
        ------
        UserError
            If there is no trie in the folder, or it is damaged.
        """
        path = Path(folder) / files.FILE
        if not path.is_file():
            raise UserError(f"There is no index at {path}; build it first.")
        try:
            levels, ids, rows, first, nodes, *starts = files.read(path)
            packing = Packing(tuple(levels.tolist()))
            _check_parts(packing, ids, rows, first, nodes, starts)
        except (ValueError, OSError, EOFError, TypeError) as error:
            raise UserError(f"The index at {path} is damaged ({error}); build it again.") from error
        return cls(Matrix(packing, ids, rows, first), nodes, starts)


def _check_parts(
    packing: Packing, ids: NDArray, rows: NDArray, first: NDArray, nodes: NDArray, starts: list[NDArray]
) -> None:
    """ValueError unless the arrays of a file can be those of one trie."""
    count, levels = len(ids), len(packing.levels)
    types = [array.dtype.str for array in (ids, rows, first, nodes, *starts)]
    if types != ["|u1", "|u1", "<i8", "<i8", *["<u4"] * levels]:
        raise ValueError("unexpected number types, perhaps of an older format")
    fit = (
        ids.shape == (count, packing.size)
        and rows.ndim == 2
        and len(rows) == count
        and 1 <= rows.shape[1] <= 4
        and first.shape == (packing.levels[0] + 1,)
        and (first[0], first[-1]) == (0, count)
        and (np.diff(first) >= 0).all()
        and nodes.shape == (levels,)
        and all(len(listed) in (0, many) for listed, many in zip(starts, nodes, strict=True))
    )
    if not fit:
        raise ValueError("the parts do not fit together")


def _row_numbers(rows: ArrayLike, count: int) -> NDArray[np.int64]:
    numbers = np.asarray(rows)
    if numbers.shape != (count,) or (count and not 0 <= numbers.min() <= numbers.max() < 1 << 32):
        raise UserError(f"Give one row number (0 or more) for each of the {count} semantic IDs.")
    if len(np.unique(numbers)) < count:
        raise UserError("Some candidates are listed twice; list each once.")
    return numbers.astype(np.int64)


def _starting(depth: NDArray[np.uint8], levels: int) -> NDArray[np.int64]:
    """How many of some lines, given their depth, start a node of each level [M]."""
    return np.cumsum(np.bincount(depth, minlength=levels)[:levels])


def _ranges(low: NDArray[np.int64], high: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All whole numbers of several ranges, one after the other, and which range each is from."""
    sizes = high - low
    owner = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    shift = low - (np.cumsum(sizes) - sizes)  # from the place in the result to the number
    return owner, np.arange(len(owner), dtype=np.int64) + shift[owner]
