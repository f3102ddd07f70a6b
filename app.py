"""The web page, and the entry of the Space: opens the collection, loads the model aside, serves."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from genius.sources import open_collection
from genius.ui import build_app, first_screen, theme
from genius.ui.handle import EngineHandle, Searcher

HERE = Path(__file__).parent
BUNDLE = Path(os.environ.get("GENIUS_BUNDLE", HERE / "checkpoints" / "genius-mini"))
COLLECTION = os.environ.get("GENIUS_COLLECTION", "all")
FIRST_SCREEN = HERE / "assets" / "first_screen.json"


def load_engine() -> Searcher:
    """The engine. Imported here, in the background: torch takes seconds, and the page need not wait."""
    from genius.engine import Engine

    return Engine.load(BUNDLE, COLLECTION)


def main() -> None:
    """Serve the page; host and port come from GRADIO_SERVER_NAME and GRADIO_SERVER_PORT."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    candidates = {candidate.id: candidate for candidate in open_collection(COLLECTION).candidates}
    handle = EngineHandle(load_engine, candidates).start()
    page = build_app(handle, first_screen.load(FIRST_SCREEN, candidates))
    page.queue(default_concurrency_limit=4).launch(**theme.launch_options(candidates))


if __name__ == "__main__":
    main()
