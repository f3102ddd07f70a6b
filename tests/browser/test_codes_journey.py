"""A visit to the Code browser: the tree, one's own words sent through it, an address edited, the doors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.browser
HEAD = "#code-page .g-code-head h2"


def _open(visit: Callable, **how: object) -> object:
    page = visit(**how)
    page.click("role=tab[name='Code browser']")
    page.wait_for_selector(HEAD)
    return page


def _crumbs(page) -> str:
    return page.locator("#code-page .g-crumbs").inner_text()


def test_walking_the_tree_down_up_and_across(visit: Callable) -> None:
    page = _open(visit)
    assert page.locator("#code-page .g-strip").count() == 3, "it opens on the opening search's address"
    assert page.locator("#code-page .g-faces img").first.is_visible()
    page.click("#code-page .g-crumbs button[data-prefix='']")
    page.wait_for_selector(f"{HEAD}:text-is('All addresses')")
    page.click("#code-page .g-code-tile[data-prefix='1']")
    page.wait_for_selector(f"{HEAD}:text-is('text')")
    page.click("#code-page .g-cells button[data-prefix='0']")
    page.wait_for_selector(f"{HEAD}:text-is('image')")
    page.click("#code-page .g-code-tile >> nth=0")
    page.wait_for_selector("#code-page [data-act=anywhere]")
    page.click("#code-page [data-act=anywhere]")
    page.wait_for_selector(f"{HEAD} small:text-is('anywhere')")
    page.click("#code-page .g-code-tile >> nth=0")
    page.wait_for_selector("#code-page .g-face")
    page.click("#code-page .g-face >> nth=0")
    page.wait_for_function("document.querySelectorAll('#code-page .g-crumbs li').length === 7")


def test_ones_own_words_two_things_and_the_editor(visit: Callable) -> None:
    page = _open(visit)
    page.click("role=tab[name='My picture or words']")
    page.fill("#path-text textarea, #path-text input", "lion")
    page.click("#path-go")
    page.wait_for_selector("#code-path .g-path")
    assert page.locator("#code-path .g-path > li").count() == 6
    page.click("#code-path .g-path button.g-chip >> nth=1")
    page.wait_for_selector("#code-page .g-code-head")
    page.click("role=tab[name='Compare two']")
    page.click("#two-go")
    page.wait_for_selector("#code-two .g-verdict")
    page.click("role=tab[name='Edit an address']")
    menu = page.locator("#code-editor select[data-level='1']")
    page.wait_for_selector("#code-editor select[data-level='1']")
    before = page.locator("#code-editor h3").inner_text()
    values = menu.locator("option").evaluate_all("all => all.map(option => option.value)")
    menu.select_option(next(value for value in values if value != menu.input_value()))
    page.wait_for_function("text => document.querySelector('#code-editor h3').innerText !== text", arg=before)
    assert page.locator("#code-editor .g-face").count() >= 1
    page.click("role=tab[name='Are they meaningful?']")
    page.wait_for_selector("#codes-measured .g-table")


def test_a_hit_opens_its_code_and_a_code_limits_a_search(visit: Callable) -> None:
    page = visit()
    address = page.locator("#cards .g-ranked .g-id").first.inner_text()
    for _ in range(2):  # the same door opens twice
        page.click("#cards .g-ranked [data-act=code] >> nth=0")
        page.wait_for_function("document.querySelectorAll('#code-page .g-crumbs li').length === 7")
        opened = page.locator("#code-page .g-crumbs li:last-child button").get_attribute("data-prefix")
        assert opened == address
        page.click("#code-page .g-crumbs button[data-prefix='']")
        page.wait_for_selector(f"{HEAD}:text-is('All addresses')")
        page.click("role=tab[name='Search']")
    page.click("#answer-head .g-chip >> nth=1")
    page.wait_for_selector("#code-page [data-act=within]")
    page.wait_for_function("document.querySelectorAll('#code-page .g-crumbs li').length === 3")
    prefix = page.locator("#code-page [data-act=within]").get_attribute("data-for")
    page.click("#code-page [data-act=within]")
    page.wait_for_selector("#within .g-limit")
    page.fill("#query-text textarea", "anything")
    page.press("#query-text textarea", "Enter")
    page.wait_for_selector("#answer-head q:text-is('anything')")
    found = page.locator("#cards .g-ranked .g-id").all_inner_texts()
    assert found and all(text.startswith(prefix + " ") for text in found)
    page.click("#within [data-act=lift]")
    page.wait_for_selector("#within .g-limit", state="detached")
    page.press("#query-text textarea", "Enter")
    page.wait_for_function(
        "prefix => [...document.querySelectorAll('#cards .g-ranked .g-id')]"
        ".some(id => !id.innerText.startsWith(prefix + ' '))",
        arg=prefix,
    )


def test_forged_addresses_are_refused(visit: Callable) -> None:
    page = _open(visit)
    before = page.locator(HEAD).inner_text()
    for forged in ("0 99999", "-1", "0 0 0 0 0 0 0 0 0 0 0 0", "1.5", "x"):
        page.evaluate(
            "f => { document.querySelector('#code-page .g-crumbs button').dataset.prefix = f; }", forged
        )
        page.click("#code-page .g-crumbs button >> nth=0")
        page.wait_for_selector("text=Choose one of the codes")
        page.locator(".toast-close").first.click()
    assert page.locator(HEAD).inner_text() == before


def test_narrow_and_dark(visit: Callable) -> None:
    page = _open(visit, width=390, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
