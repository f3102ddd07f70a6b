"""Hugging Face's ZeroGPU lends a GPU to one function at a time, in a process of its own.

So whatever needs the model goes through one function at module level: what it is given and returns is copied
between processes, and nothing it changes is kept. Elsewhere this file does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from genius.schema import Candidate

SECONDS = 15
"""For how long the GPU is asked for; a search takes well under one second, waking up a few."""

BORROWERS = frozenset({"search", "exact_search", "address", "code", "embed"})
"""The engine's methods that run the model; they return what can be copied, nothing that lies on a GPU."""

PART = 256
"""So many candidates are encoded while the GPU is borrowed once."""

_engines: list[Any] = []  # the one engine, where the process that borrows the GPU finds it


class _Wrapper(Protocol):
    def __call__(self, function: Callable[..., Any], /) -> Callable[..., Any]: ...


def on_zero_gpu() -> bool:
    """Whether this process runs on ZeroGPU hardware."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "true")


def _gpu() -> _Wrapper:
    """`spaces.GPU` on ZeroGPU; elsewhere nothing."""
    if on_zero_gpu():
        wrapper: _Wrapper = import_module("spaces").GPU(duration=SECONDS)
        return wrapper
    return lambda function: function


@_gpu()
def run(within: tuple[str, ...], method: str, *arguments: Any) -> Any:
    """Call a method of the engine, or of one that finds only the candidates `within`, if any are named.

    Only this is done on the borrowed GPU.
    """
    engine = _engines[0].within(within) if within else _engines[0]
    return getattr(engine, method)(*arguments)


class Borrowing:
    """The engine as the page sees it: what needs the model borrows the GPU, the rest does not."""

    def __init__(
        self, engine: Any, codebooks: tuple[NDArray[np.float32], ...], within: tuple[str, ...] = ()
    ) -> None:
        """`codebooks` were read before the launch, when weights go to the GPU and threads see zeros."""
        self._engine, self.codebooks, self._within = engine, codebooks, within

    def __getattr__(self, name: str) -> Any:
        return partial(run, self._within, name) if name in BORROWERS else getattr(self._engine, name)

    def within(self, candidate_ids: Sequence[str]) -> Borrowing:
        """An engine that finds only these candidates, and borrows, too."""
        return Borrowing(self._engine.within(candidate_ids), self.codebooks, tuple(candidate_ids))

    def fused(
        self, candidates: Sequence[Candidate], progress: Callable[[int, int], None] | None = None
    ) -> NDArray[np.float32]:
        """z [n, d] of candidates; the GPU is borrowed for one part after the other."""
        parts = []
        for begin in range(0, len(candidates), PART):
            parts.append(run(self._within, "fused", candidates[begin : begin + PART]))
            if progress is not None:
                progress(min(begin + PART, len(candidates)), len(candidates))
        return np.concatenate(parts)


def lend(engine: Any) -> Any:
    """The engine to give to the page: on ZeroGPU one that borrows the GPU, elsewhere the engine itself."""
    if not on_zero_gpu():
        return engine
    _engines[:] = [engine]
    return Borrowing(engine, tuple(book.copy() for book in engine.codebooks))
