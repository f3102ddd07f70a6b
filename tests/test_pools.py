"""Collections of other people's making: M-BEIR's pools on disk, data sets on the hub."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants
from PIL import Image

from genius.hub import HubAddress
from genius.schema import Candidate, Modality, UserError
from genius.sources import hub, mbeir, open_collection, picture_root, source_name

RED = Image.new("RGB", (20, 20), "red")


def picture(kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    RED.save(buffer, kind)
    return buffer.getvalue()


# ---- M-BEIR ----


def write_pool(root: Path, rows: list[Mapping[str, object]]) -> Path:
    pool = root / "cand_pool" / "local" / "mbeir_pets_task0_cand_pool.jsonl"
    pool.parent.mkdir(parents=True)
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (root / "mbeir_images").mkdir()
    for name in ("a.jpg", "b.jpg"):
        RED.save(root / "mbeir_images" / name)
    return pool


ROWS: list[Mapping[str, object]] = [
    {"did": "9:1", "txt": None, "img_path": "mbeir_images/a.jpg", "modality": "image", "src_content": "x"},
    {"did": "9:2", "txt": " A  cat.\n", "img_path": None, "modality": "text"},
    {"did": "9:3", "txt": "A dog.", "img_path": "mbeir_images/b.jpg", "modality": "image,text"},
    {"did": "9:4", "txt": "ignored", "img_path": "mbeir_images/a.jpg", "modality": "image"},
]


def test_a_pools_lines_become_candidates(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "M-BEIR", ROWS)
    found = open_collection(pool)
    images = tmp_path / "M-BEIR" / "mbeir_images"
    name = "pets_task0"
    assert list(found.candidates) == [
        Candidate(f"{name}/9:1", Modality.IMAGE, None, images / "a.jpg", name),
        Candidate(f"{name}/9:2", Modality.TEXT, "A cat.", None, name),
        Candidate(f"{name}/9:3", Modality.PAIR, "A dog.", images / "b.jpg", name),
        Candidate(f"{name}/9:4", Modality.IMAGE, None, images / "a.jpg", name),
    ]
    assert found.notes == ()
    assert picture_root(pool) == tmp_path / "M-BEIR"
    assert source_name(pool) == str(pool)


def test_what_cannot_be_used_is_left_out_by_name(tmp_path: Path) -> None:
    outside = tmp_path / "secret.jpg"
    RED.save(outside)
    bad: list[Mapping[str, object]] = [
        {"did": "9:5", "txt": None, "img_path": "mbeir_images/missing.jpg", "modality": "image"},
        {"did": "9:6", "txt": None, "img_path": "../secret.jpg", "modality": "image"},
        {"did": "9:7", "txt": None, "img_path": str(outside), "modality": "image"},
        {"did": "9:8", "txt": "  ", "img_path": None, "modality": "text"},
        {"did": "9:9", "txt": "x", "img_path": None, "modality": "sound"},
        {"did": "9:10", "txt": ["x"], "img_path": 3, "modality": "image,text"},
    ]
    found = open_collection(write_pool(tmp_path / "M-BEIR", [*ROWS, *bad]))
    assert len(found.candidates) == 4
    [note] = found.notes
    assert note.startswith("6 candidates of mbeir_pets_task0_cand_pool.jsonl are left out")
    assert "9:5, 9:6, 9:7, 9:8, 9:9 …" in note


def test_the_root_is_found_though_the_first_pictures_are_missing(tmp_path: Path) -> None:
    missing = [
        {"did": f"8:{n}", "txt": None, "img_path": f"mbeir_images/{n}.jpg", "modality": "image"}
        for n in range(20)
    ]
    decoy: Mapping[str, object] = {"did": "7:1", "txt": None, "img_path": "near.jpg", "modality": "image"}
    pool = write_pool(tmp_path / "M-BEIR", [*missing, decoy, *ROWS])
    RED.save(pool.parent / "near.jpg")
    assert picture_root(pool) == tmp_path / "M-BEIR"
    found = open_collection(pool)
    assert len(found.candidates) == 4 and found.notes[0].startswith("21 candidates")


@pytest.mark.parametrize(
    "rows",
    [
        [{"did": "9:2", "txt": "A cat.", "img_path": None, "modality": "text"}],
        [{"did": "9:2", "txt": "A cat.", "img_path": "mbeir_images/a.jpg", "modality": "text"}],
        [ROWS[1], {"did": "9:6", "txt": None, "img_path": "/etc/hostname", "modality": "image"}],
        [ROWS[1], {"did": "9:7", "txt": None, "img_path": "missing.jpg", "modality": "image"}],
    ],
)
def test_a_pool_without_pictures_has_no_root(tmp_path: Path, rows: list[Mapping[str, object]]) -> None:
    """So that no folder is served for its sake."""
    pool = write_pool(tmp_path / "M-BEIR", rows)
    assert picture_root(pool) is None
    assert [candidate.text for candidate in open_collection(pool).candidates] == ["A cat."]


def test_an_id_that_two_lines_have_is_refused_while_reading(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "M-BEIR", [*ROWS, ROWS[1]])
    pool.write_text("\n" + pool.read_text())  # a blank line counts, too
    with pytest.raises(UserError, match=r"Lines 3 and 6 of .*cand_pool\.jsonl have the same did, 9:2"):
        open_collection(pool)


def test_a_pool_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        open_collection(tmp_path / "nowhere.jsonl")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"did": "9:1", "txt": "x", "img_path": null, "modality": "text"}\n{"did": \n')
    with pytest.raises(UserError, match=r"Line 2 of .*broken\.jsonl is no M-BEIR candidate"):
        open_collection(broken)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(UserError, match="No candidate"):
        open_collection(empty)


def test_progress_reaches_the_end_of_a_long_pool(tmp_path: Path) -> None:
    pool = tmp_path / "long.jsonl"
    row = {"txt": "x", "img_path": None, "modality": "text"}
    pool.write_text("".join(json.dumps({"did": f"1:{n}", **row}) + "\n" for n in range(2000)))
    seen: list[tuple[int, int]] = []
    found, _ = mbeir.candidates(pool, lambda done, total: seen.append((done, total)))
    assert len(found) == 2000
    assert [total for _, total in seen] == [pool.stat().st_size] * 2
    assert seen[-1][0] == pool.stat().st_size and seen[0][0] < seen[1][0]


# ---- the hub ----


class FakeImage:
    """Stands for `datasets.Image`."""

    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class Rows:
    """Stands for `datasets.Dataset`: a table of pictures and texts."""

    def __init__(self, column: str, texts: list[object], names: list[str] | None = None) -> None:
        kinds: dict[str, object] = {"image": FakeImage(), column: SimpleNamespace(names=names)}
        self.features = kinds
        self.rows: list[dict[str, Any]] = [
            {"image": {"bytes": picture("PNG" if n % 2 else "JPEG"), "path": None}, column: text}
            for n, text in enumerate(texts)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def cast_column(self, name: str, kind: FakeImage) -> Rows:
        assert name == "image" and not kind.decode, "pictures are taken as they are, not decoded"
        return self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """A package `datasets` that knows one data set, and a cache of our own."""
    module = ModuleType("datasets")
    module.Image = FakeImage  # type: ignore[attr-defined]
    module.config = SimpleNamespace(HF_DATASETS_CACHE=tmp_path / "datasets")  # type: ignore[attr-defined]
    module.splits = {"train": Rows("caption", ["a cat", "a dog", ""]), "test": Rows("caption", ["a cow"])}  # type: ignore[attr-defined]
    module.asked = []  # type: ignore[attr-defined]

    def load_dataset(repo: str, revision: str | None = None) -> object:
        module.asked.append((repo, revision))
        return module.splits

    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr(hub, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return module


def test_a_data_set_becomes_a_folder_of_captioned_pictures(datasets: Any, tmp_path: Path) -> None:
    found = open_collection("hub:owner/pets@v1")
    assert datasets.asked == [("owner/pets", "v1")]
    assert found.name == "owner--pets" and found.notes == ()
    home = tmp_path / "home" / "genius" / "owner--pets@v1"
    assert picture_root("hub:owner/pets@v1") == home
    assert {c.id.rpartition("/")[0] for c in found.candidates} == {
        "owner--pets/train/0000",
        "owner--pets/test/0000",
    }
    texts = [c.text for c in found.candidates if c.modality is Modality.TEXT]
    assert sorted(str(text) for text in texts) == ["a cat", "a cow", "a dog"]
    images = [c.image for c in found.candidates if c.modality is Modality.IMAGE]
    assert len(images) == 4
    assert all(image is not None and image.is_relative_to(home) for image in images)
    assert {image.suffix for image in images if image} == {".jpg", ".png"}
    assert source_name("hub:owner/pets@v1") == "hub:owner/pets@v1"


def test_it_is_read_once_and_then_without_datasets(datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_collection("hub:owner/pets")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert open_collection("hub:owner/pets") == first
    assert len(datasets.asked) == 1


@pytest.mark.parametrize(
    ("column", "texts", "names", "expected"),
    [
        ("captions", [["a cat", "a pet"], []], None, ["a cat"]),
        ("label", [1, 0, 7], ["polar_bear", "cat"], ["cat", "polar bear"]),
        ("number", [1, 2], None, []),
        ("text", [None, 3, "x"], None, ["x"]),
    ],
)
def test_captions_come_from_the_column_that_is_there(
    datasets: Any, column: str, texts: list[object], names: list[str] | None, expected: list[str]
) -> None:
    datasets.splits = {"train": Rows(column, texts, names)}
    found = open_collection("hub:owner/pets").candidates
    assert sorted(str(c.text) for c in found if c.modality is Modality.TEXT) == expected
    assert sum(c.modality is Modality.IMAGE for c in found) == len(texts)


def test_a_data_set_cannot_name_files_of_this_machine(datasets: Any, tmp_path: Path) -> None:
    secret, cached = tmp_path / "secret.png", tmp_path / "datasets" / "x.png"
    cached.parent.mkdir()
    for path in (secret, cached):
        RED.save(path)
    rows = Rows("text", ["of mine", "of the data set", "by a detour"])
    paths = (secret, cached, cached.parent / ".." / "secret.png")
    for row, path in zip(rows.rows, paths, strict=True):
        row["image"] = {"bytes": None, "path": str(path)}
    datasets.splits = {"../../train": rows}
    found = open_collection("hub:owner/pets").candidates
    assert [c.text for c in found if c.modality is Modality.TEXT] == ["of the data set"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["datasets", "home", "secret.png"]


def test_nothing_half_written_is_left(datasets: Any, tmp_path: Path) -> None:
    class Broken(Rows):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            yield from self.rows[:1]
            raise OSError("No space left on device")

    datasets.splits = {"train": Broken("text", ["a", "b"])}
    with pytest.raises(UserError, match="cannot be written"):
        open_collection("hub:owner/pets")
    assert list((tmp_path / "home" / "genius").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionError("x"), "the hub cannot be reached"),
        (ValueError("no such thing"), "cannot be read as a data set: no such thing"),
    ],
)
def test_what_goes_wrong_is_said(datasets: Any, error: Exception, message: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    datasets.load_dataset = fail
    with pytest.raises(UserError, match=message):
        open_collection("hub:owner/pets")


def test_pictures_and_the_package_are_needed(
    datasets: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = Rows("text", ["a"])
    del rows.features["image"]
    datasets.splits = {"train": rows}
    with pytest.raises(UserError, match="no column of pictures; its columns are text"):
        open_collection("hub:owner/pets")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="pip install datasets"):
        open_collection("hub:owner/other")


def test_the_cache_is_the_hubs_own() -> None:
    place = hub.picture_root(HubAddress("a/b", "refs/../x"))
    assert place == Path(constants.HF_HOME) / "genius" / "a--b@refs--..--x"
