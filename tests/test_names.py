"""Automatic names of codes, against captions that say what they should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from words import ANIMALS, VEHICLES, Words

from genius.explain.captions import Counted, captions_of, contrast, qualities_of, terms_of
from genius.explain.names import MIN_CAPTIONS, name_codes, pick
from genius.schema import Candidate, Modality, Query


def test_words_of_a_caption() -> None:
    assert terms_of("Flag of the Faroe Islands") == ("flag", "faroe", "islands", "faroe islands")
    assert terms_of("A!") == () and terms_of("") == ()
    assert "cat face" in terms_of("cat face, cat face")
    assert terms_of("woman wearing turban")[3:] == ("wearing turban",)
    assert "woman walking" in terms_of("woman walking, dark skin tone")


def test_codes_are_named_by_what_sets_them_apart_and_lies_near() -> None:
    engine = Words((*ANIMALS, *VEHICLES))
    codes = engine.index.codes(np.arange(len(engine.index)))
    embed = lambda terms: engine.embed([Query(text=term) for term in terms]).z  # noqa: E731
    named, anywhere = name_codes(engine.index.candidates, codes, engine.codebooks, embed)
    for kind in Modality:
        assert named[int(kind), 1].text == "cat" and named[int(kind), 2].text == "car"
        assert 0.9 < named[int(kind), 1].confidence <= 1
    assert anywhere[1, 1].text == "cat"
    assert all(not name.text for prefix, name in named.items() if len(prefix) == 3), "too few captions each"


def test_no_name_is_invented() -> None:
    engine = Words(ANIMALS[:3])
    codes = engine.index.codes(np.arange(len(engine.index)))
    embed = lambda terms: engine.embed([Query(text=term) for term in terms]).z  # noqa: E731
    named, _ = name_codes(engine.index.candidates, codes, engine.codebooks, embed)
    assert not any(name.text for name in named.values())
    silent = [Candidate(f"c/{n}:image", Modality.IMAGE, None, Path("x.png"), "c") for n in range(9)]
    assert name_codes(silent, codes, engine.codebooks, embed) == ({}, {})


@pytest.mark.parametrize("captions", range(MIN_CAPTIONS + 2))
def test_too_few_captions_get_no_name(captions: int) -> None:
    engine = Words((*ANIMALS[:captions], *VEHICLES) if captions else VEHICLES)
    codes = engine.index.codes(np.arange(len(engine.index)))
    embed = lambda terms: engine.embed([Query(text=term) for term in terms]).z  # noqa: E731
    named, anywhere = name_codes(engine.index.candidates, codes, engine.codebooks, embed)
    cats = [prefix for prefix in named if prefix[1:2] == (1,)]
    assert bool(cats) == bool((1, 1) in anywhere) == (captions >= MIN_CAPTIONS)


BEASTS = ("a brown rabbit", "rabbit", "pig", "a pink pig", "goat", "cow", "hen", "an owl")


def _picked(captions: tuple[str, ...], near: dict[str, float], kinds: dict[str, tuple[str, ...]]) -> str:
    """The name of captions among others, at the level of the main thing."""
    inside, around = (
        Counted.of(captions, kinds),
        Counted.of((*captions, *(f"thing {n}" for n in "uvwxyz")), kinds),
    )
    return pick(contrast(inside, around), inside, around, near, 2).text


def test_many_things_of_one_kind_are_named_by_it_and_an_example() -> None:
    near = {"animal": 0.7, "rabbit": 0.6, "pig": 0.5}
    kinds = dict.fromkeys(BEASTS, ("animal",))
    assert _picked(BEASTS, near, kinds) == "animal · rabbit"
    assert _picked(BEASTS, near | {"animal": 0.4}, kinds) == "rabbit · pig", "the kind lies elsewhere"
    assert _picked(BEASTS, near, dict.fromkeys(BEASTS[:3], ("animal",))) == "rabbit · pig", "few are of it"
    cats = ("a cat", "black cat", "cat", "cat on a mat", "kitten")
    assert _picked(cats, {"cat": 0.5, "animal": 0.9}, dict.fromkeys(cats, ("animal",))) == "cat", (
        "they say so"
    )


def test_words_are_put_together_until_they_hold_of_most() -> None:
    near = {"running": 0.6, "fast": 0.6, "walking": 0.5, "sitting": 0.4}
    both = ("running fast", "a man running", "running", "man walking", "walking", "a dog walking")
    assert _picked(both, near, {}) == "running · walking", "`fast` says nothing of those who do not run"
    mostly = ("a cat running", "a man running", "running", "running home", "walking")
    assert _picked(mostly, near, {}) == "running", "one of five is no part of the name"


def test_members_count_where_captions_are_alike() -> None:
    near = {"bubble": 0.6, "speaker": 0.5}
    captions = {"speech bubble": 20, "thought bubble": 1, "speaker": 2, "loud speaker": 2}
    inside, around = Counted.of(captions), Counted.of((*captions, "thing"))
    assert pick(contrast(inside, around), inside, around, near, 2).text == "bubble"
    inside = Counted.of((*captions,))
    assert pick(contrast(inside, around), inside, around, near, 2).text == "bubble · speaker"


def test_words_that_hold_of_few_name_nothing() -> None:
    near = {"pig": 0.9}
    assert _picked(("a pig", "pig", *"abc"), near, {}) == "pig"
    assert _picked(("a pig", "pig", *"abcd"), near, {}) == "", "six different things"


def test_what_is_said_of_a_thing_is_not_its_name() -> None:
    captions = (
        "hand, dark skin",
        "foot, dark skin",
        "hand (dark skin)",
        "dark hand, dark skin",
        "a dark day",
        "dark",
    )
    assert qualities_of(captions) == {"skin", "dark skin"}, "a day can be dark itself"


def test_a_quality_of_most_follows_the_thing() -> None:
    near = {"hand": 0.5}
    hands = ("hand, dark skin", "open hand, dark skin", "fist, dark skin", "a hand")
    assert _picked(hands, near, {}) == "hand, dark skin"
    assert _picked((*hands, "fist", "thumb", "nail"), near, {}) == "hand", "of three in seven only"
    mixed = ("hand, dark skin", "open hand, light skin", "fist, dark skin", "a hand, light skin")
    assert _picked(mixed, near, {}) == "hand, dark or light skin"
    assert _picked(mixed, {}, {}) == "dark or light skin", "they have that in common, at least"


def test_a_quality_of_all_around_sets_nothing_apart() -> None:
    inside = Counted.of(("hand, dark skin", "open hand, dark skin"))
    around = Counted.of((*inside.texts, "foot, dark skin", "toe, dark skin"))
    assert pick(contrast(inside, around), inside, around, {"hand": 0.5}, 2).text == "hand"


def test_a_picture_borrows_its_twins_words() -> None:
    image = Candidate("c/1:image", Modality.IMAGE, None, Path("1.png"), "c")
    pair = Candidate("c/1:pair", Modality.PAIR, "a cat", Path("1.png"), "c")
    assert captions_of([image, pair]) == ["a cat", "a cat"] and captions_of([image]) == [""]


def test_contrast_prefers_what_is_only_here() -> None:
    inside = {*ANIMALS, "black dog"}
    scores = contrast(Counted.of(inside), Counted.of({*inside, *VEHICLES, "black van"}))
    assert max(scores, key=scores.__getitem__) == "cat"
    assert scores["cat"] > scores["black"] > 0
    assert "white" not in scores  # once is chance
