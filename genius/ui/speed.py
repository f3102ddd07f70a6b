"""The Speed tab: a race on this machine, in front of the visitor, and how long the visit's own searches took.

A race runs in a thread of its own; the page is sent what that thread puts in a queue.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from genius.benchmark.record import METHODS, OURS, Race, RaceSettings, keep, recorded
from genius.schema import UserError
from genius.ui import places, race_view, theme, zerogpu
from genius.ui.handle import EngineHandle

_LOG = logging.getLogger(__name__)

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
BEAMS = (10, 30, 50)
USUAL = RaceSettings()
WAITING = "Another visitor's race is running. Yours begins as soon as it is over."
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
FRAME = (
    '<div class="g-race-frame" hidden><div class="g-race" role="img" aria-label="Milliseconds a search '
    'takes, by method and number of candidates; the table below has the numbers"></div></div>'
)

Said = Race | str
"""What a race tells: all that is measured so far, or what it is doing."""


@dataclass(frozen=True)
class Parts:
    """What is chosen, the two buttons, and what is shown: progress, chart, where it was run, the table."""

    sizes: gr.CheckboxGroup
    methods: gr.CheckboxGroup
    beams: gr.CheckboxGroup
    run: gr.Button
    stop: gr.Button
    doing: gr.HTML
    chart: gr.HTML
    about: gr.HTML
    result: gr.HTML

    @property
    def shown(self) -> list[Any]:
        """The outputs of a race."""
        return [self.doing, self.chart, self.about, self.result]


class Races:
    """One race at a time; whoever starts another waits. Each visitor can stop their own."""

    def __init__(self, handle: EngineHandle) -> None:
        self._handle = handle
        self._running = threading.Lock()
        self._stops: dict[str, threading.Event] = {}

    def stop(self, visitor: str) -> None:
        """End this visitor's race, if there is one, within a slice."""
        if visitor in self._stops:
            self._stops[visitor].set()

    def run(self, visitor: str, settings: RaceSettings) -> Generator[Said, None, None]:
        """Race; closing the generator stops it."""
        if visitor in self._stops:
            raise UserError("Your race is running already. Press Stop to end it.")
        stop = self._stops[visitor] = threading.Event()
        try:
            while not self._running.acquire(timeout=0.5):
                yield WAITING
                if stop.is_set():
                    return
            try:
                yield from self._race(settings, stop)
            finally:
                self._running.release()
        finally:
            del self._stops[visitor]

    def _race(self, settings: RaceSettings, stop: threading.Event) -> Iterator[Said]:
        said: queue.SimpleQueue[Said | Exception | None] = queue.SimpleQueue()
        thread = threading.Thread(
            target=self._work, args=(settings, stop, said.put), name="race", daemon=True
        )
        thread.start()
        try:
            while (told := said.get()) is not None:
                if isinstance(told, Exception):
                    raise told
                yield told
        finally:
            stop.set()
            thread.join()

    def _work(
        self,
        settings: RaceSettings,
        stop: threading.Event,
        tell: Callable[[Said | Exception | None], None],
    ) -> None:
        try:
            from genius.benchmark.race import race

            engine: Any = self._handle.get()
            for each in race(engine, settings, stop.is_set, turn=self._handle.aside, note=tell):
                tell(each)
        except UserError as error:
            tell(error)
        except Exception as error:
            _LOG.exception("The race broke down")
            tell(
                UserError(f"The race broke down ({type(error).__name__}: {error}). The terminal shows more.")
            )
        finally:
            tell(None)


def build(page: gr.Blocks, tab: gr.Tab, handle: EngineHandle, history: gr.State) -> None:
    """Lay out the tab and wire it; `history` holds this visit's searches."""
    gr.set_static_paths([theme.PLOTLY])
    theme.html(race_view.LEAD, "race-lead")
    parts = _layout()
    with gr.Accordion("How long your own searches took", open=False, elem_id="speed-times"):
        times = theme.html(places.times(()), "speed-place")
    tab.select(places.times, history, times, **QUIET)
    _wire(page, tab, Races(handle), parts)


def _layout() -> Parts:
    with gr.Row(elem_id="race-columns", elem_classes="g-columns"):
        with gr.Column(scale=4, min_width=260, elem_id="race-controls"):
            sizes = gr.CheckboxGroup(
                [(f"{size:,}", size) for size in SIZES],
                value=[size for size in SIZES if size in USUAL.sizes],
                label="Candidates",
                info="Those beyond the collection are synthetic.",
                elem_id="race-sizes",
            )
            methods = gr.CheckboxGroup(
                [(words, name) for name, words in METHODS.items()],
                value=list(USUAL.methods),
                label="Who races",
                elem_id="race-methods",
            )
            beams = gr.CheckboxGroup(
                [(str(width), width) for width in BEAMS],
                value=list(USUAL.beams),
                label="Beams of GENIUS",
                info="How many addresses it pursues at once.",
                elem_id="race-beams",
            )
            with gr.Row(elem_id="race-go"):
                run = gr.Button("Run", variant="primary", scale=3, min_width=100, elem_id="race-run")
                stop = gr.Button("Stop", interactive=False, scale=2, min_width=80, elem_id="race-stop")
            doing = theme.html("", "race-doing")
        with gr.Column(scale=11, min_width=300, elem_id="race-main"):
            about = theme.html("", "race-about")
            chart = gr.HTML(
                race_view.NO_CHART,
                html_template=FRAME,
                js_on_load=theme.script("race"),
                apply_default_css=False,
                elem_id="race-chart",
            )
    result = theme.html("", "race-result", "race_result")
    return Parts(sizes, methods, beams, run, stop, doing, chart, about, result)


def _wire(page: gr.Blocks, tab: gr.Tab, races: Races, parts: Parts) -> None:
    """Opening the tab shows the last race; Run draws a new one as it goes."""

    def opened(chart: str) -> tuple[Any, ...]:
        if chart != race_view.NO_CHART:  # this visit's own race stays
            return (gr.skip(),) * 3
        found = recorded()
        return shown(*found) if found else (race_view.NO_CHART, "", race_view.nothing_recorded())

    def run(
        sizes: Sequence[int], methods: Sequence[str], beams: Sequence[int], request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        try:
            settings = chosen(sizes, methods, beams)
            yield race_view.said("Getting ready …"), *(gr.skip(),) * 3
            with closing(races.run(str(request.session_hash), settings)) as said:
                yield from follow(said, settings)
        except UserError as error:  # said in place: after an error of gradio's, Run would not come back
            yield race_view.failed(str(error)), *(gr.skip(),) * 3

    def stop(request: gr.Request) -> None:
        races.stop(str(request.session_hash))

    def buttons(running: bool) -> tuple[gr.Button, gr.Button]:
        return gr.Button(interactive=not running), gr.Button(interactive=running)

    chosen_parts, both = [parts.sizes, parts.methods, parts.beams], [parts.run, parts.stop]
    tab.select(opened, parts.chart, [parts.chart, parts.about, parts.result], **QUIET)
    parts.run.click(lambda: buttons(True), None, both, queue=False, **QUIET).then(
        run, chosen_parts, parts.shown, concurrency_limit=8, **QUIET
    ).then(lambda: buttons(False), None, both, queue=False, **QUIET)
    parts.stop.click(stop, None, None, queue=False, **QUIET)
    page.unload(stop)


def chosen(sizes: Sequence[int], methods: Sequence[str], beams: Sequence[int]) -> RaceSettings:
    """What to race, from what the visitor sent.

    Raises
    ------
    UserError
        If something is chosen that is not offered, nothing is, or this page only borrows its GPU.
    """
    if zerogpu.on_zero_gpu():
        raise UserError(
            "A race needs a machine of its own, and this page borrows its GPU for seconds at a time. "
            "Run it elsewhere: python -m genius benchmark race"
        )
    if not set(sizes) <= set(SIZES) or not set(beams) <= set(BEAMS):
        raise UserError("Choose sizes and beams among those offered.")
    return RaceSettings(tuple(sorted(sizes)), tuple(methods), tuple(sorted(beams)))


def follow(said: Iterator[Said], settings: RaceSettings) -> Iterator[tuple[Any, ...]]:
    """Values for `Parts.shown` as a race goes on; one that is finished becomes this machine's last."""
    total = sum(len(settings.beams) if method in OURS else 1 for method in settings.methods)
    total *= len(settings.sizes)
    race, words = None, ""
    for told in said:
        if isinstance(told, str):
            words = told
        else:
            race = told
        bar = race_view.doing(words, len(race.points) if race else 0, total)
        yield (bar, *shown(race, True)) if race is told and race else (bar, *(gr.skip(),) * 3)
    if race is not None and race.finished:
        keep(race)
        yield race_view.said("Finished."), *(gr.skip(),) * 3
    else:
        yield race_view.said("Stopped. What was measured until then is shown."), *(gr.skip(),) * 3


def shown(race: Race, own: bool) -> tuple[str, str, str]:
    """Chart, where it was run, and the table."""
    return race_view.chart(race), race_view.about(race, own), race_view.result(race)
