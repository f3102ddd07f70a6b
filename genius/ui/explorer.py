"""What the Code browser and the Maps know of the collection: opened with the engine, or worked out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from genius.explain.atlas import Atlas, Prefix
from genius.explain.compute import Embedded, Progress, explain
from genius.explain.explanation import Explanation, open_explanation
from genius.schema import Candidate, Query, UserError
from genius.ui.handle import EngineHandle

_LOG = logging.getLogger(__name__)


class Explorer:
    """Codes and maps of what the handle's engine serves. `names` changes in place once more is known."""

    def __init__(self, handle: EngineHandle, names: Mapping[Prefix, str] | None = None) -> None:
        self.handle = handle
        self.names: dict[Prefix, str] = dict(names or {})
        self._lock = threading.Lock()
        self._working = threading.Lock()
        self._atlas: Atlas | None = None
        self._explanation: Explanation | None = None

    @property
    def atlas(self) -> Atlas:
        """The codes; waits while the model loads, and raises UserError when it cannot be loaded."""
        self.handle.get()
        with self._lock:
            if self._atlas is None:
                self._take(self._open())
            assert self._atlas is not None
            return self._atlas

    @property
    def explanation(self) -> Explanation | None:
        """Names, maps and measures, if they have been worked out."""
        _ = self.atlas  # opens both
        return self._explanation

    @cached_property
    def sums(self) -> NDArray[np.float32]:
        """The sum of all codewords [n, d] of every row (Eq. 6)."""
        return self.atlas.sums(len(self.atlas.levels))

    def explain(self, progress: Progress) -> None:
        """Work out names and maps of the collection, to be kept until the page is stopped."""
        with self._working:
            if self.explanation is None:
                found = explain(self.handle.get(), progress)
                with self._lock:
                    self._take(found)

    def candidate(self, row: int) -> Candidate:
        """The candidate of a row."""
        return self.atlas.index.candidates[row]

    def embed(self, query: Query) -> Embedded:
        """Where one query is in the encoder's space and in the fused one."""
        return self.handle.get().embed([query])

    def _open(self) -> Explanation | None:
        engine = self.handle.get()
        if engine.folder is None:
            return None
        try:
            return open_explanation(engine.folder, engine.index.candidates)
        except UserError as error:
            _LOG.warning("%s", error)
            return None

    def _take(self, explanation: Explanation | None) -> None:
        engine = self.handle.get()
        residuals = None if explanation is None else explanation.residuals
        self._atlas, self._explanation = Atlas(engine.index, residuals, engine.codebooks), explanation
        self.names.clear()
        if explanation is not None:
            self.names.update({prefix: name.text for prefix, name in explanation.names.items() if name.text})
