"""Are the codes semantic? Information they share with known labels, and agreement of picture and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genius.explain.labels import Labels
from genius.schema import Candidate, Modality


@dataclass(frozen=True)
class LabelMeasure:
    """How a code of one level goes with a known label.

    level: counted from 1; nmi: normalised mutual information of code and label, and its mean for shuffled
    labels; purity: share of candidates whose code's commonest label is their own, and for shuffled labels.
    """

    label: str
    candidates: int
    values: int
    level: int
    nmi: float
    nmi_chance: float
    purity: float
    purity_chance: float


@dataclass(frozen=True)
class Agreement:
    """How often two candidates of the same picture have the same code at a level, against any two.

    `beginning` is the share whose codes from level 2 to this one all agree.
    """

    one: str
    other: str
    pairs: int
    level: int
    same: float
    chance: float
    beginning: float


def nmi(one: ArrayLike, other: ArrayLike) -> float:
    """Normalised mutual information 2 I(X;Y) / (H(X) + H(Y)) of two labelings [n]; 0 if both are constant."""
    table = contingency(one, other).astype(np.float64)
    share = table / table.sum()
    rows, columns = share.sum(1), share.sum(0)
    held = share > 0
    shared = float((share[held] * np.log(share[held] / np.outer(rows, columns)[held])).sum())
    entropies = entropy(rows) + entropy(columns)
    return 2 * shared / entropies if entropies > 0 else 0.0


def purity(codes: ArrayLike, labels: ArrayLike) -> float:
    """Share of n things whose code's commonest label is their own."""
    table = contingency(codes, labels)
    return float(table.max(1).sum() / table.sum())


def entropy(shares: ArrayLike) -> float:
    """−Σ p log p, in nats."""
    held = np.asarray(shares, dtype=np.float64)
    held = held[held > 0]
    return float(-(held * np.log(held)).sum())


def contingency(one: ArrayLike, other: ArrayLike) -> NDArray[np.int64]:
    """How often each value of one labeling meets each of the other."""
    _, rows = np.unique(np.asarray(one), return_inverse=True)
    _, columns = np.unique(np.asarray(other), return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1), np.int64)
    np.add.at(table, (rows.reshape(-1), columns.reshape(-1)), 1)
    return table


def label_measures(codes: NDArray[np.int64], labels: Labels, seed: int = 0) -> list[LabelMeasure]:
    """Each level's codes [n, M] beside one known label of the same n candidates; from level 2 on."""
    known = np.array([value != "" for value in labels.values])
    values = np.array(labels.values)[known]
    shuffled = np.random.default_rng(seed).permutation(values)
    commonest = np.unique(values, return_counts=True)[1]
    return [
        LabelMeasure(
            labels.title,
            len(values),
            len(commonest),
            level + 1,
            nmi(column, values),
            nmi(column, shuffled),
            purity(column, values),
            purity(column, shuffled),
        )
        for level, column in enumerate(codes[known].T)
        if level > 0
    ]


def agreement(
    candidates: Sequence[Candidate], codes: NDArray[np.int64], one: Modality, other: Modality
) -> list[Agreement]:
    """Same picture, two modalities: how often their codes agree, at each level from 2 on.

    A text that several pictures share is compared with the first of them.
    """
    rows = {candidate.id: row for row, candidate in enumerate(candidates)}
    pairs = np.array(
        [
            (row, rows[twin])
            for row, candidate in enumerate(candidates)
            if candidate.modality is one
            and (twin := f"{candidate.id.rpartition(':')[0]}:{other.name.lower()}") in rows
        ]
    ).reshape(-1, 2)
    if not len(pairs):
        return []
    left, right = codes[pairs[:, 0], 1:], codes[pairs[:, 1], 1:]
    same = left == right
    beginning = np.logical_and.accumulate(same, axis=1)
    return [
        Agreement(
            one.label,
            other.label,
            len(pairs),
            level + 2,
            float(same[:, level].mean()),
            _chance(left[:, level], right[:, level]),
            float(beginning[:, level].mean()),
        )
        for level in range(left.shape[1])
    ]


def _chance(left: NDArray[np.int64], right: NDArray[np.int64]) -> float:
    """Probability that codes drawn independently from both sides agree."""
    size = int(max(left.max(), right.max())) + 1
    return float(
        (np.bincount(left, minlength=size) / len(left)) @ (np.bincount(right, minlength=size) / len(right))
    )
