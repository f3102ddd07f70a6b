"""The place of the maps: what is in the collection, until it can be laid out by meaning."""

from __future__ import annotations

import gradio as gr

from genius.ui import places, theme
from genius.ui.doors import Doors
from genius.ui.handle import EngineHandle
from genius.ui.render import Words


def build(tab: gr.Tab, handle: EngineHandle, words: Words, doors: Doors) -> None:
    """Lay out the tab; what the collection holds is drawn when it is opened."""

    def draw() -> str:
        return places.collection(list(handle.candidates.values()), words)

    overview = theme.html(draw(), "maps-place")
    tab.select(draw, None, overview, show_progress="hidden", api_visibility="private")
