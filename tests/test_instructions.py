"""The eight tasks, and text formatting against M-BEIR's own rule."""

from __future__ import annotations

from itertools import product

import pytest

from genius.instructions import TASKS, format_text, instructed_text, task_for
from genius.schema import Modality

IMAGE, TEXT, PAIR = Modality

M_BEIR = {
    0: (TEXT, IMAGE),
    1: (TEXT, TEXT),
    2: (TEXT, PAIR),
    3: (IMAGE, TEXT),
    4: (IMAGE, IMAGE),
    6: (PAIR, TEXT),
    7: (PAIR, IMAGE),
    8: (PAIR, PAIR),
}


def test_the_eight_tasks_of_m_beir() -> None:
    assert {task.id: (task.query, task.target) for task in TASKS} == M_BEIR
    for query, target in product(Modality, Modality):
        task = task_for(query, target)
        assert (task and task.id) == next((n for n, pair in M_BEIR.items() if pair == (query, target)), None)
    assert task_for(IMAGE, PAIR) is None


def test_every_task_has_wordings_to_learn_from_and_others_to_be_tested_on() -> None:
    for task in TASKS:
        assert len(task.train_wordings) >= 4
        assert len(task.held_out_wordings) >= 2
        assert {*task.train_wordings, *task.held_out_wordings} == set(task.wordings)
    plain = [wording.casefold().strip(".?! ") for task in TASKS for wording in task.wordings]
    assert len(set(plain)) == len(plain)  # also across tasks: an instruction must decide the modality
    assert all(format_text(wording) == wording for task in TASKS for wording in task.wordings)


def test_labels() -> None:
    assert [task.label for task in TASKS][:3] == ["text → image", "text → text", "text → image + text"]


def m_beir(text: str) -> str:
    """The rule as GENIUS_FACTS §4 words it, one operation after the other."""
    text = text.replace("\r", "").strip().strip('"')
    if text:
        text = text[0].upper() + text[1:]
        if text[-1] not in ".?!":
            text += "."
    return text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        '"',
        '""',
        "a cat",
        "A cat.",
        "a cat?",
        "a cat!",
        "a cat…",
        "a cat;",
        ' "a cat on a mat" ',
        'a "cat"',
        "a\r\ncat\r",
        "éclair",
        "ßtraße",
        "7 cats",
        "🐱",
        "漢字。",
        "ǆ",
        "a",
        ".",
        "a cat. a dog",
        "\ta cat\n",
    ],
)
def test_format_is_m_beirs(text: str) -> None:
    assert format_text(text) == m_beir(text)
    assert format_text(format_text(text)) == format_text(text)


@pytest.mark.parametrize(
    ("instruction", "text", "whole"),
    [
        ("find a picture", "a red car", "Find a picture. a red car."),
        ("Which one?", '"a red car"', 'Which one? "a red car.'),
        ("Find it.", "Really?", "Find it. Really?"),
        ("Find it.", "", "Find it."),
        ("", "a red car", "A red car."),
        ("", "", ""),
        (" \n", " ", ""),
    ],
)
def test_instruction_and_text_become_one_sentence(instruction: str, text: str, whole: str) -> None:
    assert instructed_text(instruction, text) == whole
    assert instructed_text(instruction, text) == m_beir(f"{m_beir(instruction)} {text}")
