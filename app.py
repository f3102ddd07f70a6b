"""The web page, and the entry of the Space: opens the collection, loads the model aside, serves.

docs/deploy.md lists the environment variables that choose what is served, and how.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from pathlib import Path

from genius.explain.explanation import read_names
from genius.hub import local_index
from genius.index import SHIPPED_INDEX, is_index, read_header
from genius.schema import Candidate, UserError
from genius.sources import ALL, COLLECTIONS, indexed_source, open_collection, picture_root
from genius.ui import api, build_app, first_screen, theme, zerogpu
from genius.ui.handle import EngineHandle, Searcher
from genius.ui.settings import Settings

HERE = Path(__file__).parent
FIRST_SCREEN = HERE / "assets" / "first_screen.json"


def load_engine(settings: Settings) -> Searcher:
    """The engine. Imported here, in the background: torch takes seconds, and the page need not wait."""
    from genius.engine import Engine

    engine: Searcher = zerogpu.lend(Engine.load(settings.bundle, settings.collection, settings.device))
    return engine


def known_early(collection: str) -> tuple[dict[str, Candidate], list[str]]:
    """Candidates to show before the engine is there, and the folders that pictures are served from."""
    folder = local_index(collection)
    source = indexed_source(collection, read_header(folder).source) if is_index(folder) else collection
    if source not in (*COLLECTIONS, ALL):
        root = picture_root(source)
        return {}, [] if root is None else [str(root)]
    candidates = open_collection(source).candidates
    return {candidate.id: candidate for candidate in candidates}, theme.picture_folders(candidates)


def names(settings: Settings) -> dict[tuple[int, ...], str]:
    """Names of codes, known before the model is."""
    if settings.collection not in (*COLLECTIONS, ALL):
        return read_names(local_index(settings.collection))
    return read_names(SHIPPED_INDEX) if settings.shipped_model else {}


def main() -> None:
    """Serve until stopped."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    settings = Settings.read(os.environ)
    api.check(settings)
    candidates, folders = known_early(settings.collection)
    load = partial(load_engine, settings)
    if zerogpu.on_zero_gpu():  # which takes note of what is on the GPU when the page is launched
        load = partial(lambda engine: engine, load())
    handle = EngineHandle(load, candidates)
    opening = first_screen.load(FIRST_SCREEN, candidates) if settings.shipped_model else {}
    page = build_app(handle, opening, names(settings))
    page.launch(prevent_thread_lock=True, mcp_server=settings.mcp, **theme.launch_options(folders))
    handle.start()  # only now: loading keeps the processor busy, and the page comes first
    page.block_thread()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"genius: {error}")
