"""From search results to HTML: chips, cards, and the page's sentences. Pure; nothing here touches an engine.

Captions, file names and queries are other people's text: everything goes through `esc`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from math import exp
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from genius.schema import Candidate, Hit, Modality, Query, SearchResult
from genius.ui.examples import Example

KEYS = {Modality.IMAGE: "image", Modality.TEXT: "text", Modality.PAIR: "pair"}
MODE_WORDS = {"auto": "the model decides", "image": "image", "text": "text", "pair": "image + text"}
WEAK = 0.8
"""A hit is dimmed when its cosine is below this share of the top hit's; a relative measure, as cosines
of different queries do not compare."""


@dataclass(frozen=True)
class Words:
    """What the page knows to say about codes and candidates.

    `names` maps a prefix of a semantic ID to a plain name; `find` looks a candidate up by id, so that
    a picture without words can borrow its captioned twin's for the alt text.
    """

    names: Mapping[tuple[int, ...], str] = field(default_factory=dict)
    find: Callable[[str], Candidate | None] = lambda candidate_id: None

    def code(self, prefix: tuple[int, ...]) -> str:
        """A name for the last code of `prefix`; the bare number while it has none."""
        if len(prefix) == 1 and prefix[0] in set(Modality):
            return Modality(prefix[0]).label
        return self.names.get(prefix, str(prefix[-1]))

    def caption(self, candidate: Candidate) -> str:
        """The candidate in words, for alt texts and titles."""
        if candidate.text:
            return candidate.text
        twin = self.find(f"{candidate.id.rpartition(':')[0]}:pair")
        return twin.text if twin and twin.text else f"picture {candidate.id}"


def esc(text: object) -> str:
    """Text made safe for HTML content and quoted attributes."""
    return escape(str(text), quote=True)


def picture_url(path: Path) -> str:
    """Where gradio serves a local file."""
    return "/gradio_api/file=" + quote(str(path))


def picture(candidate: Candidate, words: Words, *, lazy: bool = True) -> str:
    """The candidate's picture as an `<img>` that keeps its place while loading; empty without one."""
    if candidate.image is None:
        return ""
    return (
        f'<img src="{esc(picture_url(candidate.image))}" alt="{esc(words.caption(candidate))}" '
        f'width="240" height="240" decoding="async"{" loading=lazy" if lazy else ""}>'
    )


def thumbnail(image: Image.Image, alt: str) -> str:
    """A small copy of a query's picture inside the page itself: no file of the visitor's is served."""
    small = image.copy()
    small.thumbnail((160, 160))
    buffer = BytesIO()
    small.convert("RGB").save(buffer, "JPEG", quality=82)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<img class="g-thumb" src="data:image/jpeg;base64,{data}" alt="{esc(alt)}" width="72" height="72">'
    )


def tag(modality: Modality) -> str:
    """The modality's word in its colour."""
    return f'<span class="g-tag" data-modality="{KEYS[modality]}">{modality.label}</span>'


def chips(semantic_id: Sequence[int], words: Words, left: Mapping[tuple[int, ...], int] | None = None) -> str:
    """A written address as a row of chips that open their codes; `left`: how many share each prefix."""
    items = []
    for level in range(1, len(semantic_id) + 1):
        prefix = tuple(semantic_id[:level])
        name, number = words.code(prefix), prefix[-1]
        count = (left or {}).get(prefix)
        hint = f"Code {number} at level {level}" + (f": {plural(count, 'candidate')} left" if count else "")
        named = f"<small>{number}</small>" if level > 1 and name != str(number) else ""
        items.append(
            f'<li><button type="button" class="g-chip"{modality_mark(prefix)} data-prefix="{_codes(prefix)}" '
            f'title="{esc(hint)}">{esc(name)}{named}</button></li>'
        )
    return f'<ol class="g-address" aria-label="The written address">{"".join(items)}</ol>'


def chip_button(prefix: Sequence[int], words: Words) -> str:
    """The last code of a prefix as a chip that opens its page in the Code browser."""
    name, number = words.code(tuple(prefix)), prefix[-1]
    named = f"<small>{number}</small>" if len(prefix) > 1 and name != str(number) else ""
    return (
        f'<button type="button" class="g-chip" data-prefix="{_codes(prefix)}"{modality_mark(prefix)} '
        f'title="Open code {number} of level {len(prefix)}">{esc(name)}{named}</button>'
    )


def face(candidate: Candidate, words: Words) -> str:
    """The candidate at its smallest: its picture, or its words."""
    shown = picture(candidate, words)
    return shown or f'<span class="g-says">{esc(candidate.text or "")}</span>'


def modality_mark(prefix: Sequence[int]) -> str:
    """The attribute that gives a first code its modality's colour; nothing for the later ones."""
    known = len(prefix) == 1 and prefix[0] in set(Modality)
    return f' data-modality="{KEYS[Modality(prefix[0])]}"' if known else ""


def shared_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many codes two semantic IDs have in common from the start."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def small_id(semantic_id: Sequence[int], top: Sequence[int]) -> str:
    """A semantic ID on one line, the part it shares with the top hit's in bold."""
    split = shared_length(semantic_id, top)
    bold, rest = " ".join(map(str, semantic_id[:split])), " ".join(map(str, semantic_id[split:]))
    parts = [f"<b>{bold}</b>" if bold else "", rest]
    return f'<code class="g-id">{" ".join(part for part in parts if part)}</code>'


def meter(value: float, *, label: str) -> str:
    """A number from 0 to 1 as a bar with its figure."""
    width = 100 * min(max(value, 0.0), 1.0)
    return (
        f'<span class="g-meter" title="{esc(label)}"><span class="g-bar">'
        f'<i style="width:{width:.1f}%"></i></span>'
        f"<span>{value:.2f}</span></span>"
    )


def percent(log_prob: float) -> str:
    """A probability for people, by its logarithm."""
    share = 100 * exp(min(log_prob, 0.0))
    if share < 0.1:
        return "< 0.1 %"
    return f"{share:.{0 if share >= 1 else 1}f} %"


def card(hit: Hit, top: Hit, words: Words) -> str:
    """One hit: picture or text, how well it fits, its address, and what can be done with it."""
    candidate, key = hit.candidate, KEYS[hit.candidate.modality]
    weak = is_weak(hit, top)
    note = '<span class="g-note" title="a much weaker match than the first">weaker</span>' if weak else ""
    likely = (
        ""
        if hit.log_prob is None
        else f'<span title="probability of this address of all">{esc(percent(hit.log_prob))}</span>'
    )
    buttons = "".join(
        f'<button type="button" data-act="{act}" data-id="{esc(candidate.id)}" title="{hint}">{label}'
        "</button>"
        for act, label, hint in (
            ("more", "More like this", "Search for its neighbours"),
            ("refine", "Refine", "Put it into the query and add your wish"),
            ("code", "Code", "Open its address in the Code browser"),
            ("place", "Map", "Show where it lies on the map"),
        )
    )
    return (
        f'<li class="g-card{" g-weak" if weak else ""}" data-modality="{key}">'
        f'<div class="g-top"><span class="g-rank">{hit.rank}</span>{tag(candidate.modality)}'
        f"{note}</div>"
        f"{_tile(candidate, words, lazy=hit.rank > 12)}"
        f'<div class="g-facts">{meter(hit.score, label="cosine similarity to the query")}{likely}</div>'
        '<div title="semantic ID; bold: shared with the first result">'
        f"{small_id(hit.semantic_id, top.semantic_id)}</div>"
        f'<div class="g-acts">{buttons}</div></li>'
    )


def is_weak(hit: Hit, top: Hit) -> bool:
    """Whether a hit fits much less than the first one."""
    return top.score > 0 and hit.score < WEAK * top.score


def hit_list(result: SearchResult, words: Words) -> str:
    """All hits twice, ranked and grouped by modality; a switch shows the one or the other."""
    if not result.hits:
        return _empty(
            "Nothing was found. Try other words, a wider beam, or let the model decide the modality."
        )
    top = result.hits[0]
    ranked = "".join(card(hit, top, words) for hit in result.hits)
    groups = "".join(
        f'<section data-modality="{KEYS[modality]}"><h4>{tag(modality)} <span>{len(hits)}</span></h4>'
        f'<ol class="g-cards">{"".join(card(hit, top, words) for hit in hits)}</ol></section>'
        for modality in Modality
        if (hits := [hit for hit in result.hits if hit.candidate.modality is modality])
    )
    return (
        '<div class="g-switch" role="group" aria-label="How to list the results">'
        '<button type="button" data-view="ranked">Ranked</button>'
        '<button type="button" data-view="grouped">By modality</button></div>'
        f'<ol class="g-cards g-ranked">{ranked}</ol><div class="g-grouped">{groups}</div>'
    )


def asked(query: Query, mode: str) -> str:
    """What was asked, in one line with its picture."""
    parts = []
    if query.text:
        parts.append(f"<q>{esc(query.text)}</q>")
    if query.minus:
        parts.append(f"without <q>{esc(query.minus)}</q>")
    instruction = f"<em>{esc(query.instruction)}</em>" if query.instruction else ""
    image = "" if query.image is None else thumbnail(query.image, "The picture you asked with")
    answer = f"<small>answer: {esc(MODE_WORDS.get(mode, mode))}</small>"
    lines = "".join(f"<div>{line}</div>" for line in (" ".join(parts), instruction, answer) if line)
    return f'<div class="g-asked">{image}<div class="g-asked-words">{lines}</div></div>'


def answer(result: SearchResult, words: Words, mode: str, *, from_disk: bool = False) -> str:
    """The head of the results: what was asked, the address the model wrote, and one line about it."""
    if not result.hits:
        return f'<div class="g-answer">{asked(result.query, mode)}</div>'
    left = {beam.prefix: beam.candidates for step in result.trace for beam in step.kept}
    origin = "A search made earlier, to begin with. " if from_disk else ""
    took = f"{origin}{result.timings.total:,.0f} ms for {plural(len(result.hits), 'result')}."
    return (
        f'<div class="g-answer">{asked(result.query, mode)}<div class="g-written"><h3>The address it '
        "wrote</h3>"
        f"{chips(result.hits[0].semantic_id, words, left)}"
        f"<p>{_sentence(result)} <small>{took}</small></p></div></div>"
    )


def _sentence(result: SearchResult) -> str:
    """One line on what happened, true for this very result."""
    wrote = (
        "The model wrote this address. The trie, a tree of all addresses in use, only lets it write "
        "addresses "
        "that exist."
    )
    scored = [hit for hit in result.hits if hit.log_prob is not None]
    likelier = {h.semantic_id for h in scored if (h.log_prob or 0) > (result.hits[0].log_prob or 0)}
    if not likelier:
        return wrote
    place = len(likelier) + 1
    return f"{wrote} Re-ranking by similarity put it first; the model itself had it in place {place}."


def examples(choices: Sequence[Example]) -> str:
    """Example searches as a row of cards; each is one button."""
    return (
        f'<div class="g-examples" role="group" aria-label="Examples">{"".join(map(_example, choices))}</div>'
    )


def _example(example: Example) -> str:
    ask = example.ask
    image = (
        ""
        if ask.image is None
        else f'<img src="{esc(picture_url(Path(ask.image)))}" alt="" width="56" height="56">'
    )
    words = f"<q>{esc(ask.text)}</q>" if ask.text else esc(ask.instruction)
    return (
        f'<button type="button" class="g-example" data-example="{esc(example.key)}">{image}'
        f"<span><b>{esc(example.title)}</b><span>{words}</span></span></button>"
    )


def welcome() -> str:
    """What stands above the results while there are none."""
    return (
        '<div class="g-empty"><h3>Ask with a picture, with words, or with both</h3>'
        "<p>Choose one of the examples, or write what you are looking for and press Enter.</p></div>"
    )


def nothing_yet() -> str:
    """What stands in a part of the answer before it is known."""
    return '<div class="g-empty"><p>This fills once there is a search.</p></div>'


def invite(message: str) -> str:
    """What stands where something will be shown once the visitor has acted."""
    return f'<div class="g-empty"><p>{esc(message)}</p></div>'


def waiting() -> str:
    """What stands in a tab until the engine is there."""
    return '<div class="g-empty" role="status"><p class="g-status g-loading">The model is loading …</p></div>'


def plural(count: int, noun: str) -> str:
    """`1 candidate`, `2,000 candidates`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def limit(within: tuple[int, ...] | tuple[str, ...], count: int, words: Words) -> str:
    """What searches are limited to, and how to lift it; empty without a limit."""
    if not within:
        return ""
    if isinstance(within[0], str):
        what = f"the <b>{plural(count, 'candidate')}</b> you chose on the map"
    else:
        named = " › ".join(words.code(tuple(within[: n + 1])) for n in range(len(within)))  # type: ignore[misc]
        what = f"<b>{esc(named)}</b>, {plural(count, 'candidate')}"
    return (
        f'<div class="g-limit" role="status"><span>Searching only within {what}.</span>'
        '<button type="button" data-act="lift" data-for="">Search everything again</button></div>'
    )


def notes(lines: Iterable[str]) -> str:
    """Sentences about what was left out, as a quiet list."""
    items = "".join(f"<li>{esc(line)}</li>" for line in lines)
    return f'<ul class="g-notes">{items}</ul>' if items else ""


def _codes(prefix: Sequence[int]) -> str:
    return " ".join(map(str, prefix))


def _tile(candidate: Candidate, words: Words, *, lazy: bool) -> str:
    text = f'<p title="{esc(candidate.text)}">{esc(candidate.text)}</p>' if candidate.text else ""
    kind = KEYS[candidate.modality]
    return f'<div class="g-tile g-tile-{kind}">{picture(candidate, words, lazy=lazy)}{text}</div>'


def _empty(message: str) -> str:
    return f'<div class="g-empty" role="status"><p>{esc(message)}</p></div>'
