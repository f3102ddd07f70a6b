"""The house stands on its floors: every import points down, read from the imports themselves."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "genius"
FLOORS = (
    {"schema", "instructions", "images"},
    {"encoder", "fusion", "quantizer", "decoder", "trie", "foreign", "hub"},
    {"beam", "index", "checkpoint", "published", "report", "parts"},
    {"engine", "explain", "sources", "training", "convert", "benchmark", "evaluation"},
    {"cli", "ui"},
    {"__init__", "__main__", "app"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ALONGSIDE = {
    ("images", "schema"),
    ("instructions", "schema"),
    ("engine", "sources"),
    ("explain", "sources"),
    ("training", "sources"),
    ("benchmark", "engine"),
    ("evaluation", "engine"),
    ("evaluation", "sources"),
    ("evaluation", "training"),
}
"""Who may import whom on the same floor."""

FILES = sorted([*HOUSE.rglob("*.py"), ROOT / "app.py"])


def room_of(path: Path) -> str:
    """Return the room a file belongs to: `genius/ui/search.py` → ui."""
    return path.relative_to(HOUSE).with_suffix("").parts[0] if path.is_relative_to(HOUSE) else path.stem


def imports(path: Path) -> Iterator[str]:
    """Yield every module a file imports, wherever the import stands; `from a import b` gives a and a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import from genius by its full name"
            yield node.module or ""
            yield from (f"{node.module}.{name.name}" for name in node.names)


def rooms_used(path: Path) -> set[str]:
    """Return the rooms a file imports; what is no room is a name from the catalogue."""
    inside = {name.split(".")[1] for name in imports(path) if name.startswith("genius.")}
    return {name if name in FLOOR else "__init__" for name in inside} - {room_of(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_from_lower_floors_only(path: Path) -> None:
    here = room_of(path)
    assert here in FLOOR, f"{here} has no floor yet: give it one here and in CONTRIBUTING.md"
    for room in rooms_used(path):
        assert FLOOR[room] < FLOOR[here] or (here, room) in ALONGSIDE, f"{path} must not import {room}"


def test_only_the_page_knows_gradio() -> None:
    users = {room_of(path) for path in FILES if any(name.split(".")[0] == "gradio" for name in imports(path))}
    assert users <= {"ui", "app"}


def test_the_picture_of_the_house_shows_every_room_on_its_floor() -> None:
    picture = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown = {
        room: int(floor) for floor, room in re.findall(r"^ (\d) (\w+)(?:\.py|/) ", picture, re.MULTILINE)
    }
    assert shown == {room: floor for room, floor in FLOOR.items() if floor < len(FLOORS) - 1}


def test_what_answers_at_once_does_without_torch() -> None:
    rooms = (
        "genius, genius.cli, genius.images, genius.instructions, genius.report, genius.sources, genius.trie"
    )
    code = f"import sys, {rooms}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
