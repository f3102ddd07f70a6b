"""One size of a race: every method on the same candidates, asked the same queries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genius.beam import DECIDED, beam_search
from genius.benchmark import rivals
from genius.benchmark.course import WARM_UP, Course
from genius.benchmark.machine import Times, timed
from genius.benchmark.pace import Pace
from genius.benchmark.record import GENIUS, OURS, RacePoint, RaceSettings
from genius.engine import rank
from genius.index import CandidateIndex
from genius.schema import SearchOptions
from genius.trie import CodeTrie

CHUNK = 8192
BATCH, BATCH_SECONDS = 32, 0.5
"""At most so many queries at once, fewer where they would take longer than this."""
NEAR = 1e-5
"""Cosines that differ by less are equal: vectors may be the same, and sums are rounded."""

Found = list[NDArray[np.int64]]


class Runner(Protocol):
    """One method on one collection: what it keeps, what building took, and a search."""

    @property
    def nbytes(self) -> int:
        """Bytes kept."""

    @property
    def seconds(self) -> float:
        """To build it."""

    def __call__(self, queries: slice) -> Found:
        """Rows found for each of some queries."""


@dataclass(frozen=True, eq=False)
class Ours:
    """GENIUS: fuse, write addresses on the trie, put in order what they name."""

    course: Course
    index: CandidateIndex
    options: SearchOptions
    seconds: float

    @property
    def nbytes(self) -> int:
        """The trie, and the vectors if they are looked at."""
        return self.index.trie.nbytes + (self.index.vectors.nbytes if self.options.rerank else 0)

    def __call__(self, queries: slice) -> Found:
        """As the engine searches, but for encoding."""
        z = self.course.fuse(self.course.asked.part(queries))
        beams = beam_search(
            self.course.decoder,
            self.index.trie,
            z,
            self.options.beams,
            decided=DECIDED,
        )
        vectors = self.course.asked.clip[queries]
        if not self.options.rerank:  # the best beam comes first, and no vector is looked at
            return [beam.rows(self.index.trie)[0][: self.options.top_k] for beam in beams]
        return [
            rank(self.index, beam, vector, self.options)[0]
            for beam, vector in zip(beams, vectors, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Theirs:
    """A Faiss index, searched with the encoder's embeddings."""

    course: Course
    rival: rivals.Rival
    top_k: int

    @property
    def nbytes(self) -> int:
        """All of the index."""
        return self.rival.nbytes

    @property
    def seconds(self) -> float:
        """To build it."""
        return self.rival.seconds

    def __call__(self, queries: slice) -> Found:
        """One call of Faiss."""
        return self.rival.search(self.course.asked.clip[queries], self.top_k)


@dataclass(frozen=True, eq=False)
class Heat:
    """All methods on one collection: vectors [n, d], and what cosine a query's k nearest reach at least [q].

    index: what ours searches, and the seconds its trie took to build; None where only Faiss races.
    """

    course: Course
    settings: RaceSettings
    pace: Pace
    vectors: NDArray[np.float16]
    best: NDArray[np.float32]
    index: CandidateIndex | None
    seconds: float

    @classmethod
    def of(
        cls,
        course: Course,
        settings: RaceSettings,
        vectors: NDArray[np.float16],
        codes: NDArray[np.integer],
        pace: Pace,
    ) -> Heat:
        """Search exactly, to compare with, and sort the codes [n, M]."""
        best = _kth_best(course.asked.clip, vectors, settings.top_k, pace)
        if not set(settings.methods) & set(OURS):
            return cls(course, settings, pace, vectors, best, None, 0.0)
        with pace.hold():
            seconds, trie = timed(lambda: CodeTrie.build(codes, course.decoder.config.levels))
        return cls(course, settings, pace, vectors, best, CandidateIndex((), trie, vectors), seconds)

    def run(self, method: str, beams: int | None) -> RacePoint:
        """Build it, warm up, ask every query by itself, then several at once."""
        runner = self.runner(method, beams)
        took: list[float] = []
        found: Found = []

        def ask(number: int) -> None:
            rivals.use_threads()
            seconds, rows = timed(partial(runner, slice(number, number + 1)))
            took.append(seconds)
            found.extend(rows)

        self.pace.each(range(len(self.course.asked.clip)), ask)
        took, found = took[WARM_UP:], found[WARM_UP:]
        encoding = self.course.asked.seconds
        whole = None if encoding is None else np.array(took) + encoding[WARM_UP:]
        batch = int(np.clip(BATCH_SECONDS / np.median(took), 1, min(BATCH, len(took))))
        return RacePoint(
            size=len(self.vectors),
            real=min(len(self.vectors), len(self.course.vectors)),
            method=method,
            beams=beams,
            search=Times.of(took),
            whole=None if whole is None else Times.of(whole.tolist()),
            per_second=round(1 / float(np.mean(took)), 2),
            batched=self._batched(runner, batch),
            batch=batch,
            exact=self._exact(found) if self.course.trained or method not in OURS else None,
            labelled=self._labelled(found),
            nbytes=runner.nbytes,
            build=round(runner.seconds, 3),
        )

    def runner(self, method: str, beams: int | None) -> Runner:
        """A method, built."""
        if method not in OURS:
            return Theirs(self.course, rivals.build(method, self.vectors, self.pace), self.settings.top_k)
        assert self.index is not None and beams is not None
        options = SearchOptions(top_k=self.settings.top_k, beams=beams, rerank=method == GENIUS)
        return Ours(self.course, self.index, options, self.seconds + len(self.vectors) * self.course.coding)

    def _batched(self, runner: Runner, batch: int) -> float:
        """Queries a second, `batch` of them at once; the first batch warms up."""
        queries = slice(WARM_UP, WARM_UP + batch)
        seconds = []
        for _ in range(3):
            with self.pace.hold():
                rivals.use_threads()
                seconds.append(timed(partial(runner, queries))[0])
        return round(batch / min(seconds[1:]), 2)

    def _exact(self, found: Found) -> float:
        """How much of what exact search finds was found: as good a cosine counts, whoever's it is."""
        asked = zip(found, self.course.asked.clip[WARM_UP:], self.best[WARM_UP:], strict=True)
        good = [
            np.count_nonzero(self.vectors[rows].astype(np.float32) @ query >= best - NEAR)
            for rows, query, best in asked
        ]
        return round(float(np.sum(good)) / (len(good) * min(self.settings.top_k, len(self.vectors))), 4)

    def _labelled(self, found: Found) -> float | None:
        """Share of the queries with a known answer that found it."""
        asked = [
            (rows, here)
            for rows, answers in zip(found, self.course.asked.answers[WARM_UP:], strict=True)
            if (here := [answer for answer in answers if answer < len(self.vectors)])
        ]
        hits = [bool(np.isin(rows, here).any()) for rows, here in asked]
        return round(float(np.mean(hits)), 4) if hits else None


def _kth_best(
    queries: NDArray[np.float32], vectors: NDArray[np.float16], k: int, pace: Pace
) -> NDArray[np.float32]:
    """The cosine [q] that one must reach to be among each query's k nearest, by looking at every vector."""
    best = np.full((len(queries), k), -np.inf, np.float32)

    def look(rows: slice) -> float:
        nonlocal best
        took, scores = timed(lambda: queries @ vectors[rows].astype(np.float32).T)
        best = -np.partition(-np.hstack([best, scores]), k - 1, axis=1)[:, :k]
        return took

    pace.parts(len(vectors), look, first=CHUNK)
    kth: NDArray[np.float32] = np.where(np.isfinite(best), best, np.inf).min(1)
    return kth
