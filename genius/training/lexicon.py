"""What dictionaries say about names: definitions and synonyms of WordNet, keywords of emoji."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from genius.schema import UserError

ANIMAL = "an animal"
_KINDS = {  # WordNet's lexicographer files of what can be shown
    5: ANIMAL,
    6: "a thing",
    8: "a part of the body",
    13: "food",
    17: "something",
    18: "someone",
    20: "a plant",
}
_OPEN = re.compile(r"(having|with|used|of|in|on|at|for|from|made|usually|often|that|who|which|can|has|is)\b")
_VAGUE = frozenset(
    ("man", "men", "woman", "women", "person", "people", "boy", "girl", "face", "flag", "a", "i")
)
_LONGEST = 3  # words of a noun looked for inside a name
_PARTS = 2
_NAMES = 2


@dataclass(frozen=True)
class Sense:
    """What a noun means: an animal, if it can; else its most common sense, if possible one to be shown.

    gloss: the definition; common: WordNet's texts use the noun; synonyms: other nouns for it; kind: the kind
    of thing it is, "an animal", "" for what cannot be shown.
    """

    gloss: str
    common: bool
    synonyms: tuple[str, ...] = ()
    kind: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """The definition, its parts as phrases of their own, and the synonyms."""
        parts = [part for part in map(str.strip, self.gloss.split(";")) if part.count(" ") > 1]
        kind = self.kind or "something"
        phrases = [f"{kind} {part}" if _OPEN.match(part) else part for part in parts[:_PARTS]]
        return tuple(dict.fromkeys((self.gloss, *phrases, *self.synonyms[:_NAMES])))


def load_senses(folder: Path) -> dict[str, Sense]:
    """One sense of each noun, from WordNet's `index.noun` and `data.noun`."""
    data = (folder / "data.noun").read_bytes()
    senses = {}
    for line in (folder / "index.noun").read_text(encoding="ascii").splitlines():
        if line.startswith(" "):
            continue
        fields = line.split()
        count, noun = int(fields[2]), fields[0].replace("_", " ")
        found = []
        for offset in map(int, fields[-count:]):  # senses are listed most frequent first
            record = data[offset : data.index(b"\n", offset)].decode("ascii")
            if " @i " not in record:  # skip persons and places
                found.append(_sense(noun, record, common=int(fields[-count - 1]) > 0))
        if found:
            senses[noun] = min(found, key=lambda sense: (sense.kind != ANIMAL, not sense.kind))
    return senses


def _sense(noun: str, record: str, *, common: bool) -> Sense:
    fields, _, text = record.partition("| ")
    _, file, _, count, *rest = fields.split()
    names = [name.replace("_", " ") for name in rest[: 2 * int(count, 16) : 2]]
    synonyms = tuple(name for name in names if name.lower() != noun)
    return Sense(text.partition('; "')[0].strip(), common, synonyms, _KINDS.get(int(file), ""))


def described(name: str, senses: Mapping[str, Sense]) -> str:
    """The name with the longest noun of its first clause told in other words; "" if there is none to tell.

    >>> firefighter = Sense("one who fights fires", True, kind="someone")
    >>> described("woman firefighter, dark skin tone", {"firefighter": firefighter})
    'woman, one who fights fires, dark skin tone'
    """
    clause, comma, rest = name.partition(",")
    for start, end, words in _nouns(clause):
        sense = senses.get(words) or senses.get(words.removesuffix("s"))
        if sense and sense.kind and words not in _VAGUE:
            gloss = sense.gloss.partition(";")[0]
            before, after = clause[:start].strip(), clause[end:].strip()
            said = ", ".join(part for part in (before, gloss) if part)
            return f"{said} {after}".strip() + comma + rest
    return ""


def _nouns(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and lower-case words of what may be a noun in a text: longer ones first, from the end."""
    words = list(re.finditer(r"[\w'-]+", text))
    for length in range(min(_LONGEST, len(words)), 0, -1):
        for first in range(len(words) - length, -1, -1):
            start, end = words[first].start(), words[first + length - 1].end()
            yield start, end, text[start:end].lower()


def load_keywords(path: Path) -> dict[str, tuple[str, ...]]:
    """Keywords of emoji by code points, `1F41D` → animal, bee, insect: emojibase-data's en/data.json."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {row["hexcode"]: tuple(map(str, row["tags"])) for row in rows if row.get("tags")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not a list of emoji with keywords: {error!r}. Give en/data.json of emojibase-data."
        ) from error
