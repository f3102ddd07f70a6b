"""What a race is run on: queries as the encoder leaves them, real candidates, and more of their kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genius.benchmark.machine import timed
from genius.benchmark.made_up import PAPER, random_decoder, random_queries, zipf_ids
from genius.benchmark.pace import Pace
from genius.benchmark.padding import Padding
from genius.decoder import Decoder, DecoderConfig
from genius.encoder import Features
from genius.engine import Engine
from genius.images import open_image
from genius.instructions import TASKS
from genius.schema import Candidate, Modality, Query, UserError

WARM_UP = 3
"""So many queries go first and do not count."""
SAMPLE = 4096

Drawn = tuple[NDArray[np.float16], NDArray[np.int64]]


@dataclass(frozen=True)
class Question:
    """A query and the candidates, as rows of the index, that are its known answers; maybe none."""

    query: Query
    answers: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class Asked:
    """q queries: the encoder's features, unit embeddings [q, d], seconds to encode each [q], right rows."""

    features: Features
    clip: NDArray[np.float32]
    seconds: NDArray[np.float64] | None
    answers: tuple[frozenset[int], ...]

    def part(self, rows: slice) -> Features:
        """Features of some queries."""
        return Features(*(part[rows] for part in vars(self.features).values()))


@dataclass(frozen=True, eq=False)
class Course:
    """Queries, a model, and candidates: real ones, vectors [real, d] and codes [real, M], then drawn ones.

    coding: seconds to give one candidate its codes. trained: whether what the decoder writes has to do with
    the vectors, so that recall says something. draw: how many and a seed to new vectors and codes.
    """

    collection: str
    model: str
    decoder: Decoder
    fuse: Callable[[Features], Tensor]
    asked: Asked
    vectors: NDArray[np.float16]
    codes: NDArray[np.int64]
    draw: Callable[[int, int], Drawn]
    coding: float = 0.0
    trained: bool = True

    @classmethod
    def of(cls, engine: Engine, queries: int, pace: Pace, seed: int = 0) -> Course:
        """An engine's own collection, asked with its captions. The answers are the first of the candidates,
        so that every size has them; the others follow in random order."""
        index = engine.index
        questions = questions_of(engine, queries + WARM_UP, seed)
        first = list(dict.fromkeys(row for question in questions for row in sorted(question.answers)))
        rows = np.array([index.row(candidate.id) for candidate in index.present])
        others = np.random.default_rng(seed).permutation(rows[~np.isin(rows, first)])
        rows = np.concatenate([np.array(first, dtype=np.int64), others])
        place = {int(row): number for number, row in enumerate(rows[: len(first)])}
        answers = tuple(frozenset(place[row] for row in question.answers) for question in questions)
        with pace.hold():
            vectors, codes = index.vectors[rows], index.codes(rows)
            padding = Padding.like(vectors, codes, engine.bundle.quantizer, seed)
        with pace.hold():
            coding = _coding_seconds(padding, seed)
        return cls(
            ", ".join(sorted({candidate.collection for candidate in index.present})) or "a collection",
            engine.bundle.name,
            engine.bundle.decoder,
            engine.fuse,
            _encode(engine, questions, answers, pace),
            vectors,
            codes,
            padding.draw,
            coding,
        )

    @classmethod
    def made_up(cls, queries: int, config: DecoderConfig = PAPER) -> Course:
        """Random vectors, codes and weights of the paper's size: what speed depends on, and nothing else."""
        count = queries + WARM_UP
        z = random_queries(count, config.dim)
        nothing = torch.zeros(count, dtype=torch.bool)
        asked = Asked(Features(0 * z, z, nothing, ~nothing), z.numpy(), None, (frozenset(),) * count)
        return cls(
            "made up",
            "random weights",
            random_decoder(config),
            lambda features: features.text,
            asked,
            np.zeros((0, config.dim), np.float16),
            np.zeros((0, len(config.levels)), np.int64),
            partial(_draw_made_up, config),
            trained=False,
        )


def questions_of(engine: Engine, count: int, seed: int = 0) -> list[Question]:
    """At most `count` different queries: captions, whose pictures are the known answers; where there are no
    captioned pictures, texts; where there are no texts, pictures.

    They are asked in wordings kept out of training.

    Raises
    ------
    UserError
        If there are too few to leave any after the warm-up.
    """
    rng, present = np.random.default_rng(seed), engine.index.present
    asked = _captions(engine, present) or _texts(present) or _pictures(present)
    chosen = [asked[n]() for n in rng.permutation(len(asked))[:count]]
    if len(chosen) <= WARM_UP:
        raise UserError(
            f"The collection holds {len(chosen)} things to ask for; a race needs more than {WARM_UP}. "
            "Open a larger collection."
        )
    return chosen


def _captions(engine: Engine, present: Sequence[Candidate]) -> list[Callable[[], Question]]:
    """Every caption of a picture that can be found by itself; several pictures may have the same one."""
    rows = {c.image: engine.index.row(c.id) for c in present if c.modality is Modality.IMAGE}
    pictures: dict[str, set[int]] = defaultdict(set)
    for pair in present:
        if pair.modality is Modality.PAIR and pair.text and pair.image in rows:
            pictures[pair.text].add(rows[pair.image])
    return [
        partial(Question, Query(text=text, instruction=_wording(0)), frozenset(found))
        for text, found in pictures.items()
    ]


def _texts(present: Sequence[Candidate]) -> list[Callable[[], Question]]:
    texts = dict.fromkeys(c.text for c in present if c.text)
    return [partial(Question, Query(text=text or "", instruction=_wording(0))) for text in texts]


def _pictures(present: Sequence[Candidate]) -> list[Callable[[], Question]]:
    def ask(candidate: Candidate) -> Question:
        image = None if candidate.image is None else open_image(candidate.image)
        return Question(Query(image=image, instruction=_wording(4)))

    return [partial(ask, candidate) for candidate in present if candidate.image is not None]


def _wording(task: int) -> str:
    return next(t.held_out_wordings[0] for t in TASKS if t.id == task)


def _encode(
    engine: Engine, questions: Sequence[Question], answers: tuple[frozenset[int], ...], pace: Pace
) -> Asked:
    """Encode query by query, as they come, to know what each one takes."""
    parts: list[Features] = []
    seconds: list[float] = []

    def encode(question: Question) -> None:
        took, features = timed(lambda: _arrived(engine.encode([question.query])))
        parts.append(features)
        seconds.append(took)

    with pace.hold():
        engine.encode([questions[0].query])  # warms up
    pace.each(questions, encode)
    features = Features(*(torch.cat(each) for each in zip(*(vars(p).values() for p in parts), strict=True)))
    return Asked(features, features.embedding().cpu().numpy(), np.array(seconds), answers)


def _arrived(features: Features) -> Features:
    """Features that are there: an accelerator answers before it has finished."""
    if features.text.is_cuda:
        torch.cuda.synchronize(features.text.device)
    return features


def _coding_seconds(padding: Padding, seed: int) -> float:
    z = torch.from_numpy(padding.draw(SAMPLE, seed)[0].astype(np.float32))
    books = padding.quantizer
    z = z.to(books.codebook(0).device)
    books.encode(z[:64])
    return timed(lambda: books.encode(z).cpu())[0] / SAMPLE


def _draw_made_up(config: DecoderConfig, count: int, seed: int) -> Drawn:
    vectors = random_queries(count, config.dim, seed + 1).numpy().astype(np.float16)
    return vectors, zipf_ids(count, config.levels, seed).astype(np.int64)
