"""What dictionaries say about names: definitions, their parts, synonyms, keywords."""

from __future__ import annotations

from pathlib import Path

import pytest

from genius.schema import UserError
from genius.training.lexicon import Sense, described, load_keywords, load_senses


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


def test_one_sense_of_each_noun(tmp_path: Path) -> None:
    records = {
        "lion": '05 n 02 lion 0 king_of_beasts 0 000 | large cat; of Africa; "the lion roared"; "a lion"',
        "lion 2": "18 n 01 lion 0 000 | a brave person",
        "beaver": "06 n 01 beaver 0 000 | a fur",
        "beaver 2": "05 n 01 beaver 0 000 | a rodent",
        "room": "07 n 01 room 0 000 | space for movement",
        "room 2": "06 n 01 room 0 000 | an area within a building",
        "ice cream": "13 n 01 ice_cream 0 000 | frozen dessert",
        "Ada": "18 n 01 Ada 0 001 @i 00000001 n 0000 | a mathematician",
        "ada": "10 n 01 Ada 0 001 @ 00000001 n 0000 | a programming language",
        "Paris": "15 n 01 Paris 0 001 @i 00000001 n 0000 | a capital",
    }
    senses = {
        "ada": ["Ada", "ada"],
        "beaver": ["beaver", "beaver 2"],
        "ice_cream": ["ice cream"],
        "lion": ["lion", "lion 2"],
        "paris": ["Paris"],
        "room": ["room", "room 2"],
    }
    write_wordnet(tmp_path, records, senses, used={"lion": 2})
    assert load_senses(tmp_path) == {
        "ada": Sense("a programming language", common=False),
        "beaver": Sense("a rodent", common=False, kind="an animal"),  # an animal before anything else
        "ice cream": Sense("frozen dessert", common=False, kind="food"),
        "lion": Sense("large cat; of Africa", True, ("king of beasts",), "an animal"),
        "room": Sense("an area within a building", common=False, kind="a thing"),  # what can be shown
    }


def test_parts_of_a_definition_are_phrases() -> None:
    giraffe = Sense(
        "tallest living quadruped; having a very long neck; rare", True, ("camelopard",), "an animal"
    )
    assert giraffe.texts == (
        "tallest living quadruped; having a very long neck; rare",
        "tallest living quadruped",
        "an animal having a very long neck",
        "camelopard",
    )
    assert Sense("a feeling", True).texts == ("a feeling",)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("woman firefighter, dark skin tone", "woman, one who fights fires, dark skin tone"),
        ("two firefighters", "two, one who fights fires"),
        ("birthday cake", "food with candles"),  # the longest noun, not "cake"
        ("cake on a plate", "food on a plate"),
        ("grief", ""),  # cannot be shown
        ("woman", ""),  # says too little
        ("", ""),
    ],
)
def test_a_noun_in_a_name_is_told_in_other_words(name: str, said: str) -> None:
    senses = {
        "firefighter": Sense("one who fights fires; brave", True, kind="someone"),
        "birthday cake": Sense("food with candles", True, kind="food"),
        "cake": Sense("food", True, kind="food"),
        "grief": Sense("sadness", True),
        "woman": Sense("a grown-up", True, kind="someone"),
    }
    assert described(name, senses) == said


def test_keywords_of_emoji(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(
        '[{"hexcode": "1F41D", "tags": ["bee", "insect"]}, {"hexcode": "1F600"}]', encoding="utf-8"
    )
    assert load_keywords(path) == {"1F41D": ("bee", "insect")}
    for text in ('{"hexcode": 1}', "[1]", '[{"tags": ["a"]}]', "not json"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match="emojibase-data"):
            load_keywords(path)
