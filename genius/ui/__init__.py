"""The web page: `build_app` puts the tabs together."""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr

from genius.schema import SearchResult, UserError
from genius.ui import api, browser, maps, render, search, speed, theme
from genius.ui.doors import BROWSER, MAPS, SEARCH, SPEED, Doors
from genius.ui.explorer import Explorer
from genius.ui.handle import EngineHandle
from genius.ui.render import Words

TITLE = "GENIUS: search by writing addresses"
UPLOADS_KEPT = (3600, 86400)
"""Every so many seconds, what visitors uploaded longer ago than so many seconds is deleted."""


def build_app(
    engine_handle: EngineHandle,
    first_screen: Mapping[str, SearchResult],
    names: Mapping[tuple[int, ...], str] | None = None,
) -> gr.Blocks:
    """The page. `first_screen` holds searches by example key; `names` maps prefixes to plain names."""
    explorer = Explorer(engine_handle, names)
    words = Words(explorer.names, engine_handle.find)
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=UPLOADS_KEPT) as page:
        with gr.Row(elem_id="top"):
            theme.html(theme.HEAD, "head")
            status = theme.html(theme.status_line("The model is loading …", "loading"), "status")
            theme.html(theme.SWITCH, "switch")
        tabs = gr.Tabs(elem_id="tabs")
        doors = Doors.build(tabs)  # outside the tabs, which take every part within them for one of their own
        with tabs:
            with gr.Tab("Search", id=SEARCH):
                answer = search.build(page, engine_handle, first_screen, words, doors)
            with gr.Tab("Code browser", id=BROWSER) as browser_tab:
                browser.build(browser_tab, explorer, first_screen, words, doors)
            with gr.Tab("Maps", id=MAPS) as maps_tab:
                maps.build(maps_tab, explorer, words, doors, answer.shown)
            with gr.Tab("Speed", id=SPEED) as speed_tab:
                speed.build(page, speed_tab, engine_handle, answer.history)
        api.build(engine_handle, lambda prefix: words.names.get(prefix, ""), search.friendly)
        notes = theme.html("", "notes")
        theme.html(theme.CREDITS, "credits")
        page.load(
            lambda: _status(engine_handle, explorer),
            None,
            [status, notes],
            show_progress="hidden",
            api_visibility="private",
            concurrency_limit=None,
        )
    return page


def _status(handle: EngineHandle, explorer: Explorer) -> tuple[str, str]:
    """Waits for the engine and what is known of its codes; then says that it is there, or what to do."""
    try:
        engine = handle.get()
        _ = explorer.explanation
    except UserError as error:
        return theme.status_line(str(error), "failed"), ""
    ready = f"Ready: {render.plural(len(handle.candidates), 'candidate')} to find"
    return theme.status_line(ready, "ready"), render.notes(engine.notes)
