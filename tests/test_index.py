"""The index against brute force; what is written comes back, and what is damaged is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from genius import index as index_module
from genius.index import HEADER_FILE, IDS_FILE, VECTORS_FILE, CandidateIndex, is_index, read_header
from genius.schema import Candidate, Modality, UserError
from genius.trie import FILE as TRIE_FILE
from genius.trie import CodeTrie

LEVELS = (3, 4, 4)
DIM = 8
COUNT = 60


def records(count: int, first: int = 0) -> list[Candidate]:
    return [
        Candidate(f"pets/{n}:text", Modality.TEXT, f"secret caption {n}", None, "pets")
        for n in range(first, first + count)
    ]


def unit(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    vectors = rng.normal(size=(count, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def codes(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    return np.stack([rng.integers(0, size, count) for size in LEVELS], axis=1)


def build(count: int = COUNT, seed: int = 0) -> CandidateIndex:
    rng = np.random.default_rng(seed)
    return CandidateIndex.build(records(count), codes(rng, count), unit(rng, count), LEVELS)


def by_id(index: CandidateIndex) -> dict[str, Candidate]:
    return {candidate.id: candidate for candidate in index.candidates}


def content(index: CandidateIndex) -> dict[str, tuple]:
    """For each candidate that can be found: its record, semantic ID and vector."""
    rows = index.trie.rows(0, len(index)).tolist()
    ids = index.codes(rows).tolist()
    return {
        index.candidates[row].id: (index.candidates[row], tuple(code), index.vectors[row].tobytes())
        for row, code in zip(rows, ids, strict=True)
    }


def brute_force(index: CandidateIndex, query: NDArray[np.float32], prefix: tuple[int, ...]) -> list[str]:
    found = [
        (float(np.frombuffer(vector, np.float16).astype(np.float32) @ query), id_)
        for id_, (_, code, vector) in content(index).items()
        if code[: len(prefix)] == prefix
    ]
    return [id_ for _, id_ in sorted(found, reverse=True)]


@pytest.mark.parametrize("block", [index_module.BLOCK, 7])
@pytest.mark.parametrize("prefix", [(), (0,), (2,), (1, 3)])
@pytest.mark.parametrize("top_k", [1, 7, 1000])
def test_exact_search_equals_brute_force(
    prefix: tuple[int, ...], top_k: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "BLOCK", block)
    index = build()
    queries = unit(np.random.default_rng(1), 5)
    found = index.exact(queries, top_k, prefix)
    for query, rows in zip(queries, found, strict=True):
        expected = brute_force(index, query, prefix)
        assert expected
        assert [index.candidates[row].id for row in rows] == expected[:top_k]
        vectors = index.vectors[rows].astype(np.float32)
        np.testing.assert_allclose(index.score(query, rows), vectors @ query, rtol=1e-6)


def test_cosines_of_all_are_those_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    index = build()
    [query] = unit(np.random.default_rng(1), 1)
    one_by_one = index.score(query, np.arange(len(index)))
    for block in (index_module.BLOCK, 7):
        monkeypatch.setattr(index_module, "BLOCK", block)
        np.testing.assert_allclose(index.cosines(query), one_by_one, rtol=1e-6)


def test_exact_search_after_changes() -> None:
    index = build()
    rng = np.random.default_rng(2)
    index.remove(["pets/3:text", "pets/59:text"])
    index.add(records(2, first=90), codes(rng, 2), unit(rng, 2))
    queries = unit(rng, 5)
    for prefix in ((), (1,)):
        for query, rows in zip(queries, index.exact(queries, 100, prefix), strict=True):
            assert [index.candidates[row].id for row in rows] == brute_force(index, query, prefix)


def test_no_candidate_under_a_prefix() -> None:
    index = CandidateIndex.build(records(1), np.array([[0, 0, 0]]), np.ones((1, DIM)), LEVELS)
    query = np.ones((1, DIM), np.float32)
    for prefix in ((1,), (0, 1)):
        with pytest.raises(UserError, match="No candidate"):
            index.exact(query, 3, prefix)
    with pytest.raises(UserError, match="No candidate"):
        CandidateIndex.empty(LEVELS, DIM).exact(query, 3)


def test_codes_and_vectors_are_those_given() -> None:
    rng = np.random.default_rng(3)
    given_codes, given_vectors = codes(rng, COUNT), unit(rng, COUNT)
    index = CandidateIndex.build(records(COUNT), given_codes, given_vectors, LEVELS)
    rows = rng.permutation(COUNT)
    assert np.array_equal(index.codes(rows), given_codes[rows])
    assert np.array_equal(index.vectors, given_vectors.astype(np.float16))
    assert [index.row(candidate.id) for candidate in index.candidates] == list(range(COUNT))
    with pytest.raises(UserError, match="'pets/60:text'"):
        index.row("pets/60:text")


def test_added_one_by_one_equals_built_at_once() -> None:
    whole = build()
    grown = CandidateIndex.empty(LEVELS, DIM)
    for start, stop in ((0, 1), (1, 40), (40, 40), (40, COUNT)):
        part = range(start, stop)
        grown.add([whole.candidates[n] for n in part], whole.codes(part), whole.vectors[start:stop])
    assert len(grown) == COUNT
    assert content(grown) == content(whole)


def test_removed_candidates_are_gone_and_can_come_back() -> None:
    index = build()
    before = content(index)
    gone = ["pets/0:text", "pets/41:text", "pets/41:text"]
    index.remove(gone)
    assert content(index) == {id_: value for id_, value in before.items() if id_ not in gone}
    assert len(index) == len(index.present) == COUNT - 2
    assert {candidate.id for candidate in index.present} == before.keys() - set(gone)
    with pytest.raises(UserError, match="'pets/41:text'"):
        index.row("pets/41:text")
    with pytest.raises(UserError, match="'pets/41:text'"):
        index.remove(["pets/5:text", "pets/41:text"])
    assert "pets/5:text" in content(index)
    index.add(records(1, first=41), np.array([[2, 2, 2]]), np.ones((1, DIM)))
    assert content(index)["pets/41:text"][1] == (2, 2, 2)


def test_ids_are_distinct() -> None:
    twice = [*records(2), *records(1)]
    with pytest.raises(UserError, match="'pets/0:text'"):
        CandidateIndex.build(twice, np.zeros((3, 3), np.int64), np.ones((3, DIM)), LEVELS)
    index = build()
    before = content(index)
    for new in (records(1, first=7), [*records(1, first=80), *records(1, first=80)]):
        with pytest.raises(UserError, match="Two candidates have the id"):
            index.add(new, np.zeros((len(new), 3), np.int64), np.ones((len(new), DIM)))
    assert content(index) == before


def test_restricted_keeps_only_what_is_given() -> None:
    index = build()
    kept = {id_: Candidate(id_, Modality.TEXT, "newer") for id_ in ("pets/50:text", "pets/2:text", "other")}
    part = index.restricted(kept)
    before, after = content(index), content(part)
    assert after.keys() == {"pets/2:text", "pets/50:text"}
    for id_, (record, code, vector) in after.items():
        assert record is kept[id_]
        assert (code, vector) == before[id_][1:]
    assert len(part.vectors) == 2
    assert len(index.restricted({})) == 0


def test_written_and_read_back(tmp_path: Path) -> None:
    index = build()
    folder = tmp_path / "new" / "index"
    index.save(folder, "model-1", "pets")
    opened = CandidateIndex.open(folder, by_id(index), "model-1")
    assert content(opened) == content(index)
    assert opened.candidates == index.candidates
    assert isinstance(opened.vectors, np.memmap)
    header = read_header(folder)
    assert (header.fingerprint, header.source, header.count) == ("model-1", "pets", COUNT)


def test_holds_no_captions_and_leaves_nothing_lying_about(tmp_path: Path) -> None:
    for _ in range(2):
        build().save(tmp_path / "index", "model-1", "pets")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    files = {path.name: path.read_bytes() for path in (tmp_path / "index").iterdir()}
    assert files.keys() == {HEADER_FILE, IDS_FILE, VECTORS_FILE, TRIE_FILE}
    assert not any(b"secret" in data for data in files.values())


def test_candidates_that_are_not_installed_are_left_out(tmp_path: Path) -> None:
    index = build()
    index.save(tmp_path / "index", "model-1", "pets")
    some = {id_: candidate for id_, candidate in by_id(index).items() if "1" in id_}
    opened = CandidateIndex.open(tmp_path / "index", some, "model-1")
    assert content(opened) == content(index.restricted(some))
    assert opened.candidates == list(some.values())


def test_changes_are_saved_also_over_the_index_that_is_open(tmp_path: Path) -> None:
    index = build()
    folder = tmp_path / "index"
    index.save(folder, "model-1", "pets")
    opened = CandidateIndex.open(folder, by_id(index), "model-1")
    opened.remove(["pets/7:text", "pets/8:text"])
    opened.add(records(3, first=7)[:1] + records(2, first=70), np.eye(3, dtype=int), np.eye(3, DIM))
    opened.save(folder, "model-1", "pets")
    again = CandidateIndex.open(folder, by_id(opened), "model-1")
    assert content(again) == content(opened)
    assert len(again.candidates) == len(again.vectors) == COUNT + 1


@pytest.mark.parametrize("name", ["ids \n of\u2028 any 'kind'\\", "漢字/🐱:image"])
def test_any_id_is_kept(tmp_path: Path, name: str) -> None:
    candidate = Candidate(name, Modality.IMAGE)
    index = CandidateIndex.build([candidate], np.zeros((1, 3), np.int64), np.ones((1, DIM)), LEVELS)
    index.save(tmp_path / "index", "m", "s")
    assert CandidateIndex.open(tmp_path / "index", {name: candidate}, "m").candidates == [candidate]


def test_an_empty_index_is_an_index(tmp_path: Path) -> None:
    CandidateIndex.empty(LEVELS, DIM).save(tmp_path / "index", "m", "s")
    assert len(CandidateIndex.open(tmp_path / "index", {}, "m")) == 0


def full_disk(*_: object, **__: object) -> None:
    raise OSError("No space left on device")


def failing_second_move() -> Callable[..., None]:
    moves = []

    def move(source: Path, target: Path) -> None:
        moves.append(source)
        if str(source).endswith(".partial") and source.is_dir():
            full_disk()
        os.rename(source, target)

    return move


@pytest.mark.parametrize("where", ["vectors", "trie", "ids and header", "last move"])
def test_a_crash_while_writing_leaves_the_old_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    folder = tmp_path / "index"
    old = build()
    old.save(folder, "model-1", "pets")
    with monkeypatch.context() as patch:
        if where == "vectors":
            patch.setattr(np, "save", full_disk)
        elif where == "trie":
            patch.setattr(CodeTrie, "save", full_disk)
        elif where == "ids and header":
            patch.setattr(Path, "write_text", full_disk)
        else:
            patch.setattr(index_module.os, "replace", failing_second_move())
        with pytest.raises(OSError, match="No space"):
            build(count=9, seed=5).save(folder, "model-2", "others")
    assert content(CandidateIndex.open(folder, by_id(old), "model-1")) == content(old)
    new = build(count=9, seed=5)  # and what the crash left behind is in nobody's way
    new.save(folder, "model-2", "others")
    assert content(CandidateIndex.open(folder, by_id(new), "model-2")) == content(new)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_save_cut_off_between_its_last_steps_leaves_the_old_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build().save(tmp_path / "index", "model-1", "pets")
    kept, calls = os.replace, []

    def cut_off(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) > 2:  # the trie's file, then the old index moved aside
            raise KeyboardInterrupt  # nothing after this runs, as when the power fails
        kept(source, target)

    monkeypatch.setattr(os, "replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        build(count=COUNT - 1).save(tmp_path / "index", "model-2", "pets")
    monkeypatch.undo()
    assert not (tmp_path / "index").exists()
    assert is_index(tmp_path / "index")
    assert read_header(tmp_path / "index").fingerprint == "model-1"


def test_another_models_index_is_refused(tmp_path: Path) -> None:
    index = build()
    index.save(tmp_path / "index", "model-1", "pets")
    with pytest.raises(
        UserError, match=r"index was built with another model.*genius index pets --out .*index"
    ):
        CandidateIndex.open(tmp_path / "index", by_id(index), "model-2")


def unlinked(path: Path) -> None:
    path.unlink()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbled(path: Path) -> None:
    path.write_bytes(b"\xff\xfe{" * 50)


@pytest.mark.parametrize("damage", [unlinked, truncated, emptied, garbled])
@pytest.mark.parametrize("name", [HEADER_FILE, IDS_FILE, VECTORS_FILE, TRIE_FILE])
def test_missing_and_damaged_files_are_named(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    index = build()
    folder = tmp_path / "index"
    index.save(folder, "model-1", "pets")
    damage(folder / name)
    # a list of ids that ends between two lines can only be seen not to fit the others
    named = "index" if (name, damage) == (IDS_FILE, emptied) else name
    with pytest.raises(UserError, match=rf"{named}.*[Bb]uild it again: python -m genius index"):
        CandidateIndex.open(folder, by_id(index), "model-1")


@pytest.mark.parametrize("name", [IDS_FILE, VECTORS_FILE, TRIE_FILE])
def test_files_of_different_indexes_are_refused(tmp_path: Path, name: str) -> None:
    index = build()
    index.save(tmp_path / "index", "model-1", "pets")
    build(count=COUNT - 1).save(tmp_path / "other", "model-1", "pets")
    os.replace(tmp_path / "other" / name, tmp_path / "index" / name)
    with pytest.raises(UserError, match="index do not fit together"):
        CandidateIndex.open(tmp_path / "index", by_id(index), "model-1")


@pytest.mark.parametrize(
    "header", [[], "pets", {"fingerprint": "m"}, {"fingerprint": "m", "source": "s", "count": 1, "extra": 1}]
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path: Path, header: object) -> None:
    (tmp_path / HEADER_FILE).write_text(json.dumps(header))
    with pytest.raises(UserError, match=HEADER_FILE):
        read_header(tmp_path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    header = {"fingerprint": "m", "source": "pets", "count": 1, "format": 99}
    (tmp_path / HEADER_FILE).write_text(json.dumps(header))
    with pytest.raises(UserError, match=r"index\.json has format 99, not 2.*genius index pets"):
        read_header(tmp_path)


def test_vectors_are_never_unpickled(tmp_path: Path) -> None:
    index = build()
    index.save(tmp_path / "index", "model-1", "pets")
    np.save(tmp_path / "index" / VECTORS_FILE, np.array([{}] * COUNT), allow_pickle=True)
    with pytest.raises(UserError, match=VECTORS_FILE):
        CandidateIndex.open(tmp_path / "index", by_id(index), "model-1")
