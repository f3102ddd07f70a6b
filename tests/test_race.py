"""The race: what is compared with what, how it is cut into slices, and how it is kept. No times."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html import escape, unescape
from pathlib import Path

import numpy as np
import pytest
import torch

from genius.benchmark import race as races
from genius.benchmark import record, rivals, summary
from genius.benchmark.course import WARM_UP, Course, questions_of
from genius.benchmark.heat import Heat
from genius.benchmark.machine import Machine, Times
from genius.benchmark.pace import Pace, Stopped
from genius.benchmark.padding import Cloud, Padding
from genius.benchmark.race import check_memory, contestants, race, race_made_up, rotated
from genius.benchmark.record import ADDRESSES, FLAT, GENIUS, HNSW, IVF, Race, RacePoint, RaceSettings
from genius.cli import main
from genius.decoder import DecoderConfig
from genius.engine import Engine
from genius.schema import Modality, SearchOptions, UserError
from genius.ui import race_view, speed
from genius.ui.ask import Ask
from genius.ui.handle import EngineHandle

SMALL = RaceSettings(
    sizes=(60, 200), methods=(GENIUS, ADDRESSES, FLAT, IVF, HNSW), beams=(5,), queries=8, top_k=4
)


@pytest.fixture(scope="module")
def finished(tiny_engine: Engine) -> Race:
    """A race beyond the collection's 90 candidates."""
    torch.set_num_threads(1)
    return list(race(tiny_engine, SMALL))[-1]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Races are remembered here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(record, "SHIPPED", tmp_path / "assets" / "race.json")
    return tmp_path


# ---- what is measured


def test_every_method_is_measured_at_every_size(finished: Race) -> None:
    assert finished.finished and not finished.notes
    assert finished.real == 90 and finished.queries == 8 and finished.labelled == 8
    assert {(p.size, p.method, p.beams) for p in finished.points} == {
        (size, method, beams)
        for size in (60, 200)
        for method, beams in ((GENIUS, 5), (ADDRESSES, 5), (FLAT, None), (IVF, None), (HNSW, None))
    }
    for point in finished.points:
        assert point.real == min(point.size, 90)
        assert point.search.count == 8 and point.whole is not None
        assert point.whole.p50 > point.search.p50 >= point.search.least
        assert point.search.p50 <= point.search.p95 <= point.search.p99
        assert 1 <= point.batch <= 8 and point.batched > 0 and point.build >= 0


def test_exact_search_finds_what_brute_force_finds(finished: Race, tiny_engine: Engine) -> None:
    assert [point.exact for point in finished.points if point.method == FLAT] == [1.0, 1.0]
    course = Course.of(tiny_engine, 8, Pace())
    heat = Heat.of(course, SMALL, course.vectors, course.codes, Pace())
    scores = course.asked.clip @ course.vectors.astype(np.float32).T
    np.testing.assert_allclose(heat.best, np.sort(scores, axis=1)[:, -4], atol=1e-6)
    few = Heat.of(course, SMALL, course.vectors[:3], course.codes[:3], Pace())
    np.testing.assert_allclose(few.best, scores[:, :3].min(1), atol=1e-6)


def test_ours_finds_what_the_engine_finds(tiny_engine: Engine) -> None:
    """On the collection itself, the race searches as the engine does, candidate by candidate."""
    course = Course.of(tiny_engine, 8, Pace())
    heat = Heat.of(course, SMALL, course.vectors, course.codes, Pace())
    queries = [question.query for question in questions_of(tiny_engine, 8 + WARM_UP)]
    vectors = tiny_engine.index.vectors
    for method, rerank in ((GENIUS, True), (ADDRESSES, False)):
        found = heat.runner(method, 5)(slice(0, len(queries)))
        results = tiny_engine.search(queries, SearchOptions(top_k=4, beams=5, rerank=rerank, explain=False))
        for rows, result in zip(found, results, strict=True):
            theirs = [vectors[tiny_engine.index.row(hit.candidate.id)] for hit in result.hits]
            assert len(rows) == len(theirs)
            if rerank:
                np.testing.assert_array_equal(course.vectors[rows], theirs)
            else:  # candidates that share an address may come in another order
                ids = [hit.semantic_id for hit in result.hits]
                assert [tuple(codes) for codes in course.codes[rows].tolist()] == ids


def test_labels_are_the_pictures_of_a_caption(tiny_engine: Engine) -> None:
    questions = questions_of(tiny_engine, 1000)
    assert len(questions) == 30 == len({question.query.text for question in questions})
    candidates = tiny_engine.index.candidates
    for question in questions:
        [row] = question.answers
        assert candidates[row].modality is Modality.IMAGE
        assert candidates[row].image.stem.replace("-", " ") == question.query.text
    course = Course.of(tiny_engine, 8, Pace())
    assert {row for rows in course.asked.answers for row in rows} == set(range(8 + WARM_UP))
    assert len(np.unique(course.vectors, axis=0)) == len(np.unique(tiny_engine.index.vectors, axis=0))


def test_without_captions_pictures_ask_and_nobody_knows_the_answer(tiny_engine: Engine) -> None:
    pictures = [c.id for c in tiny_engine.candidates if c.modality is Modality.IMAGE]
    questions = questions_of(tiny_engine.within(pictures), 5)
    assert all(question.query.image is not None and not question.answers for question in questions)
    texts = [c.id for c in tiny_engine.candidates if c.modality is Modality.TEXT]
    assert all(question.query.text for question in questions_of(tiny_engine.within(texts), 5))
    with pytest.raises(UserError, match="larger collection"):
        questions_of(tiny_engine.within(texts[:2]), 5)


def test_bytes_are_those_that_are_kept(finished: Race) -> None:
    by = {(p.method, p.size): p.nbytes for p in finished.points}
    for size in (60, 200):
        assert by[GENIUS, size] - by[ADDRESSES, size] == size * finished.dim * 2, "vectors in half precision"
        assert by[FLAT, size] == size * finished.dim * 4
        assert by[ADDRESSES, size] < by[FLAT, size] < by[IVF, size]
        assert by[HNSW, size] > by[FLAT, size] + size * rivals.LINKS * 4


# ---- padding


def test_padding_has_the_mean_and_covariance_it_is_like() -> None:
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((4000, 6)) @ rng.standard_normal((6, 6)) + 3).astype(np.float32)
    drawn = Cloud.of(x, 1.0).draw(200_000, rng)
    np.testing.assert_allclose(drawn.mean(0), x.mean(0), atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(x.T), atol=0.02 * np.abs(np.cov(x.T)).max())


def test_padding_is_of_the_same_kinds_and_coded_by_the_quantizer(tiny_engine: Engine) -> None:
    index, quantizer = tiny_engine.index, tiny_engine.bundle.quantizer
    codes = index.codes(range(len(index)))
    padding = Padding.like(index.vectors, codes, quantizer)
    assert sum(cloud.share for cloud in padding.clouds) == pytest.approx(1)
    vectors, drawn = padding.draw(3000, 7)
    assert vectors.shape == (3000, 16) and vectors.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1, atol=2e-3)
    assert drawn.shape == (3000, 4) and (drawn < quantizer.config.levels).all()
    shares = [np.bincount(some[:, 0], minlength=3) / len(some) for some in (codes, drawn)]
    np.testing.assert_allclose(*shares, atol=0.12)
    for some in zip(padding.draw(50, 7), padding.draw(50, 7), strict=True):
        np.testing.assert_array_equal(*some)
    asked: list[torch.Tensor] = []

    def encode(z: torch.Tensor) -> torch.Tensor:
        asked.append(z)
        return quantizer.encode(z)

    class Watched:
        codebook = quantizer.codebook

    watched = Watched()
    watched.encode = encode  # type: ignore[attr-defined]
    _, own = replace(padding, quantizer=watched).draw(64, 3)  # type: ignore[arg-type]
    np.testing.assert_array_equal(own, quantizer.encode(asked[0]).numpy())
    assert torch.allclose(asked[0].norm(dim=1), torch.ones(64))


# ---- how it runs


def test_another_method_begins_at_every_size(tiny_engine: Engine) -> None:
    assert (
        rotated("abc", 0) == ["a", "b", "c"] and rotated("abc", 4) == ["b", "c", "a"] and not rotated("", 3)
    )
    settings = replace(SMALL, methods=(GENIUS, FLAT, IVF), queries=2)
    *_, last = race(tiny_engine, settings)
    assert [point.method for point in last.points] == [GENIUS, FLAT, IVF, FLAT, IVF, GENIUS]


def test_candidates_are_the_same_whatever_the_sizes(tiny_engine: Engine) -> None:
    course = Course.of(tiny_engine, 8, Pace())
    once, bit_by_bit = races.Field(course, 1500), races.Field(course, 1500)
    once.fill(1500, Pace())
    for size in (50, 100, 200, 1500):
        bit_by_bit.fill(size, Pace())
    np.testing.assert_array_equal(once.vectors[:1500], bit_by_bit.vectors[:1500])
    np.testing.assert_array_equal(once.codes[:1500], bit_by_bit.codes[:1500])
    np.testing.assert_array_equal(once.codes[:90], course.codes)
    assert len(np.unique(once.vectors[90:1500], axis=0)) == 1410


def test_it_grows_point_by_point(tiny_engine: Engine) -> None:
    notes: list[str] = []
    settings = replace(SMALL, sizes=(20,), methods=(FLAT, GENIUS), queries=2)
    growing = list(race(tiny_engine, settings, note=notes.append))
    assert [len(each.points) for each in growing] == [0, 1, 2, 2]
    assert [each.finished for each in growing] == [False, False, False, True]
    assert any("GENIUS, re-ranked, 5 beams" in note for note in notes)


def test_it_stops_between_slices_and_lets_go_of_its_turn(tiny_engine: Engine) -> None:
    held = 0

    @contextmanager
    def turn() -> Iterator[None]:
        nonlocal held
        held += 1
        yield
        held -= 1

    asked = 0

    def stop() -> bool:
        nonlocal asked
        assert held == 0, "nothing is held while it is asked"
        asked += 1
        return asked > 12

    growing = list(race(tiny_engine, SMALL, stop, turn=turn))
    assert asked == 13 and held == 0
    assert not growing or not growing[-1].finished


def test_a_pace_gives_way_and_stops() -> None:
    done: list[int] = []
    Pace().each(range(5), done.append)
    assert done == [0, 1, 2, 3, 4]
    parts: list[slice] = []
    assert Pace().parts(10, lambda rows: parts.append(rows) or 0.0, first=3) == 0.0
    assert [(part.start, part.stop) for part in parts] == [(0, 3), (3, 10)]
    slow: list[slice] = []
    Pace().parts(4, lambda rows: slow.append(rows) or 1.0, first=2)
    assert [(part.start, part.stop) for part in slow] == [(0, 2), (2, 3), (3, 4)]
    with pytest.raises(Stopped):
        Pace(stop=lambda: True).each([1], done.append)


def test_memory_is_refused_before_it_is_taken(tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(races, "free_memory", lambda: 10**9)
    monkeypatch.setattr(races, "Field", lambda *_: pytest.fail("it was allocated"))
    with pytest.raises(UserError, match=r"1,000,000,000 candidates.* ([\d,]+) candidates fit") as refused:
        next(race(tiny_engine, replace(SMALL, sizes=(1000, 10**9))))
    fits = int(str(refused.value).split(" candidates fit")[0].split()[-1].replace(",", ""))
    check_memory(replace(SMALL, sizes=(fits,)), 16, 4)
    with pytest.raises(UserError):
        check_memory(replace(SMALL, sizes=(int(1.2 * fits),)), 16, 4)
    monkeypatch.setattr(races, "free_memory", lambda: None)
    check_memory(replace(SMALL, sizes=(10**9,)), 16, 4)


def test_memory_is_given_back(tiny_engine: Engine) -> None:
    growing = race(tiny_engine, replace(SMALL, queries=2))
    next(growing)
    next(growing)
    inner = growing.gi_yieldfrom.gi_frame.f_locals["field"]  # type: ignore[attr-defined]
    assert len(inner.vectors) == 90 + races.BLOCK
    growing.close()
    assert len(inner.vectors) == len(inner.codes) == 0


def test_what_this_faiss_cannot_do_is_left_out(tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(rivals.faiss, "IndexHNSWFlat")
    *_, last = race(tiny_engine, replace(SMALL, sizes=(20,), methods=(HNSW, FLAT, GENIUS), queries=2))
    assert [point.method for point in last.points] == [FLAT, GENIUS] and last.finished
    [note] = last.notes
    assert "Faiss HNSW was left out at 20 candidates" in note


def test_large_collections_may_be_left_to_genius() -> None:
    settings = replace(SMALL, methods=(GENIUS, FLAT), faiss_most=100)
    assert contestants(settings, 100) == [(GENIUS, 5), (FLAT, None)]
    assert contestants(settings, 101) == [(GENIUS, 5)]


def test_made_up_vectors_tell_speed_and_no_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    config = DecoderConfig(
        (3, 8, 8), 12, width=16, layers=1, heads=2, head_width=8, feed_forward=24, prefixes=4
    )
    made_up = Course.made_up
    monkeypatch.setattr(Course, "made_up", lambda queries: made_up(queries, config))
    *_, last = race_made_up(replace(SMALL, sizes=(300,), methods=(GENIUS, FLAT), queries=3))
    ours, theirs = last.points
    assert (ours.exact, ours.labelled, ours.whole) == (None, None, None)
    assert theirs.exact == 1.0 and last.real == 0 and last.dim == 12 and last.encode is None


# ---- what is said about it


def _point(size: int, method: str, p50: float, beams: int | None = None) -> RacePoint:
    times = Times(p50, 2 * p50, 3 * p50, p50 / 2, 100)
    return RacePoint(size, min(size, 90), method, beams, times, times, 1.0, 2.0, 8, 0.9, None, 10, 0.1)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ((1.0, 100.0), (1000, True)),  # equal distances on both sides, in logarithms: the middle
        ((1.0, 5.0), (None, False)),
        ((20.0, 50.0), (None, True)),
        ((20.0, 5.0), (None, False)),
        ((1.0, 10.0), (10_000, True)),
    ],
)
def test_where_lines_cross(theirs: tuple[float, float], expected: tuple[int | None, bool]) -> None:
    ours = [_point(100, GENIUS, 10.0, 50), _point(10_000, GENIUS, 10.0, 50)]
    other = [_point(10_000, FLAT, theirs[1]), _point(100, FLAT, theirs[0])]
    crossing = summary.crossing(ours, other)
    assert crossing is not None and (crossing.at, crossing.ahead) == expected
    assert crossing.largest == 10_000
    assert summary.crossing(ours, [_point(7, FLAT, 1.0)]) is None


def test_the_sentences_say_the_crossing_the_growth_and_the_recall(finished: Race) -> None:
    ours = [_point(size, GENIUS, 10.0, beams) for beams in (10, 50) for size in (100, 10_000)]
    flat = [_point(100, FLAT, 1.0), _point(10_000, FLAT, 100.0)]
    race = replace(finished, points=(*ours, *flat, _point(100, HNSW, 0.1), _point(10_000, HNSW, 0.2)))
    first, own, theirs, *rest = summary.sentences(race)
    assert (
        first == "GENIUS, re-ranked, 50 beams, overtakes exact search (Faiss Flat) at about 1,000 candidates."
    )
    assert own.startswith("GENIUS, re-ranked, 50 beams: 10 ms at 100 candidates, 10 ms at 10,000, 1 times")
    assert "90% and 90%" in own and theirs.startswith("Exact search") and "100 times as long" in theirs
    assert any(
        sentence.startswith("No crossing in this range: at 10,000 candidates Faiss HNSW") for sentence in rest
    )
    assert len(rest) == 4
    assert summary.sentences(replace(race, points=())) == ()
    assert summary.sentences(replace(race, points=tuple(flat)))[0].startswith("Exact search")


def test_a_race_is_kept_and_read_again(finished: Race, own_cache: Path) -> None:
    assert record.from_json(record.to_json(finished)) == finished
    assert record.recorded() is None
    record.SHIPPED.parent.mkdir()
    record.SHIPPED.write_text(record.to_json(replace(finished, model="shipped")))
    shipped, own = record.recorded()
    assert shipped.model == "shipped" and not own
    record.keep(finished)
    assert record.recorded() == (finished, True)
    record.own_record().write_text("{")
    assert record.recorded()[0].model == "shipped", "what is damaged is passed over"


@pytest.mark.parametrize(
    "damage",
    [
        lambda race: "[]",
        lambda race: race | {"format": 99},
        lambda race: race | {"machine": None},
        lambda race: race | {"extra": 1},
        lambda race: race | {"points": [race["points"][0] | {"method": "x"}]},
        lambda race: race | {"points": [race["points"][0] | {"size": "1"}]},
        lambda race: race | {"points": {"0": 1}},
        lambda race: race | {"finished": 1},
    ],
)
def test_what_is_no_race_is_not_read(finished: Race, damage) -> None:
    with pytest.raises(UserError, match="benchmark race"):
        record.from_json(json.dumps(damage(json.loads(record.to_json(finished)))))


def test_as_a_table_for_spreadsheets(finished: Race) -> None:
    rows = list(csv.DictReader(io.StringIO(record.to_csv(finished))))
    assert len(rows) == len(finished.points)
    assert float(rows[0]["search_p50"]) == finished.points[0].search.p50
    assert rows[0]["label"] == finished.points[0].label and rows[-1]["whole_count"] == "8"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"sizes": ()}, "at least one size"),
        ({"sizes": (5,)}, "10 to"),
        ({"methods": ("flat", "nope")}, "no method 'nope'"),
        ({"beams": ()}, "beam width for GENIUS"),
        ({"beams": (0,)}, "1 to 1,000"),
        ({"queries": 0}, "number of queries"),
        ({"top_k": 10**6}, "number of results"),
    ],
)
def test_nonsense_is_refused(wrong: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        RaceSettings(**wrong)


# ---- the page


def test_the_page_shows_what_the_command_wrote(finished: Race) -> None:
    chart, about, html = speed.shown(record.from_json(record.to_json(finished)), own=False)
    drawn = {(line["method"], line["beams"]): line for line in json.loads(chart)["lines"]}
    for line, points in finished.lines().items():
        assert drawn[line]["size"] == [point.size for point in points]
        assert drawn[line]["search"] == [point.search.p50 for point in points]
        assert drawn[line]["whole"] == [point.whole.p50 for point in points]
    for sentence in summary.sentences(finished):
        assert escape(sentence, quote=True) in html
    kept = html.split('data-file="race.json">')[1].split("</pre>")[0]
    assert record.from_json(unescape(kept)) == finished
    assert "another machine" in about and "90 real candidates" in about and "synthetic" in about
    assert "This machine" in speed.shown(finished, own=True)[1]


def test_the_table_names_each_method_once(finished: Race) -> None:
    html = race_view.result(finished)
    for points in finished.lines().values():
        assert html.count(f'rowspan="{len(points)}">{points[0].label}</th>') == 1
    assert html.count("<tbody") == len(finished.lines())
    assert html.count("</tr>") == 1 + len(finished.points)


def test_other_peoples_text_is_escaped(finished: Race) -> None:
    evil = '</pre><img src=x onerror="alert(1)">'
    race = replace(finished, collection=evil, model=evil, time=evil, device=evil, dtype=evil, notes=(evil,))
    race = replace(race, machine=replace(race.machine, processor=evil, versions={evil: evil}))
    race = replace(race, parameters={evil: evil})
    pages = [
        *speed.shown(race, own=False)[1:],
        race_view.doing(evil, 1, 2),
        race_view.said(evil),
        race_view.failed(evil),
    ]
    assert not any("<img" in page for page in pages)


def test_what_is_chosen_is_checked() -> None:
    assert speed.chosen([10_000, 1000], [GENIUS], [50, 10]).sizes == (1000, 10_000)
    for sizes, methods, beams in (([7], [GENIUS], [10]), ([1000], [GENIUS], [7]), ([1000], ["x"], [10])):
        with pytest.raises(UserError):
            speed.chosen(sizes, methods, beams)


def test_a_borrowed_gpu_is_not_raced_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACES_ZERO_GPU", "1")
    with pytest.raises(UserError, match="machine of its own"):
        speed.chosen([1000], [GENIUS], [10])


def test_one_race_at_a_time(tiny_engine: Engine) -> None:
    handle = EngineHandle(lambda: tiny_engine, {}).start()
    races = speed.Races(handle)
    first = races.run("one", SMALL)
    with handle.aside():  # however fast the machine is, the first race cannot end meanwhile
        assert isinstance(next(first), str)
        second = races.run("two", replace(SMALL, sizes=(20,), methods=(FLAT,), queries=2))
        assert next(second) == speed.WAITING
        with pytest.raises(UserError, match="running already"):
            next(races.run("one", SMALL))
        races.stop("one")
    told = list(first)
    assert not any(isinstance(each, Race) and each.finished for each in told)
    *_, last = (each for each in second if isinstance(each, Race))
    assert last.finished and len(last.points) == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "race"]


def test_a_visitor_who_leaves_ends_the_race(tiny_engine: Engine) -> None:
    races = speed.Races(EngineHandle(lambda: tiny_engine, {}).start())
    watched = races.run("one", SMALL)
    next(watched)
    watched.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "race"]
    again = list(races.run("one", replace(SMALL, sizes=(20,), methods=(FLAT,), queries=2)))
    assert again[-1].finished


def test_a_race_that_does_not_fit_says_so_on_the_page(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(races, "free_memory", lambda: 1000)
    watched = speed.Races(EngineHandle(lambda: tiny_engine, {}).start()).run("one", SMALL)
    with pytest.raises(UserError, match="candidates fit"):
        list(watched)


def test_a_finished_race_is_remembered_and_a_stopped_one_is_not(finished: Race) -> None:
    begun = replace(finished, points=finished.points[:1], finished=False)
    *_, last = speed.follow(iter(["encoding", begun]), SMALL)
    assert "Stopped" in last[0] and record.recorded() is None
    steps = list(speed.follow(iter(["encoding", begun, "more", finished]), SMALL))
    assert "1 of 10 points" in steps[2][0] and "Finished" in steps[-1][0]
    assert record.recorded() == (finished, True)


def test_a_search_waits_for_no_more_than_a_slice(tiny_engine: Engine) -> None:
    handle = EngineHandle(lambda: tiny_engine, {}).start()
    order: list[str] = []

    def search() -> None:
        handle.search(Ask(text="red circle"))
        order.append("search")

    visitor = threading.Thread(target=search)
    with handle.aside():
        visitor.start()
        visitor.join(0.3)
        order.append("slice")
    visitor.join()
    assert order == ["slice", "search"]


# ---- the command


def test_the_command_prints_and_writes_what_was_measured(
    tiny_bundle_folder: Path, tiny_pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "race.json"
    asked = ["--bundle", str(tiny_bundle_folder), "--collection", str(tiny_pictures), "--sizes", "20", "120"]
    asked += ["--methods", "genius", "flat", "--beams", "3", "--queries", "4", "--out", str(out)]
    assert main(["benchmark", "race", *asked]) == 0
    printed = capsys.readouterr().out
    written = record.from_json(out.read_text(encoding="utf-8"))
    assert written.finished and len(written.points) == 4
    assert record.recorded() == (written, True), "it is this machine's last race"
    for point in written.points:
        assert point.label in printed and summary.digits(point.search.p50) in printed
    assert "120" in printed and ("faster" in printed or "crossing" in printed)
    assert written.machine == Machine(**vars(written.machine))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "3"], "10 to"),
        (["--methods", "magic"], "no method"),
        (["--beams", "0"], "at least 1"),
        (["--queries", "0"], "at least 1"),
        (["--out", "nowhere/race.json"], "create it first"),
    ],
)
def test_the_command_refuses_at_once(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", "race", *arguments]) == 2
    assert message in capsys.readouterr().err
