"""From a form, a link or a card to a checked request. It all comes from a visitor: nothing is trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from genius.images import open_image
from genius.instructions import TASKS, Task, task_for
from genius.schema import Candidate, Modality, Query, SearchOptions, UserError, bounded_text

MAX_SHOWN = 100
MODES: Mapping[str, Modality | None] = {
    "auto": None,
    "image": Modality.IMAGE,
    "text": Modality.TEXT,
    "pair": Modality.PAIR,
}
_OFF = {"0", "false", "no", "off"}


@dataclass(frozen=True)
class Ask:
    """One request, as small as a form: the picture is a path, so the record is cheap to keep and compare."""

    text: str = ""
    image: str | None = None
    instruction: str = ""
    mode: str = "auto"
    top_k: int = 10
    beams: int = 50
    rerank: bool = True
    minus: str = ""
    within: tuple[int, ...] | tuple[str, ...] = ()
    """The codes that every answer's address starts with, or the ids of the candidates that can be found."""

    def query(self) -> Query:
        """The query, with its picture opened; raises UserError when the picture cannot be read."""
        image = None if self.image is None else open_image(self.image)
        return Query(image=image, text=self.text, instruction=self.instruction, minus=self.minus)

    def options(self) -> SearchOptions:
        """How to search; a chosen modality becomes the first code of every answer."""
        target = MODES[self.mode]
        prefix: tuple[int, ...] = () if target is None else (int(target),)
        codes = tuple(code for code in self.within if isinstance(code, int))
        if codes and prefix not in ((), codes[:1]):
            raise UserError(
                f"The search is limited to a code of another kind than {Modality(prefix[0]).label}. "
                "Let the model decide the kind, or lift the limit."
            )
        prefix = codes or prefix
        return SearchOptions(top_k=self.top_k, beams=self.beams, rerank=self.rerank, prefix=prefix)


def parse(
    text: str | None = "",
    image: str | None = None,
    instruction: str | None = "",
    mode: str | None = "auto",
    top_k: float | None = 10,
    beams: float | None = 50,
    rerank: bool | None = True,
    minus: str | None = "",
) -> Ask:
    """Check a filled form and turn it into an Ask.

    Raises
    ------
    UserError
        For an empty query, an over-long text, or a setting that does not exist.
    """
    if (mode or "auto") not in MODES:
        raise UserError(f"Unknown modality {mode!r}: choose auto, image, text or pair.")
    ask = Ask(
        text=bounded_text(text, "text"),
        image=image or None,
        instruction=bounded_text(instruction, "instruction"),
        mode=mode or "auto",
        top_k=_whole(top_k, "number of results"),
        beams=_whole(beams, "beam width"),
        rerank=bool(rerank),
        minus=bounded_text(minus, "text to take away"),
    )
    if not ask.text and ask.image is None:
        raise UserError("Nothing to search for yet: write a few words, add a picture, or both.")
    ask.options()  # its own range checks speak to the visitor
    return replace(ask, instruction=fitting_instruction(ask))


def more_like(candidate: Candidate, asked: Ask | None = None) -> Ask:
    """A search for candidates like this one, answered in its own modality; settings stay as they were."""
    task = task_for(candidate.modality, candidate.modality)
    return replace(
        refine_with(candidate, asked),
        instruction=task.wordings[0] if task else "",
        mode=next(word for word, target in MODES.items() if target == candidate.modality),
        minus="",
    )


def refine_with(candidate: Candidate, asked: Ask | None = None) -> Ask:
    """The candidate as the query, ready to be changed by a few words; settings stay as they were.

    A pair lends its picture only, so that the text field is free for the wish.
    """
    image = None if candidate.image is None else str(candidate.image)
    text = "" if image else (candidate.text or "")
    ask = replace(asked or Ask(), text=text, image=image, mode="auto", minus="")
    wish = task_for(Modality.PAIR, Modality.IMAGE) if image else task_for(Modality.TEXT, Modality.IMAGE)
    return replace(ask, instruction=wish.wordings[0] if wish else "")


def from_link(params: Mapping[str, str]) -> Ask | None:
    """The search a link describes; None without `q`. Unreadable settings fall back to the usual ones."""
    if not params.get("q", "").strip():
        return None
    mode = params.get("mode", "auto")
    return parse(
        text=params["q"],
        instruction=params.get("i", ""),
        mode=mode if mode in MODES else "auto",
        top_k=_bounded(params.get("k"), usual=10, top=MAX_SHOWN),
        beams=_bounded(params.get("beams"), usual=50, top=100),
        rerank=params.get("rerank", "1").lower() not in _OFF,
        minus=params.get("minus", ""),
    )


def to_link(ask: Ask) -> str | None:
    """`?q=…&mode=…&k=…`, which reopens the search; None when a picture or a limit is part of it."""
    if ask.image is not None or ask.within:
        return None
    usual = Ask()
    fields = {"q": ask.text, "mode": ask.mode, "k": str(ask.top_k)}
    extra = {
        "i": (ask.instruction, usual.instruction),
        "minus": (ask.minus, usual.minus),
        "beams": (str(ask.beams), str(usual.beams)),
        "rerank": (str(int(ask.rerank)), "1"),
    }
    fields |= {name: value for name, (value, default) in extra.items() if value != default}
    return "?" + urlencode(fields)


def tasks_for(has_text: bool, has_image: bool, mode: str) -> tuple[Task, ...]:
    """The tasks that fit what is given and what is wanted; all of them while nothing is given."""
    target = MODES.get(mode)
    given = Modality.of(image=has_image, text=has_text) if has_text or has_image else None
    fitting = [task for task in TASKS if given in (None, task.query) and target in (None, task.target)]
    return tuple(fitting) or tuple(task for task in TASKS if given in (None, task.query))


def fitting_instruction(ask: Ask) -> str:
    """The instruction, swapped for the fitting one when it is a stock wording of another task.

    A sentence the visitor wrote is never touched.
    """
    stock = next((task for task in TASKS if ask.instruction in task.wordings), None)
    fitting = tasks_for(bool(ask.text), ask.image is not None, ask.mode)
    if stock is None or stock in fitting:
        return ask.instruction
    same_target = [task for task in fitting if task.target == stock.target]
    return (same_target or list(fitting))[0].wordings[0]


def _whole(number: float | None, what: str) -> int:
    if number is None or not math.isfinite(number) or int(number) != number:
        raise UserError(f"The {what} must be a whole number.")
    return int(number)


def _bounded(number: str | None, *, usual: int, top: int) -> int:
    text = (number or "").strip()
    return min(max(int(text), 1), top) if text.isascii() and text.isdigit() and len(text) < 9 else usual
