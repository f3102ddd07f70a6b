"""A page about one code, and the tree around it, as HTML. Pure; captions go through `esc`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from genius.explain.atlas import Branch, CodePage, Prefix
from genius.explain.names import SURE, Name
from genius.schema import Candidate, Modality
from genius.ui.render import KEYS, Words, chip_button, esc, face, modality_mark, plural, tag

TILES = 24
"""So many continuations are shown at first."""

LEVEL_WORDS = {1: "what it is made of", 2: "the main thing", 3: "what kind"}
HOME = "All addresses"


@dataclass(frozen=True)
class Guide:
    """What the pages know to say: names of prefixes and of codes under any parent, and candidates by row."""

    words: Words
    candidates: Sequence[Candidate]
    names: Mapping[Prefix, Name] = field(default_factory=dict)
    anywhere: Mapping[tuple[int, int], Name] = field(default_factory=dict)
    explained: bool = True

    def title(self, prefix: Prefix) -> str:
        """A prefix in words: the name of its last code, or `code 7`."""
        if not prefix:
            return HOME
        said = self.words.code(prefix)
        return f"code {said}" if said == str(prefix[-1]) else said

    def trail(self, prefix: Prefix) -> str:
        """The names of all codes of a prefix."""
        return " › ".join(self.title(prefix[: level + 1]) for level in range(len(prefix)))


def level_words(number: int) -> str:
    """What a level (counted from 1) tends to say."""
    return LEVEL_WORDS.get(number, "finer detail")


def code_page(page: CodePage, rows: Sequence[tuple[Branch, ...]], guide: Guide) -> str:
    """One code: where it is in the tree, what lies under it, and where one can go from here.

    `rows` are the siblings at each level of the prefix, from the first, and then its continuations.
    """
    parts = (_tree(page, rows, guide), _head(page, guide), _members(page, guide))
    later = (_branches(page, guide), _twins(page, guide), _near(page, guide), _shared(page, guide))
    return f'<div class="g-codes">{"".join(parts)}{"".join(later)}</div>'


def anywhere_page(level: int, code: int, branches: Sequence[Branch], guide: Guide) -> str:
    """One code of a level (counted from 0) under every parent."""
    name = guide.anywhere.get((level, code))
    title = name.text if name and name.text else f"code {code}"
    total = sum(branch.size for branch in branches)
    lead = (
        f"Code {code} at level {level + 1}, wherever it stands: {plural(total, 'candidate')} under "
        f"{plural(len(branches), 'beginning')}. From level 3 on, a code says what the codes before it left "
        "unsaid, so that the same one returns under many of them."
    )
    return (
        f'<div class="g-codes"><header class="g-code-head"><h2>{esc(title)} '
        f"<small>anywhere</small></h2>{_sure(name)}"
        f"<p>{lead}</p>{_word_list(name)}</header>{_tile_grid(branches, guide, whole=True)}</div>"
    )


def not_explained() -> str:
    """A note where names have not been worked out yet."""
    return (
        '<div class="g-hint"><p><b>This collection has no names and maps yet.</b> You can walk its tree, '
        "but no code has a name, and the order within a code says nothing. Working them out reads every "
        "picture once more: "
        'some minutes for ten thousand.</p><button type="button" class="g-do" data-act="explain">Work them '
        "out"
        "</button></div>"
    )


def faces(rows: Iterable[int], guide: Guide) -> str:
    """Candidates as small pictures or quotes; each opens the page of its own address."""
    return f'<ul class="g-faces">{"".join(f"<li>{one(row, guide)}</li>" for row in rows)}</ul>'


def one(row: int, guide: Guide) -> str:
    """One candidate, as a button that opens its address."""
    candidate = guide.candidates[row]
    caption = esc(guide.words.caption(candidate))
    return (
        f'<button type="button" class="g-face" data-row="{row}" data-modality="{KEYS[candidate.modality]}" '
        f'title="{caption}">{face(candidate, guide.words)}</button>'
    )


def _tree(page: CodePage, rows: Sequence[tuple[Branch, ...]], guide: Guide) -> str:
    crumbs = [f'<li><button type="button" data-prefix="">{HOME}</button></li>']
    for level in range(1, len(page.prefix) + 1):
        crumbs.append(f"<li>{chip_button(page.prefix[:level], guide.words)}</li>")
    strips = "".join(_strip(branches, page.prefix, guide) for branches in rows if branches)
    return (
        '<nav class="g-tree" aria-label="Where you are"><ol class="g-address '
        f'g-crumbs">{"".join(crumbs)}</ol>'
        f'<div class="g-icicle">{strips}</div></nav>'
    )


def _strip(branches: tuple[Branch, ...], prefix: Prefix, guide: Guide) -> str:
    level = len(branches[0].prefix)
    total = sum(branch.size for branch in branches)
    cells = []
    for branch in branches:
        chosen = prefix[:level] == branch.prefix
        said = guide.title(branch.prefix)
        wide = branch.size / total
        label = f"<span>{esc(said)}</span>" if wide > 0.06 or chosen else ""
        cells.append(
            f'<button type="button" data-prefix="{_codes(branch.prefix)}" style="flex-grow:{branch.size}"'
            f"{modality_mark(branch.prefix)}{' class=g-on aria-current=true' if chosen else ''} "
            f'tabindex="{0 if wide > 0.02 or chosen else -1}" title="{esc(said)}: '
            f'{plural(branch.size, "candidate")}" aria-label="{esc(said)}">{label}</button>'
        )
    return (
        '<div class="g-strip"><span class="g-strip-level">Level '
        f"{level}<small>{level_words(level)}</small></span>"
        f'<div class="g-cells">{"".join(cells)}</div></div>'
    )


def _head(page: CodePage, guide: Guide) -> str:
    level = len(page.prefix)
    if not level:
        return (
            f'<header class="g-code-head"><h2>{HOME}</h2><p>Every candidate is filed under a row of codes. '
            "The first says what it is made of, the next the main thing, the later ones ever finer detail. "
            "Choose one to see what it stands for.</p></header>"
        )
    name = guide.names.get(page.prefix)
    share = page.size / page.parent_size
    where = "of everything" if level == 1 else f"of “{esc(guide.title(page.prefix[:-1]))}”"
    percent = f"{100 * share:.1f} %" if share >= 0.001 else "less than 0.1 %"
    buttons = (
        ("within", "Search within this", "Only candidates under this code can be found"),
        ("place", "Show on the map", "Where these candidates lie"),
        ("anywhere", "This code anywhere", "The same code under every other beginning"),
        ("edit", "Edit this address", "Change one code, see who answers"),
    )
    doors = "".join(
        f'<button type="button" data-act="{act}" data-for="{_codes(page.prefix)}" '
        f'title="{hint}">{label}</button>'
        for act, label, hint in buttons
        if not (act == "anywhere" and level < 2)
    )
    return (
        f'<header class="g-code-head"><h2{modality_mark(page.prefix)}>{esc(guide.title(page.prefix))}</h2>'
        f"{_sure(name) if level > 1 else ''}<p>Level {level}, {level_words(level)} · code {page.prefix[-1]} "
        f"· <b>{plural(page.size, 'candidate')}</b>, {percent} {where}</p>{_word_list(name)}"
        f'<div class="g-acts">{doors}</div></header>'
    )


def _sure(name: Name | None) -> str:
    if name is None or not name.text:
        return '<span class="g-auto">no name: too few captions, or too different ones</span>'
    sure = "rather sure" if name.confidence >= SURE else "a guess"
    return (
        '<span class="g-auto" title="The share of captions the name covers, and how near its own vector '
        'lies">'
        f"automatic name, {sure} ({name.confidence:.2f})</span>"
    )


def _word_list(name: Name | None) -> str:
    if name is None or not name.words:
        return ""
    words = "".join(f"<li>{esc(word)}</li>" for word in name.words)
    return f'<div class="g-words"><span>Words that set it apart</span><ul>{words}</ul></div>'


def _members(page: CodePage, guide: Guide) -> str:
    if len(page.prefix) < 1:
        return ""
    if len(page.sample) == 0:
        return _section("Who lives here", "", faces(page.typical, guide))
    order = "Nearest to the sum of the codewords." if guide.explained else "In no particular order."
    return (
        f'<div class="g-two">{_section("Most typical", order, faces(page.typical, guide))}'
        f"{_section('A random dozen', 'Drawn from all the others.', faces(page.sample, guide))}</div>"
    )


def _branches(page: CodePage, guide: Guide) -> str:
    if not page.branches:
        return ""
    level = len(page.prefix) + 1
    title = f"One code further: {plural(len(page.branches), 'continuation')}"
    return _section(title, f"Level {level}: {level_words(level)}.", _tile_grid(page.branches, guide))


def _tile_grid(branches: Sequence[Branch], guide: Guide, *, whole: bool = False) -> str:
    tiles = "".join(
        _tile(branch, guide, hidden=n >= TILES, whole=whole) for n, branch in enumerate(branches[:240])
    )
    more = len(branches[:240]) - TILES
    button = (
        f'<button type="button" class="g-do" data-act="more-tiles">Show {more} more</button>'
        if more > 0
        else ""
    )
    return f'<ul class="g-tiles">{tiles}</ul>{button}'


def _tile(branch: Branch, guide: Guide, *, hidden: bool = False, whole: bool = False, note: str = "") -> str:
    said = guide.trail(branch.prefix) if whole else guide.title(branch.prefix)
    candidate = guide.candidates[branch.typical]
    named = guide.words.code(branch.prefix) != str(branch.prefix[-1])
    such = "" if named else f"<small>such as “{esc(guide.words.caption(candidate))}”</small>"
    return (
        f'<li{" hidden" if hidden else ""}><button type="button" class="g-code-tile" '
        f'data-prefix="{_codes(branch.prefix)}" data-modality="{KEYS[candidate.modality]}">'
        f'<span class="g-mini">{face(candidate, guide.words)}</span>'
        f"<span><b>{esc(said)}</b>{such}<small>{plural(branch.size, 'candidate')}{note}</small></span>"
        "</button></li>"
    )


def _twins(page: CodePage, guide: Guide) -> str:
    if not page.twins:
        return ""
    columns = "".join(
        f'<div data-modality="{KEYS[Modality(twin.prefix[0])]}"><h4>{tag(Modality(twin.prefix[0]))} '
        f"<small>{plural(twin.size, 'candidate')}</small></h4>{_tile(twin, guide)}</div>"
        for twin in page.twins
        if twin.prefix[0] in set(Modality)
    )
    lead = "The first code says image, text or both; the later ones mean the same in all three."
    return _section("The same codes in the other kinds", lead, f'<div class="g-twins">{columns}</div>')


def _near(page: CodePage, guide: Guide) -> str:
    tiles = "".join(_near_tile(branch, distance, guide) for branch, distance in page.near)
    if not tiles:
        return ""
    unused = (
        f" {plural(page.unused, 'code')} of this level {'is' if page.unused == 1 else 'are'} not used here "
        "at all."
        if page.unused
        else ""
    )
    return _section(
        "Codes close by",
        f"Those beside it whose codewords are nearest, with their distance.{unused}",
        f'<ul class="g-tiles">{tiles}</ul>',
    )


def _near_tile(branch: Branch, distance: float, guide: Guide) -> str:
    return _tile(branch, guide, note=f" · {distance:.2f} away")


def _shared(page: CodePage, guide: Guide) -> str:
    if not page.shared or len(page.prefix) < 2:
        return ""
    groups = "".join(f"<li>{faces(rows[:6], guide)}</li>" for rows in page.shared[:6])
    lead = "They have the whole address in common: the codes cannot tell them apart, only re-ranking can."
    return _section("Same address", lead, f'<ul class="g-shared-ids">{groups}</ul>')


def _section(title: str, lead: str, body: str) -> str:
    said = f"<p>{lead}</p>" if lead else ""
    return f"<section><h3>{title}</h3>{said}{body}</section>"


def _codes(prefix: Prefix) -> str:
    return " ".join(map(str, prefix))
