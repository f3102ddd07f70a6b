"""The Maps: the collection in two dimensions, in several spaces; points can be clicked and lassoed.

Every handler is check → look up → render; what is shown is made in map_view.py and drawn by map.js.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from genius.explain import maps
from genius.explain.atlas import Atlas
from genius.explain.explanation import ADDRESS, CLIP, FUSED, Explanation, after
from genius.schema import UserError
from genius.ui import code_page, map_view, theme
from genius.ui.ask import more_like
from genius.ui.browser import guide
from genius.ui.doors import BROWSER, SEARCH, Doors, sent
from genius.ui.explorer import Explorer
from genius.ui.map_view import CODE_BY_CODE, Marks
from genius.ui.render import Words, invite
from genius.ui.search import Shown, friendly, through

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUIET: dict[str, Any] = {**PRIVATE, "show_progress": "hidden"}
LEAD = (
    '<div class="g-place"><h2>Everything, laid out by meaning</h2><p>Each point is a picture, a text or a '
    "pair. Point at one to see it, click it to open it, scroll to look closer, or take the lasso to gather "
    "some. Your last search is drawn in: a star for the query, rings for its results.</p></div>"
)
FRAME = (
    '<div class="g-map-frame"><div class="g-map" role="img" aria-label="A map of the collection"></div>'
    '<div class="g-peek" hidden></div><p class="g-map-wait">The map is on its way; it comes with the model, '
    'which may still be loading …</p><div class="g-map-legend"></div></div>'
)
NO_MAP = "{}"
NEAR = 12
MOST = 2000
"""A lasso takes so many candidates along."""


@dataclass(frozen=True)
class View:
    """Which map is looked at."""

    space: str
    level: int
    colour: str

    @classmethod
    def checked(cls, space: object, level: object, colour: object, levels: int) -> View:
        """What the controls say, if there is such a map."""
        known = {value for _, value in map_view.SPACES}, {value for _, value in map_view.COLOURS}
        if space not in known[0] or colour not in known[1]:
            raise UserError("There is no such map. Choose one of those offered.")
        depth = int(level) if isinstance(level, int | float) and 1 <= level <= levels else levels
        return cls(str(space), depth, str(colour))

    @property
    def map(self) -> str:
        """The name of its places in an explanation."""
        return after(self.level) if self.space == CODE_BY_CODE else self.space


@dataclass(frozen=True)
class Parts:
    """What the tab shows: a note, controls and what they mean, the map, and what was clicked or lassoed."""

    hint: gr.HTML
    space: gr.Radio
    level: gr.Slider
    colour: gr.Radio
    about: gr.HTML
    plot: gr.HTML
    detail: gr.HTML


def build(tab: gr.Tab, explorer: Explorer, words: Words, doors: Doors, shown: gr.State) -> None:
    """Lay out the tab. `shown` is the visitor's last search."""
    gr.set_static_paths([theme.PLOTLY])
    theme.html(LEAD, "maps-lead")
    hint = theme.html("", "maps-hint", "codes")
    with gr.Row(elem_id="maps-columns", elem_classes="g-columns"):
        with gr.Column(scale=4, min_width=260, elem_id="map-controls"):
            space = gr.Radio(map_view.SPACES, value=FUSED, label="Space", elem_id="map-space")
            level = gr.Slider(
                minimum=1,
                maximum=9,
                value=2,
                step=1,
                label="Codes read",
                info="From left to right.",
                visible=False,
                elem_id="map-level",
            )
            colour = gr.Radio(map_view.COLOURS, value="kind", label="Colour by", elem_id="map-colour")
            about = theme.html("", "map-about")
        with gr.Column(scale=11, min_width=300, elem_id="map-main"):
            plot = _plot(explorer, words)
            detail = theme.html(invite("Click a point, or draw a lasso around some."), "map-detail", "detail")
    parts = Parts(hint, space, level, colour, about, plot, detail)
    marked = gr.State(())
    _wire_map(tab, explorer, words, parts, doors, shown, marked)
    _wire_points(explorer, words, parts, doors)


def _wire_map(
    tab: gr.Tab,
    explorer: Explorer,
    words: Words,
    parts: Parts,
    doors: Doors,
    shown: gr.State,
    marked: gr.State,
) -> None:
    """The map follows its controls, the last search, and what other tabs ask to be shown."""

    @friendly
    def draw(
        space: str, level: float, colour: str, shown: Shown | None, marked: tuple[int, ...]
    ) -> tuple[Any, ...]:
        known, levels = explorer.explanation, len(explorer.atlas.levels)
        if known is None or not known.maps:
            return NO_MAP, code_page.not_explained(), "", gr.skip()
        view = View.checked(space, level, colour, levels)
        slider = gr.Slider(maximum=levels, visible=view.space == CODE_BY_CODE)
        return figure(explorer, words, view, known, shown, marked), "", _about(explorer, view, known), slider

    def from_door(ids: tuple[str, ...] | None) -> tuple[Any, ...]:
        if ids is None:
            return (gr.skip(),) * 3
        rows = tuple(explorer.atlas.index.row(candidate_id) for candidate_id in ids)
        return rows, chosen_html(explorer, words, rows[0], FUSED) if len(rows) == 1 else gr.skip(), None

    @friendly
    def work_out(progress: gr.Progress = gr.Progress()) -> None:  # noqa: B008
        explorer.explain(lambda doing, done, total: progress((done, total), desc=doing))

    inputs = [parts.space, parts.level, parts.colour, shown, marked]
    outputs = [parts.plot, parts.hint, parts.about, parts.level]
    changes = [tab.select, parts.space.input, parts.colour.input, parts.level.release, marked.change]
    gr.on(changes, draw, inputs, outputs, **QUIET)
    shown.change(lambda: (), None, marked, **QUIET)  # a new search is what is drawn in from now on
    doors.place.change(through(from_door, 3), doors.place, [marked, parts.detail, doors.place], **QUIET)
    parts.hint.explain(work_out, None, None, show_progress_on=[parts.hint], **PRIVATE).success(
        draw, inputs, outputs, **QUIET
    )


def _wire_points(explorer: Explorer, words: Words, parts: Parts, doors: Doors) -> None:
    """A clicked point, a lasso, and the doors below the map. What they send is range-checked."""

    @friendly
    def click(space: str, event: gr.EventData) -> str:
        [row] = explorer.atlas.check_rows([sent(event, "row")], 1)
        return chosen_html(explorer, words, row, space)

    @friendly
    def lasso(event: gr.EventData) -> tuple[Any, ...]:
        held = sent(event, "rows")
        rows = map_view.spread(explorer.atlas.check_rows(held, len(explorer.atlas)), MOST)
        codes = explorer.atlas.index.codes(rows)
        return map_view.gallery(rows, codes, guide(explorer, words), cut=len(rows) < len(held)), tuple(rows)

    @friendly
    def within(rows: tuple[int, ...]) -> tuple[Any, ...]:
        return tuple(explorer.candidate(row).id for row in rows) or None, gr.Tabs(selected=SEARCH)

    @friendly
    def to_code(event: gr.EventData) -> tuple[Any, ...]:
        return explorer.atlas.check(sent(event, "prefix")), gr.Tabs(selected=BROWSER)

    @friendly
    def more(event: gr.EventData) -> tuple[Any, ...]:
        return more_like(explorer.handle.candidate(sent(event, "id"))), gr.Tabs(selected=SEARCH)

    lassoed = gr.State(())
    for part, name in ((parts.plot, "point_click"), (parts.detail, "open_row")):
        getattr(part, name)(click, parts.space, parts.detail, **QUIET)
    parts.plot.lasso(lasso, None, [parts.detail, lassoed], **QUIET)
    parts.detail.open_code(to_code, None, [doors.code, doors.tabs], **QUIET)
    parts.detail.within(within, lassoed, [doors.within, doors.tabs], **QUIET)
    parts.detail.more(more, None, [doors.ask, doors.tabs], **QUIET)


def figure(
    explorer: Explorer,
    words: Words,
    view: View,
    known: Explanation,
    shown: Shown | None,
    marked: tuple[int, ...],
) -> str:
    """The data of one map."""
    atlas, say = explorer.atlas, guide(explorer, words)
    points, rows = known.maps[view.map], known.mapped
    codes = atlas.index.codes(rows)
    groups, names = map_view.grouped(view.colour, [say.candidates[row] for row in rows], codes, say)
    marks = Marks(rows=marked) if marked else _search_marks(explorer, view, known, shown)
    return map_view.payload(points, rows, groups, names, map_view.labels(points, codes, say), marks)


def chosen_html(explorer: Explorer, words: Words, row: int, space: str) -> str:
    """One candidate with its neighbours in the space that is looked at."""
    atlas = explorer.atlas
    if space == CLIP:
        vectors, where = atlas.index.vectors, "By cosine in the encoder's space, exactly"
        similar = atlas.index.cosines(vectors[row].astype(np.float32))
        order, values = (-similar).argsort(kind="stable"), similar
    else:
        where = "By Euclidean distance between the sums of their codewords"
        values = np.linalg.norm(explorer.sums - explorer.sums[row], axis=1)
        order = values.argsort(kind="stable")
    near = [(int(other), float(values[other])) for other in order[: NEAR + 1] if other != row][:NEAR]
    address = tuple(atlas.index.codes([row])[0].tolist())
    return map_view.chosen(row, address, near, where, guide(explorer, words))


def _plot(explorer: Explorer, words: Words) -> gr.HTML:
    def peek(row: object) -> str:
        [found] = explorer.atlas.check_rows([row], 1)
        return map_view.peek(found, guide(explorer, words))

    return gr.HTML(
        "",
        html_template=FRAME,
        js_on_load=theme.script("map"),
        server_functions=[peek],
        apply_default_css=False,
        elem_id="map",
    )


def _about(explorer: Explorer, view: View, known: Explanation) -> str:
    return map_view.about(len(known.mapped), len(explorer.atlas), view.space, known)


def _search_marks(explorer: Explorer, view: View, known: Explanation, shown: Shown | None) -> Marks:
    """The last search: its query among its true neighbours, and its results."""
    if shown is None:
        return Marks()
    rows = tuple(explorer.atlas.index.row(hit[0]) for hit in shown.hits if explorer.handle.find(hit[0]))
    query = explorer.embed(shown.ask.query())
    atlas, points = explorer.atlas, known.maps[view.map]
    if view.space == CLIP:
        vector, vectors = query.clip[0], atlas.index.vectors[known.mapped].astype(np.float32)
    else:
        vector, vectors = _seen(atlas, query.z[0], view), explorer.sums[known.mapped]
    if view.space == CODE_BY_CODE:
        points = known.maps[FUSED]
    x, y = maps.place(vector[None].astype(np.float32), vectors, points)[0].tolist()
    return Marks((x, y), rows)


def _seen(atlas: Atlas, z: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    """What a space keeps of z: all of it, or the codewords of its own address."""
    if view.space == FUSED:
        return z
    depth = len(atlas.levels) if view.space == ADDRESS else view.level
    address = atlas.path(z)[depth - 1].prefix
    return np.sum([book[code] for book, code in zip(atlas.books, address, strict=False)], axis=0)
