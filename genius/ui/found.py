"""How a result was found, as HTML: the beams level by level, and the time of each stage. Pure."""

from __future__ import annotations

from math import exp, log

from genius.schema import Beam, BeamStep, SearchResult, Timings
from genius.ui.code_page import level_words
from genius.ui.render import Words, esc, modality_mark, percent, plural

STAGES = (
    ("encode", "read the query"),
    ("fuse", "mix picture and words"),
    ("decode", "write addresses"),
    ("rerank", "re-rank"),
)


def how(result: SearchResult, words: Words) -> str:
    """Stage times, the narrowing to one address, and what was kept and dropped at each level."""
    if not result.trace:
        return f"{stage_bar(result.timings)}<p class='g-lead'>This search kept no record of its beams.</p>"
    path = result.hits[0].semantic_id if result.hits else ()
    steps = "".join(_step(step, path, words) for step in result.trace)
    return (
        f"<h4>Where the time went</h4>{stage_bar(result.timings)}"
        f"<h4>From everything to one address</h4>{funnel(result, words)}"
        "<h4>What it considered</h4>"
        '<p class="g-lead">An address is written code by code. At each level the model weighs every '
        "code that continues a beginning it has kept, keeps the most probable and drops the rest. The "
        "probability is that of a whole beginning; those of all addresses that exist add up to 100 %.</p>"
        f'<div class="g-steps">{steps}</div>'
    )


def stage_bar(timings: Timings) -> str:
    """One bar, cut into the stages of a search, with a legend in milliseconds."""
    total = timings.total or 1.0
    cuts, legend = [], []
    for stage, plain in STAGES:
        ms = getattr(timings, stage)
        cuts.append(f'<i data-stage="{stage}" style="flex-grow:{max(ms / total, 0.004):.4f}"></i>')
        legend.append(f'<li data-stage="{stage}">{plain} <b>{_ms(ms)}</b></li>')
    return (
        f'<div class="g-time" role="img" aria-label="{_ms(timings.total)} in all">{"".join(cuts)}</div>'
        f'<ul class="g-legend">{"".join(legend)}<li>in all <b>{_ms(timings.total)}</b></li></ul>'
    )


def funnel(result: SearchResult, words: Words) -> str:
    """How many candidates remain after each code of the first result's address, on a logarithmic scale."""
    if not result.hits:
        return ""
    path = result.hits[0].semantic_id
    left = {beam.prefix: beam.candidates for step in result.trace for beam in (*step.kept, *step.dropped)}
    known = [(path[:level], left[path[:level]]) for level in range(1, len(path) + 1) if path[:level] in left]
    if not known:
        return '<p class="g-lead">The first result came late: its beginnings were not among the best few.</p>'
    most = max(count for _, count in known)
    rows = "".join(
        f'<li><span class="g-chip"{modality_mark(prefix)}>{esc(words.code(prefix))}</span>'
        f'<span class="g-bar"><i style="width:{100 * (1 + log(count)) / (1 + log(most)):.1f}%"></i></span>'
        f"<span>{plural(count, 'candidate')} left</span></li>"
        for prefix, count in known
    )
    return f'<ol class="g-funnel">{rows}</ol>'


def _step(step: BeamStep, path: tuple[int, ...], words: Words) -> str:
    rows = [_beam(beam, path, words, kept=True) for beam in step.kept]
    rows += [_beam(beam, path, words, kept=False) for beam in step.dropped]
    number = step.level + 1  # people count from one
    return (
        f'<section class="g-step"><h5>Level {number} <small>{level_words(number)}</small></h5>'
        f"<p>{plural(step.considered, 'continuation')} weighed</p>"
        '<table><thead><tr><th scope="col">beginning</th><th scope="col">probability</th>'
        '<th scope="col">left</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></section>"
    )


def _beam(beam: Beam, path: tuple[int, ...], words: Words, *, kept: bool) -> str:
    chosen = beam.prefix == path[: len(beam.prefix)]
    state = "chosen" if chosen else "kept" if kept else "dropped"
    whole = " ".join(map(str, beam.prefix))
    before = " ".join(str(code) for code in beam.prefix[:-1][-3:])
    before = f"… {before}" if len(beam.prefix) > 4 else before
    return (
        f'<tr class="g-{state}"><td title="{state}: {whole}"><code>{before}'
        '</code> <span class="g-chip">'
        f"{esc(words.code(beam.prefix))}</span></td>"
        '<td><span class="g-bar">'
        f'<i style="width:{100 * exp(min(beam.log_prob, 0.0)):.1f}%"></i></span>'
        f"{esc(percent(beam.log_prob))}</td><td>{beam.candidates:,}</td></tr>"
    )


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:,.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"
