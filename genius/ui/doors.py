"""Doors between the tabs: what one tab asks another to open.

A handler that opens a door returns values for `Doors.tabs` and one of the states; the tab behind it listens
to that state's `change` event. What comes from a browser is checked by the tab that opens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

SEARCH, BROWSER, MAPS, SPEED = "search", "browser", "maps", "speed"
"""The tabs' ids: `gr.Tabs(selected=BROWSER)` goes there."""


@dataclass(frozen=True)
class Doors:
    """`code`: a prefix (tuple of codes) to explain; `place`: candidate ids to show on the map; `within`: what
    searches are limited to, a prefix or candidate ids, None for nothing; `ask`: a search to make at once.

    Whoever opens `code`, `place` or `ask` sets it to None again, so that the same door opens twice."""

    tabs: gr.Tabs
    code: gr.State
    place: gr.State
    within: gr.State
    ask: gr.State

    @classmethod
    def build(cls, tabs: gr.Tabs) -> Doors:
        """Doors that are all shut."""
        return cls(tabs, *(gr.State(None) for _ in range(4)))


def sent(event: gr.EventData, name: str) -> Any:
    """A value that a browser sent with an event: anything at all, or None. Whoever uses it checks it."""
    return event._data.get(name) if isinstance(event._data, dict) else None
