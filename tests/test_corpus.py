"""What training learns from: items of every source, their texts, kinds and weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_lexicon import write_wordnet

from genius.schema import UserError
from genius.sources import Picture
from genius.training import corpus as corpus_module
from genius.training.corpus import Kind, load_corpus, noun_of, only


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


def test_common_nouns_that_nothing_shows_are_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = {name: f"05 n 01 {name} 0 000 | what {name} is" for name in ("lion", "zeal", "zebu", "quark")}
    write_wordnet(
        tmp_path, records, {name: [name] for name in records}, used={"lion": 1, "zeal": 3, "quark": 1}
    )
    monkeypatch.setattr(corpus_module, "COLLECTIONS", ())
    items = load_corpus(None, None, tmp_path, None)
    words = [item for item in items if item.kind is Kind.WORD]
    assert [(word.id, word.texts, word.image) for word in words] == [
        ("word/zeal", ("zeal", "what zeal is"), None),
        ("word/quark", ("quark", "what quark is"), None),
    ]  # lion is an ImageNet class already, nobody uses zebu


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
    items = load_corpus(photos, groceries, None, None)
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
    assert len(load_corpus(None, None, None, None)) == 1000
    with pytest.raises(UserError, match=r"captions\.jsonl does not exist"):
        load_corpus(tmp_path, None, None, None)
    with pytest.raises(UserError, match=r"labels\.jsonl does not exist"):
        load_corpus(None, tmp_path, None, None)


def test_imagenet_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "COLLECTIONS", ())
    classes = load_corpus(None, None, None, None)
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
    (tmp_path / "data.json").write_text('[{"hexcode": "1F981", "tags": ["mane", "zoo"]}]', encoding="utf-8")
    items = load_corpus(None, None, tmp_path, tmp_path / "data.json")
    drawing, hand, photo, cartoon = items[:4]
    assert drawing.texts == ("lion", "face of a lion", "large cat", "mane, zoo", "mane", "zoo")
    assert [item.kind for item in (drawing, hand, photo, cartoon)] == [
        Kind.DRAWING,
        Kind.DRAWING,
        Kind.PHOTO,
        Kind.DRAWING,
    ]
    assert drawing.noun == photo.noun == cartoon.noun == "lion"
    assert hand.weight < drawing.weight < photo.weight
