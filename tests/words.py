"""An engine of a few captions whose codes are known beforehand, for tests of what codes mean. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genius.index import CandidateIndex
from genius.schema import Candidate, Modality, Query

LEVELS = (3, 4, 4)
DIM = 6
ANIMALS = ("cat", "black cat", "cat on a mat", "a sleeping cat", "white cat")
VEHICLES = ("red car", "car", "race car", "a fast car", "old car")


def make_books(seed: int = 0) -> tuple[NDArray[np.float32], ...]:
    """Codewords of three levels, each level's shorter than those of the one before."""
    rng = np.random.default_rng(seed)
    return tuple((0.6**n * rng.normal(size=(size, DIM))).astype(np.float32) for n, size in enumerate(LEVELS))


@dataclass(frozen=True)
class Placed:
    """Where queries are."""

    clip: NDArray[np.float32]
    z: NDArray[np.float32]


class Words:
    """What `explain` and the page need of an engine. At level 2, cats have code 1, the rest code 2."""

    folder = None
    notes: tuple[str, ...] = ()

    def __init__(self, captions: tuple[str, ...]) -> None:
        self.codebooks = make_books()
        candidates, codes = [], []
        for n, caption in enumerate(captions):
            main = 1 if "cat" in caption else 2
            for kind in Modality:
                image = None if kind is Modality.TEXT else Path(f"{n}.png")
                text = None if kind is Modality.IMAGE else caption
                candidates.append(Candidate(f"c/{n}:{kind.name.lower()}", kind, text, image, "c"))
                codes.append((int(kind), main, n % 4))
        self.candidates = candidates
        self._z = sum(book[column] for book, column in zip(self.codebooks, np.array(codes).T, strict=True))
        vectors = self._z / np.linalg.norm(self._z, axis=1, keepdims=True)
        self.index = CandidateIndex.build(candidates, np.array(codes), vectors, LEVELS)

    def fused(self, candidates: list[Candidate], progress: object = None) -> NDArray[np.float32]:
        """z of candidates: the sums of their codewords."""
        return self._z[[self.index.row(candidate.id) for candidate in candidates]]

    def embed(self, queries: list[Query]) -> Placed:
        """Texts lie at the codeword of what they name."""
        main = [1 if "cat" in query.text else 2 if "car" in query.text else 3 for query in queries]
        z = self.codebooks[0][Modality.TEXT] + self.codebooks[1][main]
        return Placed(z, z)
