"""Recall as M-BEIR counts it: a query is found when any of its positives is among the first k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

DEPTH = 10
"""How many places count."""


@dataclass(frozen=True)
class Recall:
    """Shares of queries found among the first 1, 5 and 10."""

    at_1: float
    at_5: float
    at_10: float


def recall(ranks: ArrayLike) -> Recall:
    """Recall of queries, given the rank [n] at which each is found; 0 where it is not.

    >>> recall([1, 0, 7, 3])
    Recall(at_1=0.25, at_5=0.5, at_10=0.75)
    """
    found = np.asarray(ranks)
    return Recall(*(float(((found >= 1) & (found <= k)).mean()) for k in (1, 5, DEPTH)))


def first_rank(rows: Sequence[int] | NDArray[np.int64], positives: Sequence[int]) -> int:
    """Rank of the first positive among rows in order, the first being 1; 0 if none of `DEPTH` is one.

    >>> first_rank([40, 7, 12], positives=[12, 7])
    2
    """
    hits = np.flatnonzero(np.isin(np.asarray(rows)[:DEPTH], positives))
    return int(hits[0]) + 1 if len(hits) else 0


def own_address(codes: NDArray[np.int64]) -> float:
    """Share of candidates, given their codes [n, M], whose semantic ID no other has.

    >>> own_address(np.array([[0, 1], [0, 1], [0, 2], [1, 1]]))
    0.5
    """
    _, counts = np.unique(codes, axis=0, return_counts=True)
    return float((counts == 1).sum() / len(codes))
