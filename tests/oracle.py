"""The same network and search by transformers: what ours must agree with."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from genius.benchmark.generate import Generate, prefixes_of, transformers_t5
from genius.decoder import Decoder

__all__ = ["generate_ids", "prefixes_of", "transformers_t5"]


def generate_ids(decoder: Decoder, codes: np.ndarray, z: Tensor, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Beam search by transformers for one query z [dim] among the IDs codes [n, M].

    Returns the sequences found [b, M], best first and at most `width`, and their summed log-probabilities
    over the whole vocabulary [b].
    """
    return Generate(decoder, codes)(z, width)
