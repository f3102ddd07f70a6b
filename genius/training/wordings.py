"""Instructions in many wordings, put together from parts: verb, what is wanted, and how it relates.

Eight wordings a task teach a model those eight; from thousands it learns which word decides. The
wordings that measure understanding (`Task.held_out_wordings`) are never among them.
"""

from __future__ import annotations

import random

from genius.instructions import TASKS, Task
from genius.schema import Modality

_VERBS = (
    *("Find", "Show me", "Retrieve", "Get me", "Search for", "Look for", "Look up", "Give me", "Return"),
    *("I want", "I need", "I would like", "I am looking for", "I'd like to see", "Fetch", "Bring up"),
    *("Please find", "Can you find", "Pick out", "Locate", "Let me see", "Choose", "Get", "Name", "Select"),
)
_WANTED = {
    Modality.IMAGE: (
        *(
            "a picture",
            "an image",
            "a photo",
            "a drawing",
            "pictures",
            "images",
            "a photograph",
            "the picture",
        ),
        *(
            "the image",
            "an illustration",
            "some pictures",
            "photos",
            "a photo or drawing",
            "something to look at",
        ),
        *(
            "an image, not words,",
            "pictures, not text,",
            "a visual",
            "visuals",
            "a graphic",
            "artwork",
            "a view",
        ),
        *("only a picture", "just an image", "the photo", "a depiction", "a visual example", "the visual"),
        *("a snapshot", "a shot", "a snap", "an icon", "a sketch", "a pic", "another picture", "a scene"),
    ),
    Modality.TEXT: (
        *("a text", "a sentence", "a caption", "a description", "words", "a title", "a name", "the words"),
        *("a written description", "a phrase", "the text", "the sentence", "the name", "a written answer"),
        *(
            "words, not pictures,",
            "a text, not an image,",
            "another wording",
            "a written line",
            "the caption",
        ),
        *(
            "only words",
            "just a text",
            "captions",
            "sentences",
            "the title",
            "a short text",
            "an answer in words",
        ),
        *("a passage", "an article", "a paragraph", "the answer", "an explanation", "a definition", "a word"),
        *("its name", "what it is called", "the right word", "a statement", "a written passage", "a label"),
    ),
    Modality.PAIR: (
        *("a captioned picture", "a picture with its caption", "an image together with its description"),
        *(
            "a picture and its title",
            "an image-text pair",
            "both a picture and its text",
            "an illustrated entry",
        ),
        *("an entry with picture and words", "both an image and its caption", "a photo plus its description"),
        *(
            "an image with text",
            "a picture and words together",
            "an illustrated text",
            "a pair of image and text",
        ),
        *("a picture with words", "an image along with its title", "both an illustration and its caption"),
        *("an entry that has a picture and a text", "a labelled picture", "an image and its description"),
        *("a picture with an explanation", "an article with its picture", "a photo and a passage about it"),
        *("an encyclopedia entry with a picture", "a snapshot with its caption", "both image and text"),
    ),
}
_SAID = (
    "this description",
    "this text",
    "this sentence",
    "this caption",
    "these words",
    "this",
    "the following",
)
_SEEN = ("this picture", "this image", "this photo", "the picture", "the image", "this one", "this")
_BOTH = (
    *(
        "this picture and text",
        "this image and question",
        "the picture and the words",
        "this photo and what I ask",
    ),
    *(
        "this pair",
        "the question about this image",
        "what I ask about this picture",
        "this image and these words",
    ),
)
_RELATED = {
    0: (
        "that matches {}",
        "of {}",
        "that fits {}",
        "for {}",
        "showing {}",
        "described by {}",
        "that shows {}",
    ),
    1: (
        "that means the same as {}",
        "similar to {}",
        "close to {}",
        "like {}",
        "related to {}",
        "matching {}",
    ),
    2: ("for {}", "that match {}", "about {}", "that goes with {}", "that fits {}", "answering {}", "on {}"),
    3: ("of {}", "for {}", "that describes {}", "that fits {}", "that goes with {}", "telling what {} shows"),
    4: (
        "similar to {}",
        "like {}",
        "that looks like {}",
        "of the same thing as {}",
        "related to {}",
        "that resembles {}",
    ),
    6: ("that answers {}", "for {}", "that responds to {}", "fitting {}", "that goes with {}", "from {}"),
    7: (
        *("like this one, changed as the text says", "similar to this, but as described", "that combines {}"),
        *("like this with the requested change", "that results from changing this as I say"),
        *("after the modification",),
    ),
    8: ("for {}", "that answers {}", "related to {}", "that fits {}", "that goes with {}", "matching {}"),
}
_ABOUT = {Modality.TEXT: _SAID, Modality.IMAGE: _SEEN, Modality.PAIR: _BOTH}
_QUESTIONS = {
    Modality.IMAGE: ("Which {noun} {relation}?", "What {noun} {relation}?"),
    Modality.TEXT: ("Which {noun} {relation}?", "What {noun} {relation}?"),
    Modality.PAIR: ("Which {noun} {relation}?",),
}
_NOUNS = {
    Modality.IMAGE: ("picture", "image", "photo", "drawing", "illustration", "photograph"),
    Modality.TEXT: (
        "text",
        "sentence",
        "caption",
        "description",
        "title",
        "name",
        "passage",
        "article",
        "word",
    ),
    Modality.PAIR: ("image-text pair", "captioned picture", "illustrated entry", "picture with its title"),
}
_DOES = ("fits {}", "goes with {}", "matches {}", "belongs to {}", "answers {}")
_DIRECT = {  # asked or ordered without a word for what is wanted: answers are texts
    1: ("Say {} in other words.", "Put {} differently.", "What else means {}?", "Explain {}.", "Define {}."),
    3: (
        *("What is in {}?", "Name what {} shows.", "What do you see in {}?", "Explain what {} shows."),
        *("Tell me what {} is.", "What is {} called?", "Put {} into words.", "Say what {} is about."),
        *("Who or what is in {}?", "What is going on in {}?", "Identify {}.", "Name {}."),
    ),
    6: (
        *("Answer {}.", "Reply to {}.", "Answer with words: {}.", "What is the answer to {}?", "Explain {}."),
        *(
            "Name what is asked for in {}.",
            "Tell me what I want to know about {}.",
            "Respond to {} in words.",
        ),
    ),
}
_HELD_OUT = frozenset(wording.lower() for task in TASKS for wording in task.held_out_wordings)
OWN = 0.35


def wording(task: Task, rng: random.Random) -> str:
    """One instruction for a task: sometimes one of the page's own, mostly one put together here."""
    if rng.random() < OWN:
        return rng.choice(task.train_wordings)
    kind = rng.random()
    if kind < 0.2 and task.id in _DIRECT:
        made = rng.choice(_DIRECT[task.id]).format(rng.choice(_ABOUT[task.query]))
    else:
        made = _question(task, rng) if kind < 0.35 else _order(task, rng)
    return made if made.lower() not in _HELD_OUT else rng.choice(task.train_wordings)


def _order(task: Task, rng: random.Random) -> str:
    relation = rng.choice(_RELATED[task.id]).format(rng.choice(_ABOUT[task.query]))
    said = f"{rng.choice(_VERBS)} {rng.choice(_WANTED[task.target])} {relation}"
    return said + rng.choice((".", ".", ".", ".", ", please."))


def _question(task: Task, rng: random.Random) -> str:
    relation = rng.choice(_DOES).format(rng.choice(_ABOUT[task.query]))
    return rng.choice(_QUESTIONS[task.target]).format(noun=rng.choice(_NOUNS[task.target]), relation=relation)
