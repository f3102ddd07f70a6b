"""What crosses the borders between rooms: frozen records, no behaviour beyond validation.

Imports the standard library and Pillow only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from PIL import Image


class UserError(ValueError):
    """Something a person can mend; the message says what is wrong and what to do next."""


MAX_TEXT = 2000


def bounded_text(text: str | None, what: str) -> str:
    """A text from outside, stripped; UserError when it is longer than `MAX_TEXT` characters."""
    text = (text or "").strip()
    if len(text) > MAX_TEXT:
        raise UserError(
            f"The {what} has {len(text):,} characters; at most {MAX_TEXT:,} are read. Please shorten it."
        )
    return text


class Modality(IntEnum):
    """What a candidate is made of. The value is the first code of its semantic ID."""

    IMAGE = 0
    TEXT = 1
    PAIR = 2

    @property
    def label(self) -> str:
        """Plain word for people: `image`, `text` or `image + text`."""
        return ("image", "text", "image + text")[self]

    @classmethod
    def of(cls, *, image: bool, text: bool) -> Modality:
        """Modality of something that has an image, a text, or both.

        Raises
        ------
        UserError
            If it has neither.
        """
        if image and text:
            return cls.PAIR
        if image:
            return cls.IMAGE
        if text:
            return cls.TEXT
        raise UserError("Nothing to work with: give an image, a text, or both.")


@dataclass(frozen=True)
class Query:
    """What a person asks: content (image, text or both) and an instruction.

    `minus` is text whose meaning is subtracted from the query.
    """

    image: Image.Image | None = None
    text: str = ""
    instruction: str = ""
    minus: str = ""

    @property
    def modality(self) -> Modality:
        """Modality of the content; raises UserError when the query is empty."""
        return Modality.of(image=self.image is not None, text=bool(self.text.strip()))


@dataclass(frozen=True)
class Candidate:
    """One thing that can be found. `image` is a file (SVG or raster); `collection` names its source."""

    id: str
    modality: Modality
    text: str | None = None
    image: Path | None = None
    collection: str = ""


@dataclass(frozen=True)
class SearchOptions:
    """How to search. `prefix` holds codes every answer's semantic ID must start with.

    A prefix of one code forces the modality; a longer one searches within a code.
    """

    top_k: int = 10
    beams: int = 50
    rerank: bool = True
    prefix: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= 1000:
            raise UserError(f"The number of results must be 1 to 1000, not {self.top_k}.")
        if not 1 <= self.beams <= 1000:
            raise UserError(f"The beam width must be 1 to 1000, not {self.beams}.")


@dataclass(frozen=True)
class Hit:
    """A found candidate.

    `score` is the cosine between the query's and the candidate's encoder embeddings; `log_prob` is
    the decoder's log-probability of `semantic_id` among those that exist (`None` for exact search, which
    writes no IDs).
    """

    rank: int
    candidate: Candidate
    semantic_id: tuple[int, ...]
    score: float
    log_prob: float | None


@dataclass(frozen=True)
class Beam:
    """One partial semantic ID: its codes, summed log-probability, and how many candidates lie under it."""

    prefix: tuple[int, ...]
    log_prob: float
    candidates: int


@dataclass(frozen=True)
class BeamStep:
    """One level of the beam search. `kept` and `dropped` are sorted best first.

    `dropped` lists only the best few of the `considered - len(kept)` continuations let go.
    """

    level: int
    considered: int
    kept: tuple[Beam, ...]
    dropped: tuple[Beam, ...]


@dataclass(frozen=True)
class Timings:
    """Milliseconds spent in each stage of a search."""

    encode: float = 0.0
    fuse: float = 0.0
    decode: float = 0.0
    rerank: float = 0.0

    @property
    def total(self) -> float:
        """Milliseconds of all stages together."""
        return self.encode + self.fuse + self.decode + self.rerank


@dataclass(frozen=True)
class SearchResult:
    """Answer to one query, with its own explanation: the level-by-level trace and stage timings."""

    query: Query
    hits: tuple[Hit, ...]
    trace: tuple[BeamStep, ...] = ()
    timings: Timings = field(default_factory=Timings)
