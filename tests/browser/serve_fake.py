"""Serve the page with the fake engine: `PYTHONPATH=. python tests/browser/serve_fake.py [seconds]`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import mkdtemp

from fake_engine import FakeEngine

from genius.ui import build_app, first_screen, theme
from genius.ui.handle import EngineHandle


def main() -> None:
    """Serve until interrupted; the port is GRADIO_SERVER_PORT."""
    engine = FakeEngine.of_openmoji(delay=0.4)
    wait = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    candidates = {candidate.id: candidate for candidate in engine.candidates}
    path = Path(mkdtemp()) / "first_screen.json"
    first_screen.save(first_screen.make(engine), path)

    def load() -> FakeEngine:
        time.sleep(wait)
        return engine

    page = build_app(EngineHandle(load, candidates).start(), first_screen.load(path, candidates))
    page.launch(**theme.launch_options(theme.picture_folders(engine.candidates)))


if __name__ == "__main__":
    main()
