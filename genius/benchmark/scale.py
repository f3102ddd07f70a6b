"""`benchmark scale`: the same search as the collection grows, beside Faiss where its vectors fit."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genius.beam import beam_search
from genius.benchmark.decode import LEVEL, OURS, OWN
from genius.benchmark.machine import Machine, Times, timed
from genius.benchmark.made_up import BLOCK, random_queries, zipf_ids
from genius.decoder import Decoder
from genius.trie import CodeTrie

FOUND = 10  # nearest vectors that Faiss is asked for
SOME = 100  # candidates put in and taken out again


@dataclass(frozen=True)
class Size:
    """One collection. Seconds to build its trie and the memory this took at most, as multiple of the result
    (the given codes not counted); milliseconds to insert and to remove 100 candidates; times of a search by
    way, Faiss included where it fits."""

    candidates: int
    unique_ids: int
    bytes_each: float
    build_seconds: float
    build_memory: float
    insert_ms: float
    remove_ms: float
    search: dict[str, Times]


@dataclass(frozen=True)
class ScaleReport:
    """What was measured. `flat`: the largest collection's median over the smallest's, by way."""

    machine: Machine
    beams: int
    ids: str
    sizes: tuple[Size, ...]
    flat: dict[str, float]


def measure_scale(
    decoder: Decoder,
    sizes: tuple[int, ...],
    *,
    width: int = 50,
    queries: int = 20,
    faiss_most: int = 1_000_000,
    progress: Callable[[str], None] = lambda _: None,
) -> ScaleReport:
    """Search collections of made-up IDs, query by query, each collection in turn.

    Collections of at most `faiss_most` are also searched by Faiss, exactly, as vectors of the width of z.
    """
    machine, levels = Machine.here(), decoder.config.levels
    asked = random_queries(queries + 1, decoder.config.dim).to(decoder.device)
    built, searches = [], []
    for size in sizes:
        progress(f"building {size:,}")
        trie, facts = _build(zipf_ids(size, levels, seed=size), levels)
        built.append(facts)
        ways = {way: _ours(decoder, trie, width, OURS[way]) for way in (OWN, LEVEL)}
        if size <= faiss_most:
            ways["faiss"] = _flat(size, decoder.config.dim)
        searches.append(ways)
    progress("searching")
    seconds: list[dict[str, list[float]]] = [{way: [] for way in ways} for ways in searches]
    for z in asked:
        for ways, took in zip(searches, seconds, strict=True):
            for way, search in ways.items():
                took[way].append(timed(partial(search, z))[0])
    times = [
        {way: Times.of(took[1:]) for way, took in each.items()} for each in seconds
    ]  # the first warms up
    measured = tuple(Size(**facts, search=each) for facts, each in zip(built, times, strict=True))
    flat = {way: round(times[-1][way].p50 / times[0][way].p50, 3) for way in (OWN, LEVEL)}
    described = "made up: codes of later levels in proportion to 1 / rank, each level on its own"
    return ScaleReport(machine, width, described, measured, flat)


def _build(codes: NDArray, levels: tuple[int, ...]) -> tuple[CodeTrie, dict[str, Any]]:
    """A trie and what building it took; it is built again to count memory, which takes time."""
    seconds, trie = timed(lambda: CodeTrie.build(codes, levels))
    tracemalloc.start()
    CodeTrie.build(codes, levels)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    new = np.arange(len(codes), len(codes) + SOME)
    insert, _ = timed(lambda: trie.insert(zipf_ids(SOME, levels, seed=1), new))
    remove, _ = timed(lambda: trie.remove(new))
    return trie, {
        "candidates": len(trie),
        "unique_ids": trie.unique_ids,
        "bytes_each": round(trie.nbytes / len(trie), 3),
        "build_seconds": round(seconds, 3),
        "build_memory": round(most / trie.nbytes, 2),
        "insert_ms": round(1000 * insert, 2),
        "remove_ms": round(1000 * remove, 2),
    }


def _ours(
    decoder: Decoder, trie: CodeTrie, width: int, settings: dict[str, Any]
) -> Callable[[Tensor], object]:
    return lambda z: beam_search(decoder, trie, z[None], width, **settings)


def _flat(count: int, dim: int) -> Callable[[Tensor], object]:
    """Exact search among random unit vectors by Faiss."""
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(dim)
    for begin in range(0, count, BLOCK // 8):
        index.add(random_queries(min(BLOCK // 8, count - begin), dim, seed=begin).numpy())
    return lambda z: index.search(z[None].cpu().numpy(), FOUND)
