"""What the tabs that are still to come tell already, as HTML. Pure; only what is true today."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

from genius.schema import Candidate, Hit, Modality, SearchResult, Timings
from genius.ui.found import funnel, stage_bar
from genius.ui.render import KEYS, Words, chips, esc, picture, plural, shared_length, small_id, tag

LESSON = (
    ("First", "says what the answer is made of: an image, a text, or both."),
    ("Then", "comes the main thing: what is shown or spoken of."),
    ("After that", "each code adds what the ones before left unsaid, from coarse to fine."),
)
MOSAIC = 64
SOURCES = {"openmoji": "OpenMoji", "stamps": "Tux Paint stamps", "clipart": "Open Clip Art Library"}


def address_lesson(result: SearchResult | None, words: Words) -> str:
    """What an address is, with the opening search's as the example."""
    steps = "".join(f"<li><b>{first}</b> {rest}</li>" for first, rest in LESSON)
    example = "" if result is None or not result.hits else _example(result, words)
    return (
        '<div class="g-place"><h2>Every candidate has an address</h2>'
        "<p>A picture or a text is filed under a short row of codes, its <em>semantic ID</em>. "
        "Similar things begin "
        "alike, as houses in one street do. Searching is writing such an address.</p>"
        f'<ol class="g-lesson">{steps}</ol>{example}'
        '<p class="g-coming">Coming here: walk the tree of all addresses, see what each code stands '
        "for, and change "
        "one code to see who answers.</p></div>"
    )


def _example(result: SearchResult, words: Words) -> str:
    top = result.hits[0]
    rows = "".join(_neighbour(hit, top, words) for hit in result.hits[:6])
    return (
        f"<section><h3>One address, read from left to right</h3>{chips(top.semantic_id, words)}"
        f"{funnel(result, words)}</section>"
        "<section><h3>Who lives nearby</h3><p>The first results of the opening search. In bold: how "
        "far each address "
        f'agrees with the first.</p><ol class="g-near">{rows}</ol></section>'
    )


def _neighbour(hit: Hit, top: Hit, words: Words) -> str:
    shown = picture(hit.candidate, words) or f"<p>{esc(hit.candidate.text)}</p>"
    agree = shared_length(hit.semantic_id, top.semantic_id)
    return (
        f'<li data-modality="{KEYS[hit.candidate.modality]}"><div class="g-mini">{shown}</div>'
        f"{small_id(hit.semantic_id, top.semantic_id)}<small>{plural(agree, 'code')} in common</small></li>"
    )


def collection(candidates: Sequence[Candidate], words: Words) -> str:
    """What can be found: how much of each kind, from where, and a handful of pictures at even distances."""
    if not candidates:
        return '<div class="g-place"><h2>The collection is still being read</h2></div>'
    kinds = Counter(candidate.modality for candidate in candidates)
    sources = Counter(candidate.collection for candidate in candidates)
    bars = "".join(
        f'<li data-modality="{KEYS[modality]}">{tag(modality)}<span class="g-bar"><i style="width:'
        f'{100 * kinds[modality] / max(kinds.values()):.1f}%"></i></span><span>{kinds[modality]:,}'
        "</span></li>"
        for modality in Modality
        if kinds[modality]
    )
    origin = " · ".join(f"{esc(SOURCES.get(name, name))} {count:,}" for name, count in sources.most_common())
    return (
        f'<div class="g-place"><h2>{plural(len(candidates), "candidate")} to be mapped</h2>'
        f"<p>{origin}. Each picture is filed as an image, its caption as a text, and the two together "
        "as a pair.</p>"
        f'<ul class="g-kinds">{bars}</ul>'
        "<h3>A handful, picked at even distances</h3>"
        f'<div class="g-mosaic">{_mosaic(candidates, words)}</div>'
        '<p class="g-coming">Coming here: these laid out by meaning, in the encoder’s space and in '
        "the space of "
        "addresses, with your query among them. A warning ahead: two dimensions cannot keep all "
        "distances.</p></div>"
    )


def _mosaic(candidates: Iterable[Candidate], words: Words) -> str:
    pictures = [candidate for candidate in candidates if candidate.modality is Modality.PAIR]
    step = max(len(pictures) // MOSAIC, 1)
    return "".join(picture(candidate, words) for candidate in pictures[step // 2 :: step][:MOSAIC])


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
        '<div class="g-place"><h2>How long your searches took</h2>'
        f'{typical}<ol class="g-times">{rows}</ol>'
        "<p>Writing an address takes as many steps as it has codes, however many candidates there "
        "are; comparing "
        "with every candidate takes longer with each one added. These are single measurements, taken "
        "while the "
        "machine may be doing other things.</p>"
        '<p class="g-coming">Coming here: a race against exact and approximate search on growing '
        "collections, speed "
        "always beside recall.</p></div>"
    )
