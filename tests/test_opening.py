"""Engines from the disk: folders of images, saved indexes, the shipped one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from asked import ALL_BEAMS, OPTIONS, QUERIES, assert_same_hits
from tiny import make_tiny_bundle, make_tiny_pictures

from genius import engine as engine_module
from genius.engine import Engine
from genius.schema import Candidate, Query, UserError


def test_a_folder_of_images(tiny_engine: Engine, tiny_pictures: Path) -> None:
    assert len(tiny_engine.index) == 90 and tiny_engine.notes == ()
    assert {candidate.collection for candidate in tiny_engine.candidates} == {"shapes"}
    found = tiny_engine.candidate("shapes/teal-square.png:pair")
    assert (found.text, found.image) == ("teal square", tiny_pictures / "teal-square.png")
    with pytest.raises(UserError, match="'unheard of'"):
        tiny_engine.candidate("unheard of")


def test_what_a_folder_leaves_out_is_noted(tiny_bundle_folder: Path, tmp_path: Path) -> None:
    folder = make_tiny_pictures(tmp_path / "mine", ["red circle"])
    (folder / "broken.png").write_bytes(b"not an image")
    steps: list[tuple[int, int]] = []
    engine = Engine.load(tiny_bundle_folder, folder, "cpu", lambda *step: steps.append(step))
    assert len(engine.index) == 3
    assert len(engine.notes) == 1 and "broken.png" in engine.notes[0]
    assert steps[-1] == (2, 2)


def test_unknown_collections_are_refused(tiny_bundle_folder: Path, tmp_path: Path) -> None:
    for name in ("unheard-of", tmp_path / "nowhere"):
        with pytest.raises(UserError, match="no collection or folder"):
            Engine.load(tiny_bundle_folder, name, "cpu")
    with pytest.raises(UserError, match="no images"):
        Engine.load(tiny_bundle_folder, tmp_path, "cpu")


@pytest.fixture
def saved(tiny_engine: Engine, tiny_pictures: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A saved index of a folder of images, and that folder, which may be changed."""
    pictures = Path(shutil.copytree(tiny_pictures, tmp_path / "shapes"))
    tiny_engine.index.save(tmp_path / "index", tiny_engine.bundle.fingerprint, str(pictures))
    return tmp_path / "index", pictures


def test_a_saved_index(
    saved: tuple[Path, Path], tiny_engine: Engine, tiny_bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("an index need not be encoded")

    monkeypatch.setattr(Engine, "code", never)
    engine = Engine.load(tiny_bundle_folder, saved[0], "cpu")
    assert engine.notes == ()
    queries = list(QUERIES.values())
    for options in (OPTIONS["default"], OPTIONS["not re-ranked"]):
        results = zip(engine.search(queries, options), tiny_engine.search(queries, options), strict=True)
        for result, before in results:
            assert_same_hits(
                result.hits,
                [(hit.candidate.id, hit.semantic_id, hit.score, hit.log_prob) for hit in before.hits],
            )
    assert engine.candidate("shapes/red-circle.png:image").image == saved[1] / "red-circle.png"


def test_an_index_whose_pictures_changed(saved: tuple[Path, Path], tiny_bundle_folder: Path) -> None:
    index, pictures = saved
    for name in ("red-circle.png", "red-circle.txt"):
        (pictures / name).unlink()
    make_tiny_pictures(pictures, ["navy circle"])
    engine = Engine.load(tiny_bundle_folder, index, "cpu")
    assert len(engine.index) == 87
    ids = {candidate.id for candidate in engine.candidates}
    assert not ids & {"shapes/red-circle.png:image", "shapes/navy-circle.png:image"}
    assert len(engine.notes) == 1
    assert engine.notes[0].startswith("3 candidates are not in the index yet")
    assert f"genius index {pictures} --out" in engine.notes[0]  # a command that works as it stands
    hits = engine.search([Query(text="red circle")], ALL_BEAMS)[0].hits
    assert len(hits) == 87


def test_an_index_of_nothing_that_is_there(saved: tuple[Path, Path], tiny_bundle_folder: Path) -> None:
    index, pictures = saved
    shutil.rmtree(pictures)
    with pytest.raises(UserError, match="no collection or folder"):
        Engine.load(tiny_bundle_folder, index, "cpu")
    make_tiny_pictures(pictures, ["navy circle"])
    with pytest.raises(UserError, match="Build it again"):
        Engine.load(tiny_bundle_folder, index, "cpu")


def test_an_index_of_another_model(saved: tuple[Path, Path], tmp_path: Path) -> None:
    other = make_tiny_bundle(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match="built with another model"):
        Engine.load(other, saved[0], "cpu")


def test_shipped_collections_come_with_an_index(
    saved: tuple[Path, Path], tiny_bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index in assets/ serves a collection, unless it belongs to another model."""
    index, pictures = saved
    opened = engine_module.open_collection(pictures)
    monkeypatch.setattr(engine_module, "open_collection", lambda name: replace(opened, name="openmoji"))
    monkeypatch.setattr(engine_module, "SHIPPED_INDEX", index)
    coded: list[int] = []
    code = Engine.code

    def counted(self: Engine, candidates: list[Candidate], *rest: object) -> object:
        coded.append(len(candidates))
        return code(self, candidates, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "code", counted)
    assert len(Engine.load(tiny_bundle_folder, "openmoji", "cpu").index) == 90
    assert coded == []
    monkeypatch.setattr(engine_module, "SHIPPED_INDEX", index.parent / "nothing")
    assert len(Engine.load(tiny_bundle_folder, "openmoji", "cpu").index) == 90
    assert coded == [90]


def test_a_folder_may_be_called_like_a_collection(tiny_bundle_folder: Path, tmp_path: Path) -> None:
    folder = make_tiny_pictures(tmp_path / "all", ["navy circle"])
    engine = Engine.load(tiny_bundle_folder, folder, "cpu")
    assert {candidate.image for candidate in engine.candidates} - {None} == {folder / "navy-circle.png"}


def test_an_index_from_the_hub_opens_no_folder_of_this_machine(
    saved: tuple[Path, Path], tiny_bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "local_index", lambda where: saved[0])
    with pytest.raises(UserError, match="a place on the machine where it was made"):
        Engine.load(tiny_bundle_folder, "hub:somebody/index", "cpu")
