"""The Search tab: a form, six examples, and an answer that explains itself.

Every handler is parse → engine → render; what is shown is made in render.py, found.py and share.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, replace
from functools import wraps
from typing import Any

import gradio as gr

from genius.report import result_to_json
from genius.schema import Hit, SearchResult, UserError
from genius.ui import compare as comparison
from genius.ui import form as form_of
from genius.ui import found, render, share, theme
from genius.ui.ask import Ask, from_link, more_like, parse, refine_with
from genius.ui.doors import BROWSER, MAPS, Doors, sent
from genius.ui.examples import BY_KEY, EXAMPLES, OPENING
from genius.ui.form import Form, PictureInput, fill
from genius.ui.handle import EngineHandle
from genius.ui.render import Words

MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
TO_RESULTS = "() => window.geniusShowResults && window.geniusShowResults()"
TO_TEXT = "() => window.geniusAskMore && window.geniusAskMore()"

History = tuple[tuple[str, float, float, float, float], ...]
"""Words and stage times of this visit's searches, oldest first."""


Within = tuple[int, ...] | tuple[str, ...] | None
"""What searches are limited to: codes, candidate ids, or nothing."""


@dataclass(frozen=True)
class Shown:
    """What the page shows now: small and deep-copyable, as it lives in the visitor's session."""

    ask: Ask
    hits: tuple[tuple[str, tuple[int, ...], float, float | None], ...] = ()
    total_ms: float = 0.0


@dataclass(frozen=True)
class Answer:
    """The outputs of a search; `compare_tab` is the one that is filled when it is opened."""

    shown: gr.State
    history: gr.State
    tabs: gr.Tabs
    head: gr.HTML
    cards: gr.HTML
    how: gr.HTML
    share: gr.HTML
    compare: gr.HTML
    compare_tab: gr.Tab

    @property
    def parts(self) -> list[Any]:
        """The components, in the order `_show` fills them."""
        return [*self.__dict__.values()][:8]


def friendly(handler: Callable[..., Any], quote: Callable[[object], str] = render.esc) -> Callable[..., Any]:
    """Turn a UserError into a message on the page; anything else stays gradio's generic one.

    The page reads messages as HTML, so they are escaped; a script's `quote` is plain `str`.
    """

    @wraps(handler)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except UserError as error:
            raise gr.Error(quote(error), print_exception=False) from None

    return guarded


def through(handler: Callable[..., Any], outputs: int) -> Callable[..., Any]:
    """What waits behind a door: a UserError is said, nothing else changes, and the door is shut all the same.

    The door's state is the last of the handler's outputs.
    """

    @wraps(handler)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except UserError as error:
            gr.Warning(render.esc(error))
            return *(gr.skip(),) * (outputs - 1), None

    return guarded


def build(
    page: gr.Blocks,
    handle: EngineHandle,
    first_screen: Mapping[str, SearchResult],
    words: Words,
    doors: Doors,
) -> Answer:
    """Lay out the tab and wire it; returns what shows the answer, and remembers this visit's searches."""
    opening = first_screen.get(OPENING.key)
    examples = theme.html(render.examples(EXAMPLES), "examples", "examples")
    with gr.Row(elem_id="search-columns"):
        with gr.Column(scale=4, min_width=300, elem_id="ask"):
            limit = theme.html("", "within", "codes")
            form = form_of.build()
        with gr.Column(scale=11, min_width=340, elem_id="answer"):
            answer = _answer(opening, words)
    form_of.wire(form)
    _wire_search(page, handle, words, form, answer, doors, finished=opening is not None)
    _wire_cards(handle, first_screen, words, form, answer, examples, doors)
    _wire_doors(handle, words, form, answer, doors, limit)
    _endpoint(handle)
    return answer


def _answer(opening: SearchResult | None, words: Words) -> Answer:
    empty = render.nothing_yet()
    head, cards, how, taken_away = (
        _html(OPENING.ask, opening, words, from_disk=True)
        if opening
        else (render.welcome(), "", empty, empty)
    )
    shown = gr.State(_shown(OPENING.ask, opening) if opening else None)
    history = gr.State(())
    head_html = theme.html(head, "answer-head", "codes")
    with gr.Tabs(elem_id="answer-tabs", selected="results") as tabs:
        with gr.Tab("Results", id="results"):
            cards_html = theme.html(cards, "cards", "cards")
        with gr.Tab("How it was found", id="how"):
            how_html = theme.html(how, "how")
        with gr.Tab("Compare with CLIP", id="compare") as compare_tab:
            compare_html = theme.html(empty, "compare")
        with gr.Tab("Link, JSON, API", id="share"):
            share_html = theme.html(taken_away, "share", "share")
    return Answer(
        shown, history, tabs, head_html, cards_html, how_html, share_html, compare_html, compare_tab
    )


def _wire_search(
    page: gr.Blocks,
    handle: EngineHandle,
    words: Words,
    form: Form,
    answer: Answer,
    doors: Doors,
    finished: bool,
) -> None:
    """The button, Enter, a link that was opened, and the comparison.

    `finished` says that the page already shows a search; otherwise the opening one is made now.
    """

    @friendly
    def ask_and_show(history: History, within: Within, *fields: Any) -> tuple[Any, ...]:
        ask = replace(parse(*fields), within=within or ())
        return ask.instruction, *_show(ask, _run(handle, ask), words, history)

    @friendly
    def open_link(history: History, request: gr.Request) -> tuple[Any, ...]:
        ask = from_link(dict(request.query_params))
        if ask is not None:
            return *fill(ask), *_show(ask, _run(handle, ask), words, history)
        untouched = (gr.skip(),) * len(form.fields)
        if finished:
            return *untouched, *(gr.skip(),) * len(answer.parts)
        return *untouched, *_show(OPENING.ask, handle.search(OPENING.ask), words, history)

    @friendly
    def compare(shown: Shown | None) -> str:
        if shown is None:
            raise UserError("Search for something first; then compare.")
        theirs = handle.exact_search(shown.ask)
        count = handle.count(shown.ask)
        return comparison.compare(_hits(handle, shown), theirs, shown.total_ms, count, words)

    gr.on(
        [form.go.click, form.text.submit, form.minus.submit],
        ask_and_show,
        [answer.history, doors.within, *form.fields],
        [form.instruction, *answer.parts],
        show_progress_on=[answer.cards],
        **MODEL,
        **PRIVATE,
    ).success(None, js=TO_RESULTS, **PRIVATE)
    page.load(
        open_link,
        answer.history,
        [*form.fields, *answer.parts],
        show_progress="hidden",
        **MODEL,
        **PRIVATE,
    )
    answer.compare_tab.select(compare, answer.shown, answer.compare, **MODEL, **PRIVATE)


def _wire_cards(
    handle: EngineHandle,
    first_screen: Mapping[str, SearchResult],
    words: Words,
    form: Form,
    answer: Answer,
    examples: gr.HTML,
    doors: Doors,
) -> None:
    """What a click on a card or an example does. What it sends is the visitor's: looked up, never trusted."""

    @friendly
    def example(history: History, event: gr.EventData) -> tuple[Any, ...]:
        key = str(sent(event, "key"))
        ask = BY_KEY.get(key, OPENING).ask
        stored = None if handle.ready else first_screen.get(key)
        return None, *fill(ask), *_show(ask, stored or _run(handle, ask), words, history)

    @friendly
    def more(shown: Shown | None, history: History, within: Within, event: gr.EventData) -> tuple[Any, ...]:
        ask = more_like(handle.candidate(sent(event, "id")), shown.ask if shown else None)
        ask = replace(ask, within=within or ())
        return *fill(ask), *_show(ask, _run(handle, ask), words, history)

    @friendly
    def refine(shown: Shown | None, event: gr.EventData) -> tuple[Any, ...]:
        return fill(refine_with(handle.candidate(sent(event, "id")), shown.ask if shown else None))

    everything = [*form.fields, *answer.parts]
    settings: dict[str, Any] = {"show_progress_on": [answer.cards], **MODEL, **PRIVATE}
    examples.example(example, answer.history, [doors.within, *everything], **settings).success(
        None, js=TO_RESULTS, **PRIVATE
    )
    answer.cards.more_like_this(
        more, [answer.shown, answer.history, doors.within], everything, **settings
    ).success(None, js=TO_RESULTS, **PRIVATE)
    answer.cards.refine_with_this(
        refine, answer.shown, form.fields, show_progress="hidden", **PRIVATE
    ).success(None, js=TO_TEXT, **PRIVATE)


def _wire_doors(
    handle: EngineHandle, words: Words, form: Form, answer: Answer, doors: Doors, limit: gr.HTML
) -> None:
    """A hit opens its code and its place on the map; other tabs limit a search or ask for one."""

    @friendly
    def see_code(event: gr.EventData) -> tuple[Any, ...]:
        index = handle.get().index
        row = index.row(handle.candidate(sent(event, "id")).id)
        return tuple(index.codes([row])[0].tolist()), gr.Tabs(selected=BROWSER)

    @friendly
    def see_chip(event: gr.EventData) -> tuple[Any, ...]:
        return sent(event, "prefix"), gr.Tabs(selected=BROWSER)

    @friendly
    def see_place(event: gr.EventData) -> tuple[Any, ...]:
        return (handle.candidate(sent(event, "id")).id,), gr.Tabs(selected=MAPS)

    @friendly
    def show_limit(within: Within) -> str:
        index = handle.get().index
        if within and isinstance(within[0], int):
            start, stop = index.trie.find(within)  # type: ignore[arg-type]
            return render.limit(within, stop - start, words)
        return render.limit(within or (), len(within or ()), words)

    def asked(ask: Ask | None, history: History) -> tuple[Any, ...]:
        if ask is None:
            return (gr.skip(),) * (len(everything) + 1)
        return *fill(ask), *_show(ask, _run(handle, ask), words, history), None

    everything = [*form.fields, *answer.parts]
    quiet: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
    answer.cards.see_code(see_code, None, [doors.code, doors.tabs], **quiet)
    answer.cards.see_place(see_place, None, [doors.place, doors.tabs], **quiet)
    answer.head.open_code(see_chip, None, [doors.code, doors.tabs], **quiet)
    doors.within.change(show_limit, doors.within, limit, **quiet)
    limit.lift(lambda: None, None, doors.within, **quiet)
    outputs = [*everything, doors.ask]
    asking = through(asked, len(outputs))
    doors.ask.change(asking, [doors.ask, answer.history], outputs, **MODEL, **PRIVATE)


def _endpoint(handle: EngineHandle) -> None:
    """`/search` for scripts: the same inputs as the form, JSON out."""

    def search(
        text: str = "",
        image: str | None = None,
        instruction: str = "",
        modality: str = "auto",
        top_k: float = 10,
        beams: float = 50,
        rerank: bool = True,
        minus: str = "",
    ) -> dict[str, Any]:
        """Search with words, a picture or both. `modality` is auto, image, text or pair."""
        return result_to_json(
            handle.search(parse(text, image, instruction, modality, top_k, beams, rerank, minus))
        )

    with gr.Group(visible=False):
        inputs = [
            gr.Textbox("", label="text"),
            PictureInput(label="image", type="filepath"),
            gr.Textbox("", label="instruction"),
            gr.Textbox("auto", label="modality"),
            gr.Number(10, label="top_k", precision=0),
            gr.Number(50, label="beams", precision=0),
            gr.Checkbox(True, label="rerank"),
            gr.Textbox("", label="minus"),
        ]
        output = gr.JSON(label="result")
        gr.Button().click(friendly(search, str), inputs, output, api_name="search", **MODEL)


def _run(handle: EngineHandle, ask: Ask) -> SearchResult:
    if handle.loading:
        gr.Info("The model is still loading. The search starts by itself as soon as it is there.")
    return handle.search(ask)


def _show(ask: Ask, result: SearchResult, words: Words, history: History) -> tuple[Any, ...]:
    """Values for `Answer.parts`: a new search goes back to its results and forgets the last comparison."""
    shown, timings = _shown(ask, result), astuple(result.timings)
    kept = (*history, (ask.text or "a picture", *timings))[-12:]
    return shown, kept, gr.Tabs(selected="results"), *_html(ask, result, words), render.nothing_yet()


def _html(
    ask: Ask, result: SearchResult, words: Words, *, from_disk: bool = False
) -> tuple[str, str, str, str]:
    return (
        render.answer(result, words, ask.mode, from_disk=from_disk),
        render.hit_list(result, words),
        found.how(result, words),
        share.share(ask, result),
    )


def _shown(ask: Ask, result: SearchResult) -> Shown:
    hits = tuple((hit.candidate.id, hit.semantic_id, hit.score, hit.log_prob) for hit in result.hits)
    return Shown(ask, hits, result.timings.total)


def _hits(handle: EngineHandle, shown: Shown) -> list[Hit]:
    return [
        Hit(rank, handle.candidate(candidate_id), semantic_id, score, log_prob)
        for rank, (candidate_id, semantic_id, score, log_prob) in enumerate(shown.hits, start=1)
    ]
