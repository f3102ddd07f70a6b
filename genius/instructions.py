"""The eight M-BEIR tasks, our wordings of them, and how instruction and text become one sentence.

Task numbers are M-BEIR's (Wei et al., UniIR, ECCV 2024): 0 text→image, 1 text→text,
2 text→image+text, 3 image→text, 4 image→image, 6 image+text→text, 7 image+text→image,
8 image+text→image+text; 5 is not used. The last two wordings of every task are never trained on:
they measure whether an instruction is understood or only recognised.
"""

from __future__ import annotations

from dataclasses import dataclass

from genius.schema import Modality

HELD_OUT_WORDINGS = 2


@dataclass(frozen=True)
class Task:
    """A retrieval task: which modality asks for which, in several wordings."""

    id: int
    query: Modality
    target: Modality
    wordings: tuple[str, ...]

    @property
    def train_wordings(self) -> tuple[str, ...]:
        """Wordings used in training."""
        return self.wordings[:-HELD_OUT_WORDINGS]

    @property
    def held_out_wordings(self) -> tuple[str, ...]:
        """Wordings kept out of training."""
        return self.wordings[-HELD_OUT_WORDINGS:]

    @property
    def label(self) -> str:
        """`image + text → image`, for people."""
        return f"{self.query.label} → {self.target.label}"


_IMAGE, _TEXT, _PAIR = Modality.IMAGE, Modality.TEXT, Modality.PAIR

TASKS: tuple[Task, ...] = (
    Task(
        0,
        _TEXT,
        _IMAGE,
        (
            "Find a picture that matches this description.",
            "Show me an image of this.",
            "Retrieve an image that fits the caption.",
            "Which picture shows what the sentence says?",
            "Get me the photo or drawing described here.",
            "I am looking for an image, not words, of the following.",
            "Search for pictures of what is written below.",
            "Give me a visual of this text.",
        ),
    ),
    Task(
        1,
        _TEXT,
        _TEXT,
        (
            "Find a text that means the same.",
            "Retrieve a caption similar to this one.",
            "Which sentence says the same thing in other words?",
            "Give me a title or description close to this text.",
            "Search for words, not pictures, that match this.",
            "Look up a written description of this.",
            "Find another wording for this text.",
            "Return a sentence related to this one.",
        ),
    ),
    Task(
        2,
        _TEXT,
        _PAIR,
        (
            "Find a captioned picture for this text.",
            "Retrieve an image together with its description.",
            "Show me a picture and its title that match this.",
            "Which image-text pair answers this?",
            "I want both an illustration and its caption for this.",
            "Search for an entry that has a picture and words about this.",
            "Give me an illustrated entry about this text.",
            "Find a picture with its caption that goes with this.",
        ),
    ),
    Task(
        3,
        _IMAGE,
        _TEXT,
        (
            "Describe this picture in words.",
            "Find a caption for this image.",
            "What is shown here? Answer with a text.",
            "Retrieve the sentence that fits the image.",
            "Give the name or title of what is in this picture.",
            "Search for a written description of this image.",
            "Tell me in words what this photo shows.",
            "Which text goes with this picture?",
        ),
    ),
    Task(
        4,
        _IMAGE,
        _IMAGE,
        (
            "Find a similar picture.",
            "Show me another image of the same thing.",
            "Retrieve an image that looks like this one.",
            "Which other picture has the same subject?",
            "Search for pictures related to this photo.",
            "I want images, not words, that resemble this.",
            "Look for more pictures like this.",
            "Find an image of the same subject as this one.",
        ),
    ),
    Task(
        6,
        _PAIR,
        _TEXT,
        (
            "Answer the question about this picture with a text.",
            "Using the image and the words, find the matching text.",
            "Which description fits the picture and what I ask?",
            "Retrieve the sentence that answers the question about the image.",
            "Name what the question asks about in this picture.",
            "Give a written answer for this picture and question.",
            "Find the words that answer what I ask about this photo.",
            "Return a text that responds to the picture and the question.",
        ),
    ),
    Task(
        7,
        _PAIR,
        _IMAGE,
        (
            "Find a picture like this one, changed as the text says.",
            "Retrieve an image similar to this but with the described difference.",
            "Show me this picture with the requested change.",
            "Which image looks like this one after the modification?",
            "Start from this image and find the one the words ask for.",
            "I want an image that combines this picture and the text.",
            "Look for an image like this, but modified as written.",
            "Find the picture that results from applying the text to this image.",
        ),
    ),
    Task(
        8,
        _PAIR,
        _PAIR,
        (
            "Find a captioned picture that answers the question about this image.",
            "Using this picture and the words, retrieve an image with its text.",
            "Show me a picture and its title that match this image and question.",
            "Which image-text pair goes with this picture and text?",
            "Retrieve an illustrated entry about this picture and what I ask.",
            "I want both an image and its caption related to this pair.",
            "Find an entry with picture and words for this image and text.",
            "Return an image and its description that fit this picture and text.",
        ),
    ),
)

_BY_MODALITIES = {(task.query, task.target): task for task in TASKS}


def task_for(query: Modality, target: Modality) -> Task | None:
    """The task in which `query` asks for `target`; None where M-BEIR has none (image → image + text)."""
    return _BY_MODALITIES.get((query, target))


def format_text(text: str) -> str:
    """One sentence as M-BEIR writes it: stripped, capitalised, ended by a full stop.

    >>> format_text(' "a cat on a mat" ')
    'A cat on a mat.'
    """
    text = text.replace("\r", "").strip().strip('"').strip()
    if not text:
        return ""
    text = text[0].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else text + "."


def instructed_text(instruction: str, text: str) -> str:
    """What the text tower reads for a query: the instruction, then the query's own text.

    >>> instructed_text("find a picture", "a red car")
    'Find a picture. a red car.'
    """
    return format_text(f"{format_text(instruction)} {text}")
