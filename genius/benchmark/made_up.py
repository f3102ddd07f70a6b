"""Decoders and IDs to measure with, where no trained model of that size is at hand."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from genius.decoder import Decoder, DecoderConfig

BLOCK = 1 << 20
PAPER = DecoderConfig(
    levels=(3, *[4096] * 8),
    dim=768,
    width=512,
    layers=6,
    heads=8,
    head_width=64,
    feed_forward=2048,
    prefixes=30,
)
"""The published decoder: T5-small's, 3 + 8 x 4096 codes."""


def random_decoder(config: DecoderConfig, seed: int = 0) -> Decoder:
    """A decoder of random weights: as fast as a trained one."""
    torch.manual_seed(seed)
    return Decoder(config).eval()


def random_queries(count: int, dim: int, seed: int = 0) -> Tensor:
    """Unit vectors [count, dim]."""
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


def zipf_ids(count: int, levels: tuple[int, ...], seed: int = 0) -> NDArray[np.uint16]:
    """Codes [count, M], each level drawn on its own.

    A later level's code of rank r = 1 … K is drawn in proportion to 1 / r, the ranks being shuffled, every
    seed alike; the codes of the first level are equally frequent.
    """
    rng = np.random.default_rng(seed)
    ids = np.empty((count, len(levels)), dtype=np.uint16)
    for level, size in enumerate(levels):
        shares = np.ones(size) if level == 0 else 1 / np.arange(1, size + 1)
        below = np.cumsum(shares) / shares.sum()
        names = np.random.default_rng(level).permutation(size).astype(np.uint16)
        for begin in range(0, count, BLOCK):
            drawn = rng.random(min(BLOCK, count - begin))
            ids[begin : begin + BLOCK, level] = names[np.minimum(np.searchsorted(below, drawn), size - 1)]
    return ids
