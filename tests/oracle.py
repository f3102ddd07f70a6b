"""The same network and search by transformers: what ours must agree with."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from genius.benchmark.generate import Generate, prefixes_of, transformers_t5
from genius.decoder import Decoder

__all__ = ["generate_ids", "prefixes_of", "transformers_t5"]


def generate_ids(
    decoder: Decoder, codes: np.ndarray, z: Tensor, width: int, *, renormalize: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Beam search by transformers for one query z [dim] among the IDs codes [n, M].

    Returns the sequences found [b, M], best first and at most `width`, and their summed log-probabilities
    [b], over the whole vocabulary or, renormalized, over what exists.
    """
    return Generate(decoder, codes, renormalize=renormalize)(z, width)
