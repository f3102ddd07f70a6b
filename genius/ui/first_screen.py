"""The searches the page opens on, kept as ids in a small JSON file, so that it shows results at once.

The file holds neither pictures nor captions: those are read from the collection, and candidates that
are not installed are dropped. `python -m genius.ui` writes it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genius.schema import Beam, BeamStep, Candidate, Hit, SearchResult, Timings
from genius.ui.examples import BY_KEY, EXAMPLES, Example
from genius.ui.handle import Searcher

VERSION = 1
_LOG = logging.getLogger(__name__)


def save(results: Mapping[str, SearchResult], path: Path) -> None:
    """Write the results of examples, by example key; the file is replaced in one step."""
    searches = {key: _dump(result) for key, result in results.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps({"version": VERSION, "searches": searches}, indent=None) + "\n")
    os.replace(aside, path)


def load(path: Path, candidates: Mapping[str, Candidate]) -> dict[str, SearchResult]:
    """Results by example key. A missing or damaged file gives none: the page then shows its examples only.

    Searches whose example has changed since, or none of whose candidates is installed, are left out.
    """
    try:
        stored = json.loads(path.read_text())
        if stored["version"] != VERSION:
            raise ValueError(f"version {stored['version']} is not {VERSION}")
        found = {key: _read(BY_KEY[key], entry, candidates) for key, entry in _current(stored["searches"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _LOG.warning("No first screen from %s (%s: %s)", path, type(error).__name__, error)
        return {}
    return {key: result for key, result in found.items() if result.hits}


def make(engine: Searcher) -> dict[str, SearchResult]:
    """Run every example; the first search only warms up, so that the stored timings are typical."""
    engine.search([EXAMPLES[0].query()], EXAMPLES[0].ask.options())
    return {example.key: engine.search([example.query()], example.ask.options())[0] for example in EXAMPLES}


def _current(searches: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        (key, entry)
        for key, entry in searches.items()
        if key in BY_KEY and entry["query"] == _words(BY_KEY[key])
    ]


def _words(example: Example) -> dict[str, str]:
    return {"text": example.ask.text, "instruction": example.ask.instruction, "minus": example.ask.minus}


def _dump(result: SearchResult) -> dict[str, Any]:
    query = result.query
    return {
        "query": {"text": query.text, "instruction": query.instruction, "minus": query.minus},
        "hits": [
            {
                "id": hit.candidate.id,
                "semantic_id": [int(code) for code in hit.semantic_id],
                "score": round(float(hit.score), 5),
                "log_prob": None if hit.log_prob is None else round(float(hit.log_prob), 4),
            }
            for hit in result.hits
        ],
        "trace": [
            {
                "level": step.level,
                "considered": int(step.considered),
                "kept": [_dump_beam(beam) for beam in step.kept],
                "dropped": [_dump_beam(beam) for beam in step.dropped],
            }
            for step in result.trace
        ],
        "timings_ms": {stage: round(ms, 2) for stage, ms in asdict(result.timings).items()},
    }


def _dump_beam(beam: Beam) -> list[Any]:
    return [[int(code) for code in beam.prefix], round(float(beam.log_prob), 4), int(beam.candidates)]


def _read(example: Example, entry: Mapping[str, Any], candidates: Mapping[str, Candidate]) -> SearchResult:
    installed = [hit for hit in entry["hits"] if hit["id"] in candidates]
    hits = tuple(
        Hit(
            rank=rank,
            candidate=candidates[hit["id"]],
            semantic_id=tuple(int(code) for code in hit["semantic_id"]),
            score=float(hit["score"]),
            log_prob=None if hit["log_prob"] is None else float(hit["log_prob"]),
        )
        for rank, hit in enumerate(installed, start=1)
    )
    trace = tuple(
        BeamStep(
            int(step["level"]),
            int(step["considered"]),
            _read_beams(step["kept"]),
            _read_beams(step["dropped"]),
        )
        for step in entry["trace"]
    )
    timings = Timings(**{stage: float(ms) for stage, ms in entry["timings_ms"].items()})
    return SearchResult(query=example.query(), hits=hits, trace=trace, timings=timings)


def _read_beams(beams: list[Any]) -> tuple[Beam, ...]:
    return tuple(
        Beam(tuple(int(code) for code in prefix), float(log_prob), int(count))
        for prefix, log_prob, count in beams
    )
