"""`benchmark search`: a whole search with a real model, and where its time goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from genius.benchmark.machine import Machine, Times
from genius.engine import Engine
from genius.schema import Query, SearchOptions, Timings

STAGES = ("encode", "fuse", "decode", "rerank", "total")


@dataclass(frozen=True)
class SearchReport:
    """What was measured: times of each stage, by whether the search explains itself."""

    machine: Machine
    candidates: int
    beams: int
    stages: dict[str, dict[str, Times]]


def measure_search(engine: Engine, queries: Sequence[Query], options: SearchOptions) -> SearchReport:
    """Ask the queries one at a time; the first one warms up and does not count."""
    machine = Machine.here()
    ways = {"explained": replace(options, explain=True), "not explained": replace(options, explain=False)}
    timings: dict[str, list[Timings]] = {way: [] for way in ways}
    for query in queries:
        for way, chosen in ways.items():
            timings[way].append(engine.search([query], chosen)[0].timings)
    stages = {
        way: {stage: Times.of([getattr(t, stage) / 1000 for t in took[1:]]) for stage in STAGES}
        for way, took in timings.items()
    }
    return SearchReport(machine, len(engine.candidates), options.beams, stages)
