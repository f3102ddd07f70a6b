"""The page on a free port with an engine that needs no model, and a headless Chromium to visit it with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
import pytest
from fake_engine import FakeEngine

from genius.explain import maps
from genius.explain.compute import explain
from genius.ui import build_app, first_screen, theme
from genius.ui.handle import EngineHandle

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
HARMLESS = ("svelte-i18n", "Method not implemented")


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker, so that it can be selected."""
    config.addinivalue_line("markers", "browser: drives the page in a headless Chromium")


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> FakeEngine:
    """A few hundred OpenMoji drawings, with an explanation of their invented addresses."""
    engine = FakeEngine.of_openmoji(every=12, delay=0.05)
    engine.folder = tmp_path_factory.mktemp("collection") / "index"
    engine.index.save(engine.folder, "fake", "openmoji")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(maps, "SMALL", 10_000)  # UMAP compiles for seconds
        explain(engine, lambda doing, done, total: None).save(engine.folder)
    return engine


@pytest.fixture(scope="session")
def app(engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[gr.Blocks]:
    """The whole page, launched without blocking."""
    path = tmp_path_factory.mktemp("assets") / "first_screen.json"
    first_screen.save(first_screen.make(engine), path)
    candidates = {candidate.id: candidate for candidate in engine.candidates}
    blocks = build_app(EngineHandle(lambda: engine, candidates).start(), first_screen.load(path, candidates))
    options = theme.launch_options(theme.picture_folders(engine.candidates))
    blocks.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **options)
    yield blocks
    blocks.close(verbose=False)


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """Debian's Chromium, or whichever is on the path; without one the journeys are skipped."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = next(
        (path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None
    )
    if found is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(app: gr.Blocks, chromium: object) -> Iterator[Callable]:
    """Open the page as a visitor would; at the end no script error and no failed request may be left."""
    contexts, complaints = [], []

    def visit(query: str = "", width: int = 1440, dark: bool = False) -> object:
        context = chromium.new_context(  # type: ignore[attr-defined]
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)  # the machine may be busy
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("response", lambda got: complaints.append(got.url) if got.status >= 400 else None)
        page.goto(f"{app.local_url}{query}")
        page.wait_for_selector("#cards .g-card, #cards .g-empty")
        page.wait_for_selector(".g-status.g-ready")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not [text for text in complaints if not any(known in text for known in HARMLESS)]


@pytest.fixture
def broken_picture(tmp_path: Path) -> Path:
    """A file that says it is a picture and is none."""
    path = tmp_path / "broken.png"
    path.write_text("not a picture")
    return path
