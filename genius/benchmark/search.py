"""`benchmark search`: a whole search with a real model, and where its time goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genius.benchmark.machine import Machine, Times
from genius.engine import Engine
from genius.schema import Query, SearchOptions

STAGES = ("encode", "fuse", "decode", "rerank", "total")


@dataclass(frozen=True)
class SearchReport:
    """What was measured: times of each stage."""

    machine: Machine
    candidates: int
    beams: int
    stages: dict[str, Times]


def measure_search(engine: Engine, queries: Sequence[Query], options: SearchOptions) -> SearchReport:
    """Ask the queries one at a time; the first one warms up and does not count."""
    machine = Machine.here()
    timings = [engine.search([query], options)[0].timings for query in queries]
    stages = {stage: Times.of([getattr(took, stage) / 1000 for took in timings[1:]]) for stage in STAGES}
    return SearchReport(machine, len(engine.candidates), options.beams, stages)
