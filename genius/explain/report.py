"""What was measured, as Markdown tables and two figures, put into a document at its marked places."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from genius.explain.explanation import CLIP, FUSED, Explanation
from genius.index import CandidateIndex
from genius.schema import UserError

FIGURES = {CLIP: "before", FUSED: "after"}
COLOURS = ((34, 102, 170), (153, 88, 10), (156, 53, 104))
_SIZE = 900
_PLACE = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def tables(explanation: Explanation) -> str:
    """All tables, for reading in a terminal."""
    return (
        "\n\n".join((agreement_table(explanation), label_table(explanation), name_table(explanation))) + "\n"
    )


def agreement_table(explanation: Explanation) -> str:
    """How often candidates of the same picture have the same code."""
    lines = [
        "| candidates of the same picture | pairs | level | same code | by chance | all codes up to here |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.one} and {one.other} | {one.pairs:,} | {one.level} | {_percent(one.same)} | "
        f"{_percent(one.chance)} | {_percent(one.beginning)} |"
        for one in explanation.agreements
    ]
    return "\n".join(lines)


def label_table(explanation: Explanation) -> str:
    """What codes tell about known labels."""
    lines = [
        "| known label | candidates | values | level | NMI (shuffled) | purity (shuffled) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.label} | {one.candidates:,} | {one.values} | {one.level} | {one.nmi:.3f} "
        f"({one.nmi_chance:.3f}) | {_percent(one.purity)} ({_percent(one.purity_chance)}) |"
        for one in explanation.labels
    ]
    return "\n".join(lines)


def name_table(explanation: Explanation) -> str:
    """How many prefixes have a name, level by level."""
    lines = [
        "| level | named beginnings | without a name | mean confidence |",
        "| --- | --- | --- | --- |",
    ]
    for level in sorted({len(prefix) for prefix in explanation.names}):
        names = [name for prefix, name in explanation.names.items() if len(prefix) == level]
        sure = [name.confidence for name in names if name.text]
        mean = f"{np.mean(sure):.2f}" if sure else "–"
        lines.append(f"| {level} | {len(sure):,} | {len(names) - len(sure):,} | {mean} |")
    return "\n".join(lines)


def write(path: Path, explanation: Explanation, index: CandidateIndex) -> None:
    """Fill the places `<!-- measured: … -->` of a document, and draw the figures beside it.

    Raises
    ------
    UserError
        If the document has no such place, or one of an unknown name.
    """
    known = {
        "agreement": agreement_table(explanation),
        "labels": label_table(explanation),
        "names": name_table(explanation),
    }
    text = path.read_text(encoding="utf-8")
    asked = {match[2] for match in _PLACE.finditer(text)}
    if not asked or asked - known.keys():
        raise UserError(
            f"{path} needs places <!-- measured: NAME --> … <!-- end -->, NAME one of {', '.join(known)}."
        )
    filled = _PLACE.sub(lambda match: f"{match[1]}{known[match[2]]}\n{match[3]}", text)
    path.write_text(filled, encoding="utf-8")
    kinds = index.codes(explanation.mapped)[:, 0]
    for space, said in FIGURES.items():
        if space in explanation.maps:
            drawing(explanation.maps[space], kinds).save(
                path.with_name(f"{path.stem}-{said}.png"), optimize=True
            )


def drawing(places: NDArray[np.uint16], kinds: NDArray[np.int64]) -> Image.Image:
    """A map [n, 2] as a picture, coloured by the first code [n]."""
    wide = 2 * _SIZE
    image = Image.new("RGB", (wide, wide), "white")
    pen = ImageDraw.Draw(image)
    spots = np.round(places / 65_535 * (wide - 40) + 20).astype(int).tolist()
    order = np.random.default_rng(0).permutation(len(spots)).tolist()
    reach = 3 if len(spots) > 5000 else 7
    for n in order:
        x, y = spots[n][0], wide - spots[n][1]
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=COLOURS[int(kinds[n]) % len(COLOURS)])
    return image.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS).quantize(64)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
