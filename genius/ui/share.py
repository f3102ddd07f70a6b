"""Taking a search away: the link that reopens it, its results as JSON, and the call that repeats it. Pure."""

from __future__ import annotations

import json

from genius.report import result_to_json
from genius.schema import SearchResult
from genius.ui.ask import Ask, to_link
from genius.ui.render import esc

ORIGIN = "http://127.0.0.1:7860"
"""Stands for this page's own address; the browser puts in the real one."""


def share(ask: Ask, result: SearchResult) -> str:
    """Link, JSON and Python call of one search."""
    as_json = json.dumps(result_to_json(result), ensure_ascii=False, indent=2)
    return (
        f"<h4>A link that reopens this search</h4>{_link(ask)}"
        f"{_block('The same search from Python', call(ask), origin=True)}"
        f"{_block('The results as JSON', as_json, download='genius-results.json')}"
    )


def call(ask: Ask) -> str:
    """A Python snippet that repeats the search through gradio_client."""
    picture = "None" if ask.image is None else 'handle_file("your-picture.jpg")'
    imports = "Client" if ask.image is None else "Client, handle_file"
    lines = [
        f"from gradio_client import {imports}",
        "",
        *(["# searches everything: a limit to some candidates is the page's alone"] if ask.within else []),
        f'client = Client("{ORIGIN}")',
        "found = client.predict(",
        f"    text={ask.text!r},",
        f"    image={picture},",
        f"    instruction={ask.instruction!r},",
        f"    modality={ask.mode!r},",
        f"    top_k={ask.top_k},",
        f"    beams={ask.beams},",
        f"    rerank={ask.rerank},",
        f"    minus={ask.minus!r},",
        '    api_name="/search",',
        ")",
        'print(found["hits"][0]["id"])',
    ]
    return "\n".join(lines)


def _link(ask: Ask) -> str:
    link = to_link(ask)
    if link is None:
        why = (
            "A link can carry words, but no picture and no limit to some candidates, so this search has none."
        )
        return f'<p class="g-lead">{why}</p>'
    return (
        f'<div class="g-copy"><a class="g-link" href="{esc(link)}">{esc(link)}</a>'
        '<button type="button" data-act="copy-link">Copy link</button></div>'
    )


def _block(title: str, text: str, *, origin: bool = False, download: str = "") -> str:
    buttons = '<button type="button" data-act="copy">Copy</button>'
    if download:
        buttons += f'<button type="button" data-act="download" data-name="{esc(download)}">Download</button>'
    mark = " data-origin" if origin else ""
    return (
        f'<div class="g-block"><div class="g-block-head"><h4>{esc(title)}</h4><span>{buttons}</span></div>'
        f'<pre tabindex="0"{mark}>{esc(text)}</pre></div>'
    )
