"""Works out an explanation: a pass of the encoder over the collection, words for names, and UMAP for maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genius.explain import maps, names
from genius.explain.atlas import Atlas, Prefix, codes_of
from genius.explain.explanation import ADDRESS, CLIP, FUSED, Explanation, after
from genius.explain.labels import groceries, known_labels
from genius.explain.measures import Agreement, LabelMeasure, agreement, label_measures
from genius.index import CandidateIndex
from genius.schema import Candidate, Modality, Query

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is, and of how much."""


class Embedded(Protocol):
    """What an engine knows of queries."""

    @property
    def clip(self) -> NDArray[np.float32]:
        """The encoder's embeddings [B, d]."""

    @property
    def z(self) -> NDArray[np.float32]:
        """Fused vectors [B, d]."""


class Embedder(Protocol):
    """The part of `genius.engine.Engine` that is needed here."""

    @property
    def index(self) -> CandidateIndex:
        """What can be found."""

    @property
    def codebooks(self) -> tuple[NDArray[np.float32], ...]:
        """The codewords [K, d] of each level."""

    def embed(self, queries: Sequence[Query]) -> Embedded:
        """Where queries are in the encoder's space and in the fused one."""

    def fused(
        self, candidates: Sequence[Candidate], progress: Callable[[int, int], None] | None = None
    ) -> NDArray[np.float32]:
        """z [n, d] of candidates."""


def explain(engine: Embedder, progress: Progress, *, with_maps: bool = True) -> Explanation:
    """Everything about the codes of an engine's index, in some minutes for twenty thousand candidates."""
    index, books = engine.index, engine.codebooks
    z = engine.fused(index.candidates, lambda done, all_: progress("reading pictures and texts", done, all_))
    codes = index.codes(np.arange(len(z)))
    residuals = residual_lengths(z, codes, books)
    named, anywhere = _names(engine, codes, progress)
    mapped = maps.sample(len(z))
    laid_out = _maps(index, Atlas(index, residuals, books), z, mapped, progress) if with_maps else {}
    labels, agreements = measure(index.candidates, codes)
    return Explanation(
        residuals.astype(np.float16), named, anywhere, mapped, laid_out, labels, agreements, maps.SETTINGS
    )


def named_again(explanation: Explanation, engine: Embedder, progress: Progress) -> Explanation:
    """The same with new names: captions alone are read, no pictures."""
    codes = engine.index.codes(np.arange(len(explanation.residuals)))
    named, anywhere = _names(engine, codes, progress)
    return replace(explanation, names=named, anywhere=anywhere)


def residual_lengths(
    z: NDArray[np.float32], codes: NDArray[np.int64], books: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """|z − sum of the first m codewords| [n, M] for m = 1 … M, of z [n, d] with codes [n, M]."""
    residual, lengths = z.copy(), np.empty(codes.shape, np.float32)
    for level, book in enumerate(books):
        residual -= book[codes[:, level]]
        lengths[:, level] = np.linalg.norm(residual, axis=1)
    return lengths


def measure(
    candidates: Sequence[Candidate], codes: NDArray[np.int64]
) -> tuple[tuple[LabelMeasure, ...], tuple[Agreement, ...]]:
    """Codes beside every known label, and the codes of a picture beside those of its words."""
    pictures = np.array([candidate.modality is Modality.IMAGE for candidate in candidates])
    shown = [candidate for candidate in candidates if candidate.modality is Modality.IMAGE]
    labels = [one for kind in known_labels(shown) for one in label_measures(codes[pictures], kind)]
    agreements = [one for pair in combinations(Modality, 2) for one in agreement(candidates, codes, *pair)]
    return tuple(labels), tuple(agreements)


def with_groceries(
    explanation: Explanation, engine: Embedder, folder: Path, progress: Progress
) -> Explanation:
    """The same, with measures of labelled photographs that are not part of the index."""
    shown, kinds = groceries(folder)
    z = engine.fused(shown, lambda done, all_: progress("reading groceries", done, all_))
    codes = codes_of(z, engine.codebooks)
    more = tuple(one for kind in kinds for one in label_measures(codes, kind))
    return replace(explanation, labels=explanation.labels + more)


def _names(
    engine: Embedder, codes: NDArray[np.int64], progress: Progress
) -> tuple[dict[Prefix, names.Name], dict[tuple[int, int], names.Name]]:
    progress("naming codes", 0, 1)
    return names.name_codes(engine.index.candidates, codes, engine.codebooks, _embed_terms(engine, progress))


def _embed_terms(engine: Embedder, progress: Progress) -> names.EmbedTerms:
    def embed(terms: Sequence[str]) -> NDArray[np.float32]:
        parts = []
        for begin in range(0, len(terms), 256):
            parts.append(engine.embed([Query(text=term) for term in terms[begin : begin + 256]]).z)
            progress("reading words", min(begin + 256, len(terms)), len(terms))
        return np.concatenate(parts)

    return embed


def _maps(
    index: CandidateIndex, atlas: Atlas, z: NDArray[np.float32], mapped: NDArray[np.int64], progress: Progress
) -> dict[str, NDArray[np.uint16]]:
    total, levels = 3 + len(atlas.levels), range(1, len(atlas.levels) + 1)
    progress("laying out maps", 0, total)
    fused = maps.lay_out(z[mapped])
    progress("laying out maps", 1, total)
    found = {FUSED: fused, CLIP: maps.lay_out(index.vectors[mapped].astype(np.float32), fused)}
    progress("laying out maps", 2, total)
    found[ADDRESS] = maps.lay_out(atlas.sums(len(atlas.levels))[mapped], fused)
    for level in levels:
        progress("laying out maps", 2 + level, total)
        found[after(level)] = maps.place_all(atlas.sums(level)[mapped], z[mapped], fused)
    progress("laying out maps", total, total)
    return found
