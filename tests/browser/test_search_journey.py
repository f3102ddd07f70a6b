"""A visit to the Search tab: from the finished first screen to one's own searches, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import pytest
from fake_engine import FakeEngine
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from genius.ui.examples import EXAMPLES, OPENING

pytestmark = pytest.mark.browser
CARDS = "#cards .g-ranked .g-card"
LARGE = """image => new Promise((done) => {
  image.onload = done;
  image.src = 'data:image/svg+xml,' +
    '<svg xmlns=%22http://www.w3.org/2000/svg%22 width=%22900%22 height=%22600%22/>';
})"""


def _search(page, words: str) -> None:
    page.fill("#query-text textarea", words)
    page.press("#query-text textarea", "Enter")
    page.wait_for_selector(f"#answer-head q:text-is('{words}')")


def test_the_page_opens_on_a_finished_search(visit: Callable) -> None:
    page = visit()
    assert page.locator(CARDS).count() == 10
    assert page.locator("#answer-head .g-chip").first.inner_text() == "image"
    assert "trie" in page.locator(".g-written p").inner_text()
    assert page.locator(".g-example").count() == 6
    pictures = "[...document.querySelectorAll('.g-ranked img, .g-examples img')].slice(0, 8)"
    page.wait_for_function(f"{pictures}.every(picture => picture.naturalWidth > 0)")
    assert page.locator(".g-ranked img:not([alt]), .g-ranked img[alt='']").count() == 0
    form, answer = (page.locator(part).bounding_box() for part in ("#ask-top", "#answer-head"))
    assert form["y"] == answer["y"], "what is empty, as the note of a limit, takes no room"
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_words_and_enter_then_more_like_this_then_refine(visit: Callable) -> None:
    page = visit()
    _search(page, "lion")
    assert "lion" in page.locator(f"{CARDS} img").first.get_attribute("alt")
    page.click(f"{CARDS}[data-modality=image] [data-act=more] >> nth=0")
    page.wait_for_selector("#answer-head .g-thumb")
    page.wait_for_selector("#query-image img")
    assert page.locator("#query-text textarea").input_value() == ""
    assert page.locator("#answer-head").inner_text().count("Find a similar picture") == 1
    before = page.locator("#answer-head").inner_text()
    page.click(f"{CARDS} [data-act=refine] >> nth=1")
    page.wait_for_function("document.activeElement.closest('#query-text')")
    assert page.locator("#answer-head").inner_text() == before, "refining waits for the visitor's wish"
    _search(page, "at night")
    assert "changed as the text says" in page.locator("#query-instruction input").input_value()


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e is not OPENING], ids=lambda e: e.key)
def test_one_click_runs_an_example(visit: Callable, example) -> None:
    page = visit()
    page.click(f"[data-example={example.key}]")
    page.wait_for_function(
        "words => document.querySelector('#answer-head').innerText.includes(words)",
        arg=example.ask.text or example.ask.instruction,
    )
    assert page.locator("#query-text textarea").input_value() == example.ask.text
    page.wait_for_timeout(300)
    assert page.locator("#query-instruction input").input_value() == example.ask.instruction


def test_views_beams_comparison_and_taking_away(visit: Callable) -> None:
    page = visit()
    _search(page, "cat")
    page.click("[data-view=grouped]")
    assert page.locator("#cards .g-grouped .g-card").first.is_visible()
    assert not page.locator(CARDS).first.is_visible()
    page.click("[data-view=ranked]")
    page.click("role=tab[name='How it was found']")
    assert page.locator("#how .g-step").count() == 6
    assert page.locator("#how .g-chosen").first.is_visible()
    page.click("role=tab[name='Compare with CLIP']")
    page.wait_for_selector("#compare .g-row")
    assert page.locator("#compare section").count() == 2 and page.locator("#compare .g-shared").count() > 0
    small = page.locator("#compare .g-mini img").first
    small.evaluate(LARGE)
    assert small.bounding_box()["width"] == small.bounding_box()["height"] == 56, "large ones are not cut"
    page.click("role=tab[name='Link, JSON, API']")
    link = page.locator("#share a.g-link").inner_text()
    assert link.startswith("http://127.0.0.1") and "q=cat" in link
    report = json.loads(page.locator("#share pre").nth(1).inner_text())
    assert report["query"]["text"] == "cat" and len(report["hits"]) == 10
    assert "127.0.0.1" in page.locator("#share pre").first.inner_text()
    with page.expect_download() as download:
        page.click("#share [data-act=download]")
    assert json.loads(Path(download.value.path()).read_text()) == report
    _search(page, "dog")
    assert page.locator(CARDS).first.is_visible(), "a new search returns to its results"


def test_a_link_runs_its_search(visit: Callable) -> None:
    page = visit("?q=red+heart&mode=text&k=4")
    page.wait_for_selector("#answer-head q:text-is('red heart')")
    assert page.locator(CARDS).count() == 4
    assert page.locator(f"{CARDS}[data-modality=text]").count() == 4
    assert page.locator("#query-text textarea").input_value() == "red heart"
    page = visit("?q=red+heart&mode=%3Cscript%3E&k=lots")
    page.wait_for_selector("#answer-head q:text-is('red heart')")
    assert page.locator(CARDS).count() == 10


def test_other_peoples_text_stays_text(visit: Callable) -> None:
    page = visit()
    evil = "<img src=x onerror=window.hurt=1> ${1+1} {{7*7}} {% raw %}"
    page.fill("#query-text textarea", evil)
    page.press("#query-text textarea", "Enter")
    page.wait_for_function("document.querySelector('#answer-head q')?.innerText.includes('onerror')")
    assert page.locator("#answer-head q").inner_text().strip("“”") == evil
    assert page.evaluate("window.hurt") is None


def test_mistakes_are_answered_and_nothing_is_lost(visit: Callable, broken_picture: Path) -> None:
    page = visit()
    page.click("#go")
    page.wait_for_selector("text=write a few words")
    assert page.locator(CARDS).count() == 10
    page.fill("#query-text textarea", "x" * 10_000)
    page.click("#go")
    page.wait_for_selector("text=Please shorten it")
    page.set_input_files("#query-image input[type=file]", broken_picture)
    page.wait_for_selector("#query-image img")
    page.fill("#query-text textarea", "a cat")
    page.click("#go")
    page.wait_for_selector("text=broken.png is not an image")
    page.click("#clear")
    page.wait_for_selector("#query-image img", state="detached")
    _search(page, "cat")
    assert page.locator(CARDS).count() == 10


def test_by_keyboard_and_in_the_dark(visit: Callable) -> None:
    page = visit(dark=True)
    light = "rgb(246, 244, 239)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.focus("[data-theme-switch]")
    page.keyboard.press("Enter")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == light
    page.focus("[data-example=words]")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector("#answer-head q:text-is('the yellow fruit that monkeys love')")


def test_the_speed_tab_tells_something_true(visit: Callable) -> None:
    page = visit()
    _search(page, "cat")
    page.click("role=tab[name='Speed']")
    page.click("#speed-times button")
    page.wait_for_selector("#speed-place q:text-is('cat')")


def test_the_endpoint_returns_json(app: gr.Blocks, engine: FakeEngine, broken_picture: Path) -> None:
    client = Client(app.local_url, verbose=False)
    found = client.predict(text="red heart", modality="text", top_k=3, api_name="/search")
    assert [hit["rank"] for hit in found["hits"]] == [1, 2, 3]
    assert {hit["modality"] for hit in found["hits"]} == {"text"}
    picture = engine.candidate("openmoji/1F981:image").image
    found = client.predict(
        image=handle_file(picture), instruction="Find a similar picture.", api_name="/search"
    )
    assert found["query"]["image"] is True and found["hits"][0]["image"].endswith(".svg")
    for wrong, says in (
        ({"text": ""}, "write a few words"),
        ({"text": "a", "modality": "x"}, "choose auto"),
        ({"text": "a", "top_k": 0}, "1 to 1000"),
        ({"image": handle_file(broken_picture)}, "not an image"),
    ):
        with pytest.raises(AppError, match=says):
            client.predict(**wrong, api_name="/search")
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == [
        "/search",
        "/explain_code",
        "/encode",
    ]
