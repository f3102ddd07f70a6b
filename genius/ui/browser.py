"""The place of the code browser: what an address is, told with a real one."""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr

from genius.schema import SearchResult
from genius.ui import places, theme
from genius.ui.doors import Doors
from genius.ui.examples import OPENING
from genius.ui.handle import EngineHandle
from genius.ui.render import Words


def build(
    tab: gr.Tab, handle: EngineHandle, first_screen: Mapping[str, SearchResult], words: Words, doors: Doors
) -> None:
    """Lay out the tab."""
    theme.html(places.address_lesson(first_screen.get(OPENING.key), words), "browser-place")
