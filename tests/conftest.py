"""What many tests need: a whole engine of tiny random parts, read from disk by the program's own loaders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tiny import SMALL_RACE, make_tiny_bundle, make_tiny_pictures

from genius.benchmark import record
from genius.benchmark.race import race
from genius.benchmark.record import Race
from genius.checkpoint import Bundle, load_bundle
from genius.engine import Engine

CORES = torch.get_num_threads()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """One thread for tiny tensors: threads that wait for each other on a busy machine cost a hundredfold."""
    torch.set_num_threads(CORES if item.get_closest_marker("bundle") else 1)


@pytest.fixture(scope="session")
def tiny_bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle on disk, for reading only; `bundle_copy` is one to damage."""
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(scope="session")
def tiny_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of thirty captioned drawings, for reading only."""
    return make_tiny_pictures(tmp_path_factory.mktemp("pictures") / "shapes")


@pytest.fixture(scope="session")
def tiny_bundle(tiny_bundle_folder: Path) -> Bundle:
    """The loaded model; nothing may change it."""
    return load_bundle(tiny_bundle_folder, "cpu")


@pytest.fixture(scope="session")
def tiny_engine(tiny_bundle_folder: Path, tiny_pictures: Path) -> Engine:
    """An engine on the drawings (90 candidates); nothing may change it: `own_engine` is for that."""
    return Engine.load(tiny_bundle_folder, tiny_pictures, device="cpu")


@pytest.fixture
def own_engine(tiny_bundle: Bundle, tiny_engine: Engine) -> Engine:
    """An engine whose index may be changed."""
    index = tiny_engine.index
    return Engine(tiny_bundle, index.restricted({c.id: c for c in index.candidates}))


@pytest.fixture
def bundle_copy(tiny_bundle_folder: Path, tmp_path: Path) -> Path:
    """A bundle on disk that may be damaged."""
    return shutil.copytree(tiny_bundle_folder, tmp_path / "bundle")


@pytest.fixture(scope="session")
def finished(tiny_engine: Engine) -> Race:
    """A race beyond the collection's 90 candidates."""
    torch.set_num_threads(1)
    return list(race(tiny_engine, SMALL_RACE))[-1]


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Races are remembered here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(record, "SHIPPED", tmp_path / "assets" / "race.json")
    return tmp_path
