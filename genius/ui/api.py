"""Named endpoints for scripts, beside the search's own: what a code holds, and where a thing would be filed.

`gradio_client` calls them; with GENIUS_MCP=1, language models do, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from genius.images import open_image
from genius.index import CandidateIndex
from genius.schema import Query, UserError, bounded_text
from genius.ui.form import PictureInput
from genius.ui.handle import EngineHandle
from genius.ui.settings import Settings

EXAMPLES = 10


def build(handle: EngineHandle, names: Callable[[tuple[int, ...]], str], guard: Callable[..., Any]) -> None:
    """Add `/explain_code` and `/encode`; `names` gives a prefix's plain name, `guard` minds the errors."""

    def explain_code(code: str = "") -> dict[str, Any]:
        """Explain a code of this collection: how much lies under it, how it goes on, and a few examples.

        Args:
            code: the first numbers of an address, such as "0 12 7"; nothing for the whole collection.
        """
        engine: Any = handle.get()
        prefix = parse_code(code, engine.index.trie.levels)
        return explain(engine.index, prefix) | {"name": names(prefix)}

    def encode(text: str = "", image: str | None = None, instruction: str = "") -> dict[str, Any]:
        """Encode words, a picture or both: the address they would be filed under, and their vector.

        Args:
            text: words.
            image: a picture.
            instruction: what is looked for, if this is to be a query rather than a thing to be found.
        """
        picture = None if image is None else open_image(image)
        query = Query(picture, bounded_text(text, "text"), bounded_text(instruction, "instruction"))
        modality = query.modality
        engine: Any = handle.get()
        coded = engine.address([query])
        return {
            "modality": modality.name.lower(),
            "semantic_id": coded.codes[0].tolist(),
            "embedding": [round(float(x), 6) for x in coded.vectors[0]],
        }

    with gr.Group(visible=False):
        code = gr.Textbox("", label="code")
        text, instruction = gr.Textbox("", label="text"), gr.Textbox("", label="instruction")
        image = PictureInput(label="image", type="filepath")
        result = gr.JSON(label="result")
        model: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
        gr.Button().click(guard(explain_code, str), code, result, api_name="explain_code")
        gr.Button().click(guard(encode, str), [text, image, instruction], result, api_name="encode", **model)


def explain(index: CandidateIndex, prefix: tuple[int, ...]) -> dict[str, Any]:
    """What lies under a prefix: counts, its continuations by size, and examples spread over it. For JSON."""
    trie = index.trie
    start, stop = trie.find(prefix)
    rows = trie.rows(start, stop)
    continuations = []
    if stop > start and len(prefix) < len(trie.levels):
        children = trie.children(np.array([start]), np.array([stop]), len(prefix))
        sizes = children.stop - children.start
        order = np.argsort(-sizes, kind="stable")
        continuations = [{"code": int(children.code[n]), "candidates": int(sizes[n])} for n in order]
    spread: Sequence[int] | NDArray[np.int64] = (
        np.unique(np.linspace(0, len(rows) - 1, EXAMPLES).astype(int)) if len(rows) else []
    )
    found = [index.candidates[rows[place]] for place in spread]
    return {
        "code": list(prefix),
        "level": len(prefix),
        "candidates": len(rows),
        "share": round(len(rows) / max(1, len(trie)), 6),
        "continuations": continuations,
        "examples": [{"id": c.id, "modality": c.modality.name.lower(), "text": c.text} for c in found],
    }


def parse_code(text: str, levels: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of a prefix, as people write them: `0 12 7`, `0·12·7`, `0-12-7`.

    Raises
    ------
    UserError
        If it is something else, too long, or a number is none of its level's codes.
    """
    text = bounded_text(text, "code")
    words = [word for word in re.split(r"[\s,;·.-]+", text) if word]
    if re.search(r"(^|[\s,;])-", text) or not all(
        word.isascii() and word.isdigit() and len(word) < 9 for word in words
    ):
        raise UserError('A code is written as numbers, such as "0 12 7".')
    if len(words) > len(levels):
        raise UserError(f"An address has {len(levels)} codes, not {len(words)}.")
    prefix = tuple(map(int, words))
    for level, (code, size) in enumerate(zip(prefix, levels, strict=False), start=1):
        if code >= size:
            raise UserError(f"Code {code} does not exist on level {level}: they go from 0 to {size - 1}.")
    return prefix


def check(settings: Settings) -> None:
    """UserError if what the settings ask for is not installed."""
    if settings.mcp and find_spec("mcp") is None:
        raise UserError("GENIUS_MCP needs another package: pip install 'gradio[mcp]'")
