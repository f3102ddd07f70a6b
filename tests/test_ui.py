"""The page without a browser: what is drawn, what is accepted, what is remembered."""

from __future__ import annotations

import json
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from PIL import Image

from genius.instructions import TASKS
from genius.report import result_to_json
from genius.schema import (
    MAX_TEXT,
    Beam,
    BeamStep,
    Candidate,
    Hit,
    Modality,
    Query,
    SearchResult,
    Timings,
    UserError,
)
from genius.ui import compare, first_screen, found, places, render, share
from genius.ui.ask import (
    Ask,
    fitting_instruction,
    from_link,
    more_like,
    parse,
    refine_with,
    tasks_for,
    to_link,
)
from genius.ui.examples import BY_KEY, EXAMPLES, OPENING
from genius.ui.handle import EngineHandle
from genius.ui.render import Words

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)> \' " ${1+1} {{7*7}}'
TEXT = Candidate("c/1:text", Modality.TEXT, EVIL, None, "c")
IMAGE = Candidate("c/2:image", Modality.IMAGE, None, Path('/tmp/a "b" <i>&c.svg'), "c")
PAIR = Candidate("c/2:pair", Modality.PAIR, "a lion", Path("/tmp/lion.svg"), "c")
ALL = {candidate.id: candidate for candidate in (TEXT, IMAGE, PAIR)}
WORDS = Words({(0, 7): EVIL}, ALL.get)


def _hit(rank: int, candidate: Candidate, semantic_id: tuple[int, ...], score: float = 0.8) -> Hit:
    return Hit(rank, candidate, semantic_id, score, -0.5 * rank)


def _result(query: Query | None = None) -> SearchResult:
    hits = (_hit(1, IMAGE, (0, 7, 3)), _hit(2, PAIR, (0, 7, 9), 0.7), _hit(3, TEXT, (1, 2, 3), 0.2))
    trace = (
        BeamStep(0, 3, (Beam((0,), -0.1, 2), Beam((1,), -1.5, 1)), ()),
        BeamStep(1, 5, (Beam((0, 7), -0.3, 2),), (Beam((0, 9), -4.0, 1),)),
        BeamStep(2, 4, (Beam((0, 7, 3), -0.5, 1), Beam((0, 7, 9), -1.0, 1)), ()),
    )
    return SearchResult(
        query or Query(text=EVIL, instruction=EVIL, minus=EVIL), hits, trace, Timings(9, 1, 30, 2)
    )


def _tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    """Tags and their attributes, as a browser would read them."""
    found: list[tuple[str, dict[str, str | None]]] = []
    reader = HTMLParser()
    reader.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))  # type: ignore[method-assign]
    reader.feed(html)
    return found


def _everything(result: SearchResult) -> dict[str, str]:
    return {
        "answer": render.answer(result, WORDS, EVIL),
        "cards": render.hit_list(result, WORDS),
        "how": found.how(result, WORDS),
        "compare": compare.compare(result.hits, result, 40.0, 3, WORDS),
        "share": share.share(Ask(text=EVIL), result),
        "limit": render.limit((0, 7), 3, WORDS),
        "times": places.times([(EVIL, 1.0, 1.0, 1.0, 1.0)]),
        "notes": render.notes([EVIL]),
        "examples": render.examples([replace(EXAMPLES[0], title=EVIL, key=EVIL, ask=Ask(text=EVIL))]),
    }


@pytest.mark.parametrize("part", list(_everything(_result())))
def test_other_peoples_text_is_escaped_everywhere(part: str) -> None:
    tags = _tags(_everything(_result())[part])
    assert not [tag for tag, _ in tags if tag == "script"]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert not [attributes for tag, attributes in tags if tag == "img" and attributes.get("src") == "x"]


def test_file_names_cannot_leave_their_attribute() -> None:
    html = render.picture(IMAGE, WORDS)
    assert 'src="/gradio_api/file=/tmp/a%20%22b%22%20%3Ci%3E%26c.svg"' in html
    assert 'alt="a lion"' in html, "a picture borrows the words of its captioned twin"


def test_the_shared_beginning_is_bold() -> None:
    assert render.small_id((0, 7, 9), (0, 7, 3)) == '<code class="g-id"><b>0 7</b> 9</code>'
    assert render.small_id((0, 7, 3), (0, 7, 3)) == '<code class="g-id"><b>0 7 3</b></code>'
    assert render.small_id((1, 7), (0, 7)) == '<code class="g-id">1 7</code>'
    assert render.small_id((0, 7), (0, 7, 3)) == '<code class="g-id"><b>0 7</b></code>'


def test_weak_hits_are_dimmed_relative_to_the_first() -> None:
    cards = render.hit_list(_result(), WORDS).split("g-grouped")[0].split("<li class=")[1:]
    assert ["g-weak" in card for card in cards] == [False, False, True]
    faint = [_hit(1, IMAGE, (0,), 0.2), _hit(2, IMAGE, (0,), 0.19)]
    assert not render.is_weak(faint[1], faint[0]), "all hits low: no universal threshold"


def test_chips_say_modality_number_and_name() -> None:
    html = render.chips((0, 7, 3), Words({(0, 7): "cat face"}), {(0, 7): 1200})
    assert 'data-modality="image"' in html and ">image<" in html and 'data-prefix="0 7"' in html
    assert ">cat face<small>7</small><" in html
    assert "1,200 candidates left" in html and ">3<" in html


def test_both_views_hold_every_hit_once() -> None:
    ranked, grouped = render.hit_list(_result(), WORDS).split('class="g-grouped"')
    for half in (ranked, grouped):
        assert half.count('<li class="g-card') == 3
        assert half.count('data-act="more"') == half.count('data-act="refine"') == 3


def test_nothing_found_is_said_calmly() -> None:
    empty = SearchResult(Query(text="x"), ())
    assert "Nothing was found" in render.hit_list(empty, Words())
    assert "address" not in render.answer(empty, Words(), "auto")
    assert "no record" in found.how(empty, Words())


def test_the_sentence_is_true_when_reranking_changed_the_order() -> None:
    result = _result()
    assert "Re-ranking" not in render.answer(result, WORDS, "auto")
    swapped = replace(result, hits=(replace(result.hits[1], rank=1), replace(result.hits[0], rank=2)))
    assert "in place 2" in render.answer(swapped, WORDS, "auto")


def test_how_it_was_found_shows_kept_chosen_and_dropped() -> None:
    html = found.how(_result(), WORDS)
    assert html.count('<section class="g-step"') == 3
    assert html.count('<tr class="g-chosen"') == 3
    assert '<tr class="g-dropped"' in html and '<tr class="g-kept"' in html
    assert "Level 1" in html and "5 continuations weighed" in html
    assert "2 candidates left" in html and "1 candidate left" in html


@pytest.mark.parametrize(
    ("log_prob", "shown"),
    [(0.0, "100 %"), (-2.5, "8 %"), (-5.5, "0.4 %"), (-9.0, "< 0.1 %"), (1e-6, "100 %")],
)
def test_a_probability_is_shown_in_percent(log_prob: float, shown: str) -> None:
    assert render.percent(log_prob) == shown
    hit = replace(_result().hits[0], log_prob=log_prob)
    assert f">{escape(shown)}</span>" in render.card(hit, hit, WORDS)


def test_comparison_marks_what_both_found() -> None:
    result = _result()
    theirs = SearchResult(result.query, (replace(result.hits[1], rank=1, log_prob=None),))
    html = compare.compare(result.hits, theirs, 40.0, 12000, WORDS)
    assert "<b>1 of 3</b>" in html and "12,000 candidates" in html
    assert html.count("g-shared") == 2 and "also no. 2" in html and "also no. 1" in html


def test_the_querys_picture_travels_inside_the_page() -> None:
    html = render.answer(_result(Query(image=Image.new("RGB", (900, 300), "red"))), WORDS, "image")
    assert 'src="data:image/jpeg;base64,' in html and len(html) < 20_000


def test_json_has_the_agreed_shape() -> None:
    report = json.loads(json.dumps(result_to_json(_result())))
    assert set(report) == {"query", "hits", "timings_ms"}
    assert set(report["hits"][0]) == {
        *("rank", "id", "modality", "text", "image", "semantic_id", "log_prob", "score")
    }
    assert report["hits"][2] | {"text": ""} == {
        "rank": 3,
        "id": "c/1:text",
        "modality": "text",
        "text": "",
        "image": None,
        "semantic_id": [1, 2, 3],
        "log_prob": -1.5,
        "score": 0.2,
    }
    assert report["timings_ms"]["total"] == 42
    assert report["query"] == {"text": EVIL, "image": False, "instruction": EVIL, "minus": EVIL}


# ---- what comes in


def test_a_filled_form_becomes_a_search() -> None:
    ask = parse("  a cat ", None, "", "pair", 7.0, 20, False, "dog")
    assert ask == Ask("a cat", None, "", "pair", 7, 20, False, "dog")
    options = ask.options()
    assert (options.prefix, options.top_k, options.beams, options.rerank) == ((2,), 7, 20, False)
    assert parse("a cat").options().prefix == ()


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({}, "write a few words"),
        ({"text": "   "}, "write a few words"),
        ({"text": None}, "write a few words"),
        ({"text": "x" * (MAX_TEXT + 1)}, "shorten"),
        ({"text": "x", "instruction": "y" * 10_000}, "instruction has 10,000 characters"),
        ({"text": "x", "minus": "y" * 10_000}, "shorten"),
        ({"text": "x", "mode": "video"}, "choose auto, image, text or pair"),
        ({"text": "x", "top_k": 0}, "1 to 1000"),
        ({"text": "x", "top_k": 2.5}, "whole number"),
        ({"text": "x", "top_k": float("nan")}, "whole number"),
        ({"text": "x", "top_k": None}, "whole number"),
        ({"text": "x", "beams": float("inf")}, "whole number"),
        ({"text": "x", "beams": 10**9}, "1 to 1000"),
    ],
)
def test_bad_input_is_answered_with_what_to_do(form: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse(**form)


def test_a_link_reopens_its_search() -> None:
    ask = Ask("a cat & a dog?", None, "find it", "image", 5, 30, False, "grey")
    link = to_link(ask)
    assert link is not None and link.startswith("?q=a+cat+%26+a+dog%3F&mode=image&k=5")
    assert from_link(dict(parse_qsl(link[1:]))) == ask
    assert to_link(Ask("a cat")) == "?q=a+cat&mode=auto&k=10"
    assert to_link(replace(ask, image="/tmp/x.png")) is None


def test_a_limit_becomes_the_beginning_of_every_address() -> None:
    assert Ask("a cat", within=(0, 7)).options().prefix == (0, 7)
    assert Ask("a cat", mode="image", within=(0, 7)).options().prefix == (0, 7)
    assert Ask("a cat", mode="image", within=("c/1:text",)).options().prefix == (0,)
    with pytest.raises(UserError, match="lift the limit"):
        Ask("a cat", mode="text", within=(0, 7)).options()
    assert to_link(Ask("a cat", within=(0,))) is None
    assert "a limit" in share.call(Ask("a cat", within=(0,)))
    assert more_like(IMAGE, Ask("x", within=(0,))).within == (0,)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, None),
        ({"q": "  "}, None),
        ({"q": "cat", "mode": "<b>", "k": "many"}, Ask("cat")),
        ({"q": "cat", "k": "-3"}, Ask("cat")),
        ({"q": "cat", "k": "0"}, Ask("cat", top_k=1)),
        ({"q": "cat", "k": "99999"}, Ask("cat", top_k=100)),
        ({"q": "cat", "k": "9" * 400}, Ask("cat")),
        ({"q": "cat", "k": "²"}, Ask("cat")),
        ({"q": "cat", "rerank": "0", "beams": "5"}, Ask("cat", rerank=False, beams=5)),
        ({"q": "cat", "image": "/etc/passwd"}, Ask("cat")),
    ],
)
def test_unreadable_links_fall_back(params: dict[str, str], expected: Ask | None) -> None:
    assert from_link(params) == expected


def test_instructions_follow_what_is_given_but_never_touch_ones_own() -> None:
    similar = next(task for task in TASKS if task.id == 4).wordings[0]
    changed = next(task for task in TASKS if task.id == 7).wordings[0]
    assert fitting_instruction(Ask("at night", "x.png", similar)) == changed
    assert fitting_instruction(Ask("at night", "x.png", "my own words")) == "my own words"
    assert fitting_instruction(Ask("cat", None, "")) == ""
    assert {task.id for task in tasks_for(True, False, "auto")} == {0, 1, 2}
    assert {task.id for task in tasks_for(True, True, "text")} == {6}
    assert len(tasks_for(False, False, "auto")) == len(TASKS)
    assert tasks_for(False, True, "pair"), "image → image + text is no M-BEIR task; others are offered"


def test_more_like_and_refine_keep_the_settings() -> None:
    asked = Ask("x", top_k=3, beams=9, rerank=False, minus="y")
    more = more_like(IMAGE, asked)
    assert (more.image, more.text, more.mode, more.minus) == (str(IMAGE.image), "", "image", "")
    assert (more.top_k, more.beams, more.rerank) == (3, 9, False)
    assert more_like(TEXT).mode == "text" and more_like(PAIR).mode == "pair"
    assert refine_with(PAIR, asked).image == str(PAIR.image) and refine_with(PAIR, asked).text == ""
    assert refine_with(TEXT).text == EVIL


def test_ids_from_a_browser_are_looked_up() -> None:
    handle = EngineHandle(lambda: pytest.fail("not needed"), ALL)
    assert handle.candidate("c/2:pair") is PAIR
    for sent in ("nope", "", None, 3, ["c/2:pair"], {"id": 1}):
        with pytest.raises(UserError, match="search again"):
            handle.candidate(sent)


def test_a_model_that_cannot_be_loaded_says_why_every_time() -> None:
    def load() -> None:
        raise UserError("The bundle is missing. Run make demo.")

    handle = EngineHandle(load, {}).start()  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(UserError, match="make demo"):
            handle.get()
    broken = EngineHandle(lambda: 1 / 0, {}).start()  # type: ignore[arg-type,return-value]
    with pytest.raises(UserError, match="ZeroDivisionError"):
        broken.get()
    assert not broken.ready


# ---- the first screen


def test_first_screen_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "first_screen.json"
    stored = {example.key: _result(example.query()) for example in EXAMPLES}
    first_screen.save(stored, path)
    text = path.read_text()
    assert "svg" not in text and "<script" not in text, "ids only, no captions and no pictures"
    loaded = first_screen.load(path, ALL)
    assert list(loaded) == [example.key for example in EXAMPLES]
    assert loaded["photo"].hits == stored["photo"].hits
    assert loaded["photo"].trace == stored["photo"].trace
    assert loaded["photo"].timings == stored["photo"].timings
    assert loaded["photo"].query.image is not None and loaded["words"].query.text == BY_KEY["words"].ask.text


def test_first_screen_drops_what_is_not_installed(tmp_path: Path) -> None:
    path = tmp_path / "first_screen.json"
    first_screen.save({"photo": _result(OPENING.query())}, path)
    hits = first_screen.load(path, {PAIR.id: PAIR})["photo"].hits
    assert [(hit.rank, hit.candidate) for hit in hits] == [(1, PAIR)]
    assert first_screen.load(path, {}) == {}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 99, "searches": {}}',
        '{"version": 1}',
        '{"version": 1, "searches": []}',
    ],
)
def test_damaged_first_screens_are_left_out(tmp_path: Path, content: str) -> None:
    path = tmp_path / "first_screen.json"
    path.write_text(content)
    assert first_screen.load(path, ALL) == {}
    assert first_screen.load(tmp_path / "missing.json", ALL) == {}


def test_a_changed_example_does_not_show_an_old_answer(tmp_path: Path) -> None:
    path = tmp_path / "first_screen.json"
    first_screen.save({"words": _result(Query(text="another question"))}, path)
    assert first_screen.load(path, ALL) == {}


def test_examples_are_six_kinds_of_task_and_can_be_asked() -> None:
    kinds = set()
    for example in EXAMPLES:
        query = example.query()
        kinds.add((query.modality, next(t.target for t in TASKS if query.instruction in t.wordings)))
        assert fitting_instruction(example.ask) == example.ask.instruction
    assert len(EXAMPLES) == len(kinds) == 6
    assert OPENING.query().image is not None and OPENING.ask.instruction
