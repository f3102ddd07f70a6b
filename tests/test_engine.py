"""The engine against its parts put together by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from asked import ALL_BEAMS, OPTIONS, QUERIES, assert_same_hits
from numpy.typing import NDArray
from PIL import Image
from tiny import CAPTIONS, DIM, draw

from genius.beam import beam_search
from genius.checkpoint import Bundle
from genius.encoder import Encoder
from genius.engine import MINUS, Engine
from genius.images import open_image
from genius.index import CandidateIndex
from genius.schema import Candidate, Modality, Query, SearchOptions, SearchResult, UserError


def embedded(encoder: Encoder, query: Query, whole_text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Image and text feature [1, d] of a query, given what its text side reads; both zeros if absent."""
    image = encoder.encode_images([query.image]) if query.image else torch.zeros(1, DIM)
    text = encoder.encode_texts([whole_text]) if whole_text else torch.zeros(1, DIM)
    return image, text


TEXT_SIDE = {
    "text": "Red circle.",
    "instructed text": "Find a picture of this. a teal square.",
    "image": "",
    "instructed image": "Find the text of this picture.",
    "pair": "Show a picture. not this, but red.",
    "minus": "Red circle.",
    "image minus": "",
    "no words known": "漢字 \N{CAT FACE}.",
}
MINUS_SIDE = {"minus": "Circle.", "image minus": "Red."}


def by_hand(engine: Engine, name: str, options: SearchOptions) -> tuple[list[tuple], tuple]:
    """(id, semantic ID, score, log-prob) of each hit, and the trace: every stage called one by one."""
    parts, index = engine.bundle, engine.index
    image, text = embedded(parts.encoder, QUERIES[name], TEXT_SIDE[name])
    if name in MINUS_SIDE:
        text = text - 0.5 * parts.encoder.encode_texts([MINUS_SIDE[name]])
    vector = (image + text).double().numpy()[0]
    vector /= np.sqrt((vector**2).sum())
    with torch.inference_mode():
        z = parts.fusion(image, text)
    beams = beam_search(parts.decoder, index.trie, z, options.beams, prefix=options.prefix)[0]
    hits = []
    for code, log_prob, start, stop in zip(
        beams.codes.tolist(), beams.log_probs, beams.starts, beams.stops, strict=True
    ):
        for row in index.trie.rows(start, stop):
            score = float(index.vectors[row].astype(np.float64) @ vector)
            hits.append((index.candidates[row].id, tuple(code), score, float(log_prob)))
    hits.sort(key=lambda hit: (-hit[2], -hit[3]) if options.rerank else (-hit[3], -hit[2]))
    return hits[: options.top_k], beams.trace


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", QUERIES)
def test_search_is_its_stages_one_after_the_other(
    tiny_engine: Engine, name: str, options: SearchOptions
) -> None:
    result = tiny_engine.search([QUERIES[name]], options)[0]
    expected, trace = by_hand(tiny_engine, name, options)
    assert result.query is QUERIES[name]
    assert_same_hits(result.hits, expected)
    assert result.trace == trace


def test_a_batch_equals_one_at_a_time(tiny_engine: Engine) -> None:
    queries = list(QUERIES.values())
    for options in (OPTIONS["default"], OPTIONS["few beams"], OPTIONS["pairs only, not re-ranked"]):
        for result, query in zip(tiny_engine.search(queries, options), queries, strict=True):
            alone = tiny_engine.search([query], options)[0]
            assert_same_hits(
                result.hits,
                [(hit.candidate.id, hit.semantic_id, hit.score, hit.log_prob) for hit in alone.hits],
            )
            assert [len(step.kept) for step in result.trace] == [len(step.kept) for step in alone.trace]
    assert tiny_engine.search([]) == tiny_engine.exact_search([]) == []


@pytest.mark.parametrize("name", QUERIES)
def test_order_of_hits(tiny_engine: Engine, name: str) -> None:
    query = QUERIES[name]
    ranked = tiny_engine.search([query], ALL_BEAMS)[0].hits
    written = tiny_engine.search([query], replace(ALL_BEAMS, rerank=False))[0].hits
    assert len(ranked) == len(written) == 90
    scores = [hit.score for hit in ranked]
    log_probs = [hit.log_prob for hit in written]
    assert scores == sorted(scores, reverse=True)
    assert log_probs == sorted(log_probs, reverse=True)
    assert {hit.candidate.id for hit in ranked} == {hit.candidate.id for hit in written}
    assert [hit.candidate for hit in ranked] != [hit.candidate for hit in written]


def exactly(engine: Engine, name: str, prefix: tuple[int, ...]) -> list[tuple[float, str]]:
    image, text = embedded(engine.bundle.encoder, QUERIES[name], TEXT_SIDE[name])
    vector = torch.nn.functional.normalize(image + text, dim=-1)[0].double().numpy()
    coded = engine.index.codes(range(len(engine.index)))
    return sorted(
        (
            (float(engine.index.vectors[row].astype(np.float64) @ vector), candidate.id)
            for row, candidate in enumerate(engine.index.candidates)
            if tuple(coded[row][: len(prefix)]) == prefix
        ),
        reverse=True,
    )


@pytest.mark.parametrize("prefix", [(), (0,), (1,), (2,)])
@pytest.mark.parametrize("name", ["text", "image", "pair"])
def test_exact_search_is_a_scan_of_all_cosines(
    tiny_engine: Engine, name: str, prefix: tuple[int, ...]
) -> None:
    options = SearchOptions(top_k=12, prefix=prefix)
    result = tiny_engine.exact_search([QUERIES[name]], options)[0]
    expected = exactly(tiny_engine, name, prefix)[:12]
    assert [hit.candidate.id for hit in result.hits] == [id_ for _, id_ in expected]
    np.testing.assert_allclose([hit.score for hit in result.hits], [s for s, _ in expected], atol=1e-5)
    assert result.trace == () and [hit.rank for hit in result.hits] == list(range(1, 13))
    for hit in result.hits:
        assert hit.log_prob is None
        row = tiny_engine.index.row(hit.candidate.id)
        assert hit.semantic_id == tuple(tiny_engine.index.codes([row])[0])


def test_search_with_all_beams_finds_what_exact_search_finds(tiny_engine: Engine) -> None:
    queries = list(QUERIES.values())
    options = replace(ALL_BEAMS, top_k=20)
    both = zip(tiny_engine.search(queries, options), tiny_engine.exact_search(queries, options), strict=True)
    for written, exact in both:
        assert [hit.candidate.id for hit in written.hits] == [hit.candidate.id for hit in exact.hits]
        assert [hit.semantic_id for hit in written.hits] == [hit.semantic_id for hit in exact.hits]


@pytest.mark.parametrize("search", [Engine.search, Engine.exact_search])
@pytest.mark.parametrize("modality", Modality)
def test_a_prefix_of_one_code_forces_the_modality(
    tiny_engine: Engine, modality: Modality, search: Callable[..., list[SearchResult]]
) -> None:
    for result in search(tiny_engine, list(QUERIES.values()), replace(ALL_BEAMS, prefix=(int(modality),))):
        assert {hit.candidate.modality for hit in result.hits} == {modality}
        assert {hit.semantic_id[0] for hit in result.hits} == {modality}
        assert len(result.hits) == 30


def test_a_longer_prefix_searches_within_a_code(tiny_engine: Engine) -> None:
    codes = tiny_engine.index.codes(range(90))
    prefix = tuple(codes[0][:2].tolist())
    inside = {tiny_engine.candidates[row].id for row in np.flatnonzero((codes[:, :2] == prefix).all(1))}
    for result in tiny_engine.search(list(QUERIES.values()), replace(ALL_BEAMS, prefix=prefix)):
        assert {hit.candidate.id for hit in result.hits} == inside


@pytest.mark.parametrize("prefix", [(3,), (-1,), (0, 8), (0, 0, 0, 0, 0)])
def test_impossible_prefixes_are_refused(tiny_engine: Engine, prefix: tuple[int, ...]) -> None:
    for search in (tiny_engine.search, tiny_engine.exact_search):
        with pytest.raises(UserError):
            search([QUERIES["text"]], SearchOptions(prefix=prefix))


@pytest.mark.parametrize("top_k", [1, 4, 90, 1000])
def test_top_k(tiny_engine: Engine, top_k: int) -> None:
    options = replace(ALL_BEAMS, top_k=top_k)
    everything = tiny_engine.search([QUERIES["pair"]], ALL_BEAMS)[0].hits
    for search in (tiny_engine.search, tiny_engine.exact_search):
        hits = search([QUERIES["pair"]], options)[0].hits
        assert [hit.candidate for hit in hits] == [hit.candidate for hit in everything[:top_k]]


@pytest.mark.parametrize(
    "empty", [Query(), Query(text=" \n"), Query(instruction="Find a picture."), Query(minus="a dog")]
)
def test_an_empty_query_is_refused(tiny_engine: Engine, empty: Query) -> None:
    for search in (tiny_engine.search, tiny_engine.exact_search):
        with pytest.raises(UserError, match="give an image, a text, or both"):
            search([QUERIES["text"], empty])


def test_nothing_to_search(tiny_bundle: Bundle) -> None:
    engine = Engine(tiny_bundle, CandidateIndex.empty(tiny_bundle.quantizer.config.levels, DIM))
    engine.add([])
    for search in (engine.search, engine.exact_search):
        with pytest.raises(UserError):
            search([QUERIES["text"]])


@pytest.mark.parametrize("caption", CAPTIONS[::7])
def test_what_is_in_the_collection_finds_itself(tiny_engine: Engine, caption: str) -> None:
    name = f"shapes/{caption.replace(' ', '-')}.png"
    asked = {
        "image": Query(image=draw(caption)),
        "text": Query(text=caption),
        "pair": Query(image=draw(caption), text=caption),
    }
    for kind, query in asked.items():
        best = tiny_engine.search([query], ALL_BEAMS)[0].hits[0]
        assert best.candidate.id == f"{name}:{kind}"
        assert best.score == pytest.approx(1, abs=2e-3)
        assert best.candidate.modality is query.modality


def unit(vector: NDArray | torch.Tensor) -> NDArray:
    array = np.asarray(vector, dtype=np.float64)
    return array / np.linalg.norm(array)


def test_minus_moves_away_from_a_meaning(tiny_engine: Engine) -> None:
    plain, less = Query(text="red circle"), Query(text="red circle", minus="blue square")
    features, changed = tiny_engine.encode([plain]), tiny_engine.encode([less])
    taken = tiny_engine.bundle.encoder.encode_texts(["Blue square."])
    torch.testing.assert_close(changed.text, features.text - MINUS * taken)
    away = unit(taken[0])
    assert unit(changed.embedding()[0]) @ away < unit(features.embedding()[0]) @ away
    (before,), (after,) = (tiny_engine.exact_search([query], ALL_BEAMS) for query in (plain, less))
    scores = [
        {hit.candidate.id: hit.score for hit in result.hits}["shapes/blue-square.png:text"]
        for result in (before, after)
    ]
    assert scores[1] < scores[0]


def test_minus_of_one_query_leaves_the_others_alone(tiny_engine: Engine) -> None:
    queries = [Query(text="red circle"), Query(image=draw("red circle"), minus="red"), Query(text="blue")]
    found = tiny_engine.encode(queries)
    plain = tiny_engine.encode([replace(query, minus="") for query in queries])
    assert torch.equal(found.text[[0, 2]], plain.text[[0, 2]])
    assert torch.equal(found.image, plain.image)
    assert found.has_text.tolist() == [True, True, True]
    assert found.text[1].any() and not plain.text[1].any()


def test_added_candidates_are_found(own_engine: Engine, tmp_path: Path) -> None:
    picture = tmp_path / "new.png"
    image = Image.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 20).convert("RGB")
    image.save(picture)
    new = [
        Candidate("new:image", Modality.IMAGE, None, picture, "new"),
        Candidate("new:text", Modality.TEXT, "find the picture not in this image", None, "new"),
        Candidate("new:pair", Modality.PAIR, "find the picture not in this image", picture, "new"),
    ]
    progress: list[tuple[int, int]] = []
    own_engine.add(new, lambda done, total: progress.append((done, total)))
    assert progress == [(1, 2), (2, 2)]  # one picture, one text: each is encoded once
    assert own_engine.candidates[-3:] == new
    assert own_engine.candidate("new:pair") == new[2]
    text = "find the picture not in this image"
    queries = [Query(image=image), Query(text=text), Query(image=image, text=text)]
    for search in (own_engine.search, own_engine.exact_search):
        for result, candidate in zip(search(queries, ALL_BEAMS), new, strict=True):
            assert result.hits[0].candidate is candidate
            assert result.hits[0].score == pytest.approx(1, abs=2e-3)
    with pytest.raises(UserError, match="'new:text'"):
        own_engine.add(new[1:2])


def test_removed_candidates_are_not_found(own_engine: Engine) -> None:
    gone = "shapes/red-circle.png:text"
    own_engine.index.remove([gone])
    for search in (own_engine.search, own_engine.exact_search):
        hits = search([QUERIES["text"]], ALL_BEAMS)[0].hits
        assert len(hits) == 89 and gone not in {hit.candidate.id for hit in hits}
    assert gone not in {candidate.id for candidate in own_engine.candidates}
    with pytest.raises(UserError, match=gone):
        own_engine.candidate(gone)


def test_candidates_are_coded_as_the_parts_say(tiny_engine: Engine) -> None:
    parts, rows = tiny_engine.bundle, [0, 1, 2, 45, 46, 47]
    for row in rows:
        candidate = tiny_engine.candidates[row]
        image, text = torch.zeros(1, DIM), torch.zeros(1, DIM)
        if candidate.image:
            image = parts.encoder.encode_images([open_image(candidate.image)])
        if candidate.text:
            text = parts.encoder.encode_texts([candidate.text.capitalize() + "."])
        with torch.inference_mode():
            codes = parts.quantizer.encode(parts.fusion(image, text))
        assert tiny_engine.index.codes([row]).tolist() == codes.tolist()
        np.testing.assert_allclose(tiny_engine.index.vectors[row], unit((image + text)[0]), atol=1e-3)


def test_every_distinct_picture_and_text_is_encoded_once(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, seen = tiny_engine.bundle.encoder, {"images": 0, "texts": 0}

    def counting(kind: str, original: Callable) -> Callable:
        def encode(things: list) -> object:
            seen[kind] += len(things)
            return original(things)

        return encode

    monkeypatch.setattr(encoder, "encode_images", counting("images", encoder.encode_images))
    monkeypatch.setattr(encoder, "encode_texts", counting("texts", encoder.encode_texts))
    coded = tiny_engine.code(tiny_engine.candidates, batch=7)
    assert seen == {"images": 30, "texts": 30}
    assert np.array_equal(coded.codes, tiny_engine.index.codes(range(90)))


def test_timings_are_those_of_the_stages(tiny_engine: Engine) -> None:
    timings = tiny_engine.search([QUERIES["pair"]])[0].timings
    stages = (timings.encode, timings.fuse, timings.decode, timings.rerank)
    assert min(stages) > 0 and timings.total == pytest.approx(sum(stages))
    exact = tiny_engine.exact_search([QUERIES["pair"]])[0].timings
    assert exact.encode > 0 and exact.rerank > 0 and exact.fuse == exact.decode == 0


def test_the_tiny_engine_is_made_as_the_tests_assume(tiny_engine: Engine) -> None:
    """Level one is the modality, most IDs are distinct, and no two vectors are alike."""
    codes = tiny_engine.index.codes(range(90))
    assert [candidate.modality for candidate in tiny_engine.candidates] == codes[:, 0].tolist()
    assert 60 <= tiny_engine.index.trie.unique_ids < 90  # some share one, on purpose
    vectors = tiny_engine.index.vectors.astype(np.float64)
    cosines = vectors @ vectors.T - 2 * np.eye(90)
    assert cosines.max() < 0.999


def test_embeddings_and_codewords_are_those_of_the_parts(tiny_engine: Engine) -> None:
    queries = list(QUERIES.values())
    features = tiny_engine.encode(queries)
    found = tiny_engine.embed(queries)
    assert found.clip == pytest.approx(features.embedding().numpy())
    assert found.z == pytest.approx(tiny_engine.fuse(features).numpy())
    some = tiny_engine.candidates[10:50]
    z = torch.from_numpy(tiny_engine.fused(some))
    rows = [tiny_engine.index.row(candidate.id) for candidate in some]
    assert (tiny_engine.bundle.quantizer.encode(z).numpy() == tiny_engine.index.codes(rows)).all()
    assert len(tiny_engine.codebooks) == len(tiny_engine.index.trie.levels)
    whole = np.sum(
        [book[code] for book, code in zip(tiny_engine.codebooks, (0, 3, 2, 1), strict=True)], axis=0
    )
    assert whole == pytest.approx(
        tiny_engine.bundle.quantizer.decode(torch.tensor([[0, 3, 2, 1]]))[0].numpy()
    )


def test_a_search_within_some_candidates_finds_only_them(tiny_engine: Engine) -> None:
    chosen = [candidate.id for candidate in tiny_engine.candidates[::7]]
    [result] = tiny_engine.within(chosen).search([QUERIES["text"]], ALL_BEAMS)
    assert {hit.candidate.id for hit in result.hits} == set(chosen)
    [exact] = tiny_engine.within(chosen).exact_search([QUERIES["text"]], ALL_BEAMS)
    assert [hit.candidate.id for hit in exact.hits] == [hit.candidate.id for hit in result.hits]
    with pytest.raises(UserError, match="no candidate"):
        tiny_engine.within(["nobody"])
