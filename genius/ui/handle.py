"""The engine, while it is still loading and after: the one thing the tabs hold on to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genius.explain.compute import Embedded
from genius.index import CandidateIndex
from genius.schema import Candidate, Query, SearchOptions, SearchResult, UserError
from genius.ui.ask import Ask

_LOG = logging.getLogger(__name__)
GIVE_WAY = 0.002


class Searcher(Protocol):
    """The part of `genius.engine.Engine` that the page uses."""

    @property
    def candidates(self) -> Sequence[Candidate]:
        """All that can be found."""

    notes: tuple[str, ...]
    """What was left out and how to get it, one sentence each."""

    @property
    def index(self) -> CandidateIndex:
        """Candidates by row, their addresses and vectors."""

    @property
    def folder(self) -> Path | None:
        """Where the index was opened from, if it was."""

    @property
    def codebooks(self) -> tuple[NDArray[np.float32], ...]:
        """The codewords [K, d] of each level."""

    def embed(self, queries: Sequence[Query]) -> Embedded:
        """Where queries are in the encoder's space and in the fused one."""

    def fused(
        self, candidates: Sequence[Candidate], progress: Callable[[int, int], None] | None = None
    ) -> NDArray[np.float32]:
        """z [n, d] of candidates."""

    def within(self, candidate_ids: Sequence[str]) -> Searcher:
        """An engine that finds only these candidates."""

    def search(self, queries: Sequence[Query], options: SearchOptions) -> list[SearchResult]:
        """GENIUS search."""

    def exact_search(self, queries: Sequence[Query], options: SearchOptions) -> list[SearchResult]:
        """CLIP and an exact scan."""


class EngineHandle:
    """Loads the engine in a background thread, so that the page paints first.

    `early` candidates (by id) are known before the engine is: they give the first screen its pictures.
    """

    def __init__(self, load: Callable[[], Searcher], early: Mapping[str, Candidate]) -> None:
        self.candidates: Mapping[str, Candidate] = early
        self._load = load
        self._done = threading.Event()
        self._engine: Searcher | None = None
        self._error: UserError | None = None
        self._turn = threading.Lock()

    def start(self) -> EngineHandle:
        """Begin to load; returns at once."""
        threading.Thread(target=self._run, name="load-engine", daemon=True).start()
        return self

    @property
    def ready(self) -> bool:
        """Whether a search would start without waiting."""
        return self._engine is not None

    @property
    def loading(self) -> bool:
        """Whether it is not yet known if the engine can be had."""
        return not self._done.is_set()

    def get(self, timeout: float = 300.0) -> Searcher:
        """The engine, waiting while it loads; raises UserError when it cannot be loaded."""
        if not self._done.wait(timeout):
            raise UserError("The model is still loading. Please try again in a minute.")
        if self._error is not None:
            raise self._error
        assert self._engine is not None
        return self._engine

    def search(self, ask: Ask) -> SearchResult:
        """GENIUS' answer to one request."""
        engine, query = self._engine_for(ask), ask.query()
        with self._turn:
            return engine.search([query], ask.options())[0]

    def exact_search(self, ask: Ask) -> SearchResult:
        """The answer of plain CLIP and an exact scan to the same request."""
        engine, query = self._engine_for(ask), ask.query()
        with self._turn:
            return engine.exact_search([query], ask.options())[0]

    def count(self, ask: Ask) -> int:
        """How many candidates a request may find."""
        start, stop = self._engine_for(ask).index.trie.find(ask.options().prefix)
        return stop - start

    @contextmanager
    def aside(self) -> Iterator[None]:
        """A slice of long work: no search runs meanwhile, and one that waits comes before the next slice."""
        with self._turn:
            yield
        time.sleep(GIVE_WAY)  # a lock is not fair: whoever waits needs a moment to take it

    def _engine_for(self, ask: Ask) -> Searcher:
        ids = [candidate_id for candidate_id in ask.within if isinstance(candidate_id, str)]
        return self.get().within(ids) if ids else self.get()

    def find(self, candidate_id: str) -> Candidate | None:
        """The candidate with this id, if there is one."""
        return self.candidates.get(candidate_id)

    def candidate(self, candidate_id: object) -> Candidate:
        """The candidate of an id that came back from a browser; raises UserError when there is none."""
        candidate = self.find(candidate_id) if isinstance(candidate_id, str) else None
        if candidate is None:
            raise UserError("That result is no longer in the collection. Please search again.")
        return candidate

    def _run(self) -> None:
        try:
            engine = self._load()
            self.candidates = {candidate.id: candidate for candidate in engine.candidates}
            self._engine = engine
        except UserError as error:
            self._error = error
        except Exception as error:
            _LOG.exception("The model could not be loaded")
            self._error = UserError(
                f"The model could not be loaded ({type(error).__name__}: {error}). "
                "The terminal that runs app.py shows the details; mend that and start it again."
            )
        finally:
            self._done.set()
