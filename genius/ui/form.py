"""The form of the Search tab: what can be asked and how, and instructions that follow what is given."""

from __future__ import annotations

from abc import ABCMeta
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.processing_utils import save_base64_to_cache

from genius.ui import theme
from genius.ui.ask import MAX_SHOWN, Ask, fitting_instruction, tasks_for

MAX_DATA = theme.UPLOAD_MB * 1_400_000
"""Characters of a picture sent as text: base64 takes four for three bytes."""

MODE_CHOICES = [
    ("let the model decide", "auto"),
    ("image", "image"),
    ("text", "text"),
    ("image + text", "pair"),
]


def _as_uploaded(self: gr.Image, payload: Any) -> Any:
    """Path of the file as it came: one place, genius.images, checks pictures and says what is wrong."""
    if payload is None or not (payload.url and payload.url.startswith("data:")):
        return payload and payload.path
    if len(payload.url) > MAX_DATA:
        raise gr.Error(f"The picture is too large. Send one of at most {theme.UPLOAD_MB} MB.")
    try:
        return save_base64_to_cache(payload.url, self.GRADIO_CACHE, "picture")
    except ValueError as error:
        raise gr.Error("The picture's data are damaged. Send it again.") from error


# A gr.Image with one method changed. Made past gradio's metaclass, which writes an interface file (.pyi)
# beside the source of every component class it sees.
PictureInput: type[gr.Image] = ABCMeta.__new__(
    type(gr.Image),
    "PictureInput",
    (gr.Image,),
    {"preprocess": _as_uploaded, "is_template": True, "__module__": __name__},
)


@dataclass(frozen=True)
class Form:
    """The inputs, in the order `parse` takes them."""

    text: gr.Textbox
    image: gr.Image
    instruction: gr.Dropdown
    mode: gr.Radio
    top_k: gr.Slider
    beams: gr.Slider
    rerank: gr.Checkbox
    minus: gr.Textbox
    go: gr.Button
    clear: gr.Button

    @property
    def fields(self) -> list[Any]:
        """The eight input components."""
        return [*self.__dict__.values()][:8]


def build() -> Form:
    """Lay out the inputs."""
    with gr.Row(elem_id="ask-top"):
        image = PictureInput(
            label="Picture",
            type="filepath",
            sources=["upload", "clipboard", "webcam"],
            format="png",
            height=170,
            elem_id="query-image",
            buttons=[],
            placeholder="Drop a picture here, or click to choose one",
        )
        text = gr.Textbox(
            label="Words",
            placeholder="What are you looking for?",
            lines=1,
            max_lines=5,
            elem_id="query-text",
        )
    instruction = gr.Dropdown(
        wordings("", None, "auto"),
        value="",
        label="Instruction",
        info="What kind of answer you want: choose one, or write your own.",
        allow_custom_value=True,
        elem_id="query-instruction",
    )
    mode = gr.Radio(MODE_CHOICES, value="auto", label="Answer with", elem_id="query-mode")
    with gr.Row(elem_id="go-row"):
        go = gr.Button("Search", variant="primary", scale=3, min_width=120, elem_id="go")
        clear = gr.Button("Clear", scale=1, min_width=70, elem_id="clear")
    with gr.Accordion("More settings", open=False, elem_id="more-settings"):
        minus = gr.Textbox(
            label="Without", info="Words whose meaning is taken away from the query.", lines=1, max_lines=3
        )
        top_k = gr.Slider(1, MAX_SHOWN, value=10, step=1, label="Number of results")
        beams = gr.Slider(
            1,
            100,
            value=50,
            step=1,
            label="Beam width",
            info="How many addresses the model pursues at once: more finds more and takes longer.",
        )
        rerank = gr.Checkbox(
            True,
            label="Re-rank",
            info="Sort what was found by similarity to the query. Off: by the probability of the address.",
        )
    return Form(text, image, instruction, mode, top_k, beams, rerank, minus, go, clear)


def wire(form: Form) -> None:
    """Instructions that fit what is given and wanted; a button that empties the form."""

    def suggest(text: str, image: str | None, mode: str, instruction: str | None) -> gr.Dropdown:
        ask = Ask(text=(text or "").strip(), image=image, instruction=instruction or "", mode=mode or "auto")
        return gr.Dropdown(choices=wordings(text, image, mode), value=fitting_instruction(ask))

    # Events of the visitor only: while a search fills the form, `change` would read it half-filled.
    gr.on(
        [form.text.blur, form.image.input, form.image.clear, form.mode.input],
        suggest,
        [form.text, form.image, form.mode, form.instruction],
        form.instruction,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    form.clear.click(lambda: fill(Ask()), None, form.fields, show_progress="hidden", api_visibility="private")


def fill(ask: Ask) -> tuple[Any, ...]:
    """Values for `Form.fields` that show this request."""
    image = ask.query().image if ask.image else None
    instruction = gr.Dropdown(choices=wordings(ask.text, ask.image, ask.mode), value=ask.instruction)
    return (ask.text, image, instruction, ask.mode, ask.top_k, ask.beams, ask.rerank, ask.minus)


def wordings(text: str | None, image: str | None, mode: str | None) -> list[str]:
    """One wording for each task that fits; nothing at all is a choice, too."""
    tasks = tasks_for(bool((text or "").strip()), image is not None, mode or "auto")
    return [task.wordings[0] for task in tasks]
