"""What the benchmarks count, compare and refuse; how long things take is nothing to test."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from genius.beam import beam_search
from genius.benchmark import machine
from genius.benchmark.decode import LEVEL, OWN, SAME, Agreement, measure_decode, operations
from genius.benchmark.machine import Times, _container, free_memory
from genius.benchmark.made_up import random_decoder, random_queries, zipf_ids
from genius.benchmark.scale import measure_scale
from genius.benchmark.search import STAGES, measure_search
from genius.cli import main
from genius.decoder import DecoderConfig
from genius.engine import Engine
from genius.schema import Query, SearchOptions
from genius.trie import CodeTrie

LEVELS = (3, 8, 8, 8)
CONFIG = DecoderConfig(
    LEVELS, 12, width=16, layers=2, heads=2, head_width=8, feed_forward=24, prefixes=4, dropout=0.0
)


def test_decode_compares_ours_with_generate() -> None:
    codes = zipf_ids(300, LEVELS)
    report = measure_decode(random_decoder(CONFIG), codes, "tiny", beams=(1, 5), queries=2, half=True)
    assert report.equal
    assert len(report.rows) == 2 * (1 + 2 * 3)
    rows = {(row.way, row.dtype, row.beams): row for row in report.rows}
    assert rows[SAME, "float32", 5].agreement == Agreement(
        "generate float32",
        1.0,
        rows[SAME, "float32", 5].agreement.difference,
    )
    assert rows[OWN, "float32", 5].agreement is None
    assert rows[OWN, "bfloat16", 5].agreement.difference < 0.1
    assert set(report.per_second[f"{OWN}, float32"]) == {1, 32}
    assert json.loads(json.dumps(asdict(report)))["ids"] == 300


@pytest.mark.parametrize("worse", [Agreement("", 0.98, 0.0), Agreement("", 1.0, 0.001)])
def test_decode_says_so_when_results_differ(worse: Agreement) -> None:
    report = measure_decode(random_decoder(CONFIG), zipf_ids(50, LEVELS), "tiny", beams=(3,), queries=1)
    assert report.equal
    rows = [replace(row, agreement=worse) if row.way == SAME else row for row in report.rows]
    assert not replace(report, rows=tuple(rows)).equal


def test_operations_are_those_of_a_search() -> None:
    """Torch counts the same products, and the small ones of attention among a beam's codes, left out here."""
    levels, width = (3, 64, 64, 64, 64), 20
    config = DecoderConfig(
        levels, 32, width=64, layers=2, heads=4, head_width=16, feed_forward=128, prefixes=8
    )
    decoder = random_decoder(config)
    trie = CodeTrie.build(zipf_ids(5000, levels), levels)
    beam_search(decoder, trie, random_queries(1, 32), width)
    with FlopCounterMode(display=False) as counter:
        beam_search(decoder, trie, random_queries(1, 32), width, normalizer="level")
    assert 1 <= counter.get_total_flops() / operations(config, width) < 1.1


def test_zipf_ids() -> None:
    ids = zipf_ids(200_000, (3, 4096, 5))
    assert ids.dtype == np.uint16 and (ids < (3, 4096, 5)).all()
    for level, size in enumerate((3, 4096, 5)):
        counts = np.sort(np.bincount(ids[:, level], minlength=size))[::-1][:5]
        ratio = counts / counts[0]
        expected = np.ones(3) if level == 0 else 1 / np.arange(1, 6)
        np.testing.assert_allclose(ratio, expected, rtol=0.1)
    assert np.array_equal(ids, zipf_ids(200_000, (3, 4096, 5)))


def test_scale_counts_what_it_builds() -> None:
    report = measure_scale(random_decoder(CONFIG), (200, 3000), width=5, queries=2, faiss_most=200)
    small, large = report.sizes
    assert (small.candidates, large.candidates) == (200, 3000)
    assert large.unique_ids == len(np.unique(zipf_ids(3000, LEVELS, seed=3000), axis=0))
    trie = CodeTrie.build(zipf_ids(3000, LEVELS, seed=3000), LEVELS)
    assert large.bytes_each == pytest.approx(trie.nbytes / 3000, rel=0.05)
    assert large.build_memory >= 1
    assert set(small.search) == {OWN, LEVEL, "faiss"} and set(large.search) == {OWN, LEVEL}
    assert report.flat[OWN] == pytest.approx(large.search[OWN].p50 / small.search[OWN].p50, abs=1e-3)


def test_search_is_measured_stage_by_stage(tiny_engine: Engine) -> None:
    report = measure_search(tiny_engine, [Query(text="red circle")] * 3, SearchOptions(beams=5))
    assert report.candidates == 90 and report.beams == 5
    assert set(report.stages) == set(STAGES)
    assert report.stages["total"].count == 2


def test_times() -> None:
    assert Times.of([0.003, 0.001, 0.002]) == Times(2.0, 2.9, 2.98, 1.0, 3)


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _container(tmp_path) is None, "there is none"
    for name, text in (("max", "1000"), ("current", "700"), ("stat", "anon 5\ninactive_file 50\nfile 9")):
        (tmp_path / f"memory.{name}").write_text(text + "\n")
    assert _container(tmp_path) == 350
    monkeypatch.setattr(machine, "_container", lambda: 350)
    assert free_memory() == 350
    (tmp_path / "memory.max").write_text("max\n")
    assert _container(tmp_path) is None


def test_decode_from_the_command_line(
    tiny_bundle_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "decode.json"
    asked = ["--bundle", str(tiny_bundle_folder), "--ids", "60", "--beams", "1", "3", "--queries", "1"]
    assert main(["benchmark", "decode", *asked, "--out", str(out)]) == 0
    assert "equal to generate: yes" in capsys.readouterr().out
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["machine"]["threads"] == torch.get_num_threads()
    assert [row["beams"] for row in report["rows"]] == [1] * 4 + [3] * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["decode", "--queries", "0"], "at least 1"),
        (["decode", "--beams", "10", "0"], "at least 1"),
        (["scale", "--sizes", "-5"], "at least 1"),
        (["search", "--threads", "0"], "at least 1"),
        (["scale", "--out", "nowhere/report.json"], "create it first"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", *arguments]) == 2
    assert message in capsys.readouterr().err
