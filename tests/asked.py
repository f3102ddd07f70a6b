"""Queries and options of every kind, and what it means that two searches found the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tiny import draw

from genius.schema import Hit, Query, SearchOptions

ALL_BEAMS = SearchOptions(top_k=1000, beams=1000)
QUERIES = {
    "text": Query(text="red circle"),
    "instructed text": Query(text="a teal square", instruction="find a picture of this"),
    "image": Query(image=draw("blue triangle")),
    "instructed image": Query(image=draw("pink square"), instruction="Find the text of this picture."),
    "pair": Query(image=draw("green circle"), text="not this, but red", instruction="Show a picture"),
    "minus": Query(text="red circle", minus="circle"),
    "image minus": Query(image=draw("red circle"), minus="red"),
    "no words known": Query(text="漢字 \N{CAT FACE}"),
}
OPTIONS = {
    "default": SearchOptions(),
    "all": ALL_BEAMS,
    "not re-ranked": replace(ALL_BEAMS, rerank=False),
    "few beams": SearchOptions(top_k=7, beams=3),
    "one": SearchOptions(top_k=1, beams=1, rerank=False),
    "images only": replace(ALL_BEAMS, prefix=(0,)),
    "pairs only, not re-ranked": SearchOptions(top_k=5, beams=9, rerank=False, prefix=(2,)),
}


def assert_same_hits(found: tuple[Hit, ...], expected: list[tuple]) -> None:
    assert [hit.rank for hit in found] == list(range(1, len(expected) + 1))
    assert [(hit.candidate.id, hit.semantic_id) for hit in found] == [hit[:2] for hit in expected]
    np.testing.assert_allclose([hit.score for hit in found], [hit[2] for hit in expected], atol=1e-5)
    np.testing.assert_allclose([hit.log_prob for hit in found], [hit[3] for hit in expected], atol=1e-5)
