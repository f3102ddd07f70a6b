"""The benchmark set: eight tasks, nothing trained on but the collections, every answer in its pool."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import CAPTIONS, draw

from genius import cli, sources
from genius.evaluation.benchmark_set import INSTRUCTIONS, MOST, POOLS, QUERIES, MadeSet, make_benchmark_set
from genius.evaluation.pool import Pool, read_pool
from genius.evaluation.problems import Problems
from genius.evaluation.queries import Asked, read_instructions, read_queries
from genius.instructions import TASKS
from genius.schema import UserError
from genius.sources import Picture

PEOPLE = {
    f"{who}-200D-{what}": f"{name} {job}"
    for who, name in (("1F468", "man"), ("1F469", "woman"), ("1F9D1", "person"))
    for what, job in (("1F692", "firefighter"), ("1F373", "cook"), ("1F3EB", "teacher"))
}


def drawn(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(CAPTIONS[number % len(CAPTIONS)]).save(path)
    return path


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Photographs and groceries as training reads them, a few of them for validation; small collections."""
    photos, groceries = tmp_path / "flickr", tmp_path / "grocery"
    rows = []
    for n in range(6):
        drawn(photos / "images" / f"{n}.jpg", n)
        captions = [f"Dog {n} runs , number {k} ." for k in range(5)]
        rows.append({"image": f"{n}.jpg", "captions": captions, "split": "val" if n % 2 else "train"})
    (photos / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = []
    for n in range(12):
        kind, split = ("Gala", "Fuji", "lion")[n % 3], "train" if n < 3 else "val"
        drawn(groceries / "images" / f"{split}_Fruit_{n}.jpg", n)
        rows.append(
            {"image": f"{split}_Fruit_{n}.jpg", "class": kind, "coarse_class": "Apple", "split": split}
        )
    (groceries / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    packages = tmp_path / "packages"
    openmoji = [
        Picture(stem, drawn(packages / "svg" / f"{stem}.png", n), name)
        for n, (stem, name) in enumerate(PEOPLE.items())
    ]
    openmoji.append(Picture("1F981", drawn(packages / "svg" / "1F981.png", 9), "lion", ("king of beasts",)))
    openmoji.append(Picture("1F406", drawn(packages / "svg" / "1F406.png", 8), "leopard", ("lion",)))
    pictures = {
        "openmoji": openmoji,
        "stamps": [
            Picture("animals/lion", drawn(packages / "stamps" / "animals" / "lion.png", 3), "A lion."),
            Picture("cars/car", drawn(packages / "stamps" / "cars" / "car.png", 4), "car"),
        ],
        "clipart": [
            Picture(f"a/{n}", drawn(packages / "clipart" / f"{n}.png", n), f"thing of kind {chr(97 + n)}")
            for n in range(3)
        ],
    }
    for name, some in pictures.items():
        monkeypatch.setitem(sources._PICTURES, name, lambda some=some: some)
    return photos, groceries


def read(root: Path) -> tuple[Pool, list[Asked]]:
    """All files, strictly."""
    problems = Problems()
    pool = read_pool(sorted((root / POOLS).iterdir()), root, problems)
    instructions = read_instructions(root / INSTRUCTIONS, problems)
    return pool, read_queries(sorted((root / QUERIES).iterdir()), pool, instructions, root, problems)


@pytest.fixture
def made(data: tuple[Path, Path], tmp_path: Path) -> tuple[Path, MadeSet]:
    return tmp_path / "set", make_benchmark_set(*data, tmp_path / "set")


def test_all_eight_tasks_and_every_answer_is_in_its_pool(made: tuple[Path, MadeSet]) -> None:
    root, summary = made
    pool, asked = read(root)  # refuses a query none of whose positives is in its task's pool
    assert list(summary.queries) == [task.id for task in TASKS]
    assert summary.candidates == len(pool)
    assert sum(summary.queries.values()) == len(asked)
    for query in asked:
        assert all(pool.modality[row] == query.task.target for row in query.positives)
        assert (query.image is not None, bool(query.text)) == (
            query.task.query != 1,
            query.task.query != 0,
        )
        assert query.instruction in query.task.held_out_wordings


def test_no_photograph_of_the_training_is_in_it(made: tuple[Path, MadeSet]) -> None:
    root, _ = made
    pool, asked = read(root)
    shown = {placed.candidate.image for placed in pool} | {query.image for query in asked}
    photos = {path.name for path in shown if path and path.parent.name in ("photos", "groceries")}
    assert photos == {"1.jpg", "3.jpg", "5.jpg", *(f"val_Fruit_{n}.jpg" for n in range(3, 12))}
    texts = {placed.candidate.text for placed in pool}
    assert "Dog 1 runs, number 0." in texts and "Dog 2 runs, number 0." not in texts


def test_nothing_is_asked_for_by_itself(made: tuple[Path, MadeSet]) -> None:
    root, _ = made
    pool, asked = read(root)
    placed = [one.candidate for one in pool]
    for query in asked:
        answers = [placed[row] for row in query.positives]
        assert query.image is None or query.task.target == 1 or query.image not in {a.image for a in answers}
        if query.task.id == 1:
            assert query.text.lower() not in {str(answer.text).lower() for answer in answers}
    groceries = {query.image for query in asked if query.image and query.image.parent.name == "groceries"}
    assert len(groceries) == 3 and not groceries & {candidate.image for candidate in placed}


def test_the_same_thing_is_an_answer_in_every_data_set(made: tuple[Path, MadeSet]) -> None:
    pool, asked = read(made[0])
    placed = [one.candidate for one in pool]
    [lion] = [query for query in asked if query.task.id == 0 and query.text == "lion"]
    folders = {str(placed[row].image.parent.name) for row in lion.positives if placed[row].image}
    assert folders == {"openmoji", "animals"}
    other = [query.text for query in asked if query.task.id == 1 and query.dataset == 3]
    assert other == ["king of beasts"]  # "lion" is a candidate itself


def test_changed_drawings(made: tuple[Path, MadeSet]) -> None:
    pool, asked = read(made[0])
    placed = [one.candidate for one in pool]
    some = [q for q in asked if q.task.id == 7 and q.image and q.image.stem == "1F468-200D-1F692"]
    wanted = {q.text: {placed[row].image.stem for row in q.positives if placed[row].image} for q in some}
    assert any("cook" in text and stems == {"1F468-200D-1F373"} for text, stems in wanted.items())
    assert any("woman" in text and stems == {"1F469-200D-1F692"} for text, stems in wanted.items())


def everything(root: Path) -> dict[str, str]:
    return {
        path.name: path.read_text()
        for path in sorted(root.rglob("*"))
        if path.suffix in (".jsonl", ".tsv") and path.is_file()
    }


def test_a_set_is_repeatable(
    data: tuple[Path, Path], made: tuple[Path, MadeSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_benchmark_set(*data, tmp_path / "again")
    assert everything(tmp_path / "again") == everything(made[0])
    monkeypatch.setattr("genius.evaluation.benchmark_set.MOST", 2)
    few = make_benchmark_set(*data, tmp_path / "few")
    make_benchmark_set(*data, tmp_path / "other", seed=1)
    assert few.queries[7] == 2 < made[1].queries[7] <= MOST
    assert everything(tmp_path / "few") != everything(tmp_path / "other")


def test_what_cannot_be_made_is_said(
    data: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, groceries = data
    with pytest.raises(UserError, match="is there already"):
        make_benchmark_set(photos, groceries, photos)
    captions = photos / "captions.jsonl"
    captions.write_text(captions.read_text().replace('"val"', '"train"'))
    with pytest.raises(UserError, match="None of the photos is for validation"):
        make_benchmark_set(photos, groceries, tmp_path / "set")
    monkeypatch.setitem(sources._PICTURES, "stamps", list)
    with pytest.raises(UserError, match="apt-get install tuxpaint"):
        make_benchmark_set(photos, groceries, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_it_can_be_measured(
    data: tuple[Path, Path], tiny_bundle_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    photos, groceries = data
    root, out = tmp_path / "set", tmp_path / "results.json"
    made = cli.main(
        ["benchmark-set", "--photos", str(photos), "--groceries", str(groceries), "--out", str(root)]
    )
    assert made == 0
    printed = capsys.readouterr().out
    assert "of task 8" in printed
    command = printed.split("Measure: python -m genius ")[1].split()
    files = [
        str(path)
        for word in command
        for path in (sorted(Path(word).parent.glob("*.jsonl")) if word.endswith("*.jsonl") else [word])
    ]
    files[files.index("--json") + 1] = str(out)
    assert cli.main([*files, "--bundle", str(tiny_bundle_folder)]) == 0
    [model] = json.loads(out.read_text())["models"]
    assert {row["task"] for row in model["results"]} == {task.id for task in TASKS}
    assert "openmoji (seen in training)" in {row["dataset"] for row in model["results"]}
