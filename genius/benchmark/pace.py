"""Work in slices, so that it can be stopped, and so that others get their turn in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

SLICE = 0.25
"""Seconds that a slice is meant to take; one step of the work is never cut."""


class Stopped(Exception):
    """Somebody asked the work to stop."""


@dataclass(frozen=True)
class Pace:
    """`stop` is asked before every slice; `turn` is held during it, and let go of afterwards."""

    stop: Callable[[], bool] = lambda: False
    turn: Callable[[], AbstractContextManager[object]] = nullcontext

    @contextmanager
    def hold(self) -> Iterator[None]:
        """One slice; raises Stopped instead, if somebody asked to stop."""
        if self.stop():
            raise Stopped
        with self.turn():
            yield

    def each(self, items: Sequence[Item], work: Callable[[Item], None]) -> None:
        """Do something with every item, as many a slice as its time allows."""
        done = 0
        while done < len(items):
            with self.hold():
                end = time.perf_counter() + SLICE
                while done < len(items) and time.perf_counter() < end:
                    work(items[done])
                    done += 1

    def parts(self, count: int, work: Callable[[slice], float], first: int = 256) -> float:
        """Do something with all of `count` rows, a part of them a slice; returns the seconds it took.

        `work` is given the rows and returns its own seconds; the parts become as large as a slice allows.
        """
        total, done, size = 0.0, 0, first
        while done < count:
            rows = slice(done, min(count, done + size))
            with self.hold():
                took = work(rows)
            total, done = total + took, rows.stop
            size = max(1, int(size * min(4.0, SLICE / max(took, 1e-9))))
        return total
