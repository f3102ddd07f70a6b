"""What captions say: their terms, the thing and its qualities, kinds of things, and what is said where."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from math import log, sqrt

from genius.schema import Candidate

KINDS: Mapping[str, str] = (
    dict.fromkeys(("animal", "plant", "food", "vehicle", "clothes", "electronics", "symbol", "person"), "")
    | dict.fromkeys(("bird", "fish", "insect", "reptile"), "animal")
    | dict.fromkeys(("flower", "tree"), "plant")
    | dict.fromkeys(("fruit", "vegetable", "dessert"), "food")
    | dict.fromkeys(("boat", "aircraft"), "vehicle")
    | dict.fromkeys(("shoes", "jewelry"), "clothes")
    | dict.fromkeys(("computer", "phone", "camera"), "electronics")
    | dict.fromkeys(("arrow", "shape", "logo", "religion", "zodiac", "punctuation"), "symbol")
    | dict.fromkeys(("face", "family", "occupation", "fantasy"), "person")
    | dict.fromkeys(("drink", "dishes", "furniture", "container", "tool", "weapon", "machine", "toy"), "")
    | dict.fromkeys(("building", "landscape", "map", "flag", "weather", "space", "traffic sign"), "")
    | dict.fromkeys(("sport", "game", "music", "art", "decoration", "holiday", "science", "medicine"), "")
    | dict.fromkeys(("document", "book", "mail", "money"), "")
    | dict.fromkeys(("gesture", "hand", "body", "emotion"), "")
)
"""Kinds of things, as the sections of emoji lists and clip art are called, each with the wider kind it is of.

Captions say "rabbit" and "pig", hardly ever "animal". Each is taken to be of the kind that its vector is
nearest to.
"""

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_CLAUSES = re.compile(r"[,;:()–—/]")
_ASIDES = re.compile(r"[,()]")
_STOP = frozenset(
    WORD.findall(
        "a an and are as at be but by for from has have in into is it its no not of off on or other out "
        "over s so some t that the their them they this to up very was what with without you your"
    )
)


@lru_cache(maxsize=1 << 17)
def terms_of(caption: str) -> tuple[str, ...]:
    """The words of a caption and its pairs of neighbouring words, each once, in their order.

    Of "woman wearing turban", "woman wearing" is no pair: what she wears is missing.

    >>> terms_of("Flag of the Faroe Islands")
    ('flag', 'faroe', 'islands', 'faroe islands')
    """
    found: list[str] = []
    pairs: list[str] = []
    for clause in _CLAUSES.split(caption):
        words = [word.lower() for word in WORD.findall(clause)]
        found += [word for word in words if _says(word)]
        whole = [*pairwise(words)]
        whole = [(one, two) for one, two in whole[:-1] if not two.endswith("ing")] + whole[-1:]
        pairs += [f"{one} {two}" for one, two in whole if _says(one) and _says(two)]
    return tuple(dict.fromkeys((*found, *pairs)))


def _says(word: str) -> bool:
    return len(word) > 1 and word not in _STOP


def asides_of(caption: str) -> tuple[str, ...]:
    """What a caption says of its thing after naming it, clause by clause.

    >>> asides_of("woman, dark skin tone, white hair")
    ('dark skin tone', 'white hair')
    """
    return tuple(clause for part in _ASIDES.split(caption)[1:] if (clause := part.strip().lower()))


def qualities_of(captions: Collection[str]) -> frozenset[str]:
    """The terms that mostly stand in asides: they say how a thing is, not what it is."""
    said, named = Counter[str](), Counter[str]()
    for caption in captions:
        said.update(terms_of(caption))
        named.update(terms_of(_ASIDES.split(caption)[0]))
    return frozenset(term for term, count in said.items() if named[term] < count / 2)


@dataclass(frozen=True)
class Counted:
    """What each of some different captions says, in how many each term stands, and of what kinds each is.

    `members` are the candidates that have each caption: ten of them may be called "mountain".
    """

    texts: tuple[str, ...]
    said: tuple[tuple[str, ...], ...]
    terms: Counter[str]
    kinds: tuple[tuple[str, ...], ...]
    members: tuple[int, ...]

    @classmethod
    def of(
        cls, captions: Collection[str] | Mapping[str, int], kinds: Mapping[str, tuple[str, ...]] | None = None
    ) -> Counted:
        """Counts of captions, each with the number of its members or once each; kinds are known or not."""
        members = Counter(captions)
        said = tuple(terms_of(caption) for caption in members)
        return cls(
            tuple(members),
            said,
            Counter(term for terms in said for term in terms),
            tuple((kinds or {}).get(caption, ()) for caption in members),
            tuple(members.values()),
        )

    @cached_property
    def of_kinds(self) -> dict[str, set[int]]:
        """The numbers of the captions that are of each kind, or say so."""
        found: dict[str, set[int]] = {kind: set() for kind in KINDS}
        for number, (terms, kinds) in enumerate(zip(self.said, self.kinds, strict=True)):
            for kind in (KINDS.keys() & terms).union(kinds):
                found[kind].add(number)
        return found

    @property
    def captions(self) -> int:
        """How many captions there are."""
        return len(self.said)

    def share(self, numbers: Collection[int]) -> float:
        """The share of all members that have the captions of these numbers."""
        return sum(self.members[number] for number in numbers) / sum(self.members)

    def saying(self, term: str) -> set[int]:
        """The numbers of the captions a term stands in."""
        return {number for number, terms in enumerate(self.said) if term in terms}

    @cached_property
    def asides(self) -> dict[str, set[int]]:
        """The numbers of the captions that say each aside."""
        found: dict[str, set[int]] = defaultdict(set)
        for number, caption in enumerate(self.texts):
            for aside in asides_of(caption):
                found[aside].add(number)
        return found


def contrast(inside: Counted, around: Counted) -> dict[str, float]:
    """How much more often each term stands inside than elsewhere around, as a z-score.

    Log-odds ratio with a small prior from the term's overall frequency: δ / √(1/(y_i + α) + 1/(y_o + α)).
    """
    scores = {}
    elsewhere = around.captions - inside.captions
    for term, count in inside.terms.items():
        if count < 2:
            continue  # once is chance
        rest = around.terms[term] - count
        prior = around.terms[term] / max(around.captions, 1) + 0.01
        odds = log((count + prior) / (inside.captions - count + 1))
        odds_elsewhere = log((rest + prior) / (elsewhere - rest + 1))
        scores[term] = (odds - odds_elsewhere) / sqrt(1 / (count + prior) + 1 / (rest + prior))
    return scores


def captions_of(candidates: Sequence[Candidate]) -> list[str]:
    """What each candidate is called: its own text, or that of the same picture's captioned twin."""
    known = {candidate.id: candidate.text for candidate in candidates if candidate.text}
    twins = (candidate.id.rpartition(":")[0] for candidate in candidates)
    return [
        candidate.text or known.get(f"{twin}:pair") or known.get(f"{twin}:text") or ""
        for candidate, twin in zip(candidates, twins, strict=True)
    ]
