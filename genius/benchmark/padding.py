"""Synthetic candidates: a collection made larger than it is, with addresses spread as its own are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from genius.quantizer import Quantizer

ENOUGH = 6_000
"""So many candidates tell the mean and covariance of a kind."""


@dataclass(frozen=True, eq=False)
class Cloud:
    """Candidates of one kind as a normal distribution: its share of all, mean [D], and root [D, D].

    root @ root.T is the covariance.
    """

    share: float
    mean: NDArray[np.float32]
    root: NDArray[np.float32]

    @classmethod
    def of(cls, x: NDArray[np.float32], share: float) -> Cloud:
        """The distribution of x [n, D]; a little is added to every variance, as n may be less than D."""
        mean = x.mean(0, dtype=np.float64)
        centred = x - mean.astype(np.float32)
        covariance = (centred.T @ centred).astype(np.float64) / len(x)
        covariance[np.diag_indices_from(covariance)] += 1e-7 + 1e-5 * np.trace(covariance) / len(covariance)
        root = np.linalg.cholesky(covariance)
        return cls(share, mean.astype(np.float32), root.astype(np.float32))

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Vectors [count, D]."""
        return self.mean + rng.standard_normal((count, len(self.mean)), dtype=np.float32) @ self.root.T


@dataclass(frozen=True, eq=False)
class Padding:
    """Draws candidates with the mean and covariance of a collection's, kind by kind, and codes them.

    The encoder's embedding and z are drawn together, as one vector of both: what is near in one space is
    near in the other, as it is with real candidates.
    """

    clouds: tuple[Cloud, ...]
    quantizer: Quantizer

    @classmethod
    def like(
        cls, vectors: NDArray[np.float16], codes: NDArray[np.int64], quantizer: Quantizer, seed: int = 0
    ) -> Padding:
        """Padding for a collection with unit vectors [n, d] and codes [n, M].

        z is taken to be the sum of its codewords (Eq. 6): an index keeps the codes, not z itself.
        """
        rng, clouds = np.random.default_rng(seed), []
        for kind in np.unique(codes[:, 0]):
            rows = np.flatnonzero(codes[:, 0] == kind)
            share = len(rows) / len(codes)
            rows = np.sort(rng.permutation(rows)[:ENOUGH])
            z = quantizer.decode(torch.from_numpy(codes[rows]).to(_device(quantizer))).cpu().numpy()
            clouds.append(Cloud.of(np.hstack([vectors[rows].astype(np.float32), z]), share))
        return cls(tuple(clouds), quantizer)

    @torch.inference_mode()
    def draw(self, count: int, seed: int) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        """Unit vectors [count, d] and codes [count, M] of new candidates; the same for the same seed."""
        rng = np.random.default_rng([seed, count])
        kinds = rng.choice(len(self.clouds), count, p=[cloud.share for cloud in self.clouds])
        both = np.empty((count, len(self.clouds[0].mean)), np.float32)
        for number, cloud in enumerate(self.clouds):
            rows = np.flatnonzero(kinds == number)
            both[rows] = cloud.draw(len(rows), rng)
        vectors, z = (_unit(half) for half in np.split(both, 2, axis=1))
        codes = self.quantizer.encode(torch.from_numpy(z).to(_device(self.quantizer)))
        return vectors.astype(np.float16), codes.cpu().numpy()


def _device(quantizer: Quantizer) -> torch.device:
    return quantizer.codebook(0).device


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit
