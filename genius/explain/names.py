"""Automatic names of codes: the words that set a code apart from its siblings, checked by the text tower.

A name is made of words that stand in the captions under a code more often than elsewhere under its parent,
and whose own vector lies where the code is. Where there is too little to go by, there is no name.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from genius.schema import Candidate, Modality

MIN_CAPTIONS = 4
"""With fewer different captions, a code gets no name."""

WORDS = 6
MAIN = 2
"""The level that says the main thing."""

APART = 2.0
"""A term sets a code apart from this z-score on."""

COMMON = 0.125
"""A word in a larger share of all captions names none of some hundred codes."""

CLOSEST = 30
"""So many terms that lie nearest are considered, beside those in the captions."""

WORTH = 0.3
"""A term that is worth less names nothing."""

SURE = 0.5
"""From this confidence on a name is called sure."""

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_CLAUSES = re.compile(r"[,;:()–—/]")
_STOP = frozenset(
    _WORD.findall(
        "a an and are as at be but by for from has have in into is it its no not of off on or other out "
        "over s so some t that the their them they this to up very was what with without you your"
    )
)


@dataclass(frozen=True)
class Name:
    """An automatic name, how sure it is (0 to 1), and the words that set the code apart, best first."""

    text: str
    confidence: float
    words: tuple[str, ...] = ()


@lru_cache(maxsize=1 << 17)
def terms_of(caption: str) -> tuple[str, ...]:
    """The words of a caption and its pairs of neighbouring words, each once, in their order.

    >>> terms_of("Flag of the Faroe Islands")
    ('flag', 'faroe', 'islands', 'faroe islands')
    """
    found: list[str] = []
    pairs: list[str] = []
    for clause in _CLAUSES.split(caption):
        words = [word.lower() for word in _WORD.findall(clause)]
        found += [word for word in words if _says(word)]
        pairs += [f"{one} {two}" for one, two in pairwise(words) if _says(one) and _says(two)]
    return tuple(dict.fromkeys((*found, *pairs)))


def _says(word: str) -> bool:
    return len(word) > 1 and word not in _STOP


@dataclass(frozen=True)
class Counted:
    """Among how many different captions each term stands in how many."""

    captions: int
    terms: Counter[str]

    @classmethod
    def of(cls, captions: set[str]) -> Counted:
        """Counts of different captions."""
        return cls(len(captions), Counter(term for caption in captions for term in terms_of(caption)))


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


EmbedTerms = Callable[[Sequence[str]], NDArray[np.float32]]


def captions_of(candidates: Sequence[Candidate]) -> list[str]:
    """What each candidate is called: its own text, or that of the same picture's captioned twin."""
    known = {candidate.id: candidate.text for candidate in candidates if candidate.text}
    twins = (candidate.id.rpartition(":")[0] for candidate in candidates)
    return [
        candidate.text or known.get(f"{twin}:pair") or known.get(f"{twin}:text") or ""
        for candidate, twin in zip(candidates, twins, strict=True)
    ]


def name_codes(
    candidates: Sequence[Candidate],
    codes: NDArray[np.int64],
    books: Sequence[NDArray[np.float32]],
    embed: EmbedTerms,
) -> tuple[dict[tuple[int, ...], Name], dict[tuple[int, int], Name]]:
    """Names by prefix, and by level (from 0) and code under whichever parent; "" where nothing fits.

    candidates [n] with codes [n, M]; books: the codewords [K, d] of each level; embed: z [k, d] of terms [k].
    """
    captions = captions_of(candidates)
    vocabulary = Vocabulary.of(captions, books, embed)
    prefixes = _grouped(codes, captions, lambda row, level: tuple(row[: level + 1]))
    counted = {prefix: Counted.of(texts) for prefix, texts in prefixes.items() if len(texts) >= MIN_CAPTIONS}
    named: dict[tuple[int, ...], Name] = {}
    for prefix in sorted(counted, key=len):  # a parent is named before its children
        if len(prefix) > 1:
            parts = [book[code] for book, code in zip(books[1:], prefix[1:], strict=False)]
            above = named[prefix[:-1]].text if len(prefix) > MAIN else ""
            named[prefix] = vocabulary.name(
                counted[prefix], counted[prefix[:-1]], np.sum(parts, axis=0), len(prefix), above
            )
    anywhere = {}
    everything = Counted.of(set(captions) - {""})
    for (level, code), texts in _grouped(codes, captions, lambda row, level: (level, row[level])).items():
        if level > 0 and len(texts) >= MIN_CAPTIONS:
            anywhere[level, code] = vocabulary.name(
                Counted.of(texts), everything, books[level][code], level + 1
            )
    return named, anywhere


def _grouped(
    codes: NDArray[np.int64], captions: Sequence[str], key: Callable[[list[int], int], tuple[int, ...]]
) -> dict[tuple[int, ...], set[str]]:
    """The different captions under every key of a candidate's codes and a level."""
    found: dict[tuple[int, ...], set[str]] = defaultdict(set)
    for row, caption in zip(codes.tolist(), captions, strict=True):
        if caption:
            for level in range(len(row)):
                found[key(row, level)].add(caption)
    return found


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The terms of a collection's captions, and unit vectors [k, d] of what each says beyond being a text."""

    terms: tuple[str, ...]
    vectors: NDArray[np.float32]

    @cached_property
    def _place(self) -> dict[str, int]:
        return {term: place for place, term in enumerate(self.terms)}

    @classmethod
    def of(
        cls, captions: Sequence[str], books: Sequence[NDArray[np.float32]], embed: EmbedTerms
    ) -> Vocabulary:
        """Terms that stand in two different captions at least."""
        counts = Counter(term for caption in sorted(set(captions)) for term in terms_of(caption))
        terms = tuple(
            sorted((term for term, count in counts.items() if count > 1), key=lambda t: (len(t), t))
        )
        if not terms:
            return cls((), np.zeros((0, books[0].shape[1]), np.float32))
        return cls(terms, _unit(_without_kind(embed(terms), books[0])))

    def name(
        self, inside: Counted, around: Counted, vector: NDArray[np.float32], level: int, taken: str = ""
    ) -> Name:
        """The name of what lies at a vector [d], whose captions are some of those `around`."""
        cosines = self.vectors @ _unit(vector)
        closest = np.argsort(-cosines, kind="stable")[:CLOSEST].tolist()
        held = [place for term in inside.terms if (place := self._place.get(term)) is not None]
        near = {self.terms[place]: float(cosines[place]) for place in {*closest, *held}}
        return pick(contrast(inside, around), inside, around, near, level, taken)


def _without_kind(z: NDArray[np.float32], first: NDArray[np.float32]) -> NDArray[np.float32]:
    """What z [k, d] of texts says beyond being a text; `first` is the first level's codebook."""
    return z - first[Modality.TEXT] if len(first) == len(Modality) else z


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-9)).astype(np.float32)


def pick(
    scores: Mapping[str, float],
    inside: Counted,
    around: Counted,
    near: Mapping[str, float],
    level: int,
    taken: str = "",
) -> Name:
    """Choose a name of one word or two, and the words that set a code of a level (counted from 1) apart.

    scores: contrast of each term; near: cosine between term and code; taken: the parent's name, whose words
    say nothing new. At level 2 it counts most that a term lies near; deeper, where siblings are alike, that
    it stands in captions here and not there.
    """
    apart = [term for term in sorted(scores, key=lambda t: (-scores[t], t)) if scores[term] >= APART]
    words = tuple(_whole(apart, inside)[:WORDS])
    fits = {term: _fit(inside.terms[term], inside.captions, around.terms[term]) for term in near}
    if level == MAIN:
        cover = {term: sqrt(inside.terms[term] / inside.captions) for term in near}
        most = max(COMMON * around.captions, 25)
        worth = {
            term: 0.6 * near[term] * (0.4 + 0.6 * cover[term]) + 0.4 * sqrt(fits[term])
            for term in near
            if around.terms[term] <= most
        }
    else:
        worth = {t: sqrt(fits[t]) * (0.7 + 0.3 * near[t]) for t in near if scores.get(t, 0.0) >= APART}
    said = set(taken.replace(" · ", " ").split())
    ranked = [t for t in sorted(worth, key=lambda t: (-worth[t], t))[:60] if not said & set(t.split())]
    ranked = [term for term in _whole(ranked, inside) if worth[term] >= WORTH]
    if not ranked:
        return Name("", 0.0, words)
    first = ranked[0]
    second = next((term for term in ranked[1:8] if not _akin(term, first)), "")
    enough = inside.terms[first] >= 0.5 * inside.captions or not second
    return Name(first if enough else f"{first} · {second}", min(worth[first], 1.0), words)


def _fit(inside: int, captions: int, around: int) -> float:
    """How well a term picks out a code's captions: the harmonic mean of the shares it covers and keeps to."""
    return 2 * inside / (captions + around) if inside else 0.0


def _whole(terms: Sequence[str], inside: Counted) -> list[str]:
    """Terms without the parts of better ones: of `signal flag`, `signal` and `flag`, those that say most.

    A pair of words stays if it stands nearly wherever its rarer word does, and a word stays if it does not
    mostly stand in such a pair.
    """
    kept: list[str] = []
    for term in terms:
        parts = term.split()
        if len(parts) > 1:
            rarer = min(inside.terms[part] for part in parts)
            if inside.terms[term] < 0.8 * rarer or inside.terms[term] == 0 < rarer:
                continue
        if not any(set(parts) & set(other.split()) for other in kept):
            kept.append(term)
    return kept


def _akin(one: str, other: str) -> bool:
    """Whether two words are forms of one: `sail` and `sailing`."""
    return any(a.startswith(b[:4]) or b.startswith(a[:4]) for a in one.split() for b in other.split())
