"""`python -m genius.ui` runs the example searches and writes the page's first screen."""

from __future__ import annotations

import argparse
from pathlib import Path

from genius.engine import Engine
from genius.ui import first_screen

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Parse the arguments, search, write."""
    parser = argparse.ArgumentParser(prog="python -m genius.ui", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=ROOT / "checkpoints" / "genius-mini")
    parser.add_argument("--collection", default="all")
    parser.add_argument("--out", type=Path, default=ROOT / "assets" / "first_screen.json")
    args = parser.parse_args()
    results = first_screen.make(Engine.load(args.bundle, args.collection))
    first_screen.save(results, args.out)
    for key, result in results.items():
        print(f"{key:>10}: {len(result.hits)} results in {result.timings.total:.0f} ms")


if __name__ == "__main__":
    main()
