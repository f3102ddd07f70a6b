"""The records: what they refuse, and what they work out themselves."""

from __future__ import annotations

import dataclasses

import pytest
from PIL import Image

from genius.schema import Candidate, Modality, Query, SearchOptions, SearchResult, Timings, UserError

PICTURE = Image.new("RGB", (2, 2))


def test_the_value_of_a_modality_is_the_first_code() -> None:
    assert [int(m) for m in (Modality.IMAGE, Modality.TEXT, Modality.PAIR)] == [0, 1, 2]
    assert [m.label for m in Modality] == ["image", "text", "image + text"]


@pytest.mark.parametrize(
    ("query", "modality"),
    [
        (Query(image=PICTURE), Modality.IMAGE),
        (Query(text="a cat"), Modality.TEXT),
        (Query(image=PICTURE, text="a cat"), Modality.PAIR),
        (Query(image=PICTURE, text=" \n\t"), Modality.IMAGE),
        (Query(image=PICTURE, instruction="Find a text."), Modality.IMAGE),
    ],
)
def test_modality_is_that_of_the_content(query: Query, modality: Modality) -> None:
    assert query.modality is modality


@pytest.mark.parametrize(
    "query", [Query(), Query(text=" \n"), Query(instruction="Find a picture."), Query(minus="a dog")]
)
def test_a_query_without_content_says_what_to_give(query: Query) -> None:
    with pytest.raises(UserError, match="give an image, a text, or both"):
        _ = query.modality


@pytest.mark.parametrize("name", ["top_k", "beams"])
def test_options_have_limits(name: str) -> None:
    for value in (1, 1000):
        assert getattr(SearchOptions(**{name: value}), name) == value
    for value in (0, -1, 1001):
        with pytest.raises(UserError, match=f"1 to 1000, not {value}"):
            SearchOptions(**{name: value})


def test_records_cannot_be_changed() -> None:
    for record, name in ((Candidate("a", Modality.TEXT), "text"), (SearchResult(Query(), ()), "hits")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, name, "other")


def test_total_time() -> None:
    assert Timings(encode=1.0, fuse=2.0, decode=4.0, rerank=8.0).total == 15.0
    assert SearchResult(Query(), ()).timings.total == 0.0


def test_a_user_error_is_a_value_error() -> None:
    assert issubclass(UserError, ValueError)
