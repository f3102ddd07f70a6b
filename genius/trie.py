"""Which semantic IDs exist: the codes of all candidates as one sorted matrix.

A prefix of an ID is a span of lines of the matrix, its continuations are the distinct codes of one column
of the span, and the candidates under it are the span itself. There are no nodes and no hash map.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genius.schema import UserError

Integers = NDArray[np.integer]

FILE = "trie.bin"
FORMAT = (1, 0)  # of the .npy header before each array in the file
SPARSE = 16  # a level's nodes are listed if there is at most one per this many lines
SMALL = 1 << 16  # … of a trie counted as having at least so many lines


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

    A line costs M bytes for its codes (2 M if a level has over 256), 4 for the candidate's row and 1 for its
    depth: how many leading codes it has in common with the line above. A node of the trie that stands for
    the first l + 1 codes starts at each line with depth <= l.

    Insertion and removal move lines, so spans obtained earlier no longer hold.
    """

    def __init__(self, codes: Integers, rows: Integers, depth: Integers, levels: tuple[int, ...]) -> None:
        """Parts of a finished trie; `CodeTrie.build` makes one from unsorted codes."""
        self.levels = levels
        self._set(codes, rows, depth)

    def _set(self, codes: Integers, rows: Integers, depth: Integers) -> None:
        self._codes, self._rows, self._depth = codes, rows, depth
        self._starts: list[Integers | None] = []  # where the nodes of each level start, if they are few
        for level in range(len(self.levels)):
            starting = depth <= level
            few = np.count_nonzero(starting) * SPARSE <= max(len(codes), SMALL)
            self._starts.append(np.flatnonzero(starting).astype(np.uint32) if few else None)

    @classmethod
    def build(cls, codes: ArrayLike, levels: tuple[int, ...], rows: ArrayLike | None = None) -> CodeTrie:
        """Trie of codes [n, M]; `rows` [n] numbers the candidates, 0 … n - 1 if not given.

        Raises
        ------
        UserError
            If a code lies outside its level, or shapes do not agree.
        """
        levels = tuple(int(size) for size in levels)
        if not 1 <= len(levels) <= 254 or not all(1 <= size <= 1 << 16 for size in levels):
            raise UserError(f"Semantic IDs need 1 to 254 levels of 1 to 65,536 codes each, not {levels}.")
        packed = _pack(codes, levels)
        numbers = _row_numbers(np.arange(len(packed)) if rows is None else rows, len(packed))
        order = np.lexsort(packed.T[::-1])
        packed = packed[order]
        return cls(packed, numbers[order], _depths(packed, np.arange(len(packed))), levels)

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def unique_ids(self) -> int:
        """How many different semantic IDs there are."""
        return int(np.count_nonzero(self._depth < len(self.levels)))

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        listed = sum(starts.nbytes for starts in self._starts if starts is not None)
        return self._codes.nbytes + self._rows.nbytes + self._depth.nbytes + listed

    def codes(self, lines: ArrayLike) -> NDArray[np.int64]:
        """Semantic IDs [k, M] of some lines [k]."""
        return self._codes[np.asarray(lines, dtype=np.int64)].astype(np.int64)

    def rows(self, start: int, stop: int) -> NDArray[np.int64]:
        """Candidate rows under a span; those that share an ID come in the order of their insertion."""
        return self._rows[start:stop].astype(np.int64)

    def lines(self, rows: ArrayLike) -> NDArray[np.int64]:
        """Where some candidates are [k], given their rows [k]; `codes(lines(rows))` are their IDs."""
        wanted = np.asarray(rows, dtype=np.int64)
        found = np.flatnonzero(np.isin(self._rows, wanted))
        found = found[np.argsort(self._rows[found])]
        places = np.searchsorted(self._rows[found], wanted)
        if not np.isin(wanted, self._rows[found]).all():
            raise UserError(
                "One of these candidates is not in the index; list the candidates to see which are."
            )
        return found[places]

    def find(self, prefix: tuple[int, ...]) -> tuple[int, int]:
        """Span of the IDs that start with these codes; start == stop if there is none."""
        if len(prefix) > len(self.levels):
            raise UserError(f"A semantic ID has {len(self.levels)} codes; the prefix {prefix} is longer.")
        sizes = self.levels[: len(prefix)]
        first = _pack(np.asarray(prefix, dtype=np.int64)[None], sizes, self._codes.dtype)
        missing = len(self.levels) - len(prefix)
        lowest = np.pad(first, ((0, 0), (0, missing)))
        highest = np.pad(first, ((0, 0), (0, missing)), constant_values=np.iinfo(first.dtype).max)
        keys = _keys(self._codes)
        start = np.searchsorted(keys, _keys(lowest), side="left")[0]
        return int(start), int(np.searchsorted(keys, _keys(highest), side="right")[0])

    def children(self, starts: ArrayLike, stops: ArrayLike, level: int) -> Children:
        """Distinct codes at a level under each of several prefixes of `level` codes, given as spans [k].

        An empty span has no children.
        """
        first, last = np.asarray(starts, dtype=np.int64), np.asarray(stops, dtype=np.int64)
        listed = self._starts[level]
        if listed is not None:  # cost grows with the number of children
            # searched for in their own type, or numpy would convert the whole list
            low, high = (np.searchsorted(listed, ends.astype(listed.dtype)) for ends in (first, last))
            parent, places = _ranges(low, np.maximum(low, high))
            start = listed[places].astype(np.int64)
        else:  # cost grows with the number of lines, few this far down
            parent, lines = _ranges(first, np.maximum(first, last))
            starting = self._depth[lines] <= level
            parent, start = parent[starting], lines[starting]
        stop = last[parent]
        siblings = parent[1:] == parent[:-1]
        stop[:-1][siblings] = start[1:][siblings]
        return Children(parent, self._codes[start, level].astype(np.int64), start, stop)

    def insert(self, codes: ArrayLike, rows: ArrayLike) -> None:
        """Add candidates, codes [k, M] and their rows [k]. A row can be there only once."""
        packed = _pack(codes, self.levels, self._codes.dtype)
        numbers = _row_numbers(rows, len(packed))
        if len(np.unique(numbers)) < len(numbers) or np.isin(numbers, self._rows).any():
            raise UserError(
                "One of these candidates is already in the index; remove it before adding it again."
            )
        order = np.lexsort(packed.T[::-1])
        packed, numbers = packed[order], numbers[order]
        places = np.searchsorted(_keys(self._codes), _keys(packed), side="right")
        new = places + np.arange(len(places))
        self._replace(
            np.insert(self._codes, places, packed, axis=0),
            np.insert(self._rows, places, numbers),
            np.insert(self._depth, places, 0),
            changed=np.union1d(new, new + 1),
        )

    def remove(self, rows: ArrayLike) -> None:
        """Take candidates out; the others keep their row numbers."""
        gone = np.sort(self.lines(np.unique(np.asarray(rows, dtype=np.int64))))
        parts = (np.delete(part, gone, axis=0) for part in (self._codes, self._rows, self._depth))
        below = gone - np.arange(len(gone))  # where the line after each one ends up
        self._replace(*parts, changed=np.unique(below))

    def _replace(self, codes: Integers, rows: Integers, depth: Integers, *, changed: Integers) -> None:
        """Take over new arrays, whose depth is out of date at some lines."""
        changed = changed[changed < len(codes)]
        depth[changed] = _depths(codes, changed)
        self._set(codes, rows, depth)

    def save(self, folder: Path | str) -> None:
        """Write one file into the folder; a trie saved there before is replaced at once or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / (FILE + ".partial")
        with aside.open("wb") as file:
            for array in (np.array(self.levels), self._codes, self._rows, self._depth):
                np.lib.format.write_array(file, np.ascontiguousarray(array), FORMAT, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, folder / FILE)

    @classmethod
    def open(cls, folder: Path | str) -> CodeTrie:
        """Open a saved trie; its arrays stay on disk and are read as they are needed.

        Raises
        ------
        UserError
            If there is no trie in the folder, or it is damaged.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            raise UserError(f"There is no index at {path}; build it first.")
        try:
            with path.open("rb") as file:
                levels, codes, rows, depth = (_open_array(file) for _ in range(4))
                whole = not file.read(1)
            if not (whole and codes.shape == (len(rows), len(levels)) and depth.shape == rows.shape):
                raise ValueError("the parts do not fit together")
            if (codes.dtype.str, rows.dtype.str, depth.dtype.str) != (_code_type(levels).str, "<u4", "|u1"):
                raise ValueError("unexpected number types")
        except (ValueError, OSError, EOFError, TypeError) as error:
            raise UserError(f"The index at {path} is damaged ({error}); build it again.") from error
        return cls(codes, rows, depth, tuple(levels.tolist()))


def _code_type(levels: ArrayLike) -> np.dtype:
    """Big-endian, so that a line read as bytes sorts as its codes do."""
    return np.dtype(np.uint8 if max(np.asarray(levels).tolist(), default=0) <= 256 else ">u2")


def _pack(codes: ArrayLike, levels: tuple[int, ...], dtype: np.dtype | None = None) -> Integers:
    """Codes [n, M] in their compact type; UserError unless each lies within its level."""
    wide = np.asarray(codes)
    if wide.ndim != 2 or wide.shape[1] != len(levels) or not np.issubdtype(wide.dtype, np.integer):
        raise UserError(
            f"Codes must be a table of whole numbers with {len(levels)} columns, not {wide.shape}."
        )
    for level, size in enumerate(levels):
        column = wide[:, level]
        if len(column) and not 0 <= column.min() <= column.max() < size:
            bad = column[(column < 0) | (column >= size)][0]
            raise UserError(f"Code {bad} at level {level + 1} is out of range: use 0 to {size - 1}.")
    return np.ascontiguousarray(wide, dtype=dtype or _code_type(levels))


def _row_numbers(rows: ArrayLike, count: int) -> Integers:
    numbers = np.asarray(rows)
    if numbers.shape != (count,) or (count and not 0 <= numbers.min() <= numbers.max() < 1 << 32):
        raise UserError(f"Give one row number (0 or more) for each of the {count} semantic IDs.")
    if len(np.unique(numbers)) < count:
        raise UserError("Some candidates are listed twice; list each once.")
    return numbers.astype("<u4")


def _keys(codes: Integers) -> NDArray[np.bytes_]:
    """Each line as one byte string [n], without copying; byte order is the order of the codes."""
    return codes.view(f"S{codes.shape[1] * codes.itemsize}").reshape(-1)


def _depths(codes: Integers, lines: Integers) -> NDArray[np.uint8]:
    """How many leading codes each of some lines shares with the line above; 0 for line 0."""
    differs = codes[lines] != codes[lines - 1]
    depth = np.where(differs.any(1), differs.argmax(1), codes.shape[1]).astype(np.uint8)
    depth[lines == 0] = 0
    return depth


def _ranges(low: NDArray[np.int64], high: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All whole numbers of several ranges, one after the other, and which range each is from."""
    sizes = high - low
    owner = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    shift = low - (np.cumsum(sizes) - sizes)  # from the place in the result to the number
    return owner, np.arange(len(owner), dtype=np.int64) + shift[owner]


def _open_array(file: BinaryIO) -> NDArray:
    """Map the array that starts at the file's position, and move past it."""
    if np.lib.format.read_magic(file) != FORMAT:
        raise ValueError("unknown format")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject or by_columns:
        raise ValueError("unknown format")
    if 0 in shape:
        return np.empty(shape, dtype)
    begin = file.tell()
    array = np.memmap(file, dtype, "r", begin, shape)
    file.seek(begin + array.nbytes)
    return array
