"""The shipped model on the shipped index: what the README promises, measured again.

Marked `bundle`; the exhaustive passes over a whole collection are marked `slow` as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import sklearn
import torch
from gradio.media import get_image
from oracle import generate_ids
from PIL import Image

from genius.beam import beam_search
from genius.engine import Engine
from genius.images import open_image
from genius.instructions import TASKS
from genius.schema import Candidate, Modality, Query, SearchOptions, SearchResult
from genius.sources import COLLECTIONS, load_pictures

ROOT = Path(__file__).resolve().parent.parent
CASES = json.loads((ROOT / "tests" / "bundle_cases.json").read_text(encoding="utf-8"))
IN_IMAGES = SearchOptions(top_k=5, prefix=(int(Modality.IMAGE),))
TASK = {task.id: task for task in TASKS}

pytestmark = [
    pytest.mark.bundle,
    pytest.mark.skipif(
        not all(load_pictures(name) for name in COLLECTIONS), reason="needs packages.txt installed"
    ),
]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load(ROOT / "checkpoints" / "genius-mini")


def search(engine: Engine, queries: Sequence[Query], options: SearchOptions) -> Iterator[SearchResult]:
    """Results in batches, so that memory stays bounded."""
    for start in range(0, len(queries), 32):
        yield from engine.search(queries[start : start + 32], options)


def share(right: Sequence[bool]) -> float:
    return sum(right) / len(right)


def own_text_queries(engine: Engine, collection: str) -> list[tuple[Candidate, Query]]:
    """Every image of a collection with the query that is its own text."""
    texts = {
        c.id.rpartition(":")[0]: c.text for c in engine.candidates if c.modality is Modality.PAIR and c.text
    }
    images = [c for c in engine.candidates if c.modality is Modality.IMAGE and c.collection == collection]
    wording = TASK[0].wordings[0]
    return [(c, Query(text=texts[c.id.rpartition(":")[0]], instruction=wording)) for c in images]


def found_own(engine: Engine, asked: Sequence[tuple[Candidate, Query]]) -> float:
    """Share of images among the first five for their own text; any picture of that text is right."""
    text = {candidate.id: query.text for candidate, query in asked}
    results = search(engine, [query for _, query in asked], SearchOptions(top_k=5))
    return share(
        [
            any(text.get(hit.candidate.id) == query.text for hit in result.hits)
            for (_, query), result in zip(asked, results, strict=True)
        ]
    )


@pytest.mark.parametrize("width", [1, 5, 50])
def test_beam_search_agrees_with_transformers_on_the_shipped_weights(engine: Engine, width: int) -> None:
    queries = [Query(text=text) for text in ("a red apple", "two people holding hands", "arrow")]
    z = engine.fuse(engine.encode(queries)).float()
    ids = np.unique(engine.index.codes(np.arange(len(engine.candidates))), axis=0)
    ours = beam_search(engine.bundle.decoder, engine.index.trie, z, width, normalizer="vocabulary")
    for row, result in enumerate(ours):
        codes, scores = generate_ids(engine.bundle.decoder, ids, z[row], width)
        np.testing.assert_allclose(result.log_probs, scores, atol=1e-4)
        distinct = np.diff(scores, append=-np.inf) < -1e-4  # ties may stand in either order
        np.testing.assert_array_equal(result.codes[distinct], codes[distinct])


def test_first_code_is_the_modality(engine: Engine) -> None:
    first = engine.index.codes(np.arange(len(engine.candidates)))[:, 0]
    modality = np.array([int(candidate.modality) for candidate in engine.candidates])
    assert (first == modality).mean() >= 0.999


def test_nearly_everything_different_has_an_id_of_its_own(engine: Engine) -> None:
    rows = np.arange(len(engine.candidates))
    same = np.round(engine.index.vectors[rows].astype(np.float32), 3)  # the same text or picture, twice
    _, different = np.unique(same, axis=0, return_index=True)
    codes = engine.index.codes(different)
    _, owner, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    assert (counts[owner] == 1).mean() >= 0.95


@pytest.mark.xfail(
    strict=True, reason="goal not reached yet: 0.923 measured; texts that are the same share one"
)
def test_nearly_every_candidate_has_an_id_of_its_own(engine: Engine) -> None:
    codes = engine.index.codes(np.arange(len(engine.candidates)))
    _, owner, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    assert (counts[owner] == 1).mean() >= 0.95


def test_index_is_what_the_model_computes(engine: Engine) -> None:
    some = engine.candidates[:: len(engine.candidates) // 60]
    coded = engine.code(some)
    rows = np.array([engine.index.row(candidate.id) for candidate in some])
    stored = engine.index.codes(rows)
    assert (stored == coded.codes).all(1).mean() >= 0.95  # float rounding may tip a residual over
    np.testing.assert_allclose(engine.index.vectors[rows], coded.vectors, atol=5e-3)


def test_unseen_wordings_decide_the_first_code(engine: Engine) -> None:
    pictures = [c for c in engine.candidates if c.modality is Modality.PAIR][::97][:60]
    queries, wanted = [], []
    for place, candidate in enumerate(pictures):
        image = open_image(candidate.image)
        for task in TASKS:
            wording = task.held_out_wordings[place % 2]
            words = {Modality.TEXT: candidate.text, Modality.IMAGE: "", Modality.PAIR: "What is this?"}[
                task.query
            ]
            shown = None if task.query is Modality.TEXT else image
            queries.append(Query(image=shown, text=words or "", instruction=wording))
            wanted.append(int(task.target))
    z = torch.cat([engine.fuse(engine.encode(queries[i : i + 32])) for i in range(0, len(queries), 32)])
    written = [
        int(result.codes[0, 0]) for result in beam_search(engine.bundle.decoder, engine.index.trie, z, 1)
    ]
    assert share([code == target for code, target in zip(written, wanted, strict=True)]) >= 0.99


def test_stamps_are_found_by_their_own_text(engine: Engine) -> None:
    assert found_own(engine, own_text_queries(engine, "stamps")) >= 0.90


@pytest.mark.slow
@pytest.mark.xfail(strict=True, reason="goal not reached yet: 0.835 measured")
def test_drawings_are_found_by_their_own_text(engine: Engine) -> None:
    assert found_own(engine, own_text_queries(engine, "openmoji")) >= 0.95


@pytest.mark.xfail(strict=True, reason="goal not reached yet: 31 of 55 measured")
def test_paraphrases_and_photographs_find_something_sensible(engine: Engine) -> None:
    cases = [
        (case["text"], Query(text=case["text"], instruction=TASK[0].wordings[0]), case["accept"])
        for case in CASES["paraphrases"]
    ]
    cases += [
        (case["file"], Query(image=photograph(case["file"]), instruction=TASK[4].wordings[0]), case["accept"])
        for case in CASES["photographs"]
    ]
    texts = {c.id.rpartition(":")[0]: c.text or "" for c in engine.candidates if c.modality is Modality.PAIR}
    results = search(engine, [query for _, query, _ in cases], SearchOptions(top_k=6))
    missed = []
    for (name, _, accept), result in zip(cases, results, strict=True):
        found = [texts.get(hit.candidate.id.rpartition(":")[0], "") for hit in result.hits]
        if name.startswith("stamps:"):  # the picture itself is no answer
            found = [
                text for hit, text in zip(result.hits, found, strict=True) if name[7:] not in hit.candidate.id
            ]
        if not any(re.search(accept, text, re.IGNORECASE) for text in found[:5]):
            missed.append(f"{name} → {found[:5]}")
    print("\n".join(["", f"{len(cases) - len(missed)} of {len(cases)} found; missed:", *missed]))
    assert share([True] * (len(cases) - len(missed)) + [False] * len(missed)) >= 0.80


def photograph(name: str) -> Image.Image:
    """A picture inside an installed package: `skimage:…`, `gradio:…` or `stamps:…`."""
    package, _, file = name.partition(":")
    if package == "gradio":
        return open_image(Path(get_image(file)))
    if package == "skimage":
        folder = Path(pytest.importorskip("skimage").__file__).parent / "data"
        return open_image(next(folder.glob(f"{file}*")))
    if package == "sklearn":
        return open_image(Path(sklearn.__file__).parent / "datasets" / "images" / file)
    return open_image(next(p.image for p in load_pictures("stamps") if p.id == file))
