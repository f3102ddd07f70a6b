"""Automatic names of codes: the words that set a code apart from its siblings, checked by the text tower.

A name is made of words that stand in the captions under a code more often than elsewhere under its parent,
and whose own vector lies where the code is; at the level of the main thing also of a kind, such as "animal",
which captions seldom say. One word is put to another until most captions are told of, and at the end stands a
quality that most share. Where there is too little to go by, or too many different things, there is no name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from genius.explain.captions import KINDS, WORD, Counted, captions_of, contrast, qualities_of, terms_of
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

ALONE = 2 / 3
"""A word that is true of this share of a code's members is its whole name."""

HALF = 0.5
"""Two words that are true of this share are a name; if not, a third one is put to them."""

FURTHER = 0.15
"""A further word of a name is true of this share of the members more."""

LEAST = 0.4
"""Words that are true of a smaller share name nothing: the code holds too many different things."""

LEAST_BESIDE_QUALITY = 0.25
"""The same where a quality is true of most members: captions then call one thing by many words."""

OF_KIND = 0.45
"""The share of a code's members whose captions must be nearest to a kind that names it.

Of what clip art keeps in a folder that is called like a kind, some three in five captions are nearest to that
kind; so this share stands for about three quarters.
"""

LIKE_KIND = 0.5
"""The cosine between a kind and a code it can name."""

SURE = 0.5
"""From this confidence on a name is called sure."""


@dataclass(frozen=True)
class Name:
    """An automatic name, how sure it is (0 to 1), and the words that set the code apart, best first."""

    text: str
    confidence: float
    words: tuple[str, ...] = ()


EmbedTerms = Callable[[Sequence[str]], NDArray[np.float32]]


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
    kinds = vocabulary.kinds
    counted = {
        prefix: Counted.of(texts, kinds if len(prefix) <= MAIN else None)
        for prefix, texts in prefixes.items()
        if len(texts) >= MIN_CAPTIONS
    }
    named: dict[tuple[int, ...], Name] = {}
    for prefix in sorted(counted, key=len):  # a parent is named before its children
        if len(prefix) > 1:
            parts = [book[code] for book, code in zip(books[1:], prefix[1:], strict=False)]
            above = named[prefix[:-1]].text if len(prefix) > MAIN else ""
            named[prefix] = vocabulary.name(
                counted[prefix], counted[prefix[:-1]], np.sum(parts, axis=0), len(prefix), above
            )
    anywhere = {}
    everything = Counted.of([caption for caption in captions if caption], kinds)
    for (level, code), texts in _grouped(codes, captions, lambda row, level: (level, row[level])).items():
        if level > 0 and len(texts) >= MIN_CAPTIONS:
            inside = Counted.of(texts, kinds if level < MAIN else None)
            anywhere[level, code] = vocabulary.name(inside, everything, books[level][code], level + 1)
    return named, anywhere


def _grouped(
    codes: NDArray[np.int64], captions: Sequence[str], key: Callable[[list[int], int], tuple[int, ...]]
) -> dict[tuple[int, ...], Counter[str]]:
    """The captions under every key of a candidate's codes and a level, and how many candidates have each."""
    found: dict[tuple[int, ...], Counter[str]] = defaultdict(Counter)
    for row, caption in zip(codes.tolist(), captions, strict=True):
        if caption:
            for level in range(len(row)):
                found[key(row, level)][caption] += 1
    return found


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The terms of a collection's captions, and unit vectors [k, d] of what each says beyond being a text.

    `kinds` are those that each caption is nearest to; their words are among the terms.
    """

    terms: tuple[str, ...]
    vectors: NDArray[np.float32]
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    qualities: Collection[str] = ()

    @cached_property
    def _place(self) -> dict[str, int]:
        return {term: place for place, term in enumerate(self.terms)}

    @classmethod
    def of(
        cls, captions: Sequence[str], books: Sequence[NDArray[np.float32]], embed: EmbedTerms
    ) -> Vocabulary:
        """Terms that stand in two different captions at least, and the kinds of things."""
        different = sorted(set(captions) - {""})
        counts = Counter(term for caption in different for term in terms_of(caption))
        shared = {term for term, count in counts.items() if count > 1}
        if not shared:
            return cls((), np.zeros((0, books[0].shape[1]), np.float32))
        terms = tuple(sorted(shared | KINDS.keys(), key=lambda t: (len(t), t)))
        said = _unit(_without_kind(embed((*terms, *different)), books[0]))
        vectors, of_captions = said[: len(terms)], said[len(terms) :]
        kinds = [place for place, term in enumerate(terms) if term in KINDS]
        nearest = (of_captions @ vectors[kinds].T).argmax(1).tolist()
        of_kinds = [_with_wider(terms[kinds[near]]) for near in nearest]
        qualities = qualities_of(different) - KINDS.keys()
        return cls(terms, vectors, dict(zip(different, of_kinds, strict=True)), qualities)

    def name(
        self, inside: Counted, around: Counted, vector: NDArray[np.float32], level: int, taken: str = ""
    ) -> Name:
        """The name of what lies at a vector [d], whose captions are some of those `around`."""
        cosines = self.vectors @ _unit(vector)
        closest = np.argsort(-cosines, kind="stable")[:CLOSEST].tolist()
        held = [place for term in (*inside.terms, *KINDS) if (place := self._place.get(term)) is not None]
        near = {self.terms[place]: float(cosines[place]) for place in {*closest, *held}}
        if level == MAIN:
            near = {term: cosine for term, cosine in near.items() if term not in self.qualities}
        return pick(contrast(inside, around), inside, around, near, level, taken)


def _with_wider(kind: str) -> tuple[str, ...]:
    """A kind and the wider one it is of, if there is one.

    >>> _with_wider("bird")
    ('bird', 'animal')
    """
    return (kind, KINDS[kind]) if KINDS[kind] else (kind,)


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
    """Choose a name of one to three words, and the words that set a code of a level (counted from 1) apart.

    scores: contrast of each term; near: cosine between term and code; taken: the parent's name, whose words
    say nothing new. At level 2 it counts most that a term lies near; deeper, where siblings are alike, that
    it stands in captions here and not there.
    """
    apart = [term for term in sorted(scores, key=lambda t: (-scores[t], t)) if scores[term] >= APART]
    words = tuple(_whole(apart, inside.terms)[:WORDS])
    kinds: dict[str, set[int]] = {}
    if level == MAIN:
        worth = _worth_at_main(inside, around, near, kinds)
        best = max(worth, key=lambda term: worth[term], default="")
        if inside.share(inside.saying(best)) < ALONE:  # else the captions have a word of their own
            kinds = _kinds(inside, near)
            worth = _worth_at_main(inside, around, near, kinds)
    else:
        fits = {term: _fit(inside.terms[term], inside.captions, around.terms[term]) for term in near}
        worth = {t: sqrt(fits[t]) * (0.7 + 0.3 * near[t]) for t in near if scores.get(t, 0.0) >= APART}
    true = inside.terms | Counter({kind: len(captions) for kind, captions in kinds.items()})
    said = set(WORD.findall(taken))
    ranked = [t for t in sorted(worth, key=lambda t: (-worth[t], t))[:60] if not said & set(t.split())]
    ranked = [term for term in _whole(ranked, true) if worth[term] >= WORTH]
    holds = {term: kinds.get(term) or inside.saying(term) for term in ranked}
    name = _together(holds, worth, inside, kinds) if holds else []
    quality, share = _quality(inside, around) if level == MAIN else ("", 0.0)
    least = LEAST_BESIDE_QUALITY if quality else LEAST
    if inside.share(set[int]().union(*(holds[term] for term in name))) < least:
        name = []
    confidence = min(worth[ranked[0]], 1.0) if name else share
    return Name(", ".join(part for part in (" · ".join(name), quality) if part), confidence, words)


def _quality(inside: Counted, around: Counted) -> tuple[str, float]:
    """An aside, or one of two, that most captions say and others around do not; and the share that does."""
    share = {aside: inside.share(numbers) for aside, numbers in inside.asides.items()}
    share = {a: part for a, part in share.items() if part >= 2 * around.share(around.asides[a])}
    best = sorted(share, key=lambda aside: -share[aside])[:2]
    if best and share[best[0]] >= ALONE:
        return best[0], share[best[0]]
    either = inside.share(set[int]().union(*(inside.asides[aside] for aside in best)))
    return (_either(*best), either) if either >= ALONE else ("", 0.0)


def _either(one: str, other: str) -> str:
    """Two asides as one.

    >>> _either("dark skin tone", "light skin tone")
    'dark or light skin tone'
    """
    first, *rest = one.split()
    return f"{first if rest and rest == other.split()[1:] else one} or {other}"


def _worth_at_main(
    inside: Counted, around: Counted, near: Mapping[str, float], kinds: Mapping[str, set[int]]
) -> dict[str, float]:
    """What each term is worth as a name at the level of the main thing, if it is not too common for one."""
    worth = {}
    for term, cosine in near.items():
        true = len(kinds[term]) if term in kinds else inside.terms[term]
        total = len(around.of_kinds[term]) if term in kinds else around.terms[term]
        if term in kinds or total <= max(COMMON * around.captions, 25):
            cover = sqrt(true / inside.captions)
            fit = _fit(true, inside.captions, total)
            worth[term] = 0.6 * cosine * (0.4 + 0.6 * cover) + 0.4 * sqrt(fit)
    return worth


def _kinds(inside: Counted, near: Mapping[str, float]) -> dict[str, set[int]]:
    """The kinds that can name a code whose captions are `inside`, and the captions of each."""
    return {
        kind: held
        for kind, held in inside.of_kinds.items()
        if near.get(kind, 0.0) >= LIKE_KIND and inside.share(held) >= OF_KIND
    }


def _together(
    holds: Mapping[str, set[int]], worth: Mapping[str, float], inside: Counted, kinds: Collection[str]
) -> list[str]:
    """The words of a name, of those that hold of some captions each, best first: the best, and what it lacks.

    What a word lacks is another that holds of captions it does not; a kind lacks an example.
    """
    first, *others = holds
    if inside.share(inside.saying(first)) >= ALONE:
        return [first]
    if first in kinds:
        examples = [term for term in others if term not in kinds and len(holds[term]) > 1]
        examples = [term for term in examples if not _akin(term, first)]
        return [first, *examples[:1]]
    name, told = [first], holds[first]
    for enough in (ALONE, HALF):
        others = [term for term in others if not any(_akin(term, known) for known in name)]
        new = {term: inside.share(holds[term] - told) for term in others}
        best = max(others, key=lambda term: worth[term] * new[term], default="")
        if inside.share(told) >= enough or not best or new[best] < FURTHER:
            break
        name.append(best)
        told = told | holds[best]
    return sorted(name, key=lambda term: term not in kinds)


def _fit(inside: int, captions: int, around: int) -> float:
    """How well a term picks out a code's captions: the harmonic mean of the shares it covers and keeps to."""
    return 2 * inside / (captions + around) if inside else 0.0


def _whole(terms: Sequence[str], true: Mapping[str, int]) -> list[str]:
    """Terms without the parts of better ones: of `signal flag`, `signal` and `flag`, those that say most.

    A pair of words stays if it stands nearly wherever its rarer word does, and a word stays if it does not
    mostly stand in such a pair.
    """
    kept: list[str] = []
    for term in terms:
        parts = term.split()
        if len(parts) > 1:
            rarer = min(true.get(part, 0) for part in parts)
            if true.get(term, 0) < 0.8 * rarer or true.get(term, 0) == 0 < rarer:
                continue
        if not any(set(parts) & set(other.split()) for other in kept):
            kept.append(term)
    return kept


def _akin(one: str, other: str) -> bool:
    """Whether two words are forms of one: `sail` and `sailing`."""
    return any(a.startswith(b[:4]) or b.startswith(a[:4]) for a in one.split() for b in other.split())
