"""The Code browser and the Maps without a browser: what is drawn, what is accepted, what is escaped."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from test_ui import EVIL, _tags
from words import ANIMALS, VEHICLES, Words

from genius.explain import maps as layout
from genius.explain.atlas import Atlas
from genius.explain.compute import explain
from genius.schema import Candidate, Modality, UserError
from genius.ui import browser, code_page, code_tools, map_view, maps
from genius.ui.ask import Ask
from genius.ui.code_page import Guide
from genius.ui.explorer import Explorer
from genius.ui.handle import EngineHandle
from genius.ui.render import Words as Said
from genius.ui.search import Shown


@pytest.fixture(scope="module")
def explorer() -> Explorer:
    """A handful of cats and cars, explained."""
    engine = Words((*ANIMALS, *VEHICLES))
    made = Explorer(EngineHandle(lambda: engine, {c.id: c for c in engine.candidates}).start())  # type: ignore[arg-type,return-value]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(layout, "SMALL", 100)  # UMAP compiles for seconds
        made.explain(lambda doing, done, total: None)
    return made


@pytest.fixture(scope="module")
def said(explorer: Explorer) -> Said:
    """Names as the page has them."""
    return Said(explorer.names, explorer.handle.find)


def _evil_guide() -> tuple[Guide, Atlas]:
    engine = Words(tuple(f"cat {EVIL} {n}" for n in range(20)))
    return Guide(Said({(0, 1): EVIL}), engine.index.candidates), Atlas(engine.index, None, engine.codebooks)


def _unclosed(html: str) -> list[str]:
    """Elements that are opened and not closed, or closed and not opened."""
    found: list[str] = []
    reader = HTMLParser()
    reader.handle_starttag = lambda tag, _: found.append(tag) if tag not in ("img", "br") else None  # type: ignore[method-assign]
    reader.handle_endtag = lambda tag: found.pop() if found and found[-1] == tag else found.append("/" + tag)  # type: ignore[method-assign,func-returns-value]
    reader.feed(html)
    return found


def test_names_appear_once_they_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Words(ANIMALS)
    fresh = Explorer(EngineHandle(lambda: engine, {}).start(), {(0, 1): "early"})  # type: ignore[arg-type,return-value]
    said = Said(fresh.names)
    assert said.code((0, 1)) == "early"
    assert fresh.explanation is None and said.code((0, 1)) == "1", "nothing is known of this collection yet"
    monkeypatch.setattr(layout, "SMALL", 100)
    fresh.explain(lambda doing, done, total: None)
    assert said.code((0, 1)) == "cat"


def test_a_code_page_leads_everywhere(explorer: Explorer, said: Said) -> None:
    html = browser.code_html(explorer, said, (0, 1))
    assert "<h2>cat</h2>" in html and "automatic name, rather sure" in html and "5 candidates" in html
    prefixes = {attributes["data-prefix"] for _, attributes in _tags(html) if "data-prefix" in attributes}
    assert {"", "0", "0 1", "0 2", "1", "1 1", "2 1", "0 1 0"} <= prefixes
    for prefix in prefixes:
        explorer.atlas.check([int(code) for code in (prefix or "").split()])
    acts = {attributes.get("data-act") for tag, attributes in _tags(html) if tag == "button"}
    assert {"within", "place", "anywhere", "edit"} <= acts


@pytest.mark.parametrize("prefix", [(), (0,), (0, 1), (2, 2, 1)])
def test_every_level_has_a_page(explorer: Explorer, said: Said, prefix: tuple[int, ...]) -> None:
    html = browser.code_html(explorer, said, prefix)
    assert html.count("g-strip-level") == min(len(prefix) + 1, 3)
    assert html.count("aria-current") == len(prefix)
    assert browser.edit_html(explorer, said, prefix).count("<select") == min(len(prefix) + 1, 3)


def test_a_code_anywhere_lists_every_beginning(explorer: Explorer, said: Said) -> None:
    guide = browser.guide(explorer, said)
    html = code_page.anywhere_page(1, 1, explorer.atlas.anywhere(1, 1), guide)
    assert html.count("g-code-tile") == 3 and "15 candidates under 3 beginnings" in html


def test_the_path_and_the_comparison_tell_where_things_part(explorer: Explorer, said: Said) -> None:
    html = browser.path_html(explorer, said, "my cat", None)
    assert html.count("g-level") == 3 and "next best" in html and "cat" in html
    guide = browser.guide(explorer, said)
    cat, car = (browser.way(explorer, text, None) for text in ("a cat", "a car"))
    assert "part at once: level 2" in code_tools.two(cat, car, guide)
    assert "agree in every code" in code_tools.two(cat, cat, guide)
    kitten = (*cat[:2], replace(cat[2], prefix=(*cat[1].prefix, cat[2].prefix[-1] + 1)))
    assert "agree at level 2, and part at level 3" in code_tools.two(cat, kitten, guide)
    assert "differ in kind" in code_tools.two(cat, explorer.atlas.path(explorer.sums[0]), guide)
    with pytest.raises(UserError, match="write a word"):
        browser.way(explorer, "  ", None)
    with pytest.raises(UserError, match="shorten"):
        browser.way(explorer, "x" * 10_000, None)


def test_the_editor_offers_only_what_exists(explorer: Explorer, said: Said) -> None:
    html = browser.edit_html(explorer, said, (0, 1, 0))
    offered = re.findall(r'<select data-level="(\d)">(.*?)</select>', html)
    values = {
        int(level): {int(v) for v in re.findall(r'value="(\d+)"', options)} for level, options in offered
    }
    assert values == {0: {0, 1, 2}, 1: {1, 2}, 2: {0, 1, 2, 3}}
    assert html.count(" selected") == 3 and "2 candidates answer" in html


def test_measures_are_shown_beside_chance(explorer: Explorer) -> None:
    assert "<b>100 %</b>" in browser.measured_html(explorer) and "By chance" in browser.measured_html(
        explorer
    )
    assert "Nothing to measure" in code_tools.measured((), ())


def test_without_an_explanation_the_tree_can_be_walked() -> None:
    guide, atlas = _evil_guide()
    unexplained = Guide(guide.words, guide.candidates, explained=False)
    html = code_page.code_page(atlas.page((0,)), [atlas.branches(()), atlas.branches((0,))], unexplained)
    assert "no particular order" in html
    assert 'data-act="explain"' in code_page.not_explained()


def test_other_peoples_text_is_escaped_in_the_tabs() -> None:
    guide, atlas = _evil_guide()
    evil_names = Guide(guide.words, guide.candidates)
    path = atlas.path(atlas.sums(3)[0])
    pages = [
        code_page.code_page(atlas.page(prefix), [atlas.branches(prefix[:n]) for n in range(3)], evil_names)
        for prefix in ((0, 1), (1, 1), (2, 1))
    ]
    pages += [
        code_page.anywhere_page(1, 1, atlas.anywhere(1, 1), evil_names),
        code_tools.path(path, [[1]] * 3, [1, 2], evil_names),
        code_tools.two(path, path, evil_names),
        code_tools.editor((0, 1), [atlas.branches(()), atlas.branches((0,))], [1], 1, evil_names),
        map_view.peek(1, evil_names),
        map_view.chosen(1, (1, 1, 0), [(2, 0.5)], "here", evil_names),
        map_view.gallery([1, 2], atlas.index.codes([1, 2]), evil_names),
    ]
    for html in pages:
        assert _unclosed(html) == []
        tags = _tags(html)
        assert tags and not [tag for tag, _ in tags if tag == "script"]
        assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
        assert not [attributes for tag, attributes in tags if tag == "img" and attributes.get("src") == "x"]
    exported = re.search(r'<pre hidden class="g-export">(.*?)</pre>', pages[-1], re.DOTALL)
    assert exported and "<script" not in exported[1]


# ---- the map


def _array(text: str, kind: str) -> list[int]:
    return np.frombuffer(base64.b64decode(text), kind).tolist()


def test_a_map_carries_its_points_and_the_last_search(explorer: Explorer, said: Said) -> None:
    known = explorer.explanation
    assert known is not None
    shown = Shown(Ask("a cat"), (("c/0:text", (1, 1, 0), 0.9, None), ("c/1:text", (1, 1, 1), 0.8, None)))
    for space, level in (("clip", 1), ("fused", 1), ("address", 1), ("after", 2)):
        view = maps.View.checked(space, level, "kind", 3)
        sent = json.loads(maps.figure(explorer, said, view, known, shown, ()))
        assert _array(sent["rows"], "<u4") == list(range(30))
        assert _array(sent["groups"], "<u2") == [0, 1, 2] * 10
        places = known.maps[view.map]
        assert _array(sent["x"], "<u2") == places[:, 0].tolist()
        row = explorer.atlas.index.row("c/0:text")
        assert sent["marks"][0] == [1, *places[row].tolist(), row]
        assert len(sent["query"]) == 2 and sent["numbered"]
    marked = json.loads(maps.figure(explorer, said, view, known, shown, (4, 7)))
    assert [mark[3] for mark in marked["marks"]] == [4, 7] and marked["query"] is None


def test_maps_are_coloured_and_labelled(explorer: Explorer, said: Said) -> None:
    guide, codes = browser.guide(explorer, said), explorer.atlas.index.codes(np.arange(30))
    groups, names = map_view.grouped("code", guide.candidates, codes, guide)
    assert [names[group][0] for group in groups.tolist()] == ["cat"] * 15 + ["car"] * 15
    groups, names = map_view.grouped("collection", guide.candidates, codes, guide)
    assert set(groups.tolist()) == {0} and names[0][0] == "c"
    places = np.zeros((30, 2), np.uint16)
    assert {label.text: label.size for label in map_view.labels(places, codes, guide)} == {
        "cat": 15,
        "car": 15,
    }
    assert map_view.labels(places[:0], codes[:0], guide) == []


def test_views_from_a_browser_are_checked() -> None:
    assert maps.View.checked("after", 2, "kind", 3).map == "after-2"
    assert maps.View.checked("after", 99, "kind", 3).level == 3
    assert maps.View.checked("after", None, "kind", 3).level == 3
    for space, colour in (("<b>", "kind"), ("clip", "x"), (None, None)):
        with pytest.raises(UserError, match="no such map"):
            maps.View.checked(space, 1, colour, 3)


def test_neighbours_are_those_of_the_full_space(explorer: Explorer, said: Said) -> None:
    html = maps.chosen_html(explorer, said, 0, "fused")
    shown = [int(row) for row in re.findall(r'data-row="(\d+)"', html)]
    away = np.linalg.norm(explorer.sums - explorer.sums[0], axis=1)
    assert len(shown) == maps.NEAR and 0 not in shown
    assert away[shown].tolist() == sorted(away)[1 : maps.NEAR + 1]
    by_cosine = [
        int(row) for row in re.findall(r'data-row="(\d+)"', maps.chosen_html(explorer, said, 0, "clip"))
    ]
    vectors = explorer.atlas.index.vectors.astype(np.float32)
    cosines = vectors @ vectors[0]
    assert cosines[by_cosine].tolist() == sorted(cosines[1:].tolist(), reverse=True)[: maps.NEAR]


def test_a_lasso_says_what_it_holds(explorer: Explorer, said: Said) -> None:
    guide = browser.guide(explorer, said)
    html = map_view.gallery([0, 1, 2], explorer.atlas.index.codes([0, 1, 2]), guide, cut=True)
    assert "3 candidates in the lasso" in html and "held more" in html
    assert html.count('data-prefix="') == 3


def test_a_full_lasso_is_shown_from_end_to_end() -> None:
    assert map_view.spread(range(10), 4) == [0, 2, 5, 7]
    assert map_view.spread([5, 3], 2) == [5, 3]


def test_one_candidate_has_a_page_and_a_map() -> None:
    lone = Candidate("c/0:image", Modality.IMAGE, None, Path("0.png"), "c")
    engine = Words(("cat",))
    engine.index = engine.index.restricted({lone.id: lone})
    alone = Explorer(EngineHandle(lambda: engine, {lone.id: lone}).start())  # type: ignore[arg-type,return-value]
    alone.explain(lambda doing, done, total: None)
    said = Said(alone.names)
    assert "1 candidate" in browser.code_html(alone, said, (0, 1))
    known = alone.explanation
    assert known is not None
    assert json.loads(maps.figure(alone, said, maps.View("fused", 1, "code"), known, None, ()))["names"]
    assert "no name" in browser.code_html(alone, said, (0, 1))
    assert explain(engine, lambda doing, done, total: None).names == {}
