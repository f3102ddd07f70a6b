"""The web page, and the entry of the Space: opens the collection, loads the model aside, serves.

GENIUS_BUNDLE and GENIUS_COLLECTION (a name, a folder of images, or an index folder) choose what is served;
GRADIO_SERVER_NAME and GRADIO_SERVER_PORT where.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from genius.explain.explanation import read_names
from genius.index import HEADER_FILE, read_header
from genius.schema import Candidate
from genius.sources import ALL, COLLECTIONS, open_collection
from genius.ui import build_app, first_screen, theme
from genius.ui.handle import EngineHandle, Searcher

HERE = Path(__file__).parent
BUNDLE = Path(os.environ.get("GENIUS_BUNDLE", HERE / "checkpoints" / "genius-mini"))
COLLECTION = os.environ.get("GENIUS_COLLECTION", ALL)
FIRST_SCREEN = HERE / "assets" / "first_screen.json"
SHIPPED_INDEX = HERE / "assets" / "index"


def load_engine() -> Searcher:
    """The engine. Imported here, in the background: torch takes seconds, and the page need not wait."""
    from genius.engine import Engine

    return Engine.load(BUNDLE, COLLECTION)


def known_early() -> tuple[dict[str, Candidate], list[str]]:
    """Candidates to show before the engine is there, and the folders that pictures are served from."""
    folder = Path(COLLECTION).expanduser()
    source = read_header(folder).source if (folder / HEADER_FILE).is_file() else COLLECTION
    if source not in (*COLLECTIONS, ALL):
        return {}, [str(Path(source).expanduser().resolve())]
    candidates = open_collection(source).candidates
    return {candidate.id: candidate for candidate in candidates}, theme.picture_folders(candidates)


def names() -> dict[tuple[int, ...], str]:
    """Names of codes, known before the model is."""
    return read_names(SHIPPED_INDEX if COLLECTION in (*COLLECTIONS, ALL) else Path(COLLECTION).expanduser())


def main() -> None:
    """Serve until stopped."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    candidates, folders = known_early()
    handle = EngineHandle(load_engine, candidates)
    page = build_app(handle, first_screen.load(FIRST_SCREEN, candidates), names())
    page.launch(prevent_thread_lock=True, **theme.launch_options(folders))
    handle.start()  # only now: loading keeps the processor busy, and the page comes first
    page.block_thread()


if __name__ == "__main__":
    main()
