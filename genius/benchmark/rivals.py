"""What GENIUS is raced against: Faiss, exact and approximate, on the encoder's vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from genius.benchmark.machine import timed
from genius.benchmark.pace import Pace
from genius.benchmark.record import FLAT, HNSW, IVF

PROBES, ROUNDS, POINTS = 16, 10, 40
LINKS, BUILDING, SEARCHING = 16, 40, 64
PARAMETERS = {
    FLAT: "every vector is read",
    IVF: f"√n lists by {ROUNDS} rounds of k-means on {POINTS} vectors a list, {PROBES} lists read",
    HNSW: f"M = {LINKS}, efConstruction = {BUILDING}, efSearch = {SEARCHING}",
}


@dataclass(frozen=True, eq=False)
class Rival:
    """A Faiss index, the bytes it keeps, and the seconds it took to build."""

    index: Any
    nbytes: int
    seconds: float

    def search(self, queries: NDArray[np.float32], top_k: int) -> list[NDArray[np.int64]]:
        """Rows of the nearest vectors of each query [B, d]; an approximate search may find fewer."""
        _, rows = self.index.search(queries, top_k)
        return [found[found >= 0] for found in rows]


def build(kind: str, vectors: NDArray[np.float16], pace: Pace) -> Rival:
    """An index of unit vectors [n, d], compared by inner product, on as many threads as torch has.

    Raises
    ------
    AttributeError, RuntimeError
        If this Faiss cannot do it.
    """
    return _BUILDERS[kind](vectors, pace)


def use_threads() -> None:
    """Give Faiss as many threads as torch has. It must be told in each thread of ours that calls it."""
    faiss.omp_set_num_threads(torch.get_num_threads())


def memory_each(kind: str, dim: int) -> int:
    """Bytes that a vector needs at most while an index is built: a list that grows is copied."""
    return 2 * 4 * dim + {FLAT: 0, IVF: 16, HNSW: 2 * 2 * 4 * LINKS + 32}[kind]


def _flat(vectors: NDArray[np.float16], pace: Pace) -> Rival:
    index = faiss.IndexFlatIP(vectors.shape[1])
    return Rival(index, 4 * vectors.size, _fill(index, vectors, pace))


def _ivf(vectors: NDArray[np.float16], pace: Pace) -> Rival:
    """Its k-means is run round by round, so that it can be stopped."""
    count, dim = vectors.shape
    lists = max(1, round(count**0.5))
    rows = np.sort(np.random.default_rng(0).permutation(count)[: POINTS * lists])
    sample = vectors[rows].astype(np.float32)
    centres, seconds = sample[np.linspace(0, len(sample) - 1, lists).astype(int)], 0.0
    for _ in range(ROUNDS):
        with pace.hold():
            use_threads()
            limits = {"min_points_per_centroid": 1, "max_points_per_centroid": len(sample)}
            means = faiss.Kmeans(dim, lists, niter=1, spherical=True, **limits)
            took, _ = timed(partial(means.train, sample, init_centroids=centres))
        centres, seconds = means.centroids, seconds + took
    coarse = faiss.IndexFlatIP(dim)
    coarse.add(centres)
    index = faiss.IndexIVFFlat(coarse, dim, lists, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = min(PROBES, lists)
    seconds += _fill(index, vectors, pace)
    numbers = 8 * count
    return Rival(index, 4 * vectors.size + numbers + 4 * centres.size, seconds)


def _hnsw(vectors: NDArray[np.float16], pace: Pace) -> Rival:
    index = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = BUILDING, SEARCHING
    seconds = _fill(index, vectors, pace)
    graph: Any = index.hnsw
    links = 4 * graph.neighbors.size() + 8 * graph.offsets.size() + 4 * graph.levels.size()
    return Rival(index, 4 * vectors.size + links, seconds)


def _fill(index: Any, vectors: NDArray[np.float16], pace: Pace) -> float:
    """Add vectors part by part; returns the seconds that Faiss itself took."""

    def add(rows: slice) -> float:
        part = vectors[rows].astype(np.float32)
        use_threads()
        return timed(lambda: index.add(part))[0]

    return pace.parts(len(vectors), add)


_BUILDERS: dict[str, Callable[[NDArray[np.float16], Pace], Rival]] = {
    FLAT: _flat,
    IVF: _ivf,
    HNSW: _hnsw,
}
