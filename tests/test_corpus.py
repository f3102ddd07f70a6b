"""What training learns from: items of every source, their texts, kinds and weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from genius.schema import UserError
from genius.sources import Picture
from genius.training import corpus as corpus_module
from genius.training.corpus import Kind, Sense, load_corpus, load_keywords, load_senses, noun_of, only


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


def write_wordnet(
    folder: Path, records: dict[str, str], senses: dict[str, list[str]], used: dict[str, int] | None = None
) -> None:
    """`records`: what a data line says between offset and end; `senses`: record names by lemma, in order;
    `used`: how many senses of a lemma WordNet's texts use.
    """
    text, offsets = "  1 This is a licence.  \n  2 Nothing to see.  \n", {}
    for name, record in records.items():
        offsets[name] = len(text)
        text += f"{offsets[name]:08d} {record}  \n"
    (folder / "data.noun").write_text(text, encoding="ascii")
    lines = ["  1 This is a licence.  "]
    for lemma, names in senses.items():
        listed = " ".join(f"{offsets[name]:08d}" for name in names)
        lines.append(f"{lemma} n {len(names)} 2 @ ~ {len(names)} {(used or {}).get(lemma, 0)} {listed}  ")
    (folder / "index.noun").write_text("\n".join(lines) + "\n", encoding="ascii")


def test_the_commonest_sense_of_a_noun(tmp_path: Path) -> None:
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
    write_wordnet(tmp_path, records, senses, used={"lion": 2})
    assert load_senses(tmp_path) == {
        "lion": Sense("large cat; of Africa", common=True),
        "ice cream": Sense("frozen dessert", common=False),
        "ada": Sense("a programming language", common=False),
    }


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


def test_keywords_of_emoji(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(
        '[{"hexcode": "1F41D", "tags": ["bee", "insect"]}, {"hexcode": "1F600"}]', encoding="utf-8"
    )
    assert load_keywords(path) == {"1F41D": "bee, insect"}
    for text in ('{"hexcode": 1}', "[1]", '[{"tags": ["a"]}]', "not json"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match="emojibase-data"):
            load_keywords(path)


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
    assert drawing.texts == ("lion", "face of a lion", "large cat", "mane, zoo")
    assert [item.kind for item in (drawing, hand, photo, cartoon)] == [
        Kind.DRAWING,
        Kind.DRAWING,
        Kind.PHOTO,
        Kind.DRAWING,
    ]
    assert drawing.noun == photo.noun == cartoon.noun == "lion"
    assert hand.weight < drawing.weight < photo.weight
