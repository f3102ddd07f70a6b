"""Pairs from any encoder: of our own data and of M-BEIR's files; a run folder keeps to what made them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mbeir_files import Files, write_files, write_lines
from tiny import CAPTIONS, make_tiny_encoder, make_tiny_pictures
from torch import Tensor

from genius import cli
from genius.checkpoint import Bundle, load_bundle
from genius.encoder import CONFIG_FILE, Encoder
from genius.evaluation import pairs as mbeir
from genius.evaluation.problems import Problems
from genius.images import open_image
from genius.instructions import TASKS, format_text, instructed_text
from genius.schema import Modality, UserError
from genius.training import encoded as encoded_module
from genius.training import stages
from genius.training.corpus import Item, Kind
from genius.training.encoded import PAIRS_FILE, Corpus, PictureEncoder, encoder_folder, keep_pairs, width_of
from genius.training.pairs import Pairs, draw

ALIKE = 0.99  # texts are encoded in bfloat16 where the processor can
TWO_SETS = {1: CAPTIONS[:6], 9: CAPTIONS[6:10]}


@pytest.fixture(scope="session")
def encoder(tiny_bundle_folder: Path) -> Path:
    """The tiny bundle's encoder, for reading only."""
    return encoder_folder(tiny_bundle_folder)


@pytest.fixture(autouse=True)
def _usual_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "keep_freed_memory", lambda: None)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Four drawings, two of the same thing, and what has no picture."""
    folder = make_tiny_pictures(tmp_path / "pictures", CAPTIONS[:4])
    items = []
    for n, caption in enumerate(CAPTIONS[:4]):
        colour, picture = caption.split()[0], folder / f"{caption.replace(' ', '-')}.png"
        items.append(Item(f"drawings/{n}", Kind.DRAWING, picture, (caption, f"a {caption}"), colour))
    return Corpus([*items, Item("imagenet/1", Kind.CLASS, None, ("goldfish",), "goldfish")], {}, seed=3)


def questions(files: Files, problems: Problems | None = None, seed: int = 0) -> mbeir.Files:
    problems = problems or Problems()
    bar = lambda _: nullcontext(lambda *_: None)  # noqa: E731
    return mbeir.Files(files.queries, files.pools, files.instructions, files.root, seed, problems, bar)


def nearly(found: Tensor, wanted: Tensor) -> None:
    """The same but for half precision, rows of zeros included."""
    assert torch.equal(found.any(dim=1), wanted.any(dim=1))
    some = wanted.any(dim=1)
    assert F.cosine_similarity(found[some].float(), wanted[some], dim=-1).min() > ALIKE


# ---- our own data ----


def test_pairs_are_what_the_encoder_says(corpus: Corpus, encoder: Path, tmp_path: Path) -> None:
    keep_pairs(corpus, encoder, tmp_path / "run")
    pairs, loaded = Pairs.load(tmp_path / "run" / PAIRS_FILE), Encoder.load(encoder)
    items = corpus.items[:4]
    drawn = draw(items, {}, seed=3)
    pictures = loaded.encode_images([open_image(item.image) for item in items])
    shown = [pictures[place] if place >= 0 else torch.zeros(loaded.dim) for place in drawn.picture.tolist()]
    nearly(pairs.query_image, torch.stack(shown))
    said = [drawn.texts[place] for place in drawn.query.tolist()]
    nearly(pairs.query_text, loaded.encode([None] * len(said), said).text)
    own = loaded.encode_texts([drawn.texts[place] for place in drawn.own.tolist()])
    named = loaded.encode_texts([format_text(items[place].texts[0]) for place in drawn.item.tolist()])
    for row in range(len(pairs)):
        wanted, target = TASKS[pairs.task[row]].target, pairs.target[row]
        assert pairs.modality[target] == wanted
        image, text = pairs.pool_image[target].float(), pairs.pool_text[target].float()
        if wanted is not Modality.TEXT:
            assert F.cosine_similarity(image, pictures[drawn.item[row]], dim=0) > ALIKE
        if wanted is not Modality.IMAGE:
            wording = own if wanted is Modality.TEXT else named
            assert F.cosine_similarity(text, wording[row], dim=0) > ALIKE
    assert pairs.dim == width_of(encoder) == loaded.dim
    assert not (tmp_path / "run" / "features").exists()


def test_pictures_are_encoded_once_even_when_interrupted(
    corpus: Corpus, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoded_module, "PART", 2)
    pictures = [item.image for item in corpus.items[:4]]
    loaded, tried = Encoder.load(encoder), []

    def encode(images: list, original: Callable = loaded.encode_images) -> Tensor:
        tried.append(len(images))
        if len(tried) == 2:
            raise KeyboardInterrupt
        return original(images)

    monkeypatch.setattr(loaded, "encode_images", encode)
    encode_pictures = PictureEncoder(loaded, "tiny", tmp_path / "features")
    with pytest.raises(KeyboardInterrupt):
        encode_pictures(pictures, print)
    features, opened = encode_pictures(pictures, print)
    assert tried == [2, 2, 2] and opened.all()
    nearly(features, Encoder.load(encoder).encode_images([open_image(picture) for picture in pictures]))


def test_a_run_folder_belongs_to_one_encoder_and_one_corpus(
    corpus: Corpus, encoder: Path, tmp_path: Path
) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    keep_pairs(corpus, encoder, run)
    written = (run / PAIRS_FILE).stat().st_mtime_ns
    keep_pairs(corpus, encoder, run)
    assert (run / PAIRS_FILE).stat().st_mtime_ns == written
    with pytest.raises(UserError, match="other data, or with another seed"):
        keep_pairs(Corpus(corpus.items, {}, seed=4), encoder, run)
    with pytest.raises(UserError, match="another encoder"):
        keep_pairs(corpus, make_tiny_encoder(other, seed=1), run)
    wider = json.loads((shutil.copytree(encoder, tmp_path / "wider") / CONFIG_FILE).read_text())
    wider["model_cfg"]["embed_dim"] = 24
    (tmp_path / "wider" / CONFIG_FILE).write_text(json.dumps(wider))
    with pytest.raises(UserError, match="another encoder"):
        keep_pairs(corpus, tmp_path / "wider", run)
    Pairs.load(run / PAIRS_FILE).save(run / PAIRS_FILE)  # as stage 1 leaves them
    with pytest.raises(UserError, match="another encoder"):
        keep_pairs(corpus, encoder, run)


def test_a_picture_that_cannot_be_opened_is_named(corpus: Corpus, encoder: Path, tmp_path: Path) -> None:
    corpus.items[2].image.write_bytes(b"no picture")
    with pytest.raises(UserError, match="red-triangle.png cannot be opened"):
        keep_pairs(corpus, encoder, tmp_path / "run")
    with pytest.raises(UserError, match="nothing to learn from"):
        keep_pairs(Corpus(corpus.items[4:], {}, 0), encoder, tmp_path / "run")


def test_an_encoder_is_a_folder_or_in_a_bundle(tiny_bundle_folder: Path, tmp_path: Path) -> None:
    assert encoder_folder(tiny_bundle_folder) == tiny_bundle_folder / "encoder"
    assert encoder_folder(tiny_bundle_folder / "encoder") == tiny_bundle_folder / "encoder"
    with pytest.raises(UserError, match="holds no encoder. Give a bundle, or an open_clip folder"):
        encoder_folder(tmp_path)


# ---- M-BEIR's files ----


def test_mbeir_pairs_point_at_their_positives(encoder: Path, tmp_path: Path) -> None:
    files = write_files(tmp_path / "root", TWO_SETS)
    keep_pairs(questions(files), encoder, tmp_path / "run")
    pairs, loaded = Pairs.load(tmp_path / "run" / PAIRS_FILE), Encoder.load(encoder)
    lines = [json.loads(line) for file in files.queries for line in file.read_text().splitlines()]
    known = {
        row["did"]: row for file in files.pools for row in map(json.loads, file.read_text().splitlines())
    }
    table = [line.split("\t") for line in files.instructions.read_text().splitlines()[1:]]
    assert len(pairs) == len(lines) == 30
    used = set()
    for row, line in enumerate(lines):
        answer, target = known[line["pos_cand_list"][0]], pairs.target[row]
        task = TASKS[pairs.task[row]]
        assert task.id == line["task_id"] and pairs.modality[target] == task.target
        for place, feature in (
            (line["query_img_path"], pairs.query_image[row]),
            (answer["img_path"] if task.target is Modality.IMAGE else None, pairs.pool_image[target]),
        ):
            assert bool(feature.any()) == (place is not None)
            if place is not None:
                seen = loaded.encode_images([open_image(files.root / place)])[0]
                assert F.cosine_similarity(feature.float(), seen, dim=0) > ALIKE
        if task.target is Modality.TEXT:
            said = loaded.encode_texts([format_text(answer["txt"])])[0]
            assert F.cosine_similarity(pairs.pool_text[target].float(), said, dim=0) > ALIKE
        [wordings] = [
            cells[4:]
            for cells in table
            if cells[3] == line["qid"].split(":")[0] and cells[:2] == _written(task)
        ]
        asked = loaded.encode_texts([instructed_text(one, line["query_txt"] or "") for one in wordings])
        alike = F.cosine_similarity(pairs.query_text[row].float()[None], asked, dim=-1)
        assert alike.max() > ALIKE
        used.add((task.id, int(alike.argmax())))
    assert len(used) == 6  # both wordings of all three tasks


def _written(task: object) -> list[str]:
    word = {Modality.IMAGE: "image", Modality.TEXT: "text", Modality.PAIR: "image,text"}
    return [word[task.query], word[task.target]]


def test_a_row_for_each_positive_of_the_task(encoder: Path, tmp_path: Path) -> None:
    """Positives of another kind than the task asks for are not among them."""
    files = write_files(tmp_path / "root", {1: CAPTIONS[:4]})
    [line, *_] = [json.loads(line) for line in files.queries[0].read_text().splitlines()]
    write_lines(files.queries[0], [{**line, "pos_cand_list": ["1:1", "1:2", "1:4", "1:99"]}])
    keep_pairs(questions(files), encoder, tmp_path / "run")
    pairs = Pairs.load(tmp_path / "run" / PAIRS_FILE)
    assert pairs.target.tolist() == [0, 1] and pairs.modality.tolist() == [0, 0]


def test_what_cannot_be_used_is_refused_or_left_out(encoder: Path, tmp_path: Path) -> None:
    files = write_files(tmp_path / "root", {1: CAPTIONS[:4]})
    (files.root / "images" / f"{CAPTIONS[0].replace(' ', '-')}.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a picture that cannot be opened: line 1 of .*skip-bad"):
        keep_pairs(questions(files), encoder, tmp_path / "run")
    problems = Problems(skip=True)
    keep_pairs(questions(files, problems), encoder, tmp_path / "run")
    # of twelve rows, one asks for that picture, one shows it, one shows it and one asks for it changed
    assert len(Pairs.load(tmp_path / "run" / PAIRS_FILE)) == 8
    assert [left.why for left in problems.left_out] == ["a picture that cannot be opened"]
    missing = Files(files.root, [files.root / "gone.jsonl"], files.pools, files.instructions)
    with pytest.raises(UserError, match="There is no file"):
        keep_pairs(questions(missing), encoder, tmp_path / "run")


# ---- the command ----

SMALL = [
    "--set",
    "shape.codes=8",
    "--set",
    "shape.levels=2",
    "--set",
    "shape.width=64",
    "--set",
    "shape.layers=1",
]
SMALL += ["--set", "quantizer.batch=10", "--set", "decoder.batch=10", "--epochs", "2"]


def test_from_mbeir_files_to_a_model(
    tiny_bundle: Bundle, tiny_bundle_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_files(tmp_path / "root", TWO_SETS)
    run = ["--run", str(tmp_path / "run"), "--encoder", str(tiny_bundle_folder)]
    assert cli.main(["train", "all", *run, *SMALL, *files.arguments]) == 0
    model = load_bundle(tmp_path / "run" / "bundle", "cpu")
    assert model.quantizer.config.levels == (3, 8, 8)
    assert model.fusion.config.dim == model.encoder.dim == tiny_bundle.encoder.dim
    assert all(model.quantizer.codebook(level).isfinite().all() for level in range(3))
    other = ["--run", str(tmp_path / "run"), "--encoder", str(make_tiny_encoder(tmp_path / "other", seed=1))]
    capsys.readouterr()
    assert cli.main(["train", "bundle", *other, *SMALL]) == 2
    assert "was made with another encoder" in capsys.readouterr().err
    assert cli.main(["train", "bundle", *run]) == 2
    assert "a model of another shape" in capsys.readouterr().err


def test_our_own_data_are_those_that_training_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [Item("a", Kind.PHOTO, tmp_path / "a.png", ("a",), "a", train=train) for train in (True, False)]
    monkeypatch.setattr(stages, "load_corpus", lambda *folders: items)
    monkeypatch.setattr(stages, "changes_of", lambda items: {})
    assert stages.corpus(stages.TrainingData(tmp_path, seed=7)) == Corpus(items[:1], {}, 7)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["decoder", "--queries", "q.jsonl"], "Give --pool, --instructions, --images-root as well"),
        (
            ["decoder", "--queries", "q", "--pool", "p", "--instructions", "i", "--images-root", "."],
            "--encoder",
        ),
        (["encoder", "--encoder", "x"], "for the stages after the encoder"),
        (["quantizer", "--encoder", "nowhere"], "nowhere holds no encoder"),
    ],
)
def test_what_does_not_go_together_is_refused(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", *options, "--run", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
