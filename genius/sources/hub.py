"""An image-text data set on the Hugging Face hub: `hub:owner/name[@revision]`.

Its pictures are written to a folder on this machine, once, with their captions; from then on it is a folder
like any other. Reading it takes the package `datasets`; none of the data set's own code is run.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.constants import HF_HOME, HF_HUB_CACHE

from genius.hub import HubAddress
from genius.schema import UserError
from genius.sources import folder
from genius.sources.picture import Picture

HOW_TO_GET = "pip install datasets"
TEXT_COLUMNS = ("text", "caption", "captions", "sentence", "sentences", "title", "description", "label")
"""What a caption's column is called; the first that is there is taken, and of several captions the first."""

_IN_A_FOLDER = 1000
_SUFFIXES = {
    b"\xff\xd8": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"RIFF": ".webp",
    b"BM": ".bmp",
    b"II*": ".tif",
}


def pictures(
    address: HubAddress, progress: Callable[[int, int], None] | None = None
) -> tuple[list[Picture], tuple[str, ...]]:
    """Return the data set's pictures, and notes on what was left out.

    Raises
    ------
    UserError
        If it is not there or cannot be reached, `datasets` is not installed, or it has no pictures.
    """
    home = picture_root(address)
    if not home.is_dir():
        _write(address, home, progress)
    return folder.pictures(home, progress)


def picture_root(address: HubAddress) -> Path:
    """Where the data set's pictures are kept: in the hub's own cache (HF_HOME)."""
    name = f"{address.repo}@{address.revision or 'main'}".replace("/", "--")
    return Path(HF_HOME) / "genius" / name


def _write(address: HubAddress, home: Path, progress: Callable[[int, int], None] | None) -> None:
    """Write pictures and captions aside, then give the folder its name."""
    splits = _splits(address)
    aside = home.with_name(home.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    total, done = sum(len(rows) for rows in splits.values()), 0
    try:
        with (aside / "captions.jsonl").open("w", encoding="utf-8") as captions:
            for split, rows in splits.items():
                for number, (data, text) in enumerate(_pairs(rows, address)):
                    place = f"{_plain(split)}/{number // _IN_A_FOLDER:04d}/{number:07d}{_suffix(data)}"
                    (aside / place).parent.mkdir(parents=True, exist_ok=True)
                    (aside / place).write_bytes(data)
                    if text:
                        captions.write(json.dumps({"file": place, "text": text}) + "\n")
                    done += 1
                    if progress:
                        progress(done, total)
        os.replace(aside, home)
    except OSError as error:
        raise UserError(
            f"The pictures of {address} cannot be written to {home}: {error}. Free some disk."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _splits(address: HubAddress) -> Mapping[str, Any]:
    """Return the data set's parts by name."""
    datasets = _datasets()
    try:
        return datasets.load_dataset(address.repo, revision=address.revision)
    except (ConnectionError, TimeoutError) as error:
        raise UserError(
            f"{address} is not on this machine yet and the hub cannot be reached. Connect to the network, or "
            "name a folder instead."
        ) from error
    except Exception as error:  # datasets has many, without a common base
        raise UserError(
            f"{address} cannot be read as a data set: {error}. Check name and revision."
        ) from error


def _datasets() -> Any:
    """The package that reads data sets; it is imported only where one is read."""
    try:
        return importlib.import_module("datasets")
    except ModuleNotFoundError as error:
        raise UserError(f"A data set on the hub needs the package datasets: {HOW_TO_GET}") from error


def _pairs(rows: Any, address: HubAddress) -> Iterator[tuple[bytes, str]]:
    """Yield the bytes of every picture, undecoded, and its caption."""
    kind = _datasets().Image
    image = next((name for name, feature in rows.features.items() if isinstance(feature, kind)), None)
    if image is None:
        raise UserError(f"{address} has no column of pictures; its columns are {', '.join(rows.features)}.")
    text = next((name for name in TEXT_COLUMNS if name in rows.features), None)
    names = getattr(rows.features.get(text), "names", None)  # of a label's numbers
    for row in rows.cast_column(image, kind(decode=False)):
        data = _bytes(row[image] or {})
        if data:
            yield data, _words(row.get(text), names)


def _bytes(picture: Mapping[str, Any]) -> bytes:
    """The file of a picture. A data set may name any path: only what the hub's cache holds is read."""
    if picture.get("bytes"):
        return bytes(picture["bytes"])
    path = Path(picture.get("path") or "").resolve()
    caches = (HF_HUB_CACHE, _datasets().config.HF_DATASETS_CACHE)
    inside = any(path.is_relative_to(Path(cache).resolve()) for cache in caches)
    return path.read_bytes() if inside and path.is_file() else b""


def _words(value: object, names: list[str] | None) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    if names is not None and isinstance(value, int):
        return names[value].replace("_", " ") if 0 <= value < len(names) else ""
    return value if isinstance(value, str) else ""


def _plain(name: str) -> str:
    """A name that is safe as a folder's."""
    return re.sub(r"\W", "-", name)


def _suffix(data: bytes) -> str:
    return next((suffix for head, suffix in _SUFFIXES.items() if data.startswith(head)), ".png")
