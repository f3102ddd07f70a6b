"""What a map shows, as data for map.js, and what is said about points on it, as HTML. Pure."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genius.explain.explanation import ADDRESS, CLIP, FUSED, Explanation
from genius.schema import Candidate, Modality
from genius.ui.code_page import Guide, faces
from genius.ui.render import KEYS, chip_button, esc, face, plural, tag

CODE_BY_CODE = "after"
SPACES = (
    ("As the encoder sees it", CLIP),
    ("After mixing picture and words", FUSED),
    ("As addresses", ADDRESS),
    ("Address read code by code", CODE_BY_CODE),
)
TELLS = {
    CLIP: "The encoder's space: two candidates lie together when their pictures or words look alike to it.",
    FUSED: "The space that is turned into codes. Training has drawn together what belongs together, and "
    "set apart the three kinds.",
    ADDRESS: "The same things, known by their addresses alone: what is left when a vector is rounded to "
    "its codes.",
    CODE_BY_CODE: "Every candidate where the first codes of its address alone would put it on the mixed "
    "map. Move the slider: with each code it comes nearer to its own place.",
}
COLOURS = (("kind", "kind"), ("level-2 code", "code"), ("collection", "collection"))
SOURCES = {"openmoji": "OpenMoji", "stamps": "Tux Paint stamps", "clipart": "Open Clip Art Library"}
LABELS = 400
CLOSER = 6
GALLERY = 48
HUES = 18


@dataclass(frozen=True)
class Marks:
    """What is drawn over the points: a query's place [2], and rows that are ringed and numbered from 1."""

    query: tuple[float, float] | None = None
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Label:
    """A name on the map: its place, and how many points it stands for."""

    text: str
    x: int
    y: int
    size: int


def payload(
    places: NDArray[np.uint16],
    rows: NDArray[np.int64],
    groups: NDArray[np.integer],
    group_names: Sequence[tuple[str, str]],
    labels: Sequence[Label],
    marks: Marks,
) -> str:
    """A map as JSON: places [n, 2] and rows [n] packed, the group of each point, names of groups and places.

    group_names: a title and a colour each, `image`, `text`, `pair` or a number for one of `HUES` hues.
    """
    marked = np.flatnonzero(np.isin(rows, marks.rows)).tolist()
    place_of = {int(rows[n]): places[n].tolist() for n in marked}
    return json.dumps(
        {
            "x": _packed(places[:, 0].astype("<u2")),
            "y": _packed(places[:, 1].astype("<u2")),
            "rows": _packed(rows.astype("<u4")),
            "groups": _packed(groups.astype("<u2")),
            "names": group_names,
            "labels": [[label.text, label.x, label.y, label.size] for label in labels],
            "query": marks.query,
            "marks": [
                [number, *place_of[row], row] for number, row in enumerate(marks.rows, 1) if row in place_of
            ],
            "numbered": marks.query is not None,
        }
    )


def grouped(
    colour: str, candidates: Sequence[Candidate], codes: NDArray[np.int64], guide: Guide
) -> tuple[NDArray[np.int64], list[tuple[str, str]]]:
    """The group [n] of each candidate, and the groups' titles and colours."""
    if colour == "code" and codes.shape[1] > 1:
        used, groups = np.unique(codes[:, 1], return_inverse=True)
        return groups.reshape(-1), [
            (_anywhere(guide, 1, code), str(code * 7 % HUES)) for code in used.tolist()
        ]
    if colour == "collection":
        names = [candidate.collection for candidate in candidates]
        order = [name for name, _ in Counter(names).most_common()]
        number = {name: place for place, name in enumerate(order)}
        titles = [
            (SOURCES.get(name, name) or "collection", str(place * 5 % HUES))
            for place, name in enumerate(order)
        ]
        return np.array([number[name] for name in names]), titles
    kinds = [(kind.label, KEYS[kind]) for kind in Modality]
    return np.array([int(candidate.modality) for candidate in candidates]), kinds


def labels(places: NDArray[np.uint16], codes: NDArray[np.int64], guide: Guide) -> list[Label]:
    """Names of level-2 codes where most of their points are, then of longer beginnings for a closer look."""
    found = []
    for (code,), under in _alike(codes[:, 1:2]):
        name = guide.anywhere.get((1, code))
        if name is not None and name.text:
            found.append(_label(name.text, places[under]))
    for prefix, under in _alike(codes[:, :3]):
        name = guide.names.get(prefix)
        if len(prefix) == 3 and len(under) >= CLOSER and name is not None and name.text:
            found.append(_label(name.text, places[under]))
    return sorted(found, key=lambda label: -label.size)[:LABELS]


def about(count: int, total: int, space: str, explanation: Explanation) -> str:
    """What is shown, how it was made, and what it cannot show."""
    settings = explanation.settings
    shown = plural(count, "candidate") if count == total else f"a random {count:,} of {total:,} candidates"
    return (
        f'<p class="g-lead">{TELLS[space]}</p><p class="g-small">{shown} · UMAP, {settings.neighbours} '
        f"neighbours, minimal distance {settings.min_dist}, {settings.epochs} rounds, seed {settings.seed}. "
        "Two dimensions cannot keep all distances: near things were mostly near before, but gaps and sizes "
        "of islands mean little. What is called a neighbour below was found in the full space. A query is "
        "drawn in the middle of its eight nearest candidates.</p>"
    )


def peek(row: int, guide: Guide) -> str:
    """What is shown beside the pointer."""
    candidate = guide.candidates[row]
    return (
        f'<div class="g-mini" data-modality="{KEYS[candidate.modality]}">{face(candidate, guide.words)}</div>'
        f"<div>{esc(guide.words.caption(candidate))}<br>{tag(candidate.modality)}</div>"
    )


def chosen(
    row: int, address: tuple[int, ...], near: Sequence[tuple[int, float]], where: str, guide: Guide
) -> str:
    """One candidate, its address, and its neighbours in the full space."""
    candidate = guide.candidates[row]
    rows = [neighbour for neighbour, _ in near]
    nearest = f", the nearest at {near[0][1]:.2f}" if near else ""
    return (
        '<div class="g-codes g-chosen-one"><section class="g-one"><div class="g-mini" '
        f'data-modality="{KEYS[candidate.modality]}">{face(candidate, guide.words)}</div><div>'
        f"<h3>{esc(guide.words.caption(candidate))}</h3>{tag(candidate.modality)}"
        f"{address_chips(address, guide)}"
        f'<div class="g-acts"><button type="button" data-act="more" data-id="{esc(candidate.id)}">More '
        "like this</button>"
        f'<button type="button" data-prefix="{" ".join(map(str, address))}">See its '
        "code</button></div></div></section>"
        f"<section><h3>Its true neighbours</h3><p>{where}{nearest}.</p>{faces(rows, guide)}</section></div>"
    )


def address_chips(address: tuple[int, ...], guide: Guide) -> str:
    """An address whose chips open their code pages."""
    items = "".join(f"<li>{chip_button(address[:n], guide.words)}</li>" for n in range(1, len(address) + 1))
    return f'<ol class="g-address">{items}</ol>'


def gallery(rows: Sequence[int], codes: NDArray[np.int64], guide: Guide, *, cut: bool = False) -> str:
    """What was lassoed: how much of what, the commonest codes, pictures, and what can be done with it."""
    candidates = [guide.candidates[row] for row in rows]
    kinds = Counter(candidate.modality for candidate in candidates)
    tags = " ".join(f"{tag(kind)} {count:,}" for kind, count in kinds.most_common())
    beginnings = Counter(tuple(codes[n, :2].tolist()) for n in range(len(rows))).most_common(5)
    common = "".join(
        f"<li>{chip_button(prefix, guide.words)} <small>{plural(count, 'candidate')}</small></li>"
        for prefix, count in beginnings
    )
    listed = [
        {
            "id": candidate.id,
            "modality": candidate.modality.label,
            "text": candidate.text,
            "semantic_id": address.tolist(),
        }
        for candidate, address in zip(candidates, codes, strict=True)
    ]
    note = " The lasso held more; these are spread over it." if cut else ""
    return (
        f'<div class="g-codes"><section><h3>{plural(len(rows), "candidate")} in the '
        f"lasso</h3><p>{tags}{note}</p>"
        '<div class="g-acts"><button type="button" data-act="within">Search within these</button>'
        '<button type="button" data-act="export">Export as JSON</button></div>'
        f'<ol class="g-common">{common}</ol>{faces(spread(rows, GALLERY), guide)}</section>'
        f'<pre hidden class="g-export">{esc(json.dumps(listed, ensure_ascii=False, indent=1))}</pre></div>'
    )


def spread(rows: Sequence[int], most: int) -> list[int]:
    """So many rows at most, from all over: their order is that of the collection, where like follows like."""
    return [rows[n * len(rows) // most] for n in range(most)] if len(rows) > most else list(rows)


def _alike(codes: NDArray[np.int64]) -> Iterator[tuple[tuple[int, ...], NDArray[np.int64]]]:
    """The distinct lines of codes [n, m], each with where it stands; none without codes."""
    if not codes.size:
        return
    order = np.lexsort(codes.T[::-1])
    new = np.flatnonzero((codes[order][1:] != codes[order][:-1]).any(1)) + 1
    for part in np.split(order, new):
        yield tuple(codes[part[0]].tolist()), part


def _label(text: str, places: NDArray[np.uint16]) -> Label:
    x, y = np.median(places, axis=0).astype(int).tolist()
    return Label(text, x, y, len(places))


def _anywhere(guide: Guide, level: int, code: int) -> str:
    name = guide.anywhere.get((level, code))
    return name.text if name and name.text else f"code {code}"


def _packed(array: NDArray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
