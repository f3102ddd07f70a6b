"""Draw what `python -m genius evaluate --bundle A B …` measured, one bar a model, as an SVG.

    python tools/results_figure.py results.json docs/ablations.svg [A="all of it" B="without …"]

A bar says, as means of recall at 5 in the universal pool: dark, what the addresses alone find; lighter, what
re-ranking them finds; lightest, what is addressed at all (in beam). The line is exact search.
"""

from __future__ import annotations

import argparse
import json
from html import escape
from pathlib import Path
from typing import Any

WIDTH, LABEL, ROW, TOP, BOTTOM = 760, 230, 34, 44, 46
SHADES = {
    "beam": ("#cfe5e2", "in beam"),
    "reranked": ("#5aa79f", "re-ranked"),
    "genius": ("#0f6a62", "addresses alone"),
}
EXACT, INK = "#8a1c4a", "#24302f"


def means(model: dict[str, Any]) -> dict[str, float]:
    """Means over tasks and data sets of the universal pool, as shares."""
    rows = [row for row in model["results"] if row["pool"] == "universal"]
    widest = [row["written"][-1] for row in rows]
    return {
        "genius": sum(one["genius"]["at_5"] for one in widest) / len(rows),
        "reranked": sum(one["reranked"]["at_5"] for one in widest) / len(rows),
        "beam": sum(one["in_beam"] for one in widest) / len(rows),
        "exact": sum(row["exact"]["at_5"] for row in rows) / len(rows),
    }


def figure(models: list[tuple[str, dict[str, float]]]) -> str:
    """The SVG."""
    bottom = TOP + ROW * len(models)
    height = bottom + BOTTOM

    def x(share: float) -> float:
        return LABEL + (WIDTH - LABEL - 30) * share

    def text(across: float, down: float, words: str, anchor: str = "start", colour: str = INK) -> str:
        where = f'x="{across:.1f}" y="{down:.1f}" text-anchor="{anchor}"'
        return f'<text {where} fill="{colour}">{escape(words)}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="13" role="img" aria-label="Recall at 5 of models with one thing changed">',
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#fffefb"/>',
    ]
    at = LABEL
    for colour, words in (*reversed(SHADES.values()), (EXACT, "exact search")):
        parts += [
            f'<rect x="{at}" y="14" width="12" height="12" rx="2" fill="{colour}"/>',
            text(at + 17, 24.5, words),
        ]
        at += 40 + 7 * len(words)
    for place, (name, of) in enumerate(models):
        y = TOP + ROW * place
        parts.append(text(LABEL - 10, y + 19, name, "end"))
        for key, (colour, _) in SHADES.items():
            wide = x(of[key]) - LABEL
            parts.append(
                f'<rect x="{LABEL}" y="{y + 4}" width="{wide:.1f}" height="{ROW - 12}" fill="{colour}"/>'
            )
        parts.append(text(x(of["genius"]) - 6, y + 19, f"{100 * of['genius']:.0f}", "end", "#fff"))
        parts.append(text(x(of["genius"]) + 6, y + 19, f"{100 * of['reranked']:.0f}", colour="#fff"))
        line = f"M{x(of['exact']):.1f} {y + 1}v{ROW - 6}"
        parts.append(f'<path d="{line}" stroke="{EXACT}" stroke-width="2.5" fill="none"/>')
    parts += [text(x(tick / 100), bottom + 18, f"{tick}", "middle") for tick in (0, 25, 50, 75, 100)]
    parts.append(text(x(0.5), bottom + 37, "% of queries with an answer among the first five", "middle"))
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    """Read the figures of a run, and draw them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", metavar="MODEL=WORDS", help="what to call a model")
    args = parser.parse_args()
    called = dict(name.split("=", 1) for name in args.names)
    models = json.loads(args.results.read_text(encoding="utf-8"))["models"]
    drawn = [(called.get(model["model"], model["model"]), means(model)) for model in models]
    args.out.write_text(figure(drawn), encoding="utf-8")


if __name__ == "__main__":
    main()
