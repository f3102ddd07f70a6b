"""Two-dimensional maps of the spaces: UMAP, and the place of something new among its true neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST = 50_000
"""With more candidates, a seeded sample of so many is laid out."""

ANCHORS = 8
"""Something that is not on a map is placed in the middle of so many of its true neighbours."""

SMALL = 12
"""So few vectors need no UMAP."""

_GRID = 65_535


@dataclass(frozen=True)
class MapSettings:
    """UMAP's settings."""

    neighbours: int = 15
    epochs: int = 120
    min_dist: float = 0.15
    seed: int = 0


SETTINGS = MapSettings()


def sample(count: int) -> NDArray[np.int64]:
    """Which of so many candidates are laid out: all of them, or a seeded sample in ascending order."""
    if count <= MOST:
        return np.arange(count)
    return np.sort(np.random.default_rng(SETTINGS.seed).permutation(count)[:MOST])


def lay_out(vectors: NDArray[np.float32], start: NDArray | None = None) -> NDArray[np.uint16]:
    """UMAP of vectors [n, d] on a grid [n, 2]; equal vectors get one place.

    `start` [n, 2] lets one map resemble another. `SMALL` vectors or fewer are laid out by their two main
    directions.
    """
    unique, first, back = np.unique(np.round(vectors, 5), axis=0, return_index=True, return_inverse=True)
    back = back.reshape(-1)
    if len(unique) <= SMALL:
        return _on_grid(_main_directions(unique)[back])
    from umap import UMAP  # noqa: PLC0415  it compiles code for seconds

    begin = "spectral" if start is None else _spread(start[first].astype(np.float32))
    reducer = UMAP(
        n_neighbors=min(SETTINGS.neighbours, len(unique) - 1),
        n_epochs=SETTINGS.epochs,
        min_dist=SETTINGS.min_dist,
        init=begin,
        random_state=SETTINGS.seed,
        n_jobs=1,
        low_memory=True,
    )
    return _on_grid(reducer.fit_transform(unique)[back])


def place(vectors: NDArray[np.float32], known: NDArray[np.float32], places: NDArray) -> NDArray[np.float32]:
    """Where vectors [k, d] belong on a map [n, 2] of known ones [n, d]: the mean place of the nearest.

    Steadier than UMAP's own transform, which starts at such a mean and then moves it by chance.
    """
    anchors = min(ANCHORS, len(known))
    lengths = np.square(known).sum(1)
    found = np.empty((len(vectors), 2), np.float32)
    for begin in range(0, len(vectors), 1024):
        part = vectors[begin : begin + 1024]
        distances = lengths - 2 * part @ known.T
        nearest = np.argpartition(distances, anchors - 1, axis=1)[:, :anchors]
        found[begin : begin + 1024] = places[nearest].astype(np.float32).mean(1)
    return found


def place_all(
    vectors: NDArray[np.float32], known: NDArray[np.float32], places: NDArray
) -> NDArray[np.uint16]:
    """`place`, for many vectors of which some are equal, on the grid of the map."""
    unique, back = np.unique(np.round(vectors, 5), axis=0, return_inverse=True)
    return np.round(place(unique, known, places)).astype(np.uint16)[back.reshape(-1)]


def _main_directions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = vectors - vectors.mean(0)
    if len(vectors) < 3:
        return np.stack([np.arange(len(vectors)), np.zeros(len(vectors))], 1).astype(np.float32)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    return (left[:, :2] * sizes[:2]).astype(np.float32)


def _spread(places: NDArray[np.float32]) -> NDArray[np.float32]:
    """Places in the range UMAP starts from, equal ones set apart a little."""
    wide = 10 * (places - places.min(0)) / max(float(np.ptp(places, axis=0).max()), 1e-6)
    return wide + np.random.default_rng(SETTINGS.seed).normal(scale=1e-3, size=wide.shape).astype(np.float32)


def _on_grid(places: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Whole numbers from 0, with the proportions kept; a stray far point does not squeeze the others."""
    low, high = np.quantile(places, [0.001, 0.999], axis=0)
    places = np.clip(places, low, high)
    middle, reach = (low + high) / 2, max(float((high - low).max()), 1e-6)
    return np.round(((places - middle) / reach + 0.5).clip(0, 1) * _GRID).astype(np.uint16)
