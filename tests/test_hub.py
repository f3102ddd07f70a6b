"""The hub without a network: what was fetched is found, what was not says so."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from huggingface_hub import errors

from genius import hub
from genius.hub import BUNDLE_FILES, HubAddress, fetch_file, fetch_folder, is_hub, local_bundle, local_index
from genius.schema import UserError

ROOT = Path(__file__).parents[1]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ADDRESS = HubAddress("owner/name")


@pytest.mark.parametrize(
    ("text", "repo", "revision"),
    [
        ("hub:owner/name", "owner/name", None),
        ("hub:Owner-1/na_me.v2@main", "Owner-1/na_me.v2", "main"),
        (f"hub:owner/name@{COMMIT}", "owner/name", COMMIT),
        ("hub:owner/name@refs/pr/3", "owner/name", "refs/pr/3"),
    ],
)
def test_addresses(text: str, repo: str, revision: str | None) -> None:
    address = HubAddress.parse(text)
    assert (address.repo, address.revision) == (repo, revision)
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["hub:", "hub:name", "hub:a/b/c", "hub:a/b@", "hub:a/b@x y", "hub:../b c", "hub:a/b\n", "a/b"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="hub:owner/name"):
        HubAddress.parse(text)


def test_folders_stay_folders(tmp_path: Path) -> None:
    assert not is_hub(tmp_path) and not is_hub("hubcaps")
    assert local_bundle(tmp_path) == local_index(tmp_path) == tmp_path
    assert is_hub("hub:a/b") and is_hub(Path("hub:a/b"))


def test_a_home_and_the_folder_one_is_in_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_bundle("~/mine") == local_index("~/mine") == tmp_path / "mine"
    monkeypatch.chdir(tmp_path)
    assert local_index(".").name == tmp_path.name


def test_a_bundle_is_fetched_at_its_revision_and_without_pickles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[object] = []

    def fetch(repo: str, *, repo_type: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.extend([repo, repo_type, revision, allow_patterns])
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    assert local_bundle(f"hub:owner/name@{COMMIT}") == tmp_path
    assert asked == ["owner/name", "model", COMMIT, list(BUNDLE_FILES)]
    assert not [pattern for pattern in BUNDLE_FILES if pattern.endswith((".bin", ".pth", ".pt", ".pkl", "*"))]


def test_what_has_no_index_is_no_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_such_file(*_: object, **__: object) -> str:
        raise errors.EntryNotFoundError("index.json")

    monkeypatch.setattr(hub, "hf_hub_download", no_such_file)
    assert str(local_index("hub:owner/name")) == "hub:owner/name"
    monkeypatch.setattr(hub, "hf_hub_download", lambda *_, **__: str(tmp_path / "index.json"))
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    assert local_index("hub:owner/name") == tmp_path


def http(kind: type[errors.HfHubHTTPError], status: int) -> Exception:
    request = httpx.Request("GET", "https://huggingface.co")
    return kind("said so", response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            http(errors.RepositoryNotFoundError, 404),
            "There is no hub:owner/name on the hub, or it is private",
        ),
        (http(errors.GatedRepoError, 403), "terms to be accepted"),
        (http(errors.RevisionNotFoundError, 404), "owner/name has no revision"),
        (http(errors.HfHubHTTPError, 500), "would not give hub:owner/name"),
        (errors.LocalEntryNotFoundError("x"), "not on this machine yet and the hub cannot be reached"),
        (errors.OfflineModeIsEnabled("x"), "the hub cannot be reached"),
        (ConnectionError("x"), "the hub cannot be reached"),
        (httpx.ConnectError("x"), "the hub cannot be reached"),
        (httpx.ReadTimeout("x"), "the hub cannot be reached"),
        (errors.EntryNotFoundError("x"), "lacks a file"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "The disk is full"),
        (OSError("odd"), "could not be fetched"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_goes_wrong_is_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(hub, "snapshot_download", fail)
    monkeypatch.setattr(hub, "hf_hub_download", fail)
    with pytest.raises(UserError, match=message):
        fetch_folder(ADDRESS, "model", ["*"])
    with pytest.raises(UserError, match=message):
        fetch_file(ADDRESS, "model", "a")


def offline(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python where the hub is out of reach and nothing but `home` is cached."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "GENIUS_"))
    }
    environment |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )


FETCH = "import sys; from genius.hub import local_bundle; print(local_bundle(sys.argv[1]))"


def test_without_a_network_what_is_cached_is_found_and_the_rest_says_so(tmp_path: Path) -> None:
    """Through huggingface_hub itself, with its cache laid out by hand."""
    cached = tmp_path / "hub" / "models--owner--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    (cached / "snapshots" / COMMIT).mkdir(parents=True)
    (cached / "snapshots" / COMMIT / "config.json").write_text("{}")
    for address in ("hub:owner/name", f"hub:owner/name@{COMMIT}"):
        done = offline(tmp_path, "-c", FETCH, address)
        assert done.stdout.strip() == str(cached / "snapshots" / COMMIT), done.stderr
    missing = offline(tmp_path, "-c", FETCH, "hub:owner/other")
    assert "UserError: hub:owner/other is not on this machine yet" in missing.stderr


@pytest.mark.slow
def test_a_command_that_needs_the_hub_says_so_in_one_line(tmp_path: Path) -> None:
    for arguments in (
        ["search", "x", "--bundle", "hub:owner/name"],
        ["convert", "genius", "--from-hub", "--out", str(tmp_path / "out")],
    ):
        done = offline(tmp_path, "-m", "genius", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("genius: hub:") and done.stderr.count("\n") == 1, done.stderr
    assert not list(tmp_path.glob("out*"))
