"""The place of the speed race: how long this visit's searches took."""

from __future__ import annotations

import gradio as gr

from genius.ui import places, theme
from genius.ui.handle import EngineHandle


def build(tab: gr.Tab, handle: EngineHandle, history: gr.State) -> None:
    """Lay out the tab; the times are drawn when it is opened."""
    times = theme.html(places.times(()), "speed-place")
    tab.select(places.times, history, times, show_progress="hidden", api_visibility="private")
