"""Doors between the tabs: what one tab asks another to open.

A handler that opens a door returns values for `Doors.tabs` and one of the states; the tab behind it listens
to that state's `change` event. What comes from a browser is checked by the tab that opens.
"""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

SEARCH, BROWSER, MAPS, SPEED = "search", "browser", "maps", "speed"
"""The tabs' ids: `gr.Tabs(selected=BROWSER)` goes there."""


@dataclass(frozen=True)
class Doors:
    """`code`: a prefix (tuple of codes) to explain; `place`: candidate ids to show on the map; `within`: what
    the next search is limited to, a prefix or candidate ids."""

    tabs: gr.Tabs
    code: gr.State
    place: gr.State
    within: gr.State

    @classmethod
    def build(cls, tabs: gr.Tabs) -> Doors:
        """Doors that are all shut."""
        return cls(tabs, gr.State(None), gr.State(None), gr.State(None))
