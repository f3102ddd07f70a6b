"""What the page serves and what it does not, asked for as a browser would."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import gradio as gr
import pytest

from genius.ui import served, theme
from genius.ui.examples import PICTURES


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person's folder: pictures, one of them kept by git-annex, and what is nobody's business."""
    home = tmp_path_factory.mktemp("mine") / "pets"
    for name in (
        "cat.png",
        "sub/fox.png",
        ".env",
        "sub/.secret/key.png",
        ".git/config",
        ".git/annex/owl.png",
        ".git/annex/creds",
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b"x")
    (home / "owl.png").symlink_to(".git/annex/owl.png")
    return home


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    """A page with nothing on it that serves the folder."""
    with gr.Blocks() as page:
        gr.Markdown("nothing")
    options = theme.launch_options([str(home)])
    page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **options)
    yield page.local_url
    page.close(verbose=False)


def status(address: str, path: str | Path) -> int:
    try:
        with urllib.request.urlopen(f"{address}gradio_api/file={quote(str(path))}", timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_pictures_of_a_folder_and_of_the_examples_are_served(address: str, home: Path) -> None:
    for name in ("cat.png", "sub/fox.png", "owl.png"):
        assert status(address, home / name) == 200
    assert len(PICTURES) == 4
    for example in PICTURES:
        assert status(address, example) == 200, "whichever collection is searched"


def test_hidden_files_are_not(address: str, home: Path) -> None:
    for name in (".env", "sub/../.env", "sub/.secret/key.png", ".git/config", ".git/annex/creds"):
        assert status(address, home / name) == 403


def test_nor_is_what_lies_beside_an_example(address: str) -> None:
    for example in PICTURES:
        other = next(path for path in sorted(Path(example).parent.iterdir()) if str(path) not in PICTURES)
        assert status(address, other) == 403


def test_blocking_has_bounds(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "MOST", 3)
    shutil.copytree(home, tmp_path / "pets", symlinks=True)
    (tmp_path / "pets" / "deep" / "er").mkdir(parents=True)
    for n in range(5):
        (tmp_path / "pets" / "deep" / "er" / f".{n}").touch()
        (tmp_path / "pets" / f"._{n}").touch()
    found = {Path(path).relative_to(tmp_path).as_posix() for path in served.blocked([str(tmp_path)])}
    assert found == {"pets/.env", "pets/.git/config", "pets/sub/.secret"}, "those nearest to the top"
    monkeypatch.setattr(served, "LOOKED", 1)
    assert served.blocked([str(tmp_path)]) == []
    monkeypatch.setenv("GRADIO_BLOCKED_PATHS", "/a, /b")
    assert served.blocked([]) == ["/a", "/b"]


def test_what_is_needed_is_served_from_a_hidden_folder(tmp_path: Path) -> None:
    for name in (".venv/lib/plotly.js", ".venv/token"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert served.blocked([str(tmp_path)], [tmp_path / ".venv/lib/plotly.js"]) == [
        str(tmp_path / ".venv/token")
    ]
    assert served.blocked([str(tmp_path), str(tmp_path / ".venv" / "lib")]) == [str(tmp_path / ".venv/token")]
