"""Beam search against transformers' own, and against brute force."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracle import generate_ids
from torch import Tensor

from genius.beam import TRACE_DROPPED, TRACE_KEPT, BeamResult, Competitors, beam_search
from genius.checkpoint import load_bundle
from genius.decoder import Decoder, DecoderConfig
from genius.schema import UserError
from genius.trie import CodeTrie

LEVELS = (3, 6, 6, 5)
NORMALIZERS: tuple[Competitors, ...] = ("existing", "level", "vocabulary")
OF_TRANSFORMERS: dict[Competitors, bool] = {"vocabulary": False, "existing": True}
"""Our normalizers, and whether transformers is to renormalize to do the same."""


def tiny_decoder(levels: tuple[int, ...] = LEVELS, seed: int = 0) -> Decoder:
    torch.manual_seed(seed)
    sizes = {
        "dim": 12,
        "width": 16,
        "layers": 2,
        "heads": 2,
        "head_width": 8,
        "feed_forward": 24,
        "prefixes": 4,
    }
    return Decoder(DecoderConfig(levels=levels, **sizes)).eval()


def queries(decoder: Decoder, batch: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(batch, decoder.config.dim, generator=rng), dim=-1)


def uniform(rng: np.random.Generator, count: int, levels: tuple[int, ...]) -> np.ndarray:
    return np.stack([rng.integers(0, size, count) for size in levels], axis=1)


def skewed(rng: np.random.Generator, count: int, levels: tuple[int, ...]) -> np.ndarray:
    return np.stack([np.minimum(rng.geometric(0.5, count) - 1, size - 1) for size in levels], axis=1)


def one_modality(rng: np.random.Generator, count: int, levels: tuple[int, ...]) -> np.ndarray:
    codes = uniform(rng, count, levels)
    codes[:, 0] = 1
    return codes


def two_modalities(rng: np.random.Generator, count: int, levels: tuple[int, ...]) -> np.ndarray:
    """Many in the one, a single candidate in the other."""
    codes = one_modality(rng, count, levels)
    codes[0, 0] = 2
    return codes


def one_each(rng: np.random.Generator, count: int, levels: tuple[int, ...]) -> np.ndarray:
    """One ID in each modality: certain after the first code."""
    codes = uniform(rng, 3, levels)
    codes[:, 0] = range(3)
    return codes


def shared_ids(rng: np.random.Generator, count: int, levels: tuple[int, ...]) -> np.ndarray:
    return uniform(rng, 5, levels)[rng.integers(0, 5, count)]


def late(rng: np.random.Generator, count: int, levels: tuple[int, ...]) -> np.ndarray:
    """IDs that differ in their last codes only."""
    codes = uniform(rng, count, levels)
    codes[:, :-2] = codes[0, :-2]
    return codes


def mostly_shared(rng: np.random.Generator, count: int, levels: tuple[int, ...]) -> np.ndarray:
    return np.concatenate([uniform(rng, count, levels), shared_ids(rng, count, levels)])


Maker = Callable[[np.random.Generator, int, tuple[int, ...]], np.ndarray]
COLLECTIONS: dict[str, tuple[Maker, int]] = {
    "one": (uniform, 1),
    "one each": (one_each, 3),
    "tiny": (uniform, 4),  # fewer IDs than beams
    "uniform": (uniform, 250),
    "skewed": (skewed, 250),
    "one modality": (one_modality, 80),
    "two modalities": (two_modalities, 80),
    "shared IDs": (shared_ids, 40),
    "mostly shared IDs": (mostly_shared, 40),
    "late": (late, 60),
}


@pytest.fixture(params=COLLECTIONS)
def codes(request: pytest.FixtureRequest) -> np.ndarray:
    make, count = COLLECTIONS[request.param]
    return make(np.random.default_rng(7), count, LEVELS)


def assert_same_up_to_ties(found: BeamResult, ids: np.ndarray, scores: np.ndarray) -> None:
    """Same sequences in the same order, but that those of (nearly) equal scores may change places."""
    np.testing.assert_allclose(found.log_probs, scores, atol=1e-4, rtol=0)
    expected = {tuple(row): score for row, score in zip(ids.tolist(), scores, strict=True)}
    found_ids = [tuple(row) for row in found.codes.tolist()]
    assert set(found_ids) == set(expected)
    np.testing.assert_allclose([expected[i] for i in found_ids], scores, atol=1e-4, rtol=0)


def slow_beam_search(
    decoder: Decoder,
    codes: np.ndarray,
    z: Tensor,
    width: int,
    normalizer: Competitors,
    prefix: tuple[int, ...] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Beam search in plain Python for one query z [dim]: lists, sets and teacher-forced scores."""
    ids = {tuple(row) for row in codes.tolist()}
    beams: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for level in range(len(LEVELS)):
        grown = []
        for score, beam in beams:
            full = torch.tensor([beam + (0,) * (len(LEVELS) - level)])
            within = "level" if normalizer == "existing" else normalizer
            log_probs = decoder.log_probs(z[None], full, normalizer=within)[level][0]
            following = {i[level] for i in ids if i[:level] == beam}
            if normalizer == "existing":
                log_probs = log_probs - log_probs[list(following)].logsumexp(0)
            for code in following:
                if level >= len(prefix) or code == prefix[level]:
                    grown.append((score + float(log_probs[code]), (*beam, code)))
        beams = sorted(grown, reverse=True)[:width]
    return np.array([b for _, b in beams]), np.array([s for s, _ in beams])


@pytest.mark.parametrize("normalizer", OF_TRANSFORMERS)
@pytest.mark.parametrize("width", [1, 5, 50])
def test_same_as_transformers_generate(codes: np.ndarray, width: int, normalizer: Competitors) -> None:
    decoder, renormalize = tiny_decoder(), OF_TRANSFORMERS[normalizer]
    z = queries(decoder, 3)
    found = beam_search(decoder, CodeTrie.build(codes, LEVELS), z, width, normalizer=normalizer)
    for query, result in enumerate(found):
        expected = generate_ids(decoder, codes, z[query], width, renormalize=renormalize)
        assert_same_up_to_ties(result, *expected)


@pytest.mark.parametrize("width", [1, 5, 50])
@pytest.mark.parametrize("seed", range(4))
def test_same_as_transformers_generate_on_random_models(width: int, seed: int) -> None:
    decoder = tiny_decoder(seed=seed)
    codes = skewed(np.random.default_rng(seed), 120, LEVELS)
    z = queries(decoder, 1, seed)
    found = beam_search(decoder, CodeTrie.build(codes, LEVELS), z, width, normalizer="vocabulary")
    assert_same_up_to_ties(found[0], *generate_ids(decoder, codes, z[0], width))


@pytest.mark.bundle
@pytest.mark.parametrize("normalizer", OF_TRANSFORMERS)
@pytest.mark.parametrize("width", [1, 10, 50])
@pytest.mark.parametrize("name", COLLECTIONS)
def test_same_as_transformers_generate_on_the_shipped_weights(
    shipped_decoder: Decoder, name: str, width: int, normalizer: Competitors
) -> None:
    make, count = COLLECTIONS[name]
    levels = shipped_decoder.config.levels
    codes = make(np.random.default_rng(7), count, levels)
    z, renormalize = queries(shipped_decoder, 2), OF_TRANSFORMERS[normalizer]
    found = beam_search(shipped_decoder, CodeTrie.build(codes, levels), z, width, normalizer=normalizer)
    for query, result in enumerate(found):
        expected = generate_ids(shipped_decoder, codes, z[query], width, renormalize=renormalize)
        assert_same_up_to_ties(result, *expected)


@pytest.fixture(scope="module")
def shipped_decoder() -> Decoder:
    folder = Path(__file__).resolve().parents[1] / "checkpoints" / "genius-mini"
    return load_bundle(folder, "cpu").decoder


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("width", [1, 3, 20])
@torch.no_grad()
def test_same_as_plain_python(codes: np.ndarray, width: int, normalizer: Competitors) -> None:
    decoder = tiny_decoder()
    z = queries(decoder, 2)
    found = beam_search(decoder, CodeTrie.build(codes, LEVELS), z, width, normalizer=normalizer)
    for query, result in enumerate(found):
        assert_same_up_to_ties(result, *slow_beam_search(decoder, codes, z[query], width, normalizer))


@pytest.mark.parametrize("normalizer", ["level", "vocabulary"])
@torch.no_grad()
def test_wide_search_ranks_every_id(codes: np.ndarray, normalizer: Competitors) -> None:
    """With a beam for every ID, beam search is exact: compare with scoring all IDs one by one."""
    decoder = tiny_decoder()
    z = queries(decoder, 1)
    ids = np.unique(codes, axis=0)
    log_probs = decoder.log_probs(z.expand(len(ids), -1), torch.from_numpy(ids), normalizer=normalizer)
    chosen = [x.gather(1, torch.from_numpy(ids[:, [i]]))[:, 0] for i, x in enumerate(log_probs)]
    scores = torch.stack(chosen).sum(0).numpy()
    order = np.argsort(-scores)
    found = beam_search(decoder, CodeTrie.build(codes, LEVELS), z, 1000, normalizer=normalizer)[0]
    assert_same_up_to_ties(found, ids[order], scores[order])


@pytest.mark.parametrize("prefix_length", [1, 2, 4])
@pytest.mark.parametrize("width", [2, 50])
@torch.no_grad()
def test_prefix_restricts_the_search(codes: np.ndarray, prefix_length: int, width: int) -> None:
    decoder = tiny_decoder()
    z = queries(decoder, 2)
    prefix = tuple(codes[-1, :prefix_length].tolist())
    found = beam_search(decoder, CodeTrie.build(codes, LEVELS), z, width, prefix=prefix)
    for query, result in enumerate(found):
        assert_same_up_to_ties(result, *slow_beam_search(decoder, codes, z[query], width, "existing", prefix))


@torch.no_grad()
def test_what_exists_has_all_of_the_probability(codes: np.ndarray) -> None:
    decoder = tiny_decoder()
    for result in beam_search(decoder, CodeTrie.build(codes, LEVELS), queries(decoder, 3), 1000):
        assert np.exp(result.log_probs).sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("decided", [0.3, 0.9, 1.0])
def test_first_codes_that_are_far_behind_are_not_pursued(codes: np.ndarray, decided: float) -> None:
    decoder, trie = tiny_decoder(), CodeTrie.build(codes, LEVELS)
    z = queries(decoder, 4)
    everything = beam_search(decoder, trie, z, len(codes))
    for all_ids, found in zip(
        everything, beam_search(decoder, trie, z, len(codes), decided=decided), strict=True
    ):
        first = {beam.prefix[0]: beam.log_prob for beam in all_ids.trace[0].kept}
        near = [code for code, log_prob in first.items() if np.exp(log_prob - max(first.values())) >= decided]
        assert 0 < len(near) <= len(first)
        rows = np.isin(all_ids.codes[:, 0], near)
        np.testing.assert_array_equal(found.codes, all_ids.codes[rows])
        np.testing.assert_allclose(found.log_probs, all_ids.log_probs[rows], atol=1e-5)
        step = found.trace[0]
        assert [beam.prefix[0] for beam in step.kept] == near
        assert {beam.prefix[0] for beam in step.dropped} == set(first) - set(near)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_writing_stops_once_the_ids_are_certain(
    codes: np.ndarray, normalizer: Competitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a beam for every ID, that is where the IDs' beginnings are as many as the IDs."""
    decoder, ids = tiny_decoder(), len(np.unique(codes, axis=0))
    beginnings = [len(np.unique(codes[:, :level], axis=0)) for level in range(1, len(LEVELS) + 1)]
    written = 1 + beginnings.index(ids)
    calls = []
    for name in ("step", "rest"):
        method = getattr(Decoder, name)

        def counted(*args: Any, method: Any = method, name: str = name, **kwargs: Any) -> Any:
            calls.append(name)
            return method(*args, **kwargs)

        monkeypatch.setattr(Decoder, name, counted)
    trie, z = CodeTrie.build(codes, LEVELS), queries(decoder, 1)
    [result] = beam_search(decoder, trie, z, 1000, normalizer=normalizer)
    rest = ["rest"] if written < len(LEVELS) and normalizer != "existing" else []
    assert calls == ["step"] * written + rest
    assert len(result.trace) == len(LEVELS)


@pytest.mark.parametrize("levels", [(12, 6, 5), (3,), (2, 3)])
@torch.no_grad()
def test_other_numbers_of_levels_and_first_codes(levels: tuple[int, ...]) -> None:
    decoder = tiny_decoder(levels)
    codes = uniform(np.random.default_rng(1), 60, levels)
    z = queries(decoder, 2)
    found = beam_search(decoder, CodeTrie.build(codes, levels), z, 8, normalizer="vocabulary")
    for query, result in enumerate(found):
        assert_same_up_to_ties(result, *generate_ids(decoder, codes, z[query], 8))


@pytest.mark.parametrize("width", [2, 30])
def test_a_batch_is_its_queries_one_by_one(codes: np.ndarray, width: int) -> None:
    decoder, trie = tiny_decoder(), CodeTrie.build(codes, LEVELS)
    z = queries(decoder, 6)
    for query, together in enumerate(beam_search(decoder, trie, z, width)):
        alone = beam_search(decoder, trie, z[[query]], width)[0]
        assert_same_up_to_ties(together, alone.codes, alone.log_probs)


def test_queries_may_keep_different_numbers_of_beams() -> None:
    """At width 1 the first code decides how many continuations there are at the next levels."""
    decoder = tiny_decoder()
    codes = np.array(
        [[0, 0, 0, 0], *([1, a, b, 0] for a in range(6) for b in range(6)), [2, 1, 1, 1], [2, 1, 2, 1]]
    )
    z = queries(decoder, 40)
    results = beam_search(decoder, CodeTrie.build(codes, LEVELS), z, 1)
    assert len({result.trace[1].considered for result in results}) > 1
    with torch.no_grad():
        for query, result in enumerate(results):
            assert_same_up_to_ties(result, *slow_beam_search(decoder, codes, z[query], 1, "existing"))


def test_spans_hold_the_candidates_of_each_id(codes: np.ndarray) -> None:
    decoder, trie = tiny_decoder(), CodeTrie.build(codes, LEVELS)
    found = beam_search(decoder, trie, queries(decoder, 1), 10)[0]
    assert 1 <= len(found.codes) <= 10
    assert (np.diff(found.log_probs) <= 0).all()
    for code, start, stop in zip(found.codes, found.starts, found.stops, strict=True):
        assert set(trie.rows(start, stop)) == set(np.flatnonzero((codes == code).all(1)))


@pytest.mark.parametrize("width", [1, 4, 60])
def test_trace_tells_what_was_kept_and_dropped(codes: np.ndarray, width: int) -> None:
    decoder, trie = tiny_decoder(), CodeTrie.build(codes, LEVELS)
    found = beam_search(decoder, trie, queries(decoder, 2), width)[1]
    assert [step.level for step in found.trace] == list(range(len(LEVELS)))
    for step in found.trace:
        shown = step.kept + step.dropped
        scores = [beam.log_prob for beam in shown]
        assert scores == sorted(scores, reverse=True)
        assert len(step.kept) == min(step.considered, width, TRACE_KEPT)
        assert len(step.dropped) == min(max(step.considered - width, 0), TRACE_DROPPED)
        for beam in shown:
            start, stop = trie.find(beam.prefix)
            assert len(beam.prefix) == step.level + 1
            assert beam.candidates == stop - start > 0
    assert found.trace[0].considered == len(np.unique(codes[:, 0]))
    assert [beam.prefix for beam in found.trace[-1].kept] == [
        tuple(c) for c in found.codes[:TRACE_KEPT].tolist()
    ]


def test_no_queries_no_results() -> None:
    decoder = tiny_decoder()
    assert beam_search(decoder, CodeTrie.build([[0, 0, 0, 0]], LEVELS), queries(decoder, 0), 5) == []


@pytest.mark.parametrize(
    ("codes", "width", "prefix", "message"),
    [
        (np.empty((0, 4), dtype=int), 5, (), "add candidates first"),
        (np.array([[0, 1, 2, 3]]), 5, (1,), "No candidate's semantic ID starts with 1 .text.;"),
        (np.array([[0, 1, 2, 3]]), 5, (0, 1, 3), "starts with 0-1-3;"),
        (np.array([[0, 1, 2, 3]]), 5, (7,), "out of range"),
        (np.array([[0, 1, 2, 3]]), 0, (), "at least 1"),
    ],
)
def test_impossible_searches_are_refused(
    codes: np.ndarray, width: int, prefix: tuple[int, ...], message: str
) -> None:
    decoder = tiny_decoder()
    with pytest.raises(UserError, match=message):
        beam_search(decoder, CodeTrie.build(codes, LEVELS), queries(decoder, 1), width, prefix=prefix)


def test_an_index_of_another_model_is_refused() -> None:
    decoder = tiny_decoder()
    with pytest.raises(UserError, match="build it again"):
        beam_search(decoder, CodeTrie.build([[0, 0]], (3, 4)), queries(decoder, 1), 5)


def test_training_mode_is_refused() -> None:
    decoder = tiny_decoder().train()
    with pytest.raises(ValueError, match="eval"):
        beam_search(decoder, CodeTrie.build([[0, 0, 0, 0]], LEVELS), queries(decoder, 1), 5)
