"""The Code browser: walk the tree of all addresses, send something of your own through it, change one code.

Every handler is check → look up → render; what is shown is made in code_page.py and code_tools.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from genius.explain.atlas import Atlas, PathStep, Prefix
from genius.images import open_image
from genius.schema import Query, SearchResult, UserError, bounded_text
from genius.ui import code_page, code_tools, theme
from genius.ui.code_page import Guide
from genius.ui.doors import MAPS, SEARCH, Doors, sent
from genius.ui.examples import BY_KEY, OPENING
from genius.ui.explorer import Explorer
from genius.ui.form import PictureInput
from genius.ui.render import Words, invite, waiting
from genius.ui.search import friendly, through

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUIET: dict[str, Any] = {**PRIVATE, "show_progress": "hidden"}
LEAD = (
    '<div class="g-place"><h2>What every code means</h2><p>Whatever can be found is filed under an '
    "<em>address</em>, a short row of codes. Similar things begin alike, as houses in one street do: the "
    "first code says what it is made of, the next the main thing, each later one what is left to say. "
    "Nobody wrote these codes down; the model found them, and here you can see what each came to "
    "mean.</p></div>"
)
FOUND = 12
ON_THE_MAP = 500
TYPICAL = 4


@dataclass(frozen=True)
class Parts:
    """What the tab shows: a note, and its inner tabs with what is in them."""

    hint: gr.HTML
    tabs: gr.Tabs
    page: gr.HTML
    path: gr.HTML
    editor: gr.HTML
    measured: gr.HTML


def build(
    tab: gr.Tab, explorer: Explorer, first_screen: Mapping[str, SearchResult], words: Words, doors: Doors
) -> None:
    """Lay out the tab."""
    opening = first_screen.get(OPENING.key)
    theme.html(LEAD, "codes-lead")
    hint = theme.html("", "codes-hint", "codes")
    with gr.Tabs(elem_id="codes-tabs", selected="walk") as tabs:
        with gr.Tab("Walk the tree", id="walk"):
            page = theme.html(waiting(), "code-page", "codes")
        with gr.Tab("My picture or words", id="path"):
            path = _path_tab(explorer, words)
        with gr.Tab("Compare two", id="two"):
            _two_tab(explorer, words)
        with gr.Tab("Edit an address", id="edit"):
            editor = theme.html(waiting(), "code-editor", "codes")
        with gr.Tab("Are they meaningful?", id="measured"):
            measured = theme.html(waiting(), "codes-measured")
    parts = Parts(hint, tabs, page, path, editor, measured)
    _wire_opening(tab, explorer, words, parts, doors, opening.hits[0].semantic_id if opening else ())
    _wire_pages(explorer, words, parts)
    _wire_doors(explorer, parts, doors)


def _wire_opening(
    tab: gr.Tab, explorer: Explorer, words: Words, parts: Parts, doors: Doors, start: Prefix
) -> None:
    """The tab opens on the address that the page opened on, or on the code whose door was taken."""

    def filled(prefix: Prefix, address: Prefix) -> tuple[Any, ...]:
        note = "" if explorer.explanation else code_page.not_explained()
        page, editor = code_html(explorer, words, prefix), edit_html(explorer, words, address)
        return True, note, page, editor, measured_html(explorer)

    @friendly
    def first_look(seen: bool, door: Prefix | None) -> tuple[Any, ...]:
        if seen or door is not None:
            return (gr.skip(),) * 5
        begin = known_beginning(explorer.atlas, start)
        return filled(begin[:2], begin)

    def from_door(prefix: Prefix | None) -> tuple[Any, ...]:
        if prefix is None:
            return (gr.skip(),) * 7
        known = known_beginning(explorer.atlas, prefix) if isinstance(prefix, list | tuple) else ()
        return *filled(known, known), gr.Tabs(selected="walk"), None

    @friendly
    def work_out(progress: gr.Progress = gr.Progress()) -> bool:  # noqa: B008
        explorer.explain(lambda doing, done, total: progress((done, total), desc=doing))
        return False

    seen = gr.State(False)
    filling = [seen, parts.hint, parts.page, parts.editor, parts.measured]
    tab.select(first_look, [seen, doors.code], filling, **QUIET)
    outputs = [*filling, parts.tabs, doors.code]
    doors.code.change(through(from_door, len(outputs)), doors.code, outputs, **QUIET)
    parts.hint.explain(work_out, None, seen, show_progress_on=[parts.hint], **PRIVATE).success(
        first_look, [seen, doors.code], filling, **QUIET
    )


def _wire_pages(explorer: Explorer, words: Words, parts: Parts) -> None:
    """What a click within the tab opens."""

    def open_code(prefix: object) -> tuple[Any, ...]:
        return code_html(explorer, words, explorer.atlas.check(prefix)), gr.Tabs(selected="walk")

    @friendly
    def opened(event: gr.EventData) -> tuple[Any, ...]:
        return open_code(sent(event, "prefix"))

    @friendly
    def opened_row(event: gr.EventData) -> tuple[Any, ...]:
        [row] = explorer.atlas.check_rows([sent(event, "row")], 1)
        return open_code(tuple(explorer.atlas.index.codes([row])[0].tolist()))

    @friendly
    def anywhere(event: gr.EventData) -> str:
        prefix = explorer.atlas.check(sent(event, "prefix"))
        level, code = len(prefix) - 1, prefix[-1]
        return code_page.anywhere_page(
            level, code, explorer.atlas.anywhere(level, code), guide(explorer, words)
        )

    @friendly
    def edit(event: gr.EventData) -> tuple[Any, ...]:
        address, level, code = (sent(event, name) for name in ("prefix", "level", "code"))
        known = explorer.atlas.check(address)
        if type(level) is int and type(code) is int:
            known = explorer.atlas.edited(known, level, code)
        return edit_html(explorer, words, known), gr.Tabs(selected="edit")

    for part in (parts.page, parts.path, parts.editor):
        part.open_code(opened, None, [parts.page, parts.tabs], **QUIET)
        part.open_row(opened_row, None, [parts.page, parts.tabs], **QUIET)
        part.anywhere(anywhere, None, parts.page, **QUIET)
        part.edit(edit, None, [parts.editor, parts.tabs], **QUIET)


def _wire_doors(explorer: Explorer, parts: Parts, doors: Doors) -> None:
    """From a code to a search within it, and to its place on the map."""

    @friendly
    def search_within(event: gr.EventData) -> tuple[Any, ...]:
        return explorer.atlas.check(sent(event, "prefix")), gr.Tabs(selected=SEARCH)

    @friendly
    def on_the_map(event: gr.EventData) -> tuple[Any, ...]:
        rows = explorer.atlas.members(explorer.atlas.check(sent(event, "prefix")), ON_THE_MAP)
        return tuple(explorer.candidate(row).id for row in rows), gr.Tabs(selected=MAPS)

    for part in (parts.page, parts.path, parts.editor):
        part.within(search_within, None, [doors.within, doors.tabs], **QUIET)
        part.place(on_the_map, None, [doors.place, doors.tabs], **QUIET)


def guide(explorer: Explorer, words: Words) -> Guide:
    """What the pages know to say at this moment."""
    known = explorer.explanation
    candidates = explorer.atlas.index.candidates
    if known is None:
        return Guide(words, candidates, explained=False)
    return Guide(words, candidates, known.names, known.anywhere)


def known_beginning(atlas: Atlas, address: Prefix) -> Prefix:
    """As much of an address as exists here."""
    for length in range(len(address), 0, -1):
        try:
            return atlas.check(address[:length])
        except UserError:
            continue
    return ()


def code_html(explorer: Explorer, words: Words, prefix: Prefix) -> str:
    """The page of a prefix, with the tree above it."""
    atlas = explorer.atlas
    rows = [atlas.branches(prefix[:level]) for level in range(min(len(prefix) + 1, len(atlas.levels)))]
    return code_page.code_page(atlas.page(prefix), rows, guide(explorer, words))


def edit_html(explorer: Explorer, words: Words, address: Prefix) -> str:
    """Menus for an address, and who answers to it."""
    atlas = explorer.atlas
    depth = min(len(address) + 1, len(atlas.levels))
    options = [atlas.branches(address[:level]) for level in range(depth)]
    total = sum(branch.size for branch in options[0]) if not address else atlas.page(address).size
    return code_tools.editor(address, options, atlas.members(address, FOUND), total, guide(explorer, words))


def measured_html(explorer: Explorer) -> str:
    """The measures, if they are known."""
    known = explorer.explanation
    return code_tools.measured(known.labels, known.agreements) if known else code_tools.measured((), ())


def way(explorer: Explorer, text: str, image: str | None) -> tuple[PathStep, ...]:
    """The way of a visitor's picture, words or both."""
    words = bounded_text(text, "text")
    if not words and image is None:
        raise UserError("Nothing to follow yet: write a word, add a picture, or both.")
    query = Query(image=None if image is None else open_image(image), text=words)
    return explorer.atlas.path(explorer.embed(query).z[0])


def path_html(explorer: Explorer, words: Words, text: str, image: str | None) -> str:
    """The way of a visitor's picture or words through the levels."""
    atlas, steps = explorer.atlas, way(explorer, text, image)
    typical = [atlas.members(step.prefix, TYPICAL) if step.candidates else [] for step in steps]
    deepest = [step.prefix for step in steps if step.candidates]
    found = atlas.members(deepest[-1], FOUND) if deepest else []
    return code_tools.path(steps, typical, found, guide(explorer, words))


def _inputs(key: str, label: str, text: str, image: str | None) -> tuple[Any, Any]:
    with gr.Column(min_width=260, elem_id=f"{key}-in", elem_classes="g-inputs"):
        picture = PictureInput(
            image,
            label=f"{label}: picture",
            type="filepath",
            sources=["upload", "clipboard", "webcam"],
            format="png",
            height=150,
            buttons=[],
            placeholder="Drop a picture here, or click to choose one",
            elem_id=f"{key}-image",
        )
        words = gr.Textbox(
            text, label=f"{label}: words", placeholder="or write a few words", lines=1, elem_id=f"{key}-text"
        )
    return words, picture


def _path_tab(explorer: Explorer, words: Words) -> Any:
    example = BY_KEY[OPENING.key].ask.image
    with gr.Row(elem_classes="g-columns"):
        with gr.Column(scale=4, min_width=260):
            text, image = _inputs("path", "Yours", "", example)
            go = gr.Button("Show its path", variant="primary", elem_id="path-go")
        with gr.Column(scale=11, min_width=300):
            path = theme.html(invite("Press the button to send it through the codes."), "code-path", "codes")

    @friendly
    def follow(text: str, image: str | None) -> str:
        return path_html(explorer, words, text, image)

    gr.on([go.click, text.submit], follow, [text, image], path, **_model())
    return path


def _two_tab(explorer: Explorer, words: Words) -> None:
    with gr.Row(elem_classes="g-columns"):
        text, image = _inputs("one", "One", "", BY_KEY[OPENING.key].ask.image)
        other_text, other_image = _inputs("other", "The other", "a lion", None)
    go = gr.Button("Compare", variant="primary", elem_id="two-go")
    out = theme.html(invite("Press the button to see where their addresses part."), "code-two", "codes")

    @friendly
    def compare(text: str, image: str | None, other_text: str, other_image: str | None) -> str:
        ways = way(explorer, text, image), way(explorer, other_text, other_image)
        return code_tools.two(*ways, guide(explorer, words))

    gr.on(
        [go.click, text.submit, other_text.submit],
        compare,
        [text, image, other_text, other_image],
        out,
        **_model(),
    )


def _model() -> dict[str, Any]:
    return {"concurrency_id": "model", "concurrency_limit": 1, **PRIVATE}
