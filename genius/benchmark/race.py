"""`benchmark race`, and the page's: GENIUS beside exact and approximate vector search, as a collection grows.

Everybody starts from what the encoder gives, and is asked the same queries for the same number of results on
the same threads. It is all done in slices: a race can be stopped, and gives way to other searches.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch

from genius.benchmark import rivals
from genius.benchmark.course import WARM_UP, Course
from genius.benchmark.heat import Heat
from genius.benchmark.machine import Machine, Times, free_memory
from genius.benchmark.pace import Pace, Stopped
from genius.benchmark.record import OURS, Race, RaceSettings, label
from genius.engine import Engine
from genius.schema import UserError

BLOCK = 1024
SHARE = 0.85
"""Of the memory that is free, how much a race may take."""

Note = Callable[[str], None]
Member = TypeVar("Member")


def race(
    engine: Engine,
    settings: RaceSettings,
    stop: Callable[[], bool] = lambda: False,
    *,
    turn: Callable[[], AbstractContextManager[object]] = nullcontext,
    note: Note = lambda _: None,
) -> Iterator[Race]:
    """Race on an engine's own collection; every Race yielded has one point more than the one before.

    Parameters
    ----------
    engine, settings
        The model, its collection, and what to measure. Candidates beyond the collection are synthetic.
    stop
        Asked between slices, a fraction of a second long: the race ends when it says yes.
    turn
        Held during each slice; searches that take the same lock wait for no longer than one.
    note
        Told what is being done.

    Raises
    ------
    UserError
        If the largest size does not fit into memory (nothing has been allocated then), or the collection is
        too small to ask for something.
    """
    quantizer = engine.bundle.quantizer.config
    check_memory(settings, quantizer.dim, len(quantizer.levels))
    pace = Pace(stop, turn)
    try:
        note("encoding the queries")
        yield from run(Course.of(engine, settings.queries, pace), settings, pace, note)
    except Stopped:
        return


def race_made_up(settings: RaceSettings, note: Note = lambda _: None) -> Iterator[Race]:
    """The same with random vectors and weights of the paper's size: 768 dimensions, 3 + 8 × 4,096 codes."""
    course = Course.made_up(settings.queries)
    check_memory(settings, course.vectors.shape[1], course.codes.shape[1])
    yield from run(course, settings, Pace(), note)


def run(course: Course, settings: RaceSettings, pace: Pace, note: Note) -> Iterator[Race]:
    """Race on a course. Methods are measured one after the other, so that only one index is in memory, and
    begin with another one at each size."""
    report = _begin(course, settings)
    yield report
    sizes = sorted(set(settings.sizes))
    field = Field(course, sizes[-1])
    try:
        for number, size in enumerate(sizes):
            note(f"{size:,} candidates: drawing and sorting them")
            field.fill(size, pace)
            heat = Heat.of(course, settings, field.vectors[:size], field.codes[:size], pace)
            for method, beams in rotated(contestants(settings, size), number):
                note(f"{size:,} candidates: {label(method, beams)}")
                try:
                    point = heat.run(method, beams)
                except (AttributeError, RuntimeError, MemoryError) as error:
                    if method in OURS:
                        raise
                    left_out = f"{label(method, beams)} was left out at {size:,} candidates: {error}"
                    report = replace(report, notes=(*report.notes, left_out))
                else:
                    report = replace(report, points=(*report.points, point))
                yield report
        yield replace(report, finished=True)
    finally:
        field.clear()
        gc.collect()


def contestants(settings: RaceSettings, size: int) -> list[tuple[str, int | None]]:
    """Methods and beam widths that race at a size."""
    vectors = settings.faiss_most is None or size <= settings.faiss_most
    return [
        (method, beams)
        for method in dict.fromkeys(settings.methods)
        if method in OURS or vectors
        for beams in (sorted(set(settings.beams)) if method in OURS else (None,))
    ]


def rotated(members: Sequence[Member], by: int) -> list[Member]:
    """The same, beginning with another one."""
    by %= max(1, len(members))
    return [*members[by:], *members[:by]]


def check_memory(settings: RaceSettings, dim: int, levels: int, free: int | None = None) -> None:
    """UserError, naming the size that fits, if the largest does not; `free` bytes, as here if not given."""
    free = free_memory() if free is None else free
    if free is None:
        return

    def each(size: int) -> int:
        faiss = [
            rivals.memory_each(method, dim) for method, _ in contestants(settings, size) if method not in OURS
        ]
        # vectors in half precision, codes, and a trie while it is sorted
        return 2 * dim + 2 * levels + 4 * (2 * levels + 4) + max(faiss, default=0)

    needed, size = max((size * each(size), size) for size in settings.sizes)
    if needed > (budget := SHARE * free):
        fits = _rounded_down(int(budget / each(size)))
        raise UserError(
            f"A race with {size:,} candidates needs {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB "
            f"are free. {fits:,} candidates fit; choose sizes up to that, or fewer methods."
        )


def _rounded_down(number: int) -> int:
    """To two digits."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit


def _begin(course: Course, settings: RaceSettings) -> Race:
    counted = course.asked.answers[WARM_UP:]
    seconds = course.asked.seconds
    parameter = next(course.decoder.parameters())
    return Race(
        machine=Machine.here(),
        time=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        device=_device_name(parameter.device),
        dtype=str(parameter.dtype).removeprefix("torch."),
        collection=course.collection,
        model=course.model,
        real=len(course.vectors),
        dim=course.vectors.shape[1],
        levels=course.decoder.config.levels,
        queries=len(counted),
        labelled=sum(bool(answers) for answers in counted),
        encode=None if seconds is None else Times.of(seconds[WARM_UP:].tolist()),
        settings=settings,
        parameters={m: rivals.PARAMETERS[m] for m in settings.methods if m in rivals.PARAMETERS},
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


class Field:
    """All candidates of the largest size, in one piece of memory; a smaller size is the first of them.

    Synthetic ones are drawn block by block, each from its own seed: whatever the sizes, they are the same.
    """

    def __init__(self, course: Course, most: int) -> None:
        self.course, self.count = course, min(most, len(course.vectors))
        rows = self.count + -(-(most - self.count) // BLOCK) * BLOCK
        small = np.uint16 if max(course.decoder.config.levels) <= 1 << 16 else np.uint32
        self.vectors = np.empty((rows, course.vectors.shape[1]), np.float16)
        self.codes = np.empty((rows, course.codes.shape[1]), small)
        self.vectors[: self.count] = course.vectors[: self.count]
        self.codes[: self.count] = course.codes[: self.count]

    def fill(self, size: int, pace: Pace) -> None:
        """Draw synthetic candidates until there are so many, or some more."""

        def draw(start: int) -> None:
            block = slice(start, start + BLOCK)
            self.vectors[block], self.codes[block] = self.course.draw(BLOCK, start)
            self.count = block.stop

        pace.each(range(self.count, size, BLOCK), draw)

    def clear(self) -> None:
        """Give the memory back, even if somebody still holds the field."""
        self.vectors, self.codes = self.vectors[:0].copy(), self.codes[:0].copy()
