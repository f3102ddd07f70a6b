"""The published checkpoints become a bundle: written aside, opened once, and only then put in its place."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import Tensor

from genius.checkpoint import Bundle, load_bundle, save_parts
from genius.encoder import CONFIG_FILE, WEIGHTS_FILE
from genius.published import Published, read_published
from genius.schema import Modality, UserError

CONVERSION_FILE = "conversion.json"
_COLOURS = ("crimson", "gold", "seagreen", "navy", "sienna", "orchid")
_HEADROOM = 2**28  # bytes of disk for everything but the weights


@dataclass(frozen=True)
class Conversion:
    """What became of the files: each one's SHA-256 and what nobody needs of it, and what is worth knowing."""

    checksums: dict[str, str]
    ignored: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]


def convert_genius(
    clip_sf: Path, quantizer: Path, decoder: Path, out: Path, *, half: bool = False
) -> Conversion:
    """Write the bundle `out` from the three published files, in half precision where it may be if `half`.

    The folder appears under its name only when it is whole and has been opened once.

    Raises
    ------
    UserError
        If a file is missing, damaged, swapped with another or of another network, if `out` is taken, or
        the disk is full.
    """
    check_free(out)
    found = read_published(clip_sf, quantizer, decoder)
    notes = list(found.notes)
    with _aside(out, _size(found, half)) as folder:
        _save_clip(folder / "encoder", found, half=half)
        save_parts(folder, out.name, found.fusion, found.quantizer, found.decoder, half=half)
        bundle = load_bundle(folder, "cpu")
        order = _first_codes(bundle)
        if order is None:
            notes.append("Which first code means which modality could not be told: asking for one may fail.")
        elif order != (0, 1, 2):
            notes.append(f"The first codes {order} meant image, text and pair; they are now 0, 1 and 2.")
            _reorder(found, torch.tensor(order))
            save_parts(folder, out.name, found.fusion, found.quantizer, found.decoder, half=half)
        checksums = {path.name: _checksum(path) for path in (clip_sf, quantizer, decoder)}
        done = Conversion(checksums, found.ignored, tuple(notes))
        (folder / CONVERSION_FILE).write_text(json.dumps(asdict(done), indent=1) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(_card(out.name, done), encoding="utf-8")
    return done


def check_free(out: Path) -> None:
    """UserError if something lies where the bundle is to go."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} exists already. Name a new folder for the bundle.")


@contextmanager
def _aside(out: Path, size: int) -> Iterator[Path]:
    """A folder beside `out` that takes its place at the end; after a failure, neither is there."""
    folder = out.with_name(out.name + ".partial")
    shutil.rmtree(folder, ignore_errors=True)
    full = UserError(
        f"The disk is full: {out} needs {size / 2**30:.1f} GB. Free some, or choose another place."
    )
    try:
        folder.mkdir(parents=True)
        if shutil.disk_usage(folder).free < size:
            raise full
        yield folder
        if out.exists():
            out.rmdir()  # it is empty, or it would not have been allowed
        os.replace(folder, out)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full from error
        raise UserError(f"{out} cannot be written: {error}. Choose another place.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _size(found: Published, half: bool) -> int:
    """Bytes the bundle will take, at most."""
    parts: Iterable[Tensor] = (
        *found.clip.values(),
        *(value for part in (found.fusion, found.decoder) for value in part.state_dict().values()),
    )
    books = sum(book.nbytes for book in found.quantizer.state_dict().values())
    return _HEADROOM + books + sum(part.numel() * (2 if half else part.itemsize) for part in parts)


def _save_clip(folder: Path, found: Published, *, half: bool) -> None:
    """An open_clip folder, with the preprocessing OpenAI's models share."""
    folder.mkdir()
    weights = {name: (value.half() if half else value).contiguous() for name, value in found.clip.items()}
    save_file(weights, folder / WEIGHTS_FILE)
    preprocess = {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD}
    preprocess |= {"interpolation": "bicubic", "resize_mode": "shortest"}
    config = {"model_cfg": found.clip_config, "preprocess_cfg": preprocess}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


@torch.inference_mode()
def _first_codes(bundle: Bundle) -> tuple[int, ...] | None:
    """The first codes of image, text and pair, found by coding a few of each; None if they do not agree.

    The published first codebook starts from k-means, which may number the modalities as it likes.
    """
    pictures = [_drawing(colour) for colour in _COLOURS]
    texts = [f"A {colour} circle on a white wall." for colour in _COLOURS]
    nothing, silence = [None] * len(pictures), [""] * len(texts)
    features = bundle.encoder.encode([*pictures, *nothing, *pictures], [*silence, *texts, *texts])
    first = bundle.quantizer.encode(bundle.fusion(features.image, features.text))[:, 0].view(
        len(Modality), -1
    )
    agreed = all(len(codes.unique()) == 1 for codes in first)
    order = tuple(first[:, 0].tolist())
    return order if agreed and len(set(order)) == len(order) else None


def _drawing(colour: str) -> Image.Image:
    image = Image.new("RGB", (224, 224), "white")
    ImageDraw.Draw(image).ellipse((40, 40, 184, 184), fill=colour)
    return image


@torch.no_grad()
def _reorder(found: Published, order: Tensor) -> None:
    """Give the first level's codes the numbers of their modalities, in the codebook and in the decoder."""
    for table in (found.quantizer.codebook(0), found.decoder.embeddings(0)):
        table.copy_(table[order])


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _card(name: str, done: Conversion) -> str:
    """The bundle's README: where it comes from."""
    rows = "\n".join(f"| `{file}` | `{checksum}` |" for file, checksum in done.checksums.items())
    notes = "".join(f"\n- {note}" for note in done.notes)
    return f"""---
library_name: genius
tags: [multimodal-retrieval, generative-retrieval, semantic-ids, clip]
base_model: [TIGER-Lab/UniIR, Sungyeon/GENIUS]
---

# {name}

The model published with GENIUS (Kim et al., CVPR 2025, arXiv 2503.19868): UniIR's CLIP-SF encoder, the
authors' fusion, quantizer and decoder, converted by `python -m genius convert`. The weights are theirs and
under their terms; look these up where you got the files. What was left out is listed in `{CONVERSION_FILE}`.

| file | SHA-256 |
| --- | --- |
{rows}
{notes}
"""
