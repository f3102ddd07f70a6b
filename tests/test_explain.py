"""What codes mean: the atlas against a set of tuples, measures against cases worked out by hand."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import normalized_mutual_info_score
from words import ANIMALS, DIM, LEVELS, VEHICLES, Words, make_books

from genius.explain import maps, report
from genius.explain.atlas import Atlas, codes_of
from genius.explain.compute import explain, named_again, residual_lengths
from genius.explain.explanation import (
    ARRAYS_FILE,
    WORDS_FILE,
    Explanation,
    after,
    folder_of,
    open_explanation,
    read_names,
)
from genius.explain.labels import Labels, groceries, known_labels
from genius.explain.measures import agreement, entropy, label_measures, nmi, purity
from genius.index import CandidateIndex
from genius.schema import Candidate, Modality, UserError


def _index(count: int = 60, seed: int = 1) -> CandidateIndex:
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, size, count) for size in LEVELS], 1)
    candidates = [
        Candidate(f"c/{n}:image", Modality.IMAGE, None, Path(f"{n}.png"), "c") for n in range(count)
    ]
    return CandidateIndex.build(candidates, codes, rng.normal(size=(count, DIM)), LEVELS)


def _atlas(count: int = 60) -> Atlas:
    index = _index(count)
    residuals = np.random.default_rng(2).random((count, len(LEVELS))).astype(np.float16)
    return Atlas(index, residuals, make_books())


# ---- the atlas


def test_branches_are_the_distinct_continuations_with_their_sizes() -> None:
    atlas = _atlas()
    codes = [tuple(line) for line in atlas.index.codes(np.arange(60)).tolist()]
    for prefix in {code[:n] for code in codes for n in range(3)}:
        expected = Counter(code[: len(prefix) + 1] for code in codes if code[: len(prefix)] == prefix)
        found = atlas.branches(prefix)
        assert {branch.prefix: branch.size for branch in found} == dict(expected)
        assert [branch.size for branch in found] == sorted(expected.values(), reverse=True)
        for branch in found:
            under = [row for row, code in enumerate(codes) if code[: len(branch.prefix)] == branch.prefix]
            nearest = min(atlas._residuals[row, len(prefix)] for row in under)
            assert atlas._residuals[branch.typical, len(prefix)] == nearest


def test_a_page_holds_everybody_under_a_prefix_once() -> None:
    atlas = _atlas()
    codes = atlas.index.codes(np.arange(60))
    page = atlas.page((1,))
    under = set(np.flatnonzero(codes[:, 0] == 1).tolist())
    assert page.size == len(under) and page.parent_size == 60
    assert set(page.typical) | set(page.sample) <= under and not set(page.typical) & set(page.sample)
    near = [float(atlas._residuals[row, 0]) for row in page.typical]
    assert near == sorted(near)
    assert atlas.page((1,)) == page, "the sample is seeded"
    assert sum(branch.size for branch in page.branches) == len(under)


def test_twins_neighbours_and_shared_addresses() -> None:
    atlas = _atlas()
    codes = [tuple(line) for line in atlas.index.codes(np.arange(60)).tolist()]
    prefix = next(code[:2] for code in codes if any(o[1] == code[1] and o[0] != code[0] for o in codes))
    page = atlas.page(prefix)
    assert {twin.prefix for twin in page.twins} == {c[:2] for c in codes if c[1] == prefix[1]} - {prefix}
    book = atlas.books[1]
    for branch, distance in page.near:
        assert distance == pytest.approx(np.linalg.norm(book[branch.prefix[1]] - book[prefix[1]]), rel=1e-5)
    assert [distance for _, distance in page.near] == sorted(distance for _, distance in page.near)
    counts = Counter(code for code in codes if code[:2] == prefix)
    assert sorted(map(len, page.shared)) == sorted(n for n in counts.values() if n > 1)
    assert page.unused == 4 - len({code[1] for code in codes if code[0] == prefix[0]})


def test_a_code_anywhere_is_found_under_every_parent() -> None:
    atlas = _atlas()
    codes = [tuple(line) for line in atlas.index.codes(np.arange(60)).tolist()]
    for level, code in ((0, 2), (1, 3), (2, 0)):
        expected = Counter(line[: level + 1] for line in codes if line[level] == code)
        assert {b.prefix: b.size for b in atlas.anywhere(level, code)} == dict(expected)
    assert _atlas(1).anywhere(2, 3) == () or _atlas(1).index.codes([0])[0, 2] == 3


def test_the_path_is_the_quantizers() -> None:
    torch = pytest.importorskip("torch")
    from genius.quantizer import Quantizer, QuantizerConfig  # noqa: PLC0415  torch is slow to import

    books = make_books()
    quantizer = Quantizer(QuantizerConfig(DIM, LEVELS))
    for level, book in enumerate(books):
        quantizer.codebook(level).copy_(torch.from_numpy(book))
    z = np.random.default_rng(3).normal(size=(20, DIM)).astype(np.float32)
    quantized = quantizer(torch.from_numpy(z))
    assert (codes_of(z, books) == quantized.codes.numpy()).all()
    atlas = _atlas()
    for row in range(20):
        steps = atlas.path(z[row])
        assert steps[-1].prefix == tuple(quantized.codes[row].tolist())
        for level, step in enumerate(steps):
            distances = np.sort(
                np.linalg.norm(books[level] - quantized.residuals[level, row].numpy(), axis=1)
            )
            assert (step.distance, step.runner_up_distance) == pytest.approx(distances[:2], rel=1e-4)
            assert step.candidates == len(atlas.members(step.prefix, 1000))
    lengths = residual_lengths(z, quantized.codes.numpy(), books)
    assert lengths[:, -1] == pytest.approx(
        (quantized.vectors - torch.from_numpy(z)).norm(dim=1).numpy(), abs=1e-5
    )


def test_an_edited_address_exists_and_keeps_what_it_can() -> None:
    atlas = _atlas()
    codes = {tuple(line) for line in atlas.index.codes(np.arange(60)).tolist()}
    for address in sorted(codes)[:10]:
        for level in range(3):
            for branch in atlas.branches(address[:level]):
                edited = atlas.edited(address, level, branch.prefix[-1])
                assert edited[: level + 1] == branch.prefix
                assert any(code[: len(edited)] == edited for code in codes)
                whole = (*branch.prefix, *address[level + 1 :])
                assert (edited == whole) == (whole in codes)
    with pytest.raises(UserError, match="No candidate"):
        atlas.edited(sorted(codes)[0], 0, 7)


@pytest.mark.parametrize(
    "sent",
    [None, "0", {"a": 1}, [0.5], ["0"], [True], [-1], [3], [0, 0, 0, 0], [0, 99999999999999999999], [[0]]],
)
def test_prefixes_from_a_browser_are_checked(sent: object) -> None:
    with pytest.raises(UserError, match="Choose one of the codes"):
        _atlas().check(sent)


def test_rows_from_a_browser_are_checked() -> None:
    atlas = _atlas()
    assert atlas.check_rows([3, 3, 59, 60, -1, 10**30], 10) == [3, 59]
    assert atlas.check_rows(list(range(50)), 5) == [0, 1, 2, 3, 4]
    for sent in (None, "1", [1.0], [None], [[1]], [True], [60], []):
        with pytest.raises(UserError, match="Choose points"):
            atlas.check_rows(sent, 10)


def test_without_residuals_nothing_is_more_typical() -> None:
    index = _index()
    page = Atlas(index, None, make_books()).page((0,))
    assert list(page.typical) == index.trie.rows(*index.trie.find((0,)))[:12].tolist()


# ---- measures


def test_nmi_is_the_known_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        one, other = rng.integers(0, 6, 200), rng.integers(0, 4, 200)
        assert nmi(one, other) == pytest.approx(normalized_mutual_info_score(one, other), abs=1e-9)
    assert nmi([1, 1, 2, 2], [5, 5, 7, 7]) == pytest.approx(1)
    assert nmi([1, 1, 1], [1, 2, 3]) == 0


def test_purity_and_entropy_by_hand() -> None:
    assert purity([0, 0, 0, 1, 1], ["a", "a", "b", "b", "c"]) == pytest.approx(3 / 5)
    assert entropy([0.5, 0.5]) == pytest.approx(np.log(2)) and entropy([1.0, 0.0]) == 0


def test_agreement_by_hand() -> None:
    engine = Words(ANIMALS)
    codes = engine.index.codes(np.arange(len(engine.index))).copy()
    codes[[row for row, c in enumerate(engine.index.candidates) if c.id == "c/0:text"], 1] = 3
    second, third = agreement(engine.index.candidates, codes, Modality.IMAGE, Modality.TEXT)
    assert (second.pairs, second.level, second.same) == (5, 2, pytest.approx(0.8))
    assert second.chance == pytest.approx(0.8), "all images have code 1, four texts of five do"
    assert (third.same, third.beginning) == (pytest.approx(1), pytest.approx(0.8))
    assert agreement(engine.index.candidates[:1], codes, Modality.IMAGE, Modality.TEXT) == []


def test_unknown_labels_are_left_out() -> None:
    codes = np.array([[0, 1, 0], [0, 1, 1], [0, 2, 0], [0, 2, 1]])
    [second, third] = label_measures(codes, Labels("kind", ("a", "a", "", "b")))
    assert (second.candidates, second.values, second.level) == (3, 2, 2)
    assert second.nmi == pytest.approx(1) and second.purity == pytest.approx(1)
    assert third.nmi < second.nmi


def test_labels_come_from_folders_and_drawings() -> None:
    files = [Candidate(f"stamps/{place}:image", Modality.IMAGE) for place in ("animals/cat", "food/pie", "x")]
    [folder] = known_labels(files)
    assert folder == Labels("folder", ("animals", "food", ""))
    assert known_labels(files[2:]) == []
    drawings = [
        Candidate(f"openmoji/{code}:image", Modality.IMAGE, collection="openmoji")
        for code in ("1F468-1F3FF", "1F469", "1F1EF-1F1F5")
    ]
    found = {labels.title: labels.values for labels in known_labels(drawings)}
    assert found["kind of thing"] == ("person", "person", "flag") and found["gender"] == ("man", "woman", "")


def test_groceries_are_read_or_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="labels.jsonl"):
        groceries(tmp_path)
    line = {"image": "a.jpg", "class": "Golden", "coarse_class": "Apple"}
    (tmp_path / "labels.jsonl").write_text(json.dumps(line) + "\n")
    shown, kinds = groceries(tmp_path)
    assert shown[0].image == tmp_path / "images" / "a.jpg" and kinds[1].values == ("Apple",)


# ---- maps


def test_a_dozen_points_need_no_umap() -> None:
    for count in (1, 2, 3, 12):
        vectors = np.random.default_rng(0).normal(size=(count, 5)).astype(np.float32)
        places = maps.lay_out(vectors)
        assert places.shape == (count, 2) and places.dtype == np.uint16
    same = np.ones((40, 5), np.float32)
    assert len(np.unique(maps.lay_out(same), axis=0)) == 1, "identical things are in one place"


@pytest.mark.slow
def test_umap_keeps_clusters_apart() -> None:
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(3, 8)) * 5
    vectors = np.repeat(middles, 20, axis=0) + 0.1 * rng.normal(size=(60, 8))
    places = maps.lay_out(vectors.astype(np.float32)).astype(float)
    own = [places[n : n + 20] for n in (0, 20, 40)]
    spread = max(np.linalg.norm(part - part.mean(0), axis=1).mean() for part in own)
    apart = min(np.linalg.norm(own[a].mean(0) - own[b].mean(0)) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert apart > 2 * spread
    assert (maps.lay_out(vectors.astype(np.float32)) == places).all(), "seeded"


def test_something_new_is_placed_among_its_true_neighbours() -> None:
    rng = np.random.default_rng(0)
    known, places = rng.normal(size=(50, 6)).astype(np.float32), rng.random((50, 2)).astype(np.float32)
    new = rng.normal(size=(4, 6)).astype(np.float32)
    for vector, found in zip(new, maps.place(new, known, places), strict=True):
        nearest = np.argsort(np.linalg.norm(known - vector, axis=1))[: maps.ANCHORS]
        assert found == pytest.approx(places[nearest].mean(0), abs=1e-5)
    assert maps.place(new, known[:1], places[:1]) == pytest.approx(np.repeat(places[:1], 4, 0))


def test_large_collections_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert maps.sample(7).tolist() == list(range(7))
    monkeypatch.setattr(maps, "MOST", 5)
    rows = maps.sample(100)
    assert len(rows) == 5 == len(set(rows.tolist())) and (rows == np.sort(rows)).all()
    assert (rows == maps.sample(100)).all()


# ---- kept beside an index


@pytest.fixture(scope="module")
def explained() -> tuple[Words, Explanation]:
    engine = Words((*ANIMALS, *VEHICLES)[:4])
    return engine, explain(engine, lambda doing, done, total: None)


def test_everything_is_worked_out(explained: tuple[Words, Explanation]) -> None:
    _, found = explained
    assert found.residuals.shape == (12, 3) and float(found.residuals[:, -1].max()) < 1e-2
    assert set(found.maps) == {"clip", "fused", "address", *(after(level) for level in (1, 2, 3))}
    assert {entry.same for entry in found.agreements} == {1.0}


def test_saved_and_opened_it_is_the_same(explained: tuple[Words, Explanation], tmp_path: Path) -> None:
    engine, made = explained
    folder = tmp_path / "index"
    assert open_explanation(folder, []) is None
    engine.index.save(folder, "print", "c")
    made.save(folder)
    opened = open_explanation(folder, engine.index.candidates)
    assert opened is not None
    assert (opened.residuals == made.residuals).all() and opened.residuals.dtype == np.float16
    assert all((opened.maps[name] == made.maps[name]).all() for name in made.maps)
    assert opened.labels == made.labels and opened.agreements == made.agreements
    assert opened.names.keys() == made.names.keys() and opened.settings == made.settings
    assert read_names(folder) == {prefix: name.text for prefix, name in made.names.items() if name.text}
    some = engine.index.candidates[3:9]
    part = open_explanation(folder, some)
    assert part is not None and (part.residuals == made.residuals[3:9]).all()
    assert part.mapped.tolist() == list(range(6))


def test_an_explanation_of_another_index_is_refused(
    explained: tuple[Words, Explanation], tmp_path: Path
) -> None:
    engine, made = explained
    folder = tmp_path / "index"
    engine.index.save(folder, "print", "c")
    made.save(folder)
    engine.index.save(folder, "another print", "c")
    with pytest.raises(UserError, match="another state of the index"):
        open_explanation(folder, engine.index.candidates)
    assert read_names(folder) == {}
    made.save(folder)
    for name, content in ((WORDS_FILE, "{"), (WORDS_FILE, '{"format": 99}'), (ARRAYS_FILE, "x")):
        whole = (folder_of(folder) / name).read_bytes()
        (folder_of(folder) / name).write_text(content)
        with pytest.raises(UserError, match="Make it again"):
            open_explanation(folder, engine.index.candidates)
        (folder_of(folder) / name).write_bytes(whole)
    assert open_explanation(folder, engine.index.candidates) is not None


def test_damaged_arrays_are_refused(explained: tuple[Words, Explanation], tmp_path: Path) -> None:
    engine, made = explained
    folder = tmp_path / "index"
    engine.index.save(folder, "print", "c")
    made.save(folder)
    arrays = folder_of(folder) / ARRAYS_FILE
    whole = arrays.read_bytes()
    method = whole.rindex(b"PK\1\2") + 10  # how the last array is compressed
    flipped = [whole[:n] + bytes([whole[n] ^ 0xFF]) + whole[n + 1 :] for n in (*range(80, 120), method)]
    for damaged in (b"", whole[:100], whole[:-30], *flipped):
        arrays.write_bytes(damaged)
        with pytest.raises(UserError, match="Make it again"):
            open_explanation(folder, engine.index.candidates)


def test_the_report_fills_marked_places_only(explained: tuple[Words, Explanation], tmp_path: Path) -> None:
    engine, made = explained
    document = tmp_path / "codes.md"
    document.write_text("before\n<!-- measured: agreement -->\nold\n<!-- end -->\nafter\n")
    report.write(document, made, engine.index)
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| image and text | 4 | 2 | 100.0 % |" in text
    assert Image.open(tmp_path / "codes-before.png").size == (900, 900)
    report.write(document, made, engine.index)
    assert document.read_text() == text
    document.write_text("nothing marked")
    with pytest.raises(UserError, match="needs places"):
        report.write(document, made, engine.index)


@pytest.mark.parametrize("captions", [("cat",), ("cat", "cat", "cat"), ("",)])
def test_small_and_dull_collections_are_explained(captions: tuple[str, ...]) -> None:
    found = explain(Words(captions), lambda doing, done, total: None)
    assert not any(name.text for name in found.names.values())
    assert all(len(places) == len(found.mapped) for places in found.maps.values())


def test_names_alone_are_made_again(explained: tuple[Words, Explanation]) -> None:
    engine, made = explained
    again = named_again(replace(made, names={}, anywhere={}), engine, lambda doing, done, total: None)
    assert (again.names, again.anywhere) == (made.names, made.anywhere)
    assert again.maps is made.maps and again.labels is made.labels
