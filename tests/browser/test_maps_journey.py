"""A visit to the Maps: points are pointed at, clicked and lassoed, also after the map was drawn anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
PIXEL = """number => {
  const plot = document.querySelector('#map .g-map');
  const { xaxis, yaxis } = plot._fullLayout, box = plot.getBoundingClientRect();
  const points = plot.data.filter(trace => trace.customdata && !trace.text)
    .flatMap(trace => [...trace.x].map((x, n) => [x, trace.y[n]]));
  const at = ([x, y]) => [box.x + xaxis._offset + xaxis.l2p(x), box.y + yaxis._offset + yaxis.l2p(y)];
  return points.map(at).filter(([x, y]) => x > box.x + 60 && x < box.right - 60 && y > box.y + 60)[number];
}"""


def _open(visit: Callable, **how: object) -> object:
    page = visit(**how)
    page.click("role=tab[name='Maps']")
    page.wait_for_function("document.querySelector('#map .g-map')?.data?.length")
    return page


def _click_a_point(page, number: int) -> None:
    x, y = page.evaluate(PIXEL, number)
    page.mouse.move(x, y)
    page.wait_for_selector("#map .g-peek .g-mini")
    page.mouse.click(x, y)


def test_points_open_also_after_the_map_has_changed(visit: Callable) -> None:
    page = _open(visit)
    _click_a_point(page, 5)
    page.wait_for_selector("#map-detail .g-one")
    first = page.locator("#map-detail h3").first.inner_text()
    assert page.locator("#map-detail .g-face").count() == 12
    page.click("#map-colour label:has-text('level-2 code')")
    page.wait_for_function("!document.querySelector('#map .g-map-legend').innerText.includes('image')")
    page.click("#map-space label:has-text('encoder')")
    page.wait_for_selector("#map-about:has-text('look alike')")
    _click_a_point(page, 40)
    page.wait_for_function("text => document.querySelector('#map-detail h3').innerText !== text", arg=first)
    page.wait_for_selector("#map-detail:has-text('cosine')")
    page.click("#map-detail .g-chip >> nth=1")
    page.wait_for_selector("#code-page .g-code-head")


def test_a_lasso_is_gathered_exported_and_searched(visit: Callable) -> None:
    page = _open(visit)
    page.click("#map .modebar-btn[data-val=select]")
    box = page.locator("#map .g-map").bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.9 * box["height"], steps=6)
    page.mouse.up()
    page.wait_for_selector("#map-detail h3:has-text('in the lasso')")
    with page.expect_download() as download:
        page.click("#map-detail [data-act=export]")
    held = {entry["id"] for entry in json.loads(Path(download.value.path()).read_text())}
    assert held
    page.click("#map-detail [data-act=within]")
    page.wait_for_selector("#within .g-limit:has-text('on the map')")
    page.fill("#query-text textarea", "flag")
    page.press("#query-text textarea", "Enter")
    page.wait_for_selector("#answer-head q:text-is('flag')")
    found = page.locator("#cards .g-ranked [data-act=more]").evaluate_all("all => all.map(b => b.dataset.id)")
    assert found and set(found) <= held


def test_the_last_search_and_a_hit_are_drawn_in(visit: Callable) -> None:
    page = _open(visit)
    marks = "document.querySelector('#map .g-map').data.filter(trace => trace.text).map(trace => trace.text)"
    assert page.evaluate(marks)[0][0] == "1" and page.evaluate(marks)[1] == ["your query"]
    page.click("role=tab[name='Search']")
    page.click("#cards .g-ranked [data-act=place] >> nth=2")
    page.wait_for_selector("#map-detail .g-one")
    page.wait_for_function(f"{marks}.length === 1")


def test_forged_rows_are_refused(visit: Callable) -> None:
    page = _open(visit)
    for forged in ("1e9", "-1", "'0'", "[0]", "0.5", "{}"):
        page.evaluate(
            "document.querySelector('#map .g-map').emit('plotly_click', "
            f"{{points: [{{customdata: {forged}}}]}})"
        )
        page.wait_for_selector("text=Choose points on the map")
        page.locator(".toast-close").first.click()
    page.evaluate(
        "document.querySelector('#map .g-map').emit('plotly_selected', {points: [{customdata: 1e9}]})"
    )
    page.wait_for_selector("text=Choose points on the map")
    assert page.locator("#map-detail .g-one").count() == 0


def test_narrow_and_dark(visit: Callable) -> None:
    page = _open(visit, width=390, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
