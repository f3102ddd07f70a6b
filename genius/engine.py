"""The engine: a model and an index that answer queries. `search` reads as the sentence it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from genius.beam import DECIDED, BeamResult, beam_search
from genius.checkpoint import Bundle, load_bundle
from genius.encoder import Features, batches
from genius.hub import local_index
from genius.images import open_image
from genius.index import SHIPPED_INDEX, CandidateIndex, is_index, read_header
from genius.instructions import format_text, instructed_text
from genius.schema import Candidate, Hit, Query, SearchOptions, SearchResult, Timings, UserError
from genius.sources import ALL, COLLECTIONS, Collection, indexed_source, open_collection, source_name

MINUS = 0.5  # how much of the `minus` text's feature is taken from the query's
READERS = min(8, os.cpu_count() or 1)  # threads that read pictures; decoding lets others work

DEFAULTS = SearchOptions()

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Coded:
    """Candidates as an index stores them: codes [n, M] and re-ranking vectors [n, d]."""

    codes: NDArray[np.int64]
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Embedded:
    """Unit vectors of queries: the encoder's embedding [B, d], and z [B, d]."""

    clip: NDArray[np.float32]
    z: NDArray[np.float32]


class Engine:
    """Answers queries on one collection."""

    def __init__(
        self,
        bundle: Bundle,
        index: CandidateIndex,
        notes: tuple[str, ...] = (),
        folder: Path | None = None,
    ) -> None:
        """`folder` is where the index was opened from, if it was."""
        self.bundle = bundle
        self.index = index
        self.notes = notes
        self.folder = folder

    @classmethod
    def load(
        cls,
        bundle: str | Path,
        collection: str | Path = ALL,
        device: str | torch.device | None = None,
        progress: Progress | None = None,
    ) -> Engine:
        """Open a bundle and a collection: what `open_collection` opens, or a folder `genius index` wrote.

        Bundle and index may lie on the hub (`hub:owner/name[@revision]`). The shipped collections come with
        an index; another collection is encoded now, which `progress` (done, all) follows.

        Raises
        ------
        UserError
            If the bundle, the collection or its index cannot be opened.
        """
        model = load_bundle(bundle, device)
        folder = local_index(collection)
        if is_index(folder):
            source = indexed_source(collection, read_header(folder).source)
            return cls._with_index(model, folder, open_collection(source), source)
        found = open_collection(collection)
        if source_name(collection) in (*COLLECTIONS, ALL) and _shipped_fingerprint() == model.fingerprint:
            return cls._with_index(model, SHIPPED_INDEX, found, found.name)
        engine = cls(
            model, CandidateIndex.empty(model.quantizer.config.levels, model.encoder.dim), found.notes
        )
        engine.add(found.candidates, progress)
        return engine

    @classmethod
    def _with_index(cls, model: Bundle, folder: Path, found: Collection, source: str) -> Engine:
        index = CandidateIndex.open(folder, {c.id: c for c in found.candidates}, model.fingerprint)
        if not len(index):
            raise UserError(
                f"Nothing of the index {folder} is in the collection {found.name}. Build it again."
            )
        notes = found.notes
        if new := len(found.candidates) - len(index):
            notes += (
                f"{new} candidates are not in the index yet: python -m genius index {source} --out FOLDER",
            )
        return cls(model, index, notes, folder)

    @property
    def candidates(self) -> list[Candidate]:
        """All candidates that can be found."""
        return self.index.present

    def candidate(self, candidate_id: str) -> Candidate:
        """A candidate by id; UserError if it is not in this collection."""
        return self.index.candidates[self.index.row(candidate_id)]

    def search(self, queries: Sequence[Query], options: SearchOptions = DEFAULTS) -> list[SearchResult]:
        """Encode → fuse → write IDs on the trie → re-rank what they name → results, one per query."""
        clock = _Clock(len(queries), self.bundle.fusion.output.weight.device)
        features = self.encode(queries)
        clock.lap("encode")
        z = self.fuse(features)
        clock.lap("fuse")
        beams = beam_search(
            self.bundle.decoder,
            self.index.trie,
            z,
            options.beams,
            prefix=options.prefix,
            decided=DECIDED,
        )
        clock.lap("decode")
        embeddings = features.embedding().cpu().numpy()
        hits = [self._rank(beam, vector, options) for beam, vector in zip(beams, embeddings, strict=True)]
        clock.lap("rerank")
        timings = clock.timings()
        return [
            SearchResult(query, found, beam.trace, timings)
            for query, found, beam in zip(queries, hits, beams, strict=True)
        ]

    def exact_search(self, queries: Sequence[Query], options: SearchOptions = DEFAULTS) -> list[SearchResult]:
        """CLIP alone: encode, then compare with every candidate's vector. Writes no IDs, keeps no trace."""
        clock = _Clock(len(queries), self.bundle.fusion.output.weight.device)
        embeddings = self.encode(queries).embedding().cpu().numpy()
        clock.lap("encode")
        found = self.index.exact(embeddings, options.top_k, options.prefix)
        hits = [
            self._hits(rows, self.index.score(vector, rows), self.index.codes(rows), [None] * len(rows))
            for vector, rows in zip(embeddings, found, strict=True)
        ]
        clock.lap("rerank")
        timings = clock.timings()
        return [SearchResult(query, hit, (), timings) for query, hit in zip(queries, hits, strict=True)]

    def encode(self, queries: Sequence[Query]) -> Features:
        """Encoder features of queries; the text side reads instruction and text (and loses `minus`)."""
        for query in queries:
            query.modality  # noqa: B018  raises UserError for an empty query
        texts = [instructed_text(query.instruction, query.text) for query in queries]
        features = self.bundle.encoder.encode([query.image for query in queries], texts)
        without = [format_text(query.minus) for query in queries]
        if not any(without):
            return features
        taken = self.bundle.encoder.encode([None] * len(queries), without)
        return Features(
            features.image,
            features.text - MINUS * taken.text,
            features.has_image,
            features.has_text | taken.has_text,
        )

    @torch.inference_mode()
    def fuse(self, features: Features) -> Tensor:
        """z [B, d] of features."""
        return self.bundle.fusion(features.image, features.text)

    @property
    def codebooks(self) -> tuple[NDArray[np.float32], ...]:
        """The codewords [K, d] of each level."""
        quantizer = self.bundle.quantizer
        return tuple(quantizer.codebook(level).cpu().numpy() for level in range(len(quantizer.config.levels)))

    def embed(self, queries: Sequence[Query]) -> Embedded:
        """Where queries are in the encoder's space and in the fused one."""
        features = self.encode(queries)
        return Embedded(features.embedding().cpu().numpy(), self.fuse(features).cpu().numpy())

    def fused(self, candidates: Sequence[Candidate], progress: Progress | None = None) -> NDArray[np.float32]:
        """z [n, d] of candidates."""
        features = self.features(candidates, progress)
        parts = [
            self.fuse(Features(*(part[rows] for part in vars(features).values()))).cpu()
            for rows in batches(len(features), 4096)
        ]
        return torch.cat(parts).numpy()

    def within(self, candidate_ids: Sequence[str]) -> Engine:
        """An engine that finds only these candidates; UserError if one is not in this collection."""
        chosen = {candidate_id: self.candidate(candidate_id) for candidate_id in candidate_ids}
        return Engine(self.bundle, self.index.restricted(chosen), self.notes)

    @torch.inference_mode()
    def address(self, queries: Sequence[Query]) -> Coded:
        """Codes and vectors of queries: where they would be filed if they were candidates."""
        features = self.encode(queries)
        codes = self.bundle.quantizer.encode(self.fuse(features))
        return Coded(codes.cpu().numpy(), features.embedding().cpu().numpy())

    def add(self, candidates: Sequence[Candidate], progress: Progress | None = None) -> None:
        """Encode, quantize and file new candidates."""
        if not candidates:
            return
        coded = self.code(candidates, progress)
        self.index.add(candidates, coded.codes, coded.vectors)

    @torch.inference_mode()
    def features(
        self, candidates: Sequence[Candidate], progress: Progress | None = None, batch: int | None = None
    ) -> Features:
        """Encoder features of candidates; every distinct picture and text is encoded once.

        While one batch is encoded, the next one's pictures are read from disk.
        """
        encoder = self.bundle.encoder
        batch = batch or (32 if encoder.device.type == "cpu" else 128)
        paths = list(dict.fromkeys(c.image for c in candidates if c.image is not None))
        texts = sorted({format_text(c.text) for c in candidates if c.text}, key=len)
        total, done = len(paths) + len(texts), 0
        image_rows = torch.zeros(len(paths), encoder.dim, device=encoder.device)
        text_rows = torch.zeros(len(texts), encoder.dim, device=encoder.device)
        parts = list(batches(len(paths), batch))
        for part, images in zip(parts, _read_ahead([paths[part] for part in parts]), strict=True):
            image_rows[part] = encoder.encode_images(images)
            done = _report(progress, done + part.stop - part.start, total)
        for part in batches(len(texts), 8 * batch):
            text_rows[part] = encoder.encode_texts(texts[part])
            done = _report(progress, done + part.stop - part.start, total)
        return _gather(candidates, paths, texts, image_rows, text_rows)

    @torch.inference_mode()
    def code(
        self, candidates: Sequence[Candidate], progress: Progress | None = None, batch: int | None = None
    ) -> Coded:
        """Codes and re-ranking vectors of candidates."""
        features = self.features(candidates, progress, batch)
        codes, vectors = [], []
        for part in batches(len(candidates), 4096):
            image, text = features.image[part], features.text[part]
            codes.append(self.bundle.quantizer.encode(self.bundle.fusion(image, text)).cpu())
            vectors.append(F.normalize(image + text, dim=-1).cpu())
        return Coded(torch.cat(codes).numpy(), torch.cat(vectors).numpy())

    def _rank(
        self, beams: BeamResult, vector: NDArray[np.float32], options: SearchOptions
    ) -> tuple[Hit, ...]:
        rows, scores, beam = rank(self.index, beams, vector, options)
        return self._hits(rows, scores, beams.codes[beam], beams.log_probs[beam].tolist())

    def _hits(
        self,
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        codes: NDArray[np.int64],
        log_probs: Sequence[float | None],
    ) -> tuple[Hit, ...]:
        found = zip(rows, codes.tolist(), scores, log_probs, strict=True)
        return tuple(
            Hit(rank, self.index.candidates[row], tuple(semantic_id), float(score), log_prob)
            for rank, (row, semantic_id, score, log_prob) in enumerate(found, 1)
        )


def rank(
    index: CandidateIndex, beams: BeamResult, vector: NDArray[np.float32], options: SearchOptions
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Put in order what the beams of one query name, given its unit embedding [d].

    Returns the best candidates' rows [k], their cosines [k], and which beam named each [k].
    """
    rows, beam = beams.rows(index.trie)
    log_probs, scores = beams.log_probs[beam], index.score(vector, rows)
    order = best_first(log_probs, scores, rerank=options.rerank)[: options.top_k]
    return rows[order], scores[order], beam[order]


def best_first(
    log_probs: NDArray[np.float32], scores: NDArray[np.float32], *, rerank: bool
) -> NDArray[np.int64]:
    """Order [c] of found candidates: by cosine or by the decoder's log-probs; the other settles ties."""
    return np.lexsort((-log_probs, -scores) if rerank else (-scores, -log_probs))


def _gather(
    candidates: Sequence[Candidate],
    paths: Sequence[Path],
    texts: Sequence[str],
    images: Tensor,
    words: Tensor,
) -> Features:
    """Features of candidates from those of their distinct pictures and texts."""
    path_row = {path: row for row, path in enumerate(paths)}
    text_row = {text: row for row, text in enumerate(texts)}
    has_image = torch.tensor([c.image is not None for c in candidates], device=images.device)
    has_text = torch.tensor([bool(c.text) for c in candidates], device=images.device)
    image = images.new_zeros(len(candidates), images.shape[1])
    text = torch.zeros_like(image)
    image[has_image] = images[[path_row[c.image] for c in candidates if c.image is not None]]
    text[has_text] = words[[text_row[format_text(c.text)] for c in candidates if c.text]]
    return Features(image, text, has_image, has_text)


def _read_ahead(batches: Sequence[Sequence[Path]]) -> Iterator[list[Image.Image]]:
    """The pictures of each batch; those of the next are read meanwhile."""
    with ThreadPoolExecutor(READERS) as pool:
        coming = [pool.submit(open_image, path) for path in batches[0]] if batches else []
        for place in range(len(batches)):
            ready = coming
            following = batches[place + 1] if place + 1 < len(batches) else ()
            coming = [pool.submit(open_image, path) for path in following]
            yield [future.result() for future in ready]


def _shipped_fingerprint() -> str | None:
    """Which model the shipped index belongs to."""
    return read_header(SHIPPED_INDEX).fingerprint if is_index(SHIPPED_INDEX) else None


def _report(progress: Progress | None, done: int, total: int) -> int:
    if progress is not None:
        progress(done, total)
    return done


class _Clock:
    """Stage times of a batch, shared out among its queries."""

    def __init__(self, queries: int, device: torch.device) -> None:
        self._queries, self._device = max(1, queries), device
        self._laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """The stage ends now."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self._laps[stage] = 1000 * (now - self._last) / self._queries
        self._last = now

    def timings(self) -> Timings:
        """What was measured."""
        return Timings(**self._laps)
