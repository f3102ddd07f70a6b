"""The sorted lines of a trie: packed IDs and the candidates they belong to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genius.trie.packing import BLOCK, Bytes, Integers, Packing, bytes_for, keys, narrow, wide


@dataclass(frozen=True, eq=False)
class Matrix:
    """Semantic IDs of n candidates in order; those that share an ID stay in the order they came in.

    ids [n, size] : packed codes but the first;
    rows [n, 1 to 4] : the number of each candidate, in as many bytes as the largest needs;
    first [K + 1] : the line where each code of the first level begins, and n.
    """

    packing: Packing
    ids: Bytes
    rows: Bytes
    first: NDArray[np.int64]

    @classmethod
    def sorted(cls, packing: Packing, codes: Integers, rows: Integers | None) -> Matrix:
        """Lines of codes [n, M]; `rows` [n] numbers the candidates, 0 … n - 1 if not given."""
        first = _counts_before(codes[:, 0], packing.levels[0])
        # first code, ID and place as one byte string each: they are sorted where they are
        head, tail = bytes_for(packing.levels[0]), bytes_for(len(codes))
        lines = np.empty((len(codes), head + packing.size + tail), dtype=np.uint8)
        for begin in range(0, len(codes), BLOCK):
            block, given = lines[begin : begin + BLOCK], codes[begin : begin + BLOCK]
            block[:, :head] = narrow(given[:, 0], head)
            block[:, head:-tail] = packing.pack(given)
            block[:, -tail:] = narrow(np.arange(begin, begin + len(given)), tail)
        keys(lines).sort()
        ids, places = np.ascontiguousarray(lines[:, head:-tail]), np.ascontiguousarray(lines[:, -tail:])
        del lines
        if rows is not None:
            places = narrow(rows[wide(places)], bytes_for(rows.max(initial=0)))
        return cls(packing, ids, places, first)

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, level: int, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        """Codes [k] of one level in some lines [k]."""
        if level == 0:
            return np.searchsorted(self.first, lines, side="right") - 1
        return self.packing.column(self.ids, level, lines)

    def depths(self, lines: NDArray[np.int64]) -> NDArray[np.uint8]:
        """How many leading codes each of some lines [k] shares with the line above; 0 for line 0."""
        depth = np.full(len(lines), len(self.packing.levels), dtype=np.uint8)
        for level in range(len(self.packing.levels) - 1, 0, -1):
            depth[self.column(level, lines) != self.column(level, lines - 1)] = level
        depth[self.first[np.searchsorted(self.first, lines)] == lines] = 0
        return depth

    def all_depths(self) -> NDArray[np.uint8]:
        """`depths` of every line [n]."""
        depth = np.empty(len(self), dtype=np.uint8)
        for begin in range(0, len(self), BLOCK):
            end = min(begin + BLOCK, len(self))
            depth[begin:end] = self.depths(np.arange(begin, end))
        return depth

    def places(self, codes: Integers, *, after: bool) -> NDArray[np.int64]:
        """Where IDs, codes [k, M], belong [k]: before or after those equal to them."""
        wanted = keys(self.packing.pack(codes))
        low, high = self.first[codes[:, 0]], self.first[codes[:, 0] + 1]
        while (open_ := low < high).any():  # all at once, each within its first code
            middle = (low + high) // 2
            there = keys(self.ids[np.minimum(middle, len(self) - 1)])
            later = open_ & (there <= wanted if after else there < wanted)
            low = np.where(later, middle + 1, low)
            high = np.where(open_ & ~later, middle, high)
        return low

    def inserted(self, places: NDArray[np.int64], codes: Integers, rows: Integers) -> Matrix:
        """With more lines before some places [k], in order: codes [k, M] of candidates rows [k]."""
        size = max(self.rows.shape[1], bytes_for(rows.max(initial=0)))
        there = self.rows if size == self.rows.shape[1] else narrow(wide(self.rows), size)
        return Matrix(
            self.packing,
            np.insert(self.ids, places, self.packing.pack(codes), axis=0),
            np.insert(there, places, narrow(rows, size), axis=0),
            self.first + _counts_before(codes[:, 0], self.packing.levels[0]),
        )

    def removed(self, lines: NDArray[np.int64]) -> Matrix:
        """Without some lines [k], in order."""
        ids, rows = (np.delete(part, lines, axis=0) for part in (self.ids, self.rows))
        return Matrix(self.packing, ids, rows, self.first - np.searchsorted(lines, self.first))


def _counts_before(codes: Integers, size: int) -> NDArray[np.int64]:
    """How many of some codes are smaller than each of 0 … size [size + 1]."""
    return np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=size))])
