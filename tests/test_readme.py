"""What is written is true: commands exist, snippets and docstrings' examples run, links lead somewhere."""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest

from genius import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PAGES = {page.name: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))}
PAGES |= {"README": README, "CONTRIBUTING": CONTRIBUTING}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
EXAMPLES = sorted(
    path for path in (ROOT / "genius").rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")
)
BUNDLE = ROOT / "checkpoints" / "genius-mini" / "config.json"

needs_bundle = pytest.mark.skipif(not BUNDLE.is_file(), reason="checkpoints/genius-mini is not there")


def snippets(text: str, language: str) -> list[str]:
    """Return the fenced blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str, program: str) -> list[list[str]]:
    """Return the arguments of every line of the shell snippets that runs a program."""
    lines = [line for block in snippets(text, "sh") for line in block.splitlines()]
    lines = "\n".join(lines).replace("\\\n", " ").splitlines()  # a line may go on in the next one
    return [
        shlex.split(line.partition(" > ")[0], comments=True)[program.count(" ") + 1 :]
        for line in lines
        if line.startswith(program + " ")
    ]


def front_matter() -> dict[str, str]:
    """Return the plain settings at the head of the README."""
    head = README.split("---\n")[1]
    return dict(re.findall(r'^(\w+): "?([^"\n]+)"?$', head, re.MULTILINE))


def test_the_space_runs_the_versions_we_pin() -> None:
    settings = front_matter()
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert f"gradio=={settings['sdk_version']}\n" in requirements
    assert (ROOT / settings["app_file"]).is_file()
    assert settings["sdk"] == "gradio"
    assert len(settings["short_description"]) <= 60
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {settings["colorFrom"], settings["colorTo"]} <= colours


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_every_make_target_exists(text: str) -> None:
    targets = {word for words in commands(text, "make") for word in words if "=" not in word}
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    home = ROOT / "docs" if page.endswith(".md") else ROOT
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGES[page]):
        assert (home / target).exists(), target


@pytest.mark.parametrize(
    "command",
    [words for page in PAGES.values() for words in commands(page, "python -m genius")],
    ids=" ".join,
)
def test_every_command_is_understood(command: list[str]) -> None:
    assert cli.build_parser().parse_args(command).handle


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_in_docstrings_run(path: Path) -> None:
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    ran = doctest.testmod(module)
    assert ran.attempted > 0
    assert ran.failed == 0


def test_requirements_are_pinned() -> None:
    for name in ("requirements.txt", "requirements-train.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            assert not line or line.startswith(("#", "-r ")) or re.fullmatch(r"[\w-]+==[\w.]+", line), line


@pytest.mark.bundle
@needs_bundle
@pytest.mark.parametrize("code", [code for code in snippets(README, "python") if "gradio_client" not in code])
def test_python_snippets_run(
    code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(code, "README.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 5


@pytest.mark.bundle
@needs_bundle
def test_a_search_from_the_command_line_runs(capsys: pytest.CaptureFixture[str]) -> None:
    asked = commands(README, "python -m genius")
    [command] = [words for words in asked if words[0] == "search" and "--json" in words]
    assert cli.main(command) == 0
    assert '"hits"' in capsys.readouterr().out
