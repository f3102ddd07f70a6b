"""What an evaluation found: records for JSON, tables for people and documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genius.evaluation.measures import Recall
from genius.evaluation.problems import LeftOut

UNIVERSAL, SPECIFIC = "universal", "task-specific"


@dataclass(frozen=True)
class Written:
    """What writing addresses finds at a beam width; all are shares of queries.

    `reranked` is None where it was not asked for; `in_beam`: any positive found at all, more than which
    re-ranking cannot find among the first; `first_answer`: the best address, which was not re-ranked,
    starts with the code that was asked for.
    """

    beams: int
    genius: Recall
    reranked: Recall | None
    in_beam: float
    first_answer: float


@dataclass(frozen=True)
class PoolFacts:
    """Sizes of a pool; `own_address` is the share of candidates whose semantic ID no other has."""

    candidates: int
    addresses: int
    own_address: float


@dataclass(frozen=True)
class TaskResult:
    """One task of one data set, in one pool (`UNIVERSAL` or `SPECIFIC`).

    `first_code` is the share of queries whose likeliest first code is the one asked for.
    """

    pool: str
    task: int
    label: str
    dataset: str
    queries: int
    facts: PoolFacts
    exact: Recall
    first_code: float
    written: tuple[Written, ...]


@dataclass(frozen=True)
class ModelResult:
    """All tasks with one model."""

    model: str
    fingerprint: str
    results: tuple[TaskResult, ...]


@dataclass(frozen=True)
class Report:
    """All models on the same files, and what was left out of these."""

    models: tuple[ModelResult, ...]
    left_out: tuple[LeftOut, ...] = ()


def tables(report: Report) -> str:
    """Markdown: for each model and pool a line a task; then beam widths, and models beside each other."""
    parts = []
    for model in report.models:
        for pool in (UNIVERSAL, SPECIFIC):
            chosen = [result for result in model.results if result.pool == pool]
            parts.append(f"### {model.model}, {pool} pool\n\n{task_table(chosen)}")
        if len(model.results[0].written) > 1:
            parts.append(f"### {model.model}, beam width\n\n{width_table(model)}")
    if len(report.models) > 1:
        parts.append(f"### Models, {UNIVERSAL} pool\n\n{model_table(report.models)}")
    return "\n\n".join(parts) + "\n"


MEASURED = (
    *("exact search", "GENIUS", "re-ranked", "in beam", "re-ranked / exact"),
    *("first code", "first answer"),
)
"""Columns of what was measured, in every table."""


def task_table(results: Sequence[TaskResult]) -> str:
    """One line a task, recall at 1 / 5 / 10 with the widest beam, and their means."""
    head = ["task", "data set", "queries", "candidates", "own address", *MEASURED]
    rows = [
        [
            result.label,
            result.dataset,
            f"{result.queries:,}",
            f"{result.facts.candidates:,}",
            _percent(result.facts.own_address),
            *_columns([result]),
        ]
        for result in results
    ]
    return _table(head, [*rows, ["**mean**", "", "", "", "", *_columns(results)]])


def width_table(model: ModelResult) -> str:
    """One line a beam width: means over all tasks of the universal pool."""
    chosen = [result for result in model.results if result.pool == UNIVERSAL]
    head = [
        "beams",
        "exact search",
        "GENIUS",
        "re-ranked",
        "in beam",
        "re-ranked / exact",
        "first code",
        "first answer",
    ]
    widths = [written.beams for written in chosen[0].written]
    return _table(head, [[str(width), *_columns(chosen, n)] for n, width in enumerate(widths)])


def model_table(models: Sequence[ModelResult]) -> str:
    """One line a model: means over all tasks of the universal pool."""
    head = ["model", "own address", *MEASURED]
    rows = []
    for model in models:
        chosen = [result for result in model.results if result.pool == UNIVERSAL]
        rows.append([model.model, _percent(chosen[0].facts.own_address), *_columns(chosen)])
    return _table(head, rows)


def _columns(results: Sequence[TaskResult], width: int = -1) -> list[str]:
    """Means over tasks, from exact search on."""
    written = [result.written[width] for result in results]
    exact = _mean([result.exact for result in results])
    reranked = _mean([one.reranked for one in written if one.reranked is not None])
    share = None if reranked is None or not exact or not exact.at_5 else reranked.at_5 / exact.at_5
    return [
        _recall(exact),
        _recall(_mean([one.genius for one in written])),
        _recall(reranked),
        _percent(float(np.mean([one.in_beam for one in written]))),
        "–" if share is None else _percent(share),
        _percent(float(np.mean([result.first_code for result in results]))),
        _percent(float(np.mean([one.first_answer for one in written]))),
    ]


def _mean(recalls: Sequence[Recall]) -> Recall | None:
    if not recalls:
        return None
    return Recall(*(float(np.mean([getattr(one, k) for one in recalls])) for k in vars(recalls[0])))


def _recall(recall: Recall | None) -> str:
    if recall is None:
        return "–"
    return " / ".join(f"{100 * share:.1f}" for share in (recall.at_1, recall.at_5, recall.at_10))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, padded so that it can be read as it is."""
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    lines = [
        "| " + " | ".join(map(str.ljust, row, widths)) + " |"
        for row in (head, ["-" * width for width in widths], *rows)
    ]
    return "\n".join(lines)
