"""A visit to the Speed tab, with a tiny model: a race is run, watched, stopped, taken along, found again."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
import pytest
import torch
from tiny import make_tiny_engine

from genius.benchmark import record
from genius.engine import Engine
from genius.ui import build_app, theme
from genius.ui.handle import EngineHandle

pytestmark = pytest.mark.browser
POINTS = "Number(document.querySelector('#race-chart .g-race').dataset.points || 0)"


@pytest.fixture(scope="module")
def racer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Thirty drawings; races are remembered in a folder of their own."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("race")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patched.setattr(record, "SHIPPED", folder / "none.json")
        yield make_tiny_engine(folder)


@pytest.fixture(scope="module")
def app(racer: Engine) -> Iterator[gr.Blocks]:
    """The page with a model that can race."""
    candidates = {candidate.id: candidate for candidate in racer.candidates}
    blocks = build_app(EngineHandle(lambda: racer, candidates).start(), {})
    options = theme.launch_options(theme.picture_folders(racer.candidates))
    blocks.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **options)
    yield blocks
    blocks.close(verbose=False)


def _open(visit: Callable, **how: object) -> object:
    page = visit(**how)
    page.click("role=tab[name='Speed']")
    page.wait_for_selector("#race-result .g-empty, #race-result .g-race-table", state="attached")
    return page


def _choose(page, part: str, *words: str) -> None:
    """Check these boxes of a group, and no others."""
    for label in page.locator(f"{part} label:has(input[type=checkbox])").all():
        label.locator("input").set_checked(label.inner_text().strip() in words)


def test_a_race_grows_is_taken_along_and_found_again(visit: Callable) -> None:
    page = _open(visit)
    assert "Press Run" in page.locator("#race-result").inner_text().replace("press", "Press")
    assert page.locator("#race-lead svg").count() == 3
    _choose(page, "#race-sizes", "1,000", "3,000")
    _choose(page, "#race-beams", "10")
    page.click("#race-run")
    page.wait_for_function(f"{POINTS} > 0")
    page.wait_for_selector("#race-doing:has-text('Finished')")
    page.wait_for_function(f"{POINTS} === 8")
    assert page.locator("#race-result tbody tr").count() == 8
    assert "exact search" in page.locator(".g-race-said").inner_text()
    assert page.locator("#race-chart .scatterlayer .trace").count() == 8, "four lines in two panels"
    for axis in ("x", "y"):
        assert page.locator(f"#race-chart .{axis}tick text").count() > 1, (
            "two sizes, hardly a decade of times"
        )
    taken = {}
    for act in ("json", "csv", "figure"):
        with page.expect_download() as download:
            page.click(f"#race-result [data-act={act}]")
        taken[download.value.suggested_filename] = Path(download.value.path()).read_text(encoding="utf-8")
    race = record.from_json(taken["race.json"])
    assert race.finished and record.recorded() == (race, True)
    assert len(list(csv.DictReader(taken["race.csv"].splitlines()))) == 8
    assert taken["race.svg"].startswith("<svg") and "GENIUS" in taken["race.svg"]
    shown = page.locator("#race-result tbody td b").all_inner_texts()
    assert len(shown) == len(json.loads(taken["race.json"])["points"])

    again = _open(visit, width=390, dark=True)
    again.wait_for_function(f"{POINTS} === 8")
    assert "This machine's last race" in again.locator("#race-about").inner_text()
    assert again.evaluate("document.documentElement.scrollWidth") <= 390
    bottom = "element => element.getBoundingClientRect().bottom"
    for width in (1440, 390):  # the chart keeps to its frame when a window changes
        again.set_viewport_size({"width": width, "height": 844})
        again.wait_for_timeout(1500)
        drawn = again.locator("#race-chart .main-svg").first.evaluate(bottom)
        assert drawn <= again.locator("#race-chart .g-race-frame").evaluate(bottom)


def test_a_race_is_stopped_while_somebody_searches_and_waits(visit: Callable) -> None:
    page, other = _open(visit), _open(visit)
    _choose(page, "#race-sizes", "1,000,000")
    page.click("#race-run")
    page.wait_for_selector("#race-doing:has-text('candidates')")
    other.click("#race-run")
    other.wait_for_selector("#race-doing:has-text('Another visitor')")
    other.click("role=tab[name='Search']")
    other.fill("#query-text textarea", "red circle")
    other.press("#query-text textarea", "Enter")
    other.wait_for_selector("#answer-head q:text-is('red circle')")
    page.click("#race-stop")
    page.wait_for_selector("#race-doing:has-text('Stopped')")
    page.wait_for_selector("#race-run:not([disabled])")
    other.click("role=tab[name='Speed']")
    other.wait_for_selector("#race-doing:not(:has-text('Another visitor'))", state="attached")
    other.click("#race-stop")
    other.wait_for_selector("#race-doing:has-text('Stopped'), #race-doing:has-text('Finished')")


def test_nothing_chosen_is_a_sentence(visit: Callable) -> None:
    page = _open(visit)
    _choose(page, "#race-sizes")
    page.click("#race-run")
    page.wait_for_selector("text=at least one size")
    page.wait_for_selector("#race-run:not([disabled])")
