"""One's own picture or words sent through the codes, two compared, an address edited; as HTML. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from genius.explain.atlas import Branch, PathStep, Prefix
from genius.explain.measures import Agreement, LabelMeasure
from genius.ui.code_page import Guide, faces, level_words
from genius.ui.render import chip_button, esc, meter, plural

CLOSE = 0.05
"""A next-best codeword less than this share farther away makes a close call."""


def path(
    steps: Sequence[PathStep], typical: Sequence[Sequence[int]], found: Sequence[int], guide: Guide
) -> str:
    """A way through the levels. `typical`: rows under each beginning; `found`: who lives at its end."""
    rows = "".join(_step(step, rows, guide) for step, rows in zip(steps, typical, strict=True))
    end = max((len(step.prefix) for step in steps if step.candidates), default=0)
    alone = (
        "Somebody has this very address."
        if end == len(steps)
        else f"After level {end} nobody has gone this way: these are the candidates where the others stopped."
    )
    return (
        '<p class="g-lead">At each level the nearest codeword is taken, and the next level codes what is '
        "left over. A <em>close call</em> is a level where another code was nearly as near: its neighbours "
        "are worth a look.</p>"
        f'<ol class="g-path">{rows}</ol><div class="g-codes"><section><h3>Who lives there</h3><p>{alone}</p>'
        f"{faces(found, guide)}</section></div>"
    )


def _step(step: PathStep, typical: Sequence[int], guide: Guide) -> str:
    level = len(step.prefix)
    known = step.candidates > 0
    close = step.runner_up_distance - step.distance < CLOSE * step.distance
    second = (*step.prefix[:-1], step.runner_up)
    margin = f"next best: {esc(guide.title(second))}, {step.runner_up_distance:.2f}"
    shown = faces(typical, guide) if known else '<p class="g-quiet">nobody here</p>'
    return (
        f'<li{"" if known else " class=g-off"}><span class="g-level">Level '
        f"{level}<small>{level_words(level)}</small>"
        f"</span><span>{_chip(step, guide)}</span>{shown}"
        f'<span class="g-far"><b>{step.distance:.2f}</b> away<small>{margin}</small>'
        f"{'<em>close call</em>' if close else ''}</span>"
        f"<span class=g-count>{plural(step.candidates, 'candidate')}</span></li>"
    )


def two(one_way: Sequence[PathStep], other_way: Sequence[PathStep], guide: Guide) -> str:
    """Two ways side by side, and where they part."""
    pairs = list(zip(one_way, other_way, strict=True))
    agree = [a.prefix[-1] == b.prefix[-1] for a, b in pairs]
    parting = next((level for level, same in enumerate(agree[1:], start=2) if not same), None)
    kinds = "are of the same kind" if agree[0] else "differ in kind (image, text or both)"
    if parting is None:
        verdict = f"They {kinds}, and agree in every code after the first."
    elif parting == 2:
        verdict = f"They {kinds}, and part at once: level 2, the main thing, differs."
    else:
        common = "level 2" if parting == 3 else f"levels 2 to {parting - 1}"
        verdict = f"They {kinds}, agree at {common}, and part at level {parting}."
    rows = "".join(
        _pair(level, a, b, same, guide)
        for level, ((a, b), same) in enumerate(zip(pairs, agree, strict=True), 1)
    )
    count = sum(agree[1:])
    return (
        f'<p class="g-verdict">{verdict}</p><p class="g-lead">{count} of {len(agree) - 1} codes after the '
        "first are the same. Later codes say what is left over after the earlier ones, so that once two "
        "ways have parted, an equal code "
        f'means less.</p><ol class="g-pairs">{rows}</ol>'
    )


def _pair(level: int, a: PathStep, b: PathStep, same: bool, guide: Guide) -> str:
    sides = "".join(f"<span>{_chip(step, guide)}</span>" for step in (a, b))
    return (
        f'<li class="{"g-same" if same else "g-apart"}"><span class="g-level">Level '
        f"{level}<small>{level_words(level)}"
        f"</small></span>{sides}<span>{'same' if same else 'different'}</span></li>"
    )


def editor(
    address: Prefix, options: Sequence[Sequence[Branch]], answers: Sequence[int], total: int, guide: Guide
) -> str:
    """An address as a row of menus, one a level, that offer only what exists; below, who answers to it."""
    menus = "".join(_menu(level, address, branches, guide) for level, branches in enumerate(options))
    codes = " ".join(map(str, address))
    who = (
        f"{plural(total, 'candidate')} {'answers' if total == 1 else 'answer'} to {esc(guide.trail(address))}"
    )
    return (
        '<p class="g-lead">Change one code: the menus offer only continuations that somebody has. The '
        "codes after it stay as far as they exist.</p>"
        f'<div class="g-menus" data-for="{codes}">{menus}</div>'
        f'<div class="g-codes"><section><h3>{who}</h3>{faces(answers, guide)}<div class="g-acts">'
        f'<button type="button" data-act="within" data-for="{codes}">Search within this</button>'
        f'<button type="button" data-prefix="{codes}">Open its page</button></div></section></div>'
    )


def _chip(step: PathStep, guide: Guide) -> str:
    """A step's code, which opens its page if somebody lives there."""
    if step.candidates:
        return chip_button(step.prefix, guide.words)
    return f'<span class="g-chip g-nobody">{step.prefix[-1]}</span>'


def _menu(level: int, address: Prefix, branches: Sequence[Branch], guide: Guide) -> str:
    chosen = address[level] if level < len(address) else None
    first = "" if chosen is not None else '<option value="" selected>any</option>'
    options = "".join(
        f'<option value="{branch.prefix[-1]}"{" selected" if branch.prefix[-1] == chosen else ""}>'
        f"{esc(guide.title(branch.prefix))} ({branch.size:,})</option>"
        for branch in branches
    )
    return (
        f"<label><span>Level {level + 1} <small>{level_words(level + 1)}</small></span>"
        f'<select data-level="{level}">{first}{options}</select></label>'
    )


def measured(labels: Sequence[LabelMeasure], agreements: Sequence[Agreement]) -> str:
    """How semantic the codes are, in two tables, each beside chance."""
    if not labels and not agreements:
        return (
            '<div class="g-empty"><p>Nothing to measure here: that takes pictures with captions or known '
            "labels, and a collection that has been explained.</p></div>"
        )
    return _agreement(agreements) + _labels(labels)


def _agreement(agreements: Sequence[Agreement]) -> str:
    first = [entry for entry in agreements if (entry.one, entry.other) == ("image", "text")]
    if not first:
        return ""
    top = first[0]
    rows = "".join(
        f'<tr><th scope="row">Level {entry.level} <small>{level_words(entry.level)}</small></th>'
        f"<td>{meter(entry.same, label='same code')}</td><td>{100 * entry.chance:.1f} %</td>"
        f"<td>{100 * entry.beginning:.1f} %</td></tr>"
        for entry in first
    )
    return (
        f"<h3>A picture and its words get the same level-{top.level} code in <b>{100 * top.same:.0f} %</b> "
        f"of {top.pairs:,} cases</h3><p class=g-lead>By chance it would be {100 * top.chance:.1f} %. Deeper "
        "codes say what is left over, in which a picture and a name differ.</p>"
        '<table class="g-table"><thead><tr><th scope="col">level</th><th scope="col">same code</th>'
        '<th scope="col">by chance</th><th scope="col">all codes up to here</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _labels(labels: Sequence[LabelMeasure]) -> str:
    if not labels:
        return ""
    titles = list(dict.fromkeys(entry.label for entry in labels))
    depth = sorted({entry.level for entry in labels})[:4]
    head = "".join(f'<th scope="col">level {level}</th>' for level in depth)
    rows = []
    for title in titles:
        by_level = {entry.level: entry for entry in labels if entry.label == title}
        cells = "".join(
            f"<td><b>{by_level[level].nmi:.2f}</b> <small>chance "
            f"{by_level[level].nmi_chance:.2f}</small></td>"
            for level in depth
        )
        counts = f"{by_level[depth[0]].values} values, {plural(by_level[depth[0]].candidates, 'picture')}"
        rows.append(f'<tr><th scope="row">{esc(title)} <small>{counts}</small></th>{cells}</tr>')
    return (
        "<h3>What a code tells about things we know</h3><p class=g-lead>Normalised mutual information "
        "between code and known label: 0 says nothing, 1 says all. Shuffled labels give the chance "
        "value.</p>"
        f'<table class="g-table"><thead><tr><th scope="col">known label</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
