"""An engine without a model, for the page's tests: it answers by comparing words, and invents addresses.

Answers look plausible (same modality rules, ranks, trace and timings as the real one) and are the same
for the same query.
"""

from __future__ import annotations

import hashlib
import time
from math import log
from pathlib import Path

import numpy as np

from genius.engine import Embedded
from genius.index import CandidateIndex
from genius.instructions import TASKS
from genius.schema import (
    Beam,
    BeamStep,
    Candidate,
    Hit,
    Query,
    SearchOptions,
    SearchResult,
    Timings,
    UserError,
)
from genius.sources import openmoji
from genius.sources.picture import candidates_of

LEVELS = 6
DIM = 16
DEFAULTS = SearchOptions()


class FakeEngine:
    """`genius.engine.Engine` as the page sees it."""

    def __init__(self, candidates: tuple[Candidate, ...], delay: float = 0.0) -> None:
        self.folder: Path | None = None
        self.notes: tuple[str, ...] = (
            "The Tux Paint stamps are not installed: apt-get install tuxpaint-stamps-default.",
        )
        self._by_id = {candidate.id: candidate for candidate in candidates}
        self._captions = {c.id.rpartition(":")[0]: c.text or "" for c in candidates if c.text}
        self._delay = delay
        rng = np.random.default_rng(0)
        self.codebooks = tuple(0.5**n * _unit(rng.normal(size=(256, DIM))) for n in range(LEVELS))
        codes = np.array([self._address(candidate) for candidate in candidates])
        vectors = _unit(sum(book[column] for book, column in zip(self.codebooks, codes.T, strict=True)))
        self.index = CandidateIndex.build(candidates, codes, vectors, (256,) * LEVELS)

    @classmethod
    def of_openmoji(cls, every: int = 1, delay: float = 0.0) -> FakeEngine:
        """The OpenMoji collection, or every so many-th drawing of it; lions are always there."""
        kept = [p for n, p in enumerate(openmoji.pictures()) if n % every == 0 or "lion" in p.text]
        return cls(tuple(candidates_of(kept, "openmoji")), delay)

    def embed(self, queries: list[Query]) -> Embedded:
        """The vector of whatever answers first."""
        rows = [self.index.row(self.search([query])[0].hits[0].candidate.id) for query in queries]
        vectors = self.index.vectors[rows].astype(np.float32)
        return Embedded(vectors, vectors)

    def fused(self, candidates: list[Candidate], progress: object = None) -> np.ndarray:
        """Vectors whose codes are nearly the invented ones."""
        return self.index.vectors[[self.index.row(candidate.id) for candidate in candidates]].astype(
            np.float32
        )

    def within(self, candidate_ids: list[str]) -> FakeEngine:
        """An engine of these candidates."""
        return FakeEngine(tuple(self.candidate(candidate_id) for candidate_id in candidate_ids), self._delay)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All candidates."""
        return tuple(self._by_id.values())

    def candidate(self, candidate_id: str) -> Candidate:
        """The candidate with this id."""
        if candidate_id not in self._by_id:
            raise UserError(f"No candidate {candidate_id}.")
        return self._by_id[candidate_id]

    def search(self, queries: list[Query], options: SearchOptions = DEFAULTS) -> list[SearchResult]:
        """Results with an invented trace."""
        time.sleep(self._delay)
        return [self._answer(query, options, exact=False) for query in queries]

    def exact_search(self, queries: list[Query], options: SearchOptions = DEFAULTS) -> list[SearchResult]:
        """Nearly the same results, without a trace."""
        return [self._answer(query, options, exact=True) for query in queries]

    def _answer(self, query: Query, options: SearchOptions, *, exact: bool) -> SearchResult:
        _ = query.modality  # complains about an empty query, as the real one does
        target = _wanted(query)
        wanted = set((query.text or "lion").lower().replace("?", "").split())
        scored = sorted(
            (
                (self._fit(c, wanted, exact), c)
                for c in self._by_id.values()
                if self._allowed(c, target, options.prefix)
            ),
            key=lambda pair: (-pair[0], pair[1].id),
        )[: options.top_k]
        hits = tuple(
            Hit(rank, c, self._address(c), round(fit, 4), None if exact else -1.2 - 0.4 * rank)
            for rank, (fit, c) in enumerate(scored, start=1)
        )
        timings = Timings(31.0, 0, 0, 4.2) if exact else Timings(38.4, 0.6, 214.0, 1.3 * options.rerank)
        return SearchResult(query, hits, () if exact else self._trace(hits, options.beams), timings)

    def _allowed(self, candidate: Candidate, target: int | None, prefix: tuple[int, ...]) -> bool:
        if prefix:
            return self._address(candidate)[: len(prefix)] == prefix
        return target in (None, candidate.modality)

    def _fit(self, candidate: Candidate, wanted: set[str], exact: bool) -> float:
        caption = self._captions.get(candidate.id.rpartition(":")[0], "").lower()
        words = set(caption.replace(",", "").replace(":", "").split())
        noise = _number(candidate.id + str(exact), 1000) / 8000
        return 0.45 + 0.4 * len(words & wanted) / max(len(words), 1) + noise

    def _address(self, candidate: Candidate) -> tuple[int, ...]:
        caption = self._captions.get(candidate.id.rpartition(":")[0], "")
        words = [*caption.split(), "", "", "", "", ""]
        codes = [_number(" ".join(words[: n + 1]), 256) for n in range(LEVELS - 2)]
        return (int(candidate.modality), *codes, _number(candidate.id, 256))

    def _trace(self, hits: tuple[Hit, ...], beams: int) -> tuple[BeamStep, ...]:
        steps = []
        for level in range(1, LEVELS + 1):
            prefixes = list(dict.fromkeys(hit.semantic_id[:level] for hit in hits))
            count = max(1, len(self._by_id) // 6 ** (level - 1) // 3)
            kept = tuple(
                Beam(p, log(0.9 / (n + 1)) * level**0.5, max(1, count // (n + 1)))
                for n, p in enumerate(prefixes[:8])
            )
            spare = [
                (*hits[0].semantic_id[: level - 1], (hits[0].semantic_id[level - 1] + n) % 256)
                for n in (7, 31)
            ]
            dropped = tuple(Beam(p, -6.0 - n, 3 + n) for n, p in enumerate(spare if level > 1 else []))
            steps.append(BeamStep(level - 1, min(beams * 9, 3 if level == 1 else 400), kept, dropped))
        return tuple(steps)


def _wanted(query: Query) -> int | None:
    return next((int(t.target) for t in TASKS if query.instruction in t.wordings), None)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _number(text: str, below: int) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) % below
