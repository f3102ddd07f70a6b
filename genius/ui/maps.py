"""The place of the maps: what is in the collection, until it can be laid out by meaning."""

from __future__ import annotations

import gradio as gr

from genius.ui import places, theme
from genius.ui.handle import EngineHandle
from genius.ui.render import Words


def build(handle: EngineHandle, words: Words) -> None:
    """Lay out the tab."""
    theme.html(places.collection(list(handle.candidates.values()), words), "maps-place")
