"""The sorted-matrix trie against plain sets of tuples."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from genius.schema import UserError
from genius.trie import FILE, CodeTrie, files
from genius.trie import trie as trie_module

SHAPES = {
    "mini": (3, 4, 4, 4),
    "bytes": (3, 256, 256, 256),  # codes 0 and 255 are where bytes could go wrong
    "words": (3, 4096, 300, 4096),
    "one level": (5,),
    "odd": (300, 1, 65536, 2, 5, 1, 1000),  # bits that straddle bytes, levels of one code
}


def random_codes(levels: tuple[int, ...], count: int, seed: int = 0) -> np.ndarray:
    """Skewed codes with many shared prefixes, shared IDs, and the extreme codes."""
    rng = np.random.default_rng(seed)
    columns = [np.minimum(rng.geometric(0.3, count) - 1, size - 1) for size in levels]
    flipped = [
        np.where(rng.random(count) < 0.3, size - 1 - c, c) for size, c in zip(levels, columns, strict=True)
    ]
    return np.stack(flipped, axis=1).astype(np.int64)


class SlowTrie:
    """What CodeTrie must agree with: a dict from row to semantic ID."""

    def __init__(self, codes: np.ndarray, rows: np.ndarray) -> None:
        self.ids = {int(r): tuple(c) for r, c in zip(rows, codes.tolist(), strict=True)}

    def under(self, prefix: tuple[int, ...]) -> set[int]:
        return {row for row, code in self.ids.items() if code[: len(prefix)] == prefix}

    def children(self, prefix: tuple[int, ...]) -> dict[int, int]:
        counts: dict[int, int] = defaultdict(int)
        for row in self.under(prefix):
            counts[self.ids[row][len(prefix)]] += 1
        return dict(sorted(counts.items()))


def assert_same(trie: CodeTrie, slow: SlowTrie) -> None:
    """Walk the whole trie level by level, all spans at once, and compare every node."""
    assert len(trie) == len(slow.ids)
    assert trie.unique_ids == len(set(slow.ids.values()))
    prefixes: list[tuple[int, ...]] = [()]
    starts, stops = np.array([0]), np.array([len(trie)])
    for level in range(len(trie.levels)):
        children = trie.children(starts, stops, level)
        found = [dict[int, int]() for _ in prefixes]
        for parent, code, start, stop in zip(
            children.parent, children.code, children.start, children.stop, strict=True
        ):
            found[parent][int(code)] = int(stop - start)
        assert found == [slow.children(prefix) for prefix in prefixes]
        prefixes = [(*prefixes[p], int(c)) for p, c in zip(children.parent, children.code, strict=True)]
        assert prefixes == sorted(prefixes)
        starts, stops = children.start, children.stop
        for prefix, start, stop in zip(prefixes, starts, stops, strict=True):
            assert trie.find(prefix) == (start, stop)
            assert set(trie.rows(start, stop).tolist()) == slow.under(prefix)


@pytest.fixture(params=[0, trie_module.SPARSE, 1 << 40], ids=["listed", "mixed", "scanned"])
def sparse(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of finding children: from the list of node starts, and by looking through the lines."""
    monkeypatch.setattr(trie_module, "SPARSE", request.param)


@pytest.mark.usefixtures("sparse")
@pytest.mark.parametrize("levels", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("count", [1, 2, 300])
def test_equals_a_set_of_tuples(levels: tuple[int, ...], count: int) -> None:
    codes = random_codes(levels, count)
    rows = np.random.default_rng(1).permutation(count * 2)[:count]
    assert_same(CodeTrie.build(codes, levels, rows), SlowTrie(codes, rows))


@pytest.mark.usefixtures("sparse")
@pytest.mark.parametrize("levels", SHAPES.values(), ids=SHAPES)
def test_insert_and_remove(levels: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    codes = random_codes(levels, 240)
    trie = CodeTrie.build(codes[:40], levels)
    rows = set(range(40))
    for begin in range(40, 240, 50):
        new = np.arange(begin, begin + 50)
        trie.insert(codes[new], new)
        rows |= set(new.tolist())
        gone = rng.choice(sorted(rows), 30, replace=False)
        trie.remove(gone)
        rows -= set(gone.tolist())
        kept = np.array(sorted(rows))
        assert_same(trie, SlowTrie(codes[kept], kept))
        assert np.array_equal(trie.codes(trie.lines(kept)), codes[kept])
    trie.remove(sorted(rows))
    assert len(trie) == 0
    trie.insert(codes, np.arange(240))
    assert_same(trie, SlowTrie(codes, np.arange(240)))


def test_empty() -> None:
    trie = CodeTrie.build(np.empty((0, 3), dtype=int), (3, 4, 4))
    assert len(trie) == trie.unique_ids == 0
    assert trie.find(()) == trie.find((1,)) == (0, 0)
    assert len(trie.children([0], [0], 0)) == len(trie.children([], [], 1)) == 0
    trie.insert(np.empty((0, 3), dtype=int), [])
    trie.remove([])
    assert len(trie) == 0


def test_empty_spans_have_no_children() -> None:
    trie = CodeTrie.build([[0, 1], [0, 2], [1, 1]], (3, 4))
    children = trie.children([0, 0, 2, 3], [0, 2, 3, 3], 1)
    assert children.parent.tolist() == [1, 1, 2]
    assert children.code.tolist() == [1, 2, 1]
    assert children.only(1).parent.tolist() == [1, 2]
    assert children.only(1).start.tolist() == [0, 2]


def test_one_id() -> None:
    trie = CodeTrie.build([[0, 1], [0, 2], [1, 1], [1, 1], [2, 1]], (3, 4))
    assert trie.one_id([0, 2, 4, 1], [1, 4, 5, 1])
    assert not trie.one_id([0, 2], [2, 4])
    assert trie.one_id([], [])


def test_a_level_is_listed_once_it_has_few_nodes() -> None:
    """Grown bit by bit, a trie answers from the same lists as one that is built at once."""
    codes = random_codes((3, 4, 4), 200)
    grown = CodeTrie.build(codes[:1], (3, 4, 4))
    for row in range(1, 200):
        grown.insert(codes[row : row + 1], [row])
    built = CodeTrie.build(codes, (3, 4, 4))
    assert grown.nbytes == built.nbytes
    assert_same(grown, SlowTrie(codes, np.arange(200)))


def test_row_numbers_may_grow() -> None:
    trie = CodeTrie.build([[1, 1], [0, 3]], (3, 4))
    for row in (255, 256, 65_536, 1 << 24, (1 << 32) - 1):
        trie.insert([[1, 1]], [row])
        assert trie.rows(*trie.find((1, 1)))[-1] == row
    assert trie.rows(*trie.find((1,))).tolist() == [0, 255, 256, 65_536, 1 << 24, (1 << 32) - 1]


def test_missing_prefixes_are_empty_spans() -> None:
    trie = CodeTrie.build([[0, 1], [2, 2]], (3, 4))
    for prefix in ((1,), (0, 3), (2, 1), (0, 0)):
        start, stop = trie.find(prefix)
        assert start == stop


def test_shared_ids_keep_insertion_order() -> None:
    trie = CodeTrie.build([[1, 1]] * 3, (3, 4), rows=[5, 2, 9])
    trie.insert([[1, 1], [0, 0]], [0, 1])
    assert trie.rows(*trie.find((1, 1))).tolist() == [5, 2, 9, 0]
    assert trie.unique_ids == 2


def test_lines_of_unknown_rows_are_refused() -> None:
    trie = CodeTrie.build([[1, 1], [0, 1]], (3, 4))
    assert trie.lines([1, 0, 1]).tolist() == [0, 1, 0]
    with pytest.raises(UserError, match="not in the index"):
        trie.lines([2])


@pytest.mark.parametrize("levels", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("count", [0, 200])
def test_saved_and_opened(tmp_path: Path, levels: tuple[int, ...], count: int) -> None:
    codes = random_codes(levels, count)
    CodeTrie.build(codes, levels).save(tmp_path / "new" / "folder")
    opened = CodeTrie.open(tmp_path / "new" / "folder")
    assert opened.levels == levels
    assert_same(opened, SlowTrie(codes, np.arange(count)))
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [FILE]


def test_an_opened_trie_can_grow_and_replace_its_own_file(tmp_path: Path) -> None:
    codes = random_codes((3, 4, 4), 60)
    CodeTrie.build(codes[:50], (3, 4, 4)).save(tmp_path)
    opened = CodeTrie.open(tmp_path)
    opened.insert(codes[50:], np.arange(50, 60))
    opened.save(tmp_path)
    opened.remove([0])
    assert_same(CodeTrie.open(tmp_path), SlowTrie(codes, np.arange(60)))


def test_a_failed_save_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CodeTrie.build([[1, 1]], (3, 4)).save(tmp_path)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full_disk)
    with pytest.raises(OSError, match="No space"):
        CodeTrie.build([[2, 2]], (3, 4)).save(tmp_path)
    assert CodeTrie.open(tmp_path).find((1, 1)) == (0, 1)


@pytest.mark.parametrize("keep", [0, 3, 60, 200, 700, -1])
def test_truncated_files_are_refused(tmp_path: Path, keep: int) -> None:
    CodeTrie.build(random_codes((3, 4, 4), 60), (3, 4, 4)).save(tmp_path)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"damaged.*build it again"):
        CodeTrie.open(tmp_path)


@pytest.mark.parametrize("damage", ["append", "header", "pickle", "older", "mixed"])
def test_corrupted_files_are_refused(tmp_path: Path, damage: str) -> None:
    CodeTrie.build(random_codes((3, 4, 4), 60), (3, 4, 4)).save(tmp_path)
    path = tmp_path / FILE
    data = path.read_bytes()
    if damage == "append":
        path.write_bytes(data + b"\0")
    elif damage == "header":
        path.write_bytes(data.replace(b"descr", b"d\0scr"))
    elif damage == "older":  # codes, rows and depths
        with path.open("wb") as file:
            for array in (
                np.array([3, 4]),
                np.zeros((5, 2), np.uint8),
                np.zeros(5, "<u4"),
                np.zeros(5, np.uint8),
            ):
                np.lib.format.write_array(file, array, (1, 0))
    elif damage == "pickle":
        with path.open("wb") as file:
            np.lib.format.write_array(file, np.array([{}]), (1, 0), allow_pickle=True)
    else:  # parts of another trie
        CodeTrie.build(random_codes((3, 4, 4), 61), (3, 4, 4)).save(tmp_path / "other")
        arrays, others = files.read(path), files.read(tmp_path / "other" / FILE)
        files.write(tmp_path, [*arrays[:2], others[2], *arrays[3:]])
    with pytest.raises(UserError, match=r"damaged.*build it again"):
        CodeTrie.open(tmp_path)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="build it first"):
        CodeTrie.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("codes", "rows", "message"),
    [
        ([[0, 4]], None, "Code 4 at level 2 is out of range: use 0 to 3"),
        ([[-1, 0]], None, "Code -1 at level 1"),
        ([[0, 0, 0]], None, "2 columns"),
        ([0, 0], None, "2 columns"),
        ([[0.5, 0.0]], None, "whole numbers"),
        ([[0, 0]], [1, 2], "row number"),
        ([[0, 0]], [-1], "row number"),
        ([[0, 0], [1, 1]], [4, 4], "listed twice"),
    ],
)
def test_bad_codes_are_refused(codes: list, rows: list[int] | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        CodeTrie.build(codes, (3, 4), rows)


@pytest.mark.parametrize(("rows", "message"), [([0], "already in the index"), ([7, 7], "listed twice")])
def test_a_candidate_goes_in_once(rows: list[int], message: str) -> None:
    trie = CodeTrie.build([[0, 0]], (3, 4))
    with pytest.raises(UserError, match=message):
        trie.insert([[1, 1]] * len(rows), rows)
    assert len(trie) == 1


def test_removing_what_is_not_there_is_refused() -> None:
    trie = CodeTrie.build([[0, 0], [1, 1]], (3, 4))
    with pytest.raises(UserError, match="not in the index"):
        trie.remove([1, 5])
    assert len(trie) == 2


@pytest.mark.parametrize("prefix", [(3,), (0, 9), (-1,), (0, 0, 0)])
def test_impossible_prefixes_are_refused(prefix: tuple[int, ...]) -> None:
    with pytest.raises(UserError):
        CodeTrie.build([[0, 0]], (3, 4)).find(prefix)


@pytest.mark.parametrize("levels", [(), (0,), (3, 1 << 17)])
def test_impossible_levels_are_refused(levels: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="levels"):
        CodeTrie.build(np.empty((0, len(levels)), dtype=int), levels)


@pytest.mark.parametrize("size", [256, 4096])
def test_stays_small(size: int) -> None:
    """Sixteen bytes a candidate for IDs, lists and row numbers, at our size and the paper's."""
    rng = np.random.default_rng(0)
    levels = (3, *[size] * 8)
    codes = np.stack([rng.integers(0, size, 200_000) for size in levels], axis=1)
    assert CodeTrie.build(codes, levels).nbytes <= 16 * len(codes)
