"""How long a visit's own searches took, as HTML. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from genius.schema import Timings
from genius.ui.found import stage_bar
from genius.ui.render import esc


def times(history: Sequence[tuple[str, float, float, float, float]]) -> str:
    """The stage times of this visit's searches, newest first."""
    rows = "".join(
        f"<li><q>{esc(words)}</q>{stage_bar(Timings(*stages))}</li>" for words, *stages in reversed(history)
    )
    totals = [sum(stages) for _, *stages in history]
    typical = (
        f"<p>You made {len(totals)} {'search' if len(totals) == 1 else 'searches'}; "
        f"the typical one took <b>{median(totals):,.0f} ms</b> on this machine.</p>"
        if totals
        else "<p>Search for something, then come back: the time of each stage is listed here.</p>"
    )
    return (
        '<div class="g-place">'
        f'{typical}<ol class="g-times">{rows}</ol>'
        "<p>Writing an address takes as many steps as it has codes, however many candidates there "
        "are; comparing "
        "with every candidate takes longer with each one added. These are single measurements, taken "
        "while the "
        "machine may be doing other things.</p></div>"
    )
