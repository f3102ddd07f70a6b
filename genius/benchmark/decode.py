"""`benchmark decode`: one query after the other, ours and transformers' turn by turn."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genius.beam import beam_search
from genius.benchmark.generate import Generate
from genius.benchmark.machine import Machine, Times, timed
from genius.benchmark.made_up import random_queries
from genius.decoder import Decoder, DecoderConfig
from genius.trie import CodeTrie

Found = tuple[NDArray, NDArray]  # IDs [b, M] and their log-probs [b]
Search = Callable[[Tensor], Found]

GENERATE, OWN, LEVEL, SAME = "generate", "as the engine", "among the level", "as generate"
OURS: dict[str, dict[str, Any]] = {
    OWN: {},
    LEVEL: {"normalizer": "level"},
    SAME: {"normalizer": "vocabulary"},
}
"""Codes compete with existing ones, which is over once the IDs are certain; with all of their level; with the
whole vocabulary, as transformers has it."""

TOLERANCE = 1e-4
BATCH = 32


@dataclass(frozen=True)
class Agreement:
    """A search beside another: share of its IDs that the other has, and how far their log-probs differ."""

    other: str
    shared: float
    difference: float


@dataclass(frozen=True)
class Row:
    """One way to search at one beam width; `faster` is generate's median divided by its own."""

    way: str
    dtype: str
    beams: int
    times: Times
    faster: float
    agreement: Agreement | None = None


@dataclass(frozen=True)
class Floor:
    """What the products of a float32 search with log-probs take by themselves, at the widest beam.

    `operations` in 10⁹, two for each multiply-add; `rate`, in 10⁹ a second, is that of one product alone.
    """

    operations: float
    rate: float
    ms: float


@dataclass(frozen=True)
class DecodeReport:
    """What was measured. `per_second`: queries a second at the widest beam, by way and batch size."""

    machine: Machine
    weights: str
    ids: int
    rows: tuple[Row, ...]
    floor: Floor
    per_second: dict[str, dict[int, float]]

    @property
    def equal(self) -> bool:
        """Whether ours found the IDs that generate found, with the same log-probs."""
        pairs = [row.agreement for row in self.rows if row.way == SAME and row.dtype == "float32"]
        return all(pair is not None and pair.shared == 1 and pair.difference <= TOLERANCE for pair in pairs)


def measure_decode(
    decoder: Decoder,
    codes: NDArray,
    weights: str,
    *,
    beams: tuple[int, ...] = (1, 10, 30, 50),
    queries: int = 10,
    half: bool = False,
) -> DecodeReport:
    """Search among the IDs codes [n, M] with a decoder called `weights`; `half` adds bfloat16 to float32."""
    machine, trie = Machine.here(), CodeTrie.build(codes, decoder.config.levels)
    decoders = {"float32": decoder}
    if half:
        decoders["bfloat16"] = copy.deepcopy(decoder).to(torch.bfloat16)
    asked = random_queries(queries + 1, decoder.config.dim).to(decoder.device)
    generate = Generate(decoder, codes)
    rows: list[Row] = []
    for width in beams:
        searches: dict[tuple[str, str], Search] = {
            (GENERATE, "float32"): partial(generate, width=width),
            **{
                (way, dtype): _ours(decoders[dtype], trie, width, settings)
                for dtype in decoders
                for way, settings in OURS.items()
            },
        }
        rows += _race(searches, asked, width)
    per_second = {
        f"{way}, {dtype}": _per_second(decoders[dtype], trie, max(beams), OURS[way])
        for dtype in decoders
        for way in (OWN, LEVEL)
    }
    floor = _floor(decoder.config, max(beams), decoder.device)
    return DecodeReport(machine, weights, len(codes), tuple(rows), floor, per_second)


def _ours(decoder: Decoder, trie: CodeTrie, width: int, settings: dict[str, Any]) -> Search:
    def search(z: Tensor) -> Found:
        [result] = beam_search(decoder, trie, z[None], width, **settings)
        return result.codes, result.log_probs

    return search


def _race(searches: dict[tuple[str, str], Search], asked: Tensor, width: int) -> list[Row]:
    """Every query by every search in turn; the first query warms up and does not count."""
    runs = {key: [timed(partial(search, z)) for z in asked[:1]] for key, search in searches.items()}
    for z in asked[1:]:
        for key, search in searches.items():
            runs[key].append(timed(partial(search, z)))
    times = {key: Times.of([took for took, _ in run[1:]]) for key, run in runs.items()}
    found = {key: [result for _, result in run] for key, run in runs.items()}
    reference = times[GENERATE, "float32"].p50
    rows = []
    for way, dtype in searches:
        other = _other(way, dtype)
        agreement = other and _agreement(found[way, dtype], found[other], " ".join(other))
        own = times[way, dtype]
        rows.append(Row(way, dtype, width, own, round(reference / own.p50, 2), agreement))
    return rows


def _other(way: str, dtype: str) -> tuple[str, str] | None:
    """What a search is compared with."""
    if dtype != "float32":
        return way, "float32"
    return (GENERATE, dtype) if way == SAME else None


def _agreement(found: list[Found], others: list[Found], name: str) -> Agreement:
    shares, differences = [], [0.0]
    for (ids, log_probs), (other_ids, other_log_probs) in zip(found, others, strict=True):
        known = dict(zip(map(tuple, other_ids.tolist()), other_log_probs.tolist(), strict=True))
        both = [
            (known[i], own)
            for i, own in zip(map(tuple, ids.tolist()), log_probs.tolist(), strict=True)
            if i in known
        ]
        shares.append(len(both) / max(len(ids), len(other_ids)))
        differences += [abs(theirs - own) for theirs, own in both]
    return Agreement(name, round(float(np.mean(shares)), 4), max(differences))


def _per_second(decoder: Decoder, trie: CodeTrie, width: int, settings: dict[str, Any]) -> dict[int, float]:
    """Queries a second, by batch size."""
    z = random_queries(BATCH, decoder.config.dim, seed=1).to(decoder.device)
    rates = {}
    for size in (1, BATCH):
        beam_search(decoder, trie, z[:size], width, **settings)
        parts = z.split(size)

        def all_parts(parts: Sequence[Tensor] = parts) -> list[object]:
            return [beam_search(decoder, trie, part, width, **settings) for part in parts]

        took, _ = timed(all_parts)
        rates[size] = round(BATCH / took, 2)
    return rates


def operations(config: DecoderConfig, width: int) -> float:
    """Operations of a search with log-probs, two for each multiply-add, in matrix products alone.

    The first code is written once for all of its values, every later one by `width` beams.
    """
    c, inner = config, config.heads * config.head_width
    prefixes = c.prefixes * c.heads
    row = c.layers * (4 * c.width * inner + 2 * prefixes * c.width + 2 * c.width * c.feed_forward)
    reading = c.dim * c.prefixes * c.width + c.layers * 4 * c.prefixes * c.width * inner
    rows = 2 * c.levels[0] + width * (len(c.levels) - 2)
    beams = (1, c.levels[0], *[width] * (len(c.levels) - 2))  # that a level's codes are weighed for
    logits = sum(count * size * c.width for count, size in zip(beams, c.levels, strict=True))
    return 2.0 * (reading + rows * row + logits)


def _floor(config: DecoderConfig, width: int, device: torch.device) -> Floor:
    rate = _rate(width, config.width, config.feed_forward, device)
    total = operations(config, width)
    return Floor(round(total / 1e9, 2), round(rate / 1e9, 1), round(1000 * total / rate, 1))


@torch.inference_mode()
def _rate(rows: int, width: int, columns: int, device: torch.device, seconds: float = 0.5) -> float:
    """Operations a second of the feed-forward map's product with some rows, the best of several runs.

    Its weights lie in more memory than a cache holds, as the layers' do.
    """
    weights = [torch.randn(columns, width, device=device) for _ in range(24)]
    x, best, end = torch.randn(rows, width, device=device), float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < end:
        took, _ = timed(lambda: [torch.nn.functional.linear(x, weight) for weight in weights][-1].cpu())
        best = min(best, took)
    return 2.0 * rows * width * columns * len(weights) / best
