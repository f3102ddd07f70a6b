"""GENIUS beside plain CLIP and an exact scan, as HTML. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from genius.schema import Hit, SearchResult
from genius.ui.render import KEYS, Words, esc, meter, picture, plural, tag


def compare(ours: Sequence[Hit], theirs: SearchResult, our_ms: float, count: int, words: Words) -> str:
    """GENIUS and exact CLIP search side by side, what both found marked; `count`: what could be found."""
    our_rank = {hit.candidate.id: hit.rank for hit in ours}
    their_rank = {hit.candidate.id: hit.rank for hit in theirs.hits}
    both = len(our_rank.keys() & their_rank.keys())
    return (
        f'<p class="g-lead"><b>{both} of {len(ours)}</b> results are the same. GENIUS wrote addresses '
        f"({our_ms:,.0f} ms); exact search compared the query with {plural(count, 'candidate')} "
        f"({theirs.timings.total:,.0f} ms). In a collection this small, exact search is fast; "
        "its cost grows with the collection.</p>"
        '<div class="g-compare">'
        f"{_column('GENIUS', 'writes addresses, then re-ranks', ours, their_rank, words)}"
        f"{_column('CLIP, exact', 'compares with every candidate', theirs.hits, our_rank, words)}</div>"
    )


def _column(title: str, how: str, hits: Sequence[Hit], other: Mapping[str, int], words: Words) -> str:
    rows = "".join(_row(hit, other.get(hit.candidate.id), words) for hit in hits)
    return f"<section><h4>{title} <small>{how}</small></h4><ol>{rows}</ol></section>"


def _row(hit: Hit, elsewhere: int | None, words: Words) -> str:
    mark = f'<span class="g-both">also no. {elsewhere}</span>' if elsewhere else ""
    shown = picture(hit.candidate, words) or '<span class="g-quote" aria-hidden="true">“</span>'
    return (
        f'<li class="g-row{" g-shared" if elsewhere else ""}" data-modality="{KEYS[hit.candidate.modality]}">'
        f'<span class="g-rank">{hit.rank}</span><span class="g-mini">{shown}</span>'
        f'<span class="g-row-words">{esc(words.caption(hit.candidate))}'
        f"<br>{tag(hit.candidate.modality)}{mark}</span>"
        f"{meter(hit.score, label='cosine similarity')}</li>"
    )
