"""One model on M-BEIR's files: candidates coded, queries searched in parts, and all of it counted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from genius.checkpoint import Bundle
from genius.encoder import batches
from genius.engine import Engine
from genius.evaluation.coded import CodedPool, code_pool
from genius.evaluation.measures import own_address, recall
from genius.evaluation.pool import Pool, Progress
from genius.evaluation.problems import Problems
from genius.evaluation.queries import Asked, answerable
from genius.evaluation.report import SPECIFIC, UNIVERSAL, ModelResult, PoolFacts, TaskResult, Written
from genius.evaluation.search import Found, Searched, search_all
from genius.index import CandidateIndex
from genius.instructions import Task
from genius.parts import kept, key_of, stamp
from genius.schema import UserError

PART = 256
"""How many queries are searched between two savings."""

Bar = Callable[[str], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class Plan:
    """How to measure: beam widths (rising), whether to re-rank, and the folder of finished parts."""

    widths: tuple[int, ...]
    rerank: bool
    folder: Path


def evaluate(
    bundle: Bundle,
    name: str,
    pool: Pool,
    queries: Sequence[Asked],
    names: Mapping[int, str],
    plan: Plan,
    problems: Problems,
    bar: Bar,
) -> ModelResult:
    """Measure a model; what is finished is kept in a folder, and found there after an interruption.

    `names` has each data set's name by its number; `bar` a progress bar by its label.

    Raises
    ------
    UserError
        If a picture cannot be opened, unless `problems` are to be skipped.
    """
    engine = Engine(bundle, CandidateIndex.empty(bundle.quantizer.config.levels, bundle.encoder.dim))
    with bar(f"{name}: candidates") as progress:
        coded = code_pool(engine, pool, plan.folder, problems, progress)
    groups = _groups(_left(queries, pool, coded, problems))
    everything = Searched.of(engine, coded, np.arange(len(pool)))
    facts = {UNIVERSAL: _facts(coded, everything)}
    results = []
    decoder = _weights(bundle.decoder)
    done, total = 0, sum(map(len, groups))
    with bar(f"{name}: queries") as progress:
        for group in groups:
            own = Searched.of(engine, coded, pool.own(group[0].dataset, group[0].task.target))
            facts[SPECIFIC] = _facts(coded, own)
            parts = []
            for part in batches(len(group), PART):
                parts.append(_part(engine, coded, (everything, own), group[part], plan, decoder))
                done += part.stop - part.start
                progress(done, total)
            found = _joined(parts)
            for place in np.flatnonzero(~found.usable).tolist():
                problems.add("a picture that cannot be opened", group[place].file, group[place].line)
            problems.refuse()
            if found.usable.any():
                results += _results(found, group[0].task, names[group[0].dataset], facts, plan)
    if not results:
        raise UserError(
            "Nothing could be searched: no picture of a query, or of what it asks for, can be opened."
        )
    return ModelResult(name, bundle.fingerprint, tuple(results))


def _results(
    found: Found, task: Task, dataset: str, facts: Mapping[str, PoolFacts], plan: Plan
) -> list[TaskResult]:
    """What the queries of a task found, in each pool."""
    return [
        TaskResult(
            pool=kind,
            task=task.id,
            label=task.label,
            dataset=dataset,
            queries=int(found.usable.sum()),
            facts=facts[kind],
            exact=recall(found.exact[found.usable, place]),
            first_code=float(found.first_code[found.usable, place].mean()),
            written=_written(found, place, plan),
        )
        for place, kind in enumerate((UNIVERSAL, SPECIFIC))
    ]


def _left(queries: Sequence[Asked], pool: Pool, coded: CodedPool, problems: Problems) -> list[Asked]:
    """The queries that still have a positive once unusable candidates are gone."""
    left = []
    for query in queries:
        positives = tuple(row for row in query.positives if coded.usable[row])
        one = replace(query, positives=positives)
        if answerable(one, pool):
            left.append(one)
        else:
            problems.add("no positive can be opened", query.file, query.line, query.id)
    return left


def _groups(queries: Sequence[Asked]) -> list[list[Asked]]:
    """Queries by task and data set, in that order."""
    groups: dict[tuple[int, int], list[Asked]] = {}
    for query in queries:
        groups.setdefault((query.task.id, query.dataset), []).append(query)
    return [groups[key] for key in sorted(groups)]


def _part(
    engine: Engine,
    coded: CodedPool,
    pools: Sequence[Searched],
    queries: Sequence[Asked],
    plan: Plan,
    decoder: str,
) -> Found:
    """What some queries find; `decoder` names its weights, which the key of the pool does not depend on."""
    asked = [(q.id, q.task.id, q.text, q.instruction, stamp(q.image), q.positives) for q in queries]
    path = plan.folder / f"queries-{key_of(coded.key, decoder, plan.widths, asked)}.npz"
    return Found(**kept(path, lambda: vars(search_all(engine, coded, pools, queries, plan.widths))))


def _weights(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode() + value.cpu().float().numpy().tobytes())
    return digest.hexdigest()


def _joined(parts: Sequence[Found]) -> Found:
    return Found(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})


def _facts(coded: CodedPool, pool: Searched) -> PoolFacts:
    return PoolFacts(len(pool.rows), pool.trie.unique_ids, own_address(coded.codes[pool.rows]))


def _written(found: Found, pool: int, plan: Plan) -> tuple[Written, ...]:
    return tuple(
        Written(
            beams=width,
            genius=recall(found.genius[found.usable, pool, place]),
            reranked=recall(found.reranked[found.usable, pool, place]) if plan.rerank else None,
            in_beam=float(found.in_beam[found.usable, pool, place].mean()),
            first_answer=float(found.first_answer[found.usable, pool, place].mean()),
        )
        for place, width in enumerate(plan.widths)
    )
