"""Evaluation on M-BEIR's files: figures counted by hand and by the engine, bad lines, interruptions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mbeir_files import Files, candidates, queries, write_files, write_instructions, write_lines
from tiny import CAPTIONS, make_tiny_parts

from genius import cli
from genius.checkpoint import Bundle
from genius.cli.evaluate import beam_widths
from genius.engine import Engine
from genius.evaluation import coded as coded_module
from genius.evaluation import evaluate as evaluate_module
from genius.evaluation import search as search_module
from genius.evaluation.evaluate import Plan, evaluate
from genius.evaluation.measures import Recall, first_rank, own_address, recall
from genius.evaluation.pool import Pool, read_pool
from genius.evaluation.problems import NAMED, Problems
from genius.evaluation.queries import Asked, read_instructions, read_queries
from genius.evaluation.report import SPECIFIC, UNIVERSAL, ModelResult, Report, tables
from genius.evaluation.search import exact_rows
from genius.images import open_image
from genius.index import CandidateIndex
from genius.schema import Modality, Query, SearchOptions, UserError

TWO_SETS = {1: CAPTIONS[:12], 9: CAPTIONS[12:20]}
WIDTHS = (1, 3, 50)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Twenty drawings in two data sets; for reading only."""
    return write_files(tmp_path_factory.mktemp("mbeir") / "root", TWO_SETS)


def read(files: Files, problems: Problems | None = None) -> tuple[Pool, list[Asked], Mapping[int, str]]:
    problems = problems or Problems()
    instructions = read_instructions(files.instructions, problems)
    pool = read_pool(files.pools, files.root, problems)
    return pool, read_queries(files.queries, pool, instructions, files.root, problems), instructions.names


def measure(
    bundle: Bundle, files: Files, folder: Path, *, problems: Problems | None = None, rerank: bool = True
) -> ModelResult:
    problems = problems or Problems()
    pool, asked, names = read(files, problems)
    plan = Plan(WIDTHS, rerank, folder)
    return evaluate(
        bundle, "tiny", pool, asked, names, plan, problems, lambda _: nullcontext(lambda *_: None)
    )


@pytest.fixture(scope="session")
def measured(tiny_bundle: Bundle, files: Files, tmp_path_factory: pytest.TempPathFactory) -> ModelResult:
    torch.set_num_threads(1)
    return measure(tiny_bundle, files, tmp_path_factory.mktemp("parts"))


# ---- what is counted ----


def test_recall_by_hand() -> None:
    rows = [30, 10, 20, 40, 50, 60, 70, 80, 90, 100, 110]
    assert first_rank(rows, [10]) == 2
    assert first_rank(rows, [100, 50]) == 5  # any of the positives, the first counts
    assert first_rank(rows, [110]) == 0  # the eleventh is too late
    assert first_rank([], [1]) == 0
    assert recall([2, 5, 0, 10, 1]) == Recall(at_1=0.2, at_5=0.6, at_10=0.8)
    assert own_address(np.array([[0, 1], [0, 1], [0, 2], [1, 1]])) == 0.5


def hits_by(engine: Engine, asked: Sequence[Asked], beams: int | None, *, rerank: bool) -> list[list[str]]:
    """Ids that the engine finds; exactly, if no beam width is given."""
    options = SearchOptions(top_k=10, beams=beams or 1, rerank=rerank)
    search = engine.search if beams else engine.exact_search
    given = [Query(q.image and open_image(q.image), q.text, q.instruction) for q in asked]
    return [[hit.candidate.id for hit in result.hits] for result in search(given, options)]


def counted(hits: Sequence[Sequence[str]], positives: Sequence[set[str]]) -> Recall:
    """Recall in the plainest way."""
    shares = [
        sum(bool(set(some[:k]) & wanted) for some, wanted in zip(hits, positives, strict=True)) / len(hits)
        for k in (1, 5, 10)
    ]
    return Recall(*shares)


@pytest.mark.parametrize("kind", [UNIVERSAL, SPECIFIC])
def test_every_figure_is_what_the_engine_finds(
    kind: str, measured: ModelResult, tiny_bundle: Bundle, files: Files
) -> None:
    pool, asked, names = read(files)
    engine = Engine(
        tiny_bundle, CandidateIndex.empty(tiny_bundle.quantizer.config.levels, tiny_bundle.encoder.dim)
    )
    engine.add([placed.candidate for placed in pool])
    ids = list(pool.row)
    results = [result for result in measured.results if result.pool == kind]
    assert len(results) == 6  # two data sets, three tasks
    for result in results:
        some = [q for q in asked if q.task.id == result.task and names[q.dataset] == result.dataset]
        assert result.queries == len(some) > 0
        positives = [{ids[row] for row in q.positives} for q in some]
        target = some[0].task.target
        searched = engine
        if kind == SPECIFIC:
            searched = engine.within([ids[row] for row in pool.own(some[0].dataset, target)])
        assert result.facts.candidates == len(searched.index)
        assert result.facts.addresses == searched.index.trie.unique_ids
        assert result.exact == counted(hits_by(searched, some, None, rerank=True), positives)
        for written in result.written:
            plain = hits_by(searched, some, written.beams, rerank=False)
            assert written.genius == counted(plain, positives)
            assert written.reranked == counted(hits_by(searched, some, written.beams, rerank=True), positives)
            first = [searched.index.codes([searched.index.row(hits[0])])[0, 0] == target for hits in plain]
            assert written.first_answer == pytest.approx(np.mean(first))
        given = [Query(q.image and open_image(q.image), q.text, q.instruction) for q in some]
        likeliest = [found.trace[0].kept[0].prefix[0] for found in searched.search(given)]
        assert result.first_code == pytest.approx(np.mean([code == target for code in likeliest]))


def test_the_figures_fit_together(measured: ModelResult) -> None:
    for result in measured.results:
        assert [written.beams for written in result.written] == list(WIDTHS)
        for written in result.written:
            assert written.reranked is not None
            assert written.in_beam >= max(written.reranked.at_10, written.genius.at_10)
            assert written.genius.at_1 <= written.genius.at_5 <= written.genius.at_10
        widest = result.written[-1]
        if widest.beams >= result.facts.addresses:  # everything is written, so re-ranking is exact search
            assert widest.in_beam == 1 and widest.reranked == result.exact
        if result.pool == SPECIFIC:
            assert {result.first_code, *(written.first_answer for written in result.written)} == {1.0}
    sizes = {(r.pool, r.dataset): r.facts.candidates for r in measured.results}
    whole = {(UNIVERSAL, "set 1"): 60, (UNIVERSAL, "set 9"): 60}
    assert sizes == {**whole, (SPECIFIC, "set 1"): 12, (SPECIFIC, "set 9"): 8}


def test_exact_rows_are_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "CHUNK", 7)
    torch.manual_seed(0)
    vectors = F.normalize(torch.randn(40, 8), dim=-1).half()
    asked = F.normalize(torch.randn(5, 8), dim=-1)
    rows = np.arange(3, 40, 2)
    found = exact_rows(asked, vectors.numpy(), rows, 4)
    wanted = rows[(asked @ vectors[rows].float().T).argsort(dim=1, descending=True)[:, :4].numpy()]
    np.testing.assert_array_equal(found, wanted)
    assert exact_rows(asked, vectors.numpy(), rows[:2], 4).shape == (5, 2)


def test_tables_show_every_task_and_model(measured: ModelResult) -> None:
    other = ModelResult("other", "f", measured.results)
    printed = tables(Report((measured, other)))
    assert printed.count("| text → image ") == 2 * 2 * 2  # models, pools, data sets
    assert "### tiny, universal pool" in printed and "### other, task-specific pool" in printed
    assert "### tiny, beam width" in printed and "### Models, universal pool" in printed
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    first = next(result for result in measured.results if result.task == 0)
    exact = " / ".join(f"{100 * share:.1f}" for share in vars(first.exact).values())
    assert exact in next(line for line in lines if "text → image" in line)


# ---- interruptions ----


def test_an_interrupted_evaluation_ends_as_one_that_was_not(
    measured: ModelResult,
    tiny_bundle: Bundle,
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coded_module, "PART", 25)
    monkeypatch.setattr(evaluate_module, "PART", 5)
    left = {"code": 2, "search": 3}

    def failing(name: str, original: Callable) -> Callable:
        def run(*arguments: object) -> object:
            if left[name] == 0:
                raise KeyboardInterrupt
            left[name] -= 1
            return original(*arguments)

        return run

    monkeypatch.setattr(Engine, "code", failing("code", Engine.code))
    monkeypatch.setattr(evaluate_module, "search_all", failing("search", search_module.search_all))
    with pytest.raises(KeyboardInterrupt):
        measure(tiny_bundle, files, tmp_path)
    assert len(list(tmp_path.glob("candidates-*"))) == 2
    left["code"] = 1  # of three parts, two are there
    with pytest.raises(KeyboardInterrupt):
        measure(tiny_bundle, files, tmp_path)
    assert len(list(tmp_path.glob("queries-*"))) == 3
    left["search"] = 99
    assert measure(tiny_bundle, files, tmp_path) == measured
    assert left == {"code": 0, "search": 99 - (3 * 3 + 3 * 2 - 3)}  # parts of 12 and of 8 queries


def test_models_share_vectors_but_not_what_they_find(
    tiny_bundle: Bundle, measured: ModelResult, files: Files, tmp_path: Path
) -> None:
    """A fingerprint says nothing of the decoder."""
    other = replace(tiny_bundle, decoder=make_tiny_parts(tiny_bundle.encoder, seed=1)[2])
    found = measure(other, files, tmp_path)
    parts = len(list(tmp_path.glob("queries-*")))
    assert measure(tiny_bundle, files, tmp_path) == measured != found
    assert len(list(tmp_path.glob("queries-*"))) == 2 * parts
    assert len(list(tmp_path.glob("candidates-*"))) == 1


# ---- bad lines ----

MIXED = ["red circle", "blue square"]


def bad_files(
    root: Path,
    *,
    pool: Sequence[Mapping[str, object] | str] = (),
    asked: Sequence[Mapping[str, object] | str] = (),
) -> Files:
    """Good files, and lines after those that are there: seven on in the pool and in the queries."""
    files = write_files(root, {1: MIXED})
    write_lines(files.pools[0], [*candidates(1, MIXED), *pool])
    write_lines(files.queries[0], [*queries(1, MIXED), *asked])
    return files


CANDIDATE = {"did": "1:7", "txt": "a cat", "img_path": None, "modality": "text"}
ASK = {
    "qid": "1:7",
    "query_txt": "a cat",
    "query_img_path": None,
    "query_modality": "text",
    "pos_cand_list": ["1:1"],
    "task_id": 0,
}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "no JSON object"),
        ("[1]", "no JSON object"),
        ({**CANDIDATE, "did": "seven"}, "'seven' is no id"),
        ({**CANDIDATE, "modality": "sound"}, "no modality 'sound'"),
        ({**CANDIDATE, "modality": "image", "img_path": "images/none.png"}, "no picture images/none.png"),
        ({**CANDIDATE, "modality": "image,text"}, "no picture None"),
        ({**CANDIDATE, "txt": " "}, "no text"),
        ({**CANDIDATE, "did": "1:1"}, "an id that another candidate has"),
    ],
)
def test_a_bad_candidate_is_refused_by_line_or_left_out(
    line: Mapping[str, object] | str, why: str, tmp_path: Path
) -> None:
    files = bad_files(tmp_path / "root", pool=[line, CANDIDATE])
    with pytest.raises(
        UserError, match=f"1 lines cannot be used.*line 7 of .*pool-1.jsonl.*{why}|{why}.*line 7"
    ):
        read(files)
    problems = Problems(skip=True)
    pool, asked, _ = read(files, problems)
    assert len(pool) == 7 and len(asked) == 6
    assert list(pool.row) == [f"1:{n}" for n in range(1, 8)]
    assert [placed.candidate.id for placed in pool] == list(pool.row)
    [left] = problems.left_out
    assert left.lines == 1 and "line 7 of" in left.first[0]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nothing", "no JSON object"),
        ({**ASK, "task_id": 5}, "no task 5"),
        ({**ASK, "task_id": "0"}, "no task '0'"),
        ({**ASK, "query_modality": "image"}, "task 0 is text → image"),
        ({**ASK, "query_txt": None}, "no text"),
        ({**ASK, "task_id": 3, "query_modality": "image", "query_img_path": "no.png"}, "no picture no.png"),
        ({**ASK, "pos_cand_list": "1:1"}, "pos_cand_list is no list"),
        ({**ASK, "pos_cand_list": ["1:99"]}, "none of the positives is in the task's pool"),
        ({**ASK, "pos_cand_list": ["1:2"]}, "none of the positives is in the task's pool"),  # a text
        ({**ASK, "pos_cand_list": []}, "none of the positives is in the task's pool"),
        ({**ASK, "qid": "2:7"}, "no instructions for data set 2, text → image"),
        ({**ASK, "task_id": 1, "pos_cand_list": ["1:2"]}, "no instructions for data set 1, text → text"),
        ({**ASK, "qid": "1:1"}, "an id that another query has"),
    ],
)
def test_a_bad_query_is_refused_by_line_or_left_out(
    line: Mapping[str, object] | str, why: str, tmp_path: Path
) -> None:
    files = bad_files(tmp_path / "root", asked=[line, {**ASK, "qid": "1:8"}])
    with pytest.raises(UserError, match=f"{why}.*line 7 of|line 7 of .*queries-1.jsonl.*{why}"):
        read(files)
    problems = Problems(skip=True)
    _, asked, _ = read(files, problems)
    assert [query.id for query in asked] == [f"1:{n}" for n in (1, 2, 3, 4, 5, 6, 8)]
    assert sum(left.lines for left in problems.left_out) == 1


def test_bad_instructions_are_named(tmp_path: Path) -> None:
    path = write_instructions(tmp_path / "i.tsv", {1: "one"})
    good = path.read_text()
    path.write_text(
        good
        + "text\timage\tone\t1\tAgain.\nimage\timage\tone\t1\nsound\ttext\ta\t1\tX.\ntext\ttext\ta\tb\tX.\n"
    )
    with pytest.raises(UserError, match="4 lines cannot be used") as raised:
        read_instructions(path, Problems())
    for said in ("line 5 of", "five columns", "no modality 'sound'", "'b' is no number"):
        assert said in str(raised.value)
    assert len(read_instructions(path, Problems(skip=True)).wordings) == 3


def test_many_bad_lines_are_counted_and_some_named(tmp_path: Path) -> None:
    files = bad_files(tmp_path / "root", pool=["{"] * 40)
    with pytest.raises(UserError, match="40 lines cannot be used") as raised:
        read(files)
    assert str(raised.value).count("line ") == NAMED and "…" in str(raised.value)


def test_pools_may_share_candidates(tmp_path: Path) -> None:
    files = write_files(tmp_path / "root", {1: MIXED})
    rows = candidates(1, MIXED)
    other = write_lines(tmp_path / "other.jsonl", [*rows[3:], CANDIDATE])
    pool = read_pool([*files.pools, other], files.root, Problems())
    assert list(pool.row) == [f"1:{n}" for n in range(1, 8)]
    assert [placed.candidate.id for placed in pool] == list(pool.row)
    assert pool.own(1, Modality.TEXT).tolist() == [1, 4, 6]
    write_lines(other, [{**rows[1], "txt": "something else"}])
    with pytest.raises(UserError, match=r"line 1 of .*other.jsonl \(1:2\)"):
        read_pool([*files.pools, other], files.root, Problems())


def test_a_query_has_always_the_same_wording_and_all_are_used(files: Files) -> None:
    _, asked, _ = read(files)
    _, again, _ = read(files)
    assert asked == again
    said = {query.instruction for query in asked if query.task.id == 0}
    assert said == set(asked[0].task.held_out_wordings)


def test_damaged_pictures_are_found_when_they_are_read(tiny_bundle: Bundle, tmp_path: Path) -> None:
    files = write_files(tmp_path / "root", {1: ["red circle", "blue square", "green triangle"]})
    (files.root / "images" / "red-circle.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"cannot be opened: line 1 of .*pool-1.jsonl"):
        measure(tiny_bundle, files, tmp_path / "parts")
    problems = Problems(skip=True)
    found = measure(tiny_bundle, files, tmp_path / "parts", problems=problems)
    left = {one.why: one.lines for one in problems.left_out}
    # candidates: image and pair. queries: one asks for the circle's image, one for it as a change; two
    # show the circle, for its text and to be changed
    assert left == {"a picture that cannot be opened": 4, "no positive can be opened": 2}
    counts = {result.task: result.queries for result in found.results if result.pool == UNIVERSAL}
    assert counts == {0: 2, 3: 2, 7: 1}
    assert all(result.facts.candidates == 7 for result in found.results if result.pool == UNIVERSAL)


# ---- the command ----


def test_the_command_writes_figures_and_prints_tables(
    files: Files,
    tiny_bundle_folder: Path,
    measured: ModelResult,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "results.json"
    command = ["evaluate", *files.arguments, "--json", str(out), "--bundle", str(tiny_bundle_folder)]
    assert cli.main([*command, "--beams", "50,1,3"]) == 0
    printed = capsys.readouterr().out
    assert "universal pool" in printed and str(out) in printed
    [model] = json.loads(out.read_text())["models"]
    assert model["model"] == tiny_bundle_folder.name and model["fingerprint"] == measured.fingerprint
    assert [row["exact"] for row in model["results"]] == [vars(r.exact) for r in measured.results]
    assert [row["written"][2]["beams"] for row in model["results"]] == [50] * 12
    assert list(out.with_name("results.json.parts").glob("queries-*")) == []
    assert cli.main([*command, "--no-rerank"]) == 0
    [model] = json.loads(out.read_text())["models"]
    assert all(row["written"][0]["reranked"] is None for row in model["results"])


def test_the_command_says_what_it_left_out(
    tiny_bundle_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = bad_files(tmp_path / "root", pool=["{"])
    out = tmp_path / "results.json"
    command = ["evaluate", *files.arguments, "--json", str(out), "--bundle", str(tiny_bundle_folder)]
    assert cli.main(command) == 2
    assert "line 7 of" in capsys.readouterr().err and not out.exists()
    assert cli.main([*command, "--skip-bad"]) == 0
    assert "1 lines are left out, no usable candidate: line 7 of" in capsys.readouterr().err
    assert json.loads(out.read_text())["left_out"][0]["lines"] == 1


@pytest.mark.parametrize("written", ["", "0", "1,x", "5,-1"])
def test_beam_widths(written: str) -> None:
    assert beam_widths("50,1,5,1") == (1, 5, 50)
    with pytest.raises(UserError, match="--beams"):
        beam_widths(written)


@pytest.mark.parametrize("missing", ["--queries", "--pool", "--instructions", "--images-root", "--json"])
def test_what_is_not_there_is_named(
    missing: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", *files.arguments, "--json", str(tmp_path / "results.json")]
    place = command.index(missing) + 1
    command[place] = str(tmp_path / "nowhere" / "x")
    assert cli.main(command) == 2
    assert "nowhere" in capsys.readouterr().err


def test_figures_go_into_a_file(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", *files.arguments, "--json", "."]) == 2
    assert ". is a folder. Name a file for the figures." in capsys.readouterr().err
