"""What lies under every code: read from the trie, and from how near each candidate is to its codewords.

Numpy only, so that the page can use it at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from genius.index import CandidateIndex
from genius.schema import UserError

Prefix = tuple[int, ...]

TYPICAL = 12
NEIGHBOURS = 6
SHARED = 12


@dataclass(frozen=True)
class Branch:
    """A prefix, how many candidates lie under it, and the row of the most typical one."""

    prefix: Prefix
    size: int
    typical: int


@dataclass(frozen=True)
class CodePage:
    """All there is to say about one prefix; candidates are rows of the index.

    parent_size: candidates under the prefix without its last code; typical: nearest to the sum of codewords
    first; sample: a seeded draw of those left; twins: the same later codes under other modalities; near:
    siblings and the Euclidean distance of their codewords, nearest first; shared: rows that share a whole
    semantic ID; unused: codes of the level that nothing under the parent uses.
    """

    prefix: Prefix
    size: int
    parent_size: int
    typical: tuple[int, ...]
    sample: tuple[int, ...]
    branches: tuple[Branch, ...]
    siblings: tuple[Branch, ...]
    twins: tuple[Branch, ...]
    near: tuple[tuple[Branch, float], ...]
    shared: tuple[tuple[int, ...], ...]
    unused: int


@dataclass(frozen=True)
class PathStep:
    """One level of a vector's own way: the nearest codeword to the residual, and the next-best one.

    `distance` is also the length of what remains to be said after this code; `candidates` are those under the
    codes so far, 0 from where nobody has gone before.
    """

    prefix: Prefix
    distance: float
    runner_up: int
    runner_up_distance: float
    candidates: int


def codes_of(z: NDArray[np.float32], books: Sequence[NDArray[np.float32]]) -> NDArray[np.int64]:
    """Codes [n, M] of vectors [n, d]: at every level the codeword nearest to the residual (Eq. 4, 5)."""
    residual, codes = z.astype(np.float32), []
    for book in books:
        code = (np.square(book).sum(1) - 2 * residual @ book.T).argmin(1)
        codes.append(code)
        residual = residual - book[code]
    return np.stack(codes, 1)


class Atlas:
    """Answers questions about the codes of an index.

    residuals [n, M]: |z − sum of the first m codewords| of each row, None while nobody has worked them out:
    then nothing is more typical than anything else. books: the codewords [K, d] of each level.
    """

    def __init__(
        self,
        index: CandidateIndex,
        residuals: NDArray[np.floating] | None,
        books: Sequence[NDArray[np.float32]],
    ) -> None:
        self.index, self.books = index, tuple(books)
        self._residuals = residuals
        self.levels = index.trie.levels

    def __len__(self) -> int:
        return len(self.index.trie)

    @cached_property
    def _rows(self) -> NDArray[np.int64]:
        """The candidate of each line of the trie."""
        return self.index.trie.rows(0, len(self))

    @cached_property
    def _lines(self) -> NDArray[np.int64]:
        """The codes [n, M] of each line of the trie."""
        return self.index.trie.codes(np.arange(len(self)))

    @cached_property
    def _left(self) -> NDArray[np.float32]:
        """The residuals [n, M] of each line of the trie."""
        if self._residuals is None:
            return np.zeros((len(self), len(self.levels)), np.float32)
        return self._residuals[self._rows].astype(np.float32)

    def check(self, prefix: object) -> Prefix:
        """A prefix that came from outside, if some candidate has it.

        Raises
        ------
        UserError
            If it is no row of whole numbers, or nobody's address starts so.
        """
        codes = tuple(prefix) if isinstance(prefix, list | tuple) else None
        whole = codes is not None and all(type(code) is int for code in codes)
        if codes is None or not whole or len(codes) > len(self.levels):
            raise UserError("That is no address. Choose one of the codes on the page.")
        in_range = all(0 <= code < size for code, size in zip(codes, self.levels, strict=False))
        if not in_range or not self._size(codes):
            raise UserError("No candidate has such an address. Choose one of the codes on the page.")
        return codes

    def check_rows(self, rows: object, most: int) -> list[int]:
        """Row numbers that came from outside: those that exist, each once, in their order.

        Raises
        ------
        UserError
            If it is no list of whole numbers, or none is in range.
        """
        if not isinstance(rows, list | tuple) or not all(type(row) is int for row in rows):
            raise UserError("Those are no candidates. Choose points on the map.")
        found = [row for row in dict.fromkeys(rows) if 0 <= row < len(self.index.candidates)]
        if not found:
            raise UserError("None of those candidates is in the collection. Choose points on the map.")
        return found[:most]

    def page(self, prefix: Prefix, seed: int = 0) -> CodePage:
        """Everything about one prefix; the empty one is the whole collection."""
        start, stop = self.index.trie.find(prefix)
        level = len(prefix)
        order = self._by_nearness(start, stop, level)
        typical = self._rows[start:stop][order[:TYPICAL]]
        others = self._rows[start:stop][order[TYPICAL:]]
        drawn = np.random.default_rng(seed).permutation(len(others))[:TYPICAL]
        siblings = self.branches(prefix[:-1]) if prefix else ()
        return CodePage(
            prefix=prefix,
            size=stop - start,
            parent_size=sum(branch.size for branch in siblings) if prefix else stop - start,
            typical=tuple(typical.tolist()),
            sample=tuple(others[drawn].tolist()),
            branches=self.branches(prefix) if level < len(self.levels) else (),
            siblings=siblings,
            twins=self._twins(prefix),
            near=self._near(prefix, siblings),
            shared=self._shared(start, stop),
            unused=self.levels[level - 1] - len(siblings) if prefix else 0,
        )

    def branches(self, prefix: Prefix) -> tuple[Branch, ...]:
        """The prefixes one code longer, the largest first."""
        start, stop = self.index.trie.find(prefix)
        children = self.index.trie.children([start], [stop], len(prefix))
        found = zip(children.code.tolist(), children.start.tolist(), children.stop.tolist(), strict=True)
        made = [self._branch((*prefix, code), begin, end) for code, begin, end in found]
        return tuple(sorted(made, key=lambda branch: (-branch.size, branch.prefix)))

    def anywhere(self, level: int, code: int) -> tuple[Branch, ...]:
        """Every prefix that ends with this code at this level (counted from 0), the largest first."""
        hits = np.flatnonzero(self._lines[:, level] == code)
        if not len(hits):
            return ()
        codes = self._lines[hits, : level + 1]
        new = np.ones(len(hits), dtype=bool)
        new[1:] = (codes[1:] != codes[:-1]).any(1)
        starts = np.flatnonzero(new)
        stops = np.append(starts[1:], len(hits))
        made = [
            self._branch(tuple(codes[begin].tolist()), int(hits[begin]), int(hits[end - 1]) + 1)
            for begin, end in zip(starts, stops, strict=True)
        ]
        return tuple(sorted(made, key=lambda branch: (-branch.size, branch.prefix)))

    def members(self, prefix: Prefix, most: int) -> list[int]:
        """Rows under a prefix, the most typical first."""
        start, stop = self.index.trie.find(prefix)
        return self._rows[start:stop][self._by_nearness(start, stop, len(prefix))[:most]].tolist()

    def never_used(self, level: int) -> list[int]:
        """Codes of a level (counted from 0) that no candidate has."""
        return sorted(set(range(self.levels[level])) - set(np.unique(self._lines[:, level]).tolist()))

    def path(self, z: NDArray[np.float32]) -> tuple[PathStep, ...]:
        """The way of a unit vector z [d] through the levels, as the quantizer codes it (Eq. 4–6)."""
        residual, steps = z.astype(np.float32), []
        prefix: Prefix = ()
        for book in self.books:
            distance = np.linalg.norm(book - residual, axis=1)
            best, second = np.argsort(distance, kind="stable")[[0, min(1, len(book) - 1)]].tolist()
            residual = residual - book[best]
            prefix = (*prefix, best)
            steps.append(
                PathStep(prefix, float(distance[best]), second, float(distance[second]), self._size(prefix))
            )
        return tuple(steps)

    def edited(self, address: Prefix, level: int, code: int) -> Prefix:
        """An address with one code changed; the codes after it stay as far as somebody lives there."""
        changed = self.check((*address[:level], code))
        for later in address[level + 1 :]:
            if not self._size((*changed, later)):
                break
            changed = (*changed, later)
        return changed

    def sums(self, level: int) -> NDArray[np.float32]:
        """The sum of the first `level` codewords [n, d] of every row (Eq. 6)."""
        codes = self.index.codes(np.sort(self._rows))
        found = np.zeros((len(codes), self.books[0].shape[1]), np.float32)
        for place in range(level):
            found += self.books[place][codes[:, place]]
        return found

    def _size(self, prefix: Prefix) -> int:
        start, stop = self.index.trie.find(prefix)
        return stop - start

    def _branch(self, prefix: Prefix, start: int, stop: int) -> Branch:
        nearest = start + int(self._left[start:stop, len(prefix) - 1].argmin())
        return Branch(prefix, stop - start, int(self._rows[nearest]))

    def _by_nearness(self, start: int, stop: int, level: int) -> NDArray[np.int64]:
        """Places within a span, nearest to the sum of its codewords first."""
        return self._left[start:stop, max(level, 1) - 1].argsort(kind="stable")

    def _twins(self, prefix: Prefix) -> tuple[Branch, ...]:
        if len(prefix) < 2:
            return ()
        others = [(first, *prefix[1:]) for first in range(self.levels[0]) if first != prefix[0]]
        spans = [(other, *self.index.trie.find(other)) for other in others]
        return tuple(self._branch(*span) for span in spans if span[1] < span[2])

    def _near(self, prefix: Prefix, siblings: Sequence[Branch]) -> tuple[tuple[Branch, float], ...]:
        if not prefix:
            return ()
        book = self.books[len(prefix) - 1]
        away = [
            (branch, float(np.linalg.norm(book[branch.prefix[-1]] - book[prefix[-1]])))
            for branch in siblings
            if branch.prefix != prefix
        ]
        return tuple(sorted(away, key=lambda pair: pair[1])[:NEIGHBOURS])

    def _shared(self, start: int, stop: int) -> tuple[tuple[int, ...], ...]:
        """Candidates that share a whole semantic ID, the largest groups first."""
        lines = self._lines[start:stop]
        new = np.ones(len(lines), dtype=bool)
        new[1:] = (lines[1:] != lines[:-1]).any(1)
        begins = np.flatnonzero(new)
        sizes = np.diff(np.append(begins, len(lines)))
        rows = self._rows[start:stop]
        largest = sorted(np.flatnonzero(sizes > 1).tolist(), key=lambda group: -sizes[group])[:SHARED]
        return tuple(tuple(rows[begins[g] : begins[g] + sizes[g]].tolist()) for g in largest)
