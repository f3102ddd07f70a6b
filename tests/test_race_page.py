"""A race on the page and as a command: what it shows and writes, one at a time, stopped, escaped, refused."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from html import escape, unescape
from pathlib import Path

import pytest
from tiny import SMALL_RACE

from genius.benchmark import race as races
from genius.benchmark import record, summary
from genius.benchmark.machine import Machine
from genius.benchmark.record import FLAT, GENIUS, Race
from genius.cli import main
from genius.engine import Engine
from genius.schema import UserError
from genius.ui import race_view, speed
from genius.ui.ask import Ask
from genius.ui.handle import EngineHandle

pytestmark = pytest.mark.usefixtures("own_cache")


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
    first = races.run("one", SMALL_RACE)
    with handle.aside():  # however fast the machine is, the first race cannot end meanwhile
        assert isinstance(next(first), str)
        second = races.run("two", replace(SMALL_RACE, sizes=(20,), methods=(FLAT,), queries=2))
        assert next(second) == speed.WAITING
        with pytest.raises(UserError, match="running already"):
            next(races.run("one", SMALL_RACE))
        races.stop("one")
    told = list(first)
    assert not any(isinstance(each, Race) and each.finished for each in told)
    *_, last = (each for each in second if isinstance(each, Race))
    assert last.finished and len(last.points) == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "race"]


def test_a_visitor_who_leaves_ends_the_race(tiny_engine: Engine) -> None:
    races = speed.Races(EngineHandle(lambda: tiny_engine, {}).start())
    watched = races.run("one", SMALL_RACE)
    next(watched)
    watched.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "race"]
    again = list(races.run("one", replace(SMALL_RACE, sizes=(20,), methods=(FLAT,), queries=2)))
    assert again[-1].finished


def test_a_race_that_does_not_fit_says_so_on_the_page(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(races, "free_memory", lambda: 1000)
    watched = speed.Races(EngineHandle(lambda: tiny_engine, {}).start()).run("one", SMALL_RACE)
    with pytest.raises(UserError, match="candidates fit"):
        list(watched)


def test_a_finished_race_is_remembered_and_a_stopped_one_is_not(finished: Race) -> None:
    begun = replace(finished, points=finished.points[:1], finished=False)
    *_, last = speed.follow(iter(["encoding", begun]), SMALL_RACE)
    assert "Stopped" in last[0] and record.recorded() is None
    steps = list(speed.follow(iter(["encoding", begun, "more", finished]), SMALL_RACE))
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
