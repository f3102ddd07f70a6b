"""The decoder: from a query embedding, the log-probability of each next code of a semantic ID.

A linear map turns the embedding into a few prefix embeddings; a T5 decoder reads them by cross-attention
and writes one code per level. This room alone knows that codes are rows of an embedding table.

    t5.py      the network, as it is trained
    fused.py   the same network laid out for writing: many beams, a few codes further each time
    model.py   both, with prefix embeddings before and codes after
"""

from genius.decoder.model import Decoder, Normalizer
from genius.decoder.t5 import SPECIAL, START, DecoderConfig, RMSNorm

__all__ = ["SPECIAL", "START", "Decoder", "DecoderConfig", "Normalizer", "RMSNorm"]
