"""Queries searched for all that is measured: exactly, by writing addresses, and re-ranked, at every width."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from genius.beam import DECIDED, beam_search
from genius.encoder import batches
from genius.engine import READERS, Engine, best_first
from genius.evaluation.coded import CodedPool
from genius.evaluation.measures import DEPTH, first_rank
from genius.evaluation.queries import Asked
from genius.images import open_image
from genius.schema import Query, UserError
from genius.trie import CodeTrie

BATCH = 32
"""How many queries are encoded and decoded at once."""

CHUNK = 1 << 16
"""How many vectors are compared at once."""


@dataclass(frozen=True, eq=False)
class Searched:
    """What is searched: some rows [m] of a pool, and the trie of their addresses."""

    rows: NDArray[np.int64]
    trie: CodeTrie

    @classmethod
    def of(cls, engine: Engine, coded: CodedPool, rows: NDArray[np.int64]) -> Searched:
        """Those of the rows that are usable."""
        rows = rows[coded.usable[rows]]
        return cls(rows, CodeTrie.build(coded.codes[rows], engine.bundle.quantizer.config.levels, rows))


@dataclass(frozen=True, eq=False)
class Found:
    """What n queries found in S pools at W beam widths.

    usable [n]: false where the query's picture could not be opened; exact [n, S], genius and reranked
    [n, S, W]: rank of the first positive, 0 if it is not among the first; in_beam [n, S, W]: whether any
    positive was found at all; first_code [n, S]: whether the likeliest first code is the one asked for;
    first_answer [n, S, W]: whether the best address starts with it.
    """

    usable: NDArray[np.bool_]
    exact: NDArray[np.int64]
    genius: NDArray[np.int64]
    reranked: NDArray[np.int64]
    in_beam: NDArray[np.bool_]
    first_code: NDArray[np.bool_]
    first_answer: NDArray[np.bool_]

    @classmethod
    def nothing(cls, queries: int, pools: int, widths: int) -> Found:
        """To be filled in."""
        three = (queries, pools, widths)
        return cls(
            np.ones(queries, bool),
            np.zeros(three[:2], np.int64),
            np.zeros(three, np.int64),
            np.zeros(three, np.int64),
            np.zeros(three, bool),
            np.zeros(three[:2], bool),
            np.zeros(three, bool),
        )


def search_all(
    engine: Engine,
    coded: CodedPool,
    pools: Sequence[Searched],
    queries: Sequence[Asked],
    widths: Sequence[int],
) -> Found:
    """Search every pool for every query."""
    found = Found.nothing(len(queries), len(pools), len(widths))
    clip, z = _encode(engine, queries, found.usable)
    places = np.flatnonzero(found.usable).tolist()
    for p, pool in enumerate(pools):
        nearest = exact_rows(clip, coded.vectors, pool.rows, DEPTH)
        for place, rows in zip(places, nearest, strict=True):
            found.exact[place, p] = first_rank(rows, queries[place].positives)
        for part in batches(len(places), BATCH):
            asked = [(place, queries[place]) for place in places[part]]
            vectors = clip[part].cpu().numpy()
            for w, width in enumerate(widths):
                results = beam_search(engine.bundle.decoder, pool.trie, z[part], width, decided=DECIDED)
                for (place, query), vector, beams in zip(asked, vectors, results, strict=True):
                    rows, beam = beams.rows(pool.trie)
                    scores = coded.vectors[rows].astype(np.float32) @ vector
                    for rerank, ranks in ((False, found.genius), (True, found.reranked)):
                        order = best_first(beams.log_probs[beam], scores, rerank=rerank)
                        ranks[place, p, w] = first_rank(rows[order], query.positives)
                    found.in_beam[place, p, w] = np.isin(rows, query.positives).any()
                    found.first_code[place, p] = beams.trace[0].kept[0].prefix[0] == query.task.target
                    found.first_answer[place, p, w] = beams.codes[0, 0] == query.task.target
    return found


def _encode(engine: Engine, queries: Sequence[Asked], usable: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Unit vectors and z [k, d] of the queries whose picture can be opened; notes in `usable` which can."""
    clip, z = [], []
    for part in batches(len(queries), BATCH):
        with ThreadPoolExecutor(READERS) as readers:
            images = list(readers.map(_open, [query.image for query in queries[part]]))
        asked = []
        for place, image in enumerate(images, part.start):
            if isinstance(image, UserError):
                usable[place] = False
            else:
                asked.append(Query(image, queries[place].text, queries[place].instruction))
        if asked:
            features = engine.encode(asked)
            clip.append(features.embedding())
            z.append(engine.fuse(features))
    nothing = torch.zeros(0, engine.bundle.encoder.dim, device=engine.bundle.encoder.device)
    return torch.cat([nothing, *clip]), torch.cat([nothing, *z])


def _open(path: Path | None) -> Image.Image | UserError | None:
    try:
        return None if path is None else open_image(path)
    except UserError as error:
        return error


def exact_rows(
    queries: Tensor, vectors: NDArray[np.float16], rows: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Of some rows, the `count` [B, k] whose vectors are nearest to unit queries [B, d], best first."""
    scores = torch.empty(len(queries), 0, device=queries.device)
    found = torch.empty(len(queries), 0, dtype=torch.long, device=queries.device)
    for part in batches(len(rows), CHUNK):
        chunk = torch.from_numpy(vectors[rows[part]]).to(queries.device).float()
        place = torch.from_numpy(rows[part]).to(queries.device).expand(len(queries), -1)
        scores, found = torch.cat([scores, queries @ chunk.T], dim=1), torch.cat([found, place], dim=1)
        scores, best = scores.topk(min(count, scores.shape[1]), dim=1)
        found = found.gather(1, best)
    return found.cpu().numpy()
