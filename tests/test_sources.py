"""Collections: known pictures have the names a person would give them; folders survive what lies in them."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from genius.images import open_image
from genius.schema import Modality, UserError
from genius.sources import (
    ALL,
    COLLECTIONS,
    Picture,
    candidates_of,
    clipart,
    folder,
    open_collection,
    openmoji,
    stamps,
)


@pytest.fixture(scope="module")
def drawings() -> dict[str, Picture]:
    """Return the OpenMoji drawings by id."""
    return {picture.id: picture for picture in openmoji.pictures()}


def installed(source: str) -> list[Picture]:
    """Return the pictures of a Debian package, or skip."""
    found = {"stamps": stamps, "clipart": clipart}[source].pictures()
    if not found:
        pytest.skip(f"the package of the {source} is not installed")
    return found


def test_a_picture_gives_image_text_and_pair_and_a_shared_text_once() -> None:
    pictures = [
        Picture("1", Path("1.png"), "cat"),
        Picture("2", Path("2.png"), "cat"),
        Picture("3", Path("3.png")),
    ]
    found = [(candidate.id, candidate.modality) for candidate in candidates_of(pictures, "pets")]
    assert found == [
        ("pets/1:image", Modality.IMAGE),
        ("pets/1:text", Modality.TEXT),
        ("pets/1:pair", Modality.PAIR),
        ("pets/2:image", Modality.IMAGE),
        ("pets/2:pair", Modality.PAIR),
        ("pets/3:image", Modality.IMAGE),
    ]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("1F600", "grinning face"),
        ("1F3C4-1F3FD-200D-2642-FE0F", "man surfing, medium skin tone"),
        ("1F1F9-1F1F0", "flag of Tokelau"),
        ("1F1F3-1F1F1", "flag of the Netherlands"),
        ("1F3F4-E0067-E0062-E0077-E006C-E0073-E007F", "flag of Wales"),
        ("0036-FE0F-20E3", "keycap 6"),
        ("1F469-1F3FF-200D-1F9B0", "woman, dark skin tone, red hair"),
        ("1F9B0", "red hair"),
        ("1F468-200D-1F469-200D-1F467-200D-1F466", "family: man, woman, girl and boy"),
        ("1F436", "dog face"),
    ],
)
def test_openmoji_names(drawings: dict[str, Picture], code: str, text: str) -> None:
    assert drawings[code].text == text


def test_openmoji_is_complete(drawings: dict[str, Picture]) -> None:
    assert len(drawings) == 3953
    assert len({picture.text for picture in drawings.values()}) == 3953
    assert drawings["1F1F9-1F1F0"].group == "flag"
    assert not any(set(":_’") & set(picture.text.replace(": ", "")) for picture in drawings.values())


def test_composed_triplets(drawings: dict[str, Picture]) -> None:
    triplets = openmoji.composed_triplets(drawings.values())
    said = {(source.text, target.text): text for source, text, target in triplets}
    assert len(said) == len(triplets)  # each pair once
    assert "man" in said["woman firefighter", "man firefighter"]
    assert "dark" in said["waving hand", "waving hand, dark skin tone"]
    assert "teacher" in said["woman firefighter", "woman teacher"]
    assert "person" in said["man cook", "cook"]
    assert (
        "right" in said["man walking", "man walking facing right"]
        or "other way" in said["man walking", "man walking facing right"]
    )
    assert ("woman firefighter", "man teacher") not in said  # two traits differ
    assert all(source is not target for source, _, target in triplets)


def test_stamps() -> None:
    found = {picture.id: picture for picture in installed("stamps")}
    assert sum(picture.image.suffix == ".png" for picture in found.values()) == 537  # one of the 538 twice
    assert found["animals/birds/rooster"].text == "A colorful rooster"
    assert found["household/electronics/mouse"].text == "A computer mouse"
    assert not any("symbols/" in name or name.endswith("_mirror") for name in found)


def test_clipart() -> None:
    found = {picture.id.rpartition("/")[2]: picture.text for picture in installed("clipart")}
    assert found["hen_01"] == "Hen"
    assert found["contour_camel"] == "contour camel"  # its title is that of a series
    assert found["az-lizard_benji_park_01"] == "AZ-lizard"
    assert found["cavallo_architetto_franc_02"] == "horse"
    assert found["lucchetto_grigio_archite_01"] == "grey padlock"
    assert found["white_h_q"] == "queen of hearts"
    assert found["kenya"] == "flag of Kenya"
    assert found["chodovian_39_s_dog_by_m_01"] == "Chodovian's Dog by Mikoláš Aleš"
    texts = Counter(text for text in found.values())
    assert max(texts.values()) < 100
    assert all(text.isprintable() for text in texts)
    assert not any(word in text.lower() for text in texts for word in ("architetto", "clipart by", "_", "@"))


@pytest.mark.parametrize("source", COLLECTIONS)
def test_pictures_can_be_opened(source: str, drawings: dict[str, Picture]) -> None:
    pictures = list(drawings.values()) if source == openmoji.NAME else installed(source)
    assert len({picture.id for picture in pictures}) == len(pictures)
    for picture in pictures[:: len(pictures) // 12]:
        assert max(open_image(picture.image).size) > 8


def test_all_joins_what_is_installed_and_says_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_collection(ALL)
    assert len(opened.notes) == sum(not source.pictures() for source in (stamps, clipart))
    monkeypatch.setattr("genius.sources._PICTURES", {"openmoji": openmoji.pictures, "stamps": list})
    without = open_collection(ALL)
    assert {candidate.collection for candidate in without.candidates} == {"openmoji"}
    assert "stamps" in without.notes[0]
    assert "apt-get install" in without.notes[0]
    with pytest.raises(UserError, match="apt-get install"):
        open_collection("stamps")


def test_unknown_collection() -> None:
    with pytest.raises(UserError, match="'stamp'. Use one of openmoji, stamps, clipart, all"):
        open_collection("stamp")


def draw(path: Path) -> None:
    """Write a small picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path)


def test_folder_with_captions(tmp_path: Path) -> None:
    home = tmp_path / "pets"
    for name in (
        "cat.png",
        "dog.jpg",
        "sub/fox.png",
        "sub/owl.PNG",
        "plain.png",
        ".hidden.png",
        ".git/x.png",
    ):
        draw(home / name)
    (home / "cat.txt").write_text("A cat\n asleep ", encoding="utf-8-sig")
    rows = [
        {"file": "cat.png", "text": "not this"},
        {"image": "sub/fox.png", "caption": "x" * 5000},
        {"file": 3},
    ]
    (home / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n{broken\n")
    (home / "captions.csv").write_text('file_name,text\ndog.jpg,"A dog,\nbarking"\n./sub\\owl.PNG,An owl\n')

    seen: list[tuple[int, int]] = []
    found, notes = folder.pictures(home, lambda done, all_: seen.append((done, all_)))
    assert {picture.id: picture.text for picture in found} == {
        "cat.png": "A cat asleep",
        "dog.jpg": "A dog, barking",
        "plain.png": "",
        "sub/fox.png": "x" * 2000,
        "sub/owl.PNG": "An owl",
    }
    assert seen[-1] == (5, 5)
    assert notes == ("2 lines of captions.jsonl name no image of the folder or have no text.",)

    opened = open_collection(home)
    assert opened.name == "pets"
    assert Counter(candidate.modality for candidate in opened.candidates) == {
        Modality.IMAGE: 5,
        Modality.TEXT: 4,
        Modality.PAIR: 4,
    }


def test_folder_names_what_it_leaves_out(tmp_path: Path) -> None:
    draw(tmp_path / "good.png")
    for number in range(7):
        (tmp_path / f"bad{number}.png").write_bytes(b"no image")
    found, notes = folder.pictures(tmp_path)
    assert [picture.id for picture in found] == ["good.png"]
    named = "bad0.png, bad1.png, bad2.png, bad3.png, bad4.png and 2 more"
    assert notes == (f"Left out as damaged, too large, not an image or not named in UTF-8: {named}.",)


def test_names_that_are_not_utf_8_are_left_out(tmp_path: Path) -> None:
    home = tmp_path / "pets"
    draw(home / "café.png")
    odd = os.fsdecode(b"caf\xe9")
    try:
        draw(home / f"{odd}.png")
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    draw(home / odd / "cat.png")
    opened = open_collection(home)
    assert [candidate.id for candidate in opened.candidates] == ["pets/café.png:image"]
    assert opened.notes[0].endswith(r"not named in UTF-8: caf\udce9/cat.png, caf\udce9.png.")
    assert opened.notes[0].isprintable()
    with pytest.raises(UserError, match=r"caf\\udce9 is not UTF-8. Rename the folder"):
        open_collection(home / odd)


def test_folder_does_not_follow_links_out_of_it(tmp_path: Path) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    for path in (home / "in.png", outside / "out.png"):
        draw(path)
    (outside / "secret.txt").write_text("secret")
    (home / "out.png").symlink_to(outside / "out.png")
    (home / "outside").symlink_to(outside)
    (home / "in.txt").symlink_to(outside / "secret.txt")
    (home / "loop").symlink_to(home)
    (home / "link.png").symlink_to(home / "in.png")
    found, _ = folder.pictures(home)
    assert [(picture.id, picture.text) for picture in found] == [("in.png", ""), ("link.png", "")]


def test_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UserError, match="no images"):
        open_collection(str(tmp_path))
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"can be read.*bad\.png"):
        open_collection(tmp_path)
