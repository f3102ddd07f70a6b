"""How the page looks: gradio's theme, our stylesheet and script, and what `launch` needs to use them."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
import plotly

from genius.schema import Candidate
from genius.ui import served
from genius.ui.examples import PICTURES

ASSETS = Path(__file__).parents[2] / "assets" / "ui"
UPLOAD_MB = 20
"""What a picture from a visitor may have at most."""
PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
"""Plotly's own script. The page loads it once it has nothing else to do: see page.js."""


def script(name: str) -> str:
    """The text of one of our JavaScript files."""
    return (ASSETS / f"{name}.js").read_text()


def theme() -> gr.themes.Base:
    """Gradio's own parts in the page's colours; the values are the variables of genius.css.

    The fonts come with gradio, so nothing is fetched from elsewhere.
    """
    built = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_md,
        font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
        font_mono=[gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"],
    )
    both = {
        "body_background_fill": "var(--g-page)",
        "body_text_color": "var(--g-ink)",
        "body_text_color_subdued": "var(--g-quiet)",
        "background_fill_primary": "var(--g-sheet)",
        "background_fill_secondary": "var(--g-page)",
        "block_background_fill": "var(--g-sheet)",
        "block_border_color": "var(--g-line)",
        "block_label_text_color": "var(--g-quiet)",
        "block_label_background_fill": "var(--g-sheet)",
        "block_title_text_color": "var(--g-ink)",
        "block_info_text_color": "var(--g-quiet)",
        "border_color_primary": "var(--g-line)",
        "border_color_accent": "var(--g-accent)",
        "color_accent": "var(--g-accent)",
        "color_accent_soft": "var(--g-accent-soft)",
        "input_background_fill": "var(--g-field)",
        "input_border_color": "var(--g-line)",
        "input_border_color_focus": "var(--g-accent)",
        "input_placeholder_color": "var(--g-faint)",
        "button_primary_background_fill": "var(--g-accent)",
        "button_primary_background_fill_hover": "var(--g-accent-strong)",
        "button_primary_text_color": "var(--g-on-accent)",
        "button_secondary_background_fill": "var(--g-sheet)",
        "button_secondary_background_fill_hover": "var(--g-accent-soft)",
        "button_secondary_border_color": "var(--g-line)",
        "button_secondary_text_color": "var(--g-ink)",
        "checkbox_background_color_selected": "var(--g-accent)",
        "checkbox_border_color_selected": "var(--g-accent)",
        "checkbox_label_background_fill": "var(--g-field)",
        "checkbox_label_background_fill_selected": "var(--g-accent-soft)",
        "checkbox_label_border_color_selected": "var(--g-accent)",
        "checkbox_label_text_color_selected": "var(--g-ink)",
        "link_text_color": "var(--g-accent)",
        "slider_color": "var(--g-accent)",
    }
    known = signature(built.set).parameters
    dark = {f"{name}_dark": value for name, value in both.items() if f"{name}_dark" in known}
    shape = {"block_radius": "12px", "container_radius": "12px", "input_radius": "8px", "layout_gap": "14px"}
    return built.set(block_shadow="none", block_label_shadow="none", **shape, **both, **dark)


def picture_folders(candidates: Iterable[Candidate]) -> list[str]:
    """The folders in which the pictures of candidates lie."""
    return sorted({str(candidate.image.parent) for candidate in candidates if candidate.image is not None})


def launch_options(folders: Iterable[str]) -> dict[str, Any]:
    """Arguments of `Blocks.launch`: looks, limits, and what may be served: the pictures' folders."""
    folders = list(folders)
    style = (ASSETS / "genius.css").read_text()
    address = f"/gradio_api/file={quote(str(PLOTLY))}"
    return {
        "theme": theme(),
        "head": f"<style>{style}</style><script>window.geniusPlotly = {address!r};{script('page')}</script>",
        "allowed_paths": served.allowed(folders),
        "blocked_paths": served.blocked(folders, (*PICTURES, PLOTLY)),
        "favicon_path": ASSETS / "favicon.png",
        "max_file_size": f"{UPLOAD_MB}mb",
        "ssr_mode": False,
        "footer_links": ["api", "settings"],
    }


def html(value: str, elem_id: str, script_name: str = "") -> gr.HTML:
    """A part of the page that we draw ourselves, without gradio's styles for running text."""
    extra = {"js_on_load": script(script_name)} if script_name else {"js_on_load": None}
    return gr.HTML(value, elem_id=elem_id, apply_default_css=False, **extra)


HEAD = (
    '<header class="g-head"><h1>GENIUS</h1>'
    "<p>Search pictures and words by letting a model <em>write the address</em> of what you want.</p>"
    "</header>"
)
SWITCH = (
    '<button type="button" class="g-theme" data-theme-switch aria-label="Switch between light and dark" '
    'title="Light or dark"><span aria-hidden="true">◐</span></button>'
)


def status_line(message: str, kind: str) -> str:
    """Whether the model is there: `kind` is loading, ready or failed."""
    return f'<p class="g-status g-{kind}" role="status">{escape(message)}</p>'


CREDITS = (
    '<footer class="g-credits"><p>Pictures: <a href="https://openmoji.org" rel="noopener">OpenMoji</a>, '
    '<a href="https://creativecommons.org/licenses/by-sa/4.0/" rel="noopener">CC BY-SA 4.0</a> · '
    "Tux Paint stamps, by the Tux Paint contributors · Open Clip Art Library, public domain.</p>"
    "<p>Method: Kim et al., “GENIUS: A Generative Framework for Universal Multimodal Search”, CVPR "
    "2025.</p></footer>"
)
