"""Pairs encoded with any open_clip encoder: once, in parts that outlive an interruption."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from genius.checkpoint import pick_dtype
from genius.encoder import CONFIG_FILE, WEIGHTS_FILE, Encoder, batches
from genius.images import open_image
from genius.parts import Arrays, kept, key_of, stamp
from genius.schema import UserError
from genius.training import parallel
from genius.training.corpus import Item
from genius.training.pairs import Changes, Pairs, build_pairs, draw, encode_distinct

PAIRS_FILE = "pairs.safetensors"
FEATURES_FOLDER = "features"
PART = 1024  # pictures between two savings
BATCH = 32
READERS = 2


class PictureEncoder:
    """Features of pictures; finished parts are kept in a folder, named after encoder and pictures."""

    def __init__(self, encoder: Encoder, name: str, folder: Path) -> None:
        self.encoder, self.name, self.folder = encoder, name, folder

    def __call__(self, pictures: Sequence[Path], bad: Callable[[Path], None]) -> tuple[Tensor, Tensor]:
        """Features [n, d], half precision, zeros where a picture cannot be opened; and bool [n]: which can.

        `bad` is told of each that cannot, soon after it was tried, and may end all by an error.
        """
        features = torch.zeros(len(pictures), self.encoder.dim, dtype=torch.float16)
        opened = torch.zeros(len(pictures), dtype=torch.bool)
        with tqdm(total=len(pictures), desc="picture features") as bar:
            for rows in batches(len(pictures), PART):
                some = pictures[rows]
                path = self.folder / f"pictures-{key_of(self.name, [stamp(one) for one in some])}.npz"
                part = kept(path, partial(self._encode, some, bar))
                features[rows] = torch.from_numpy(part["features"])
                opened[rows] = torch.from_numpy(part["opened"])
                bar.update(rows.stop - bar.n)
                for place in np.flatnonzero(~part["opened"]).tolist():
                    bad(some[place])
        return features, opened

    def _encode(self, pictures: Sequence[Path], bar: tqdm) -> Arrays:
        features = np.zeros((len(pictures), self.encoder.dim), np.float16)
        opened = np.zeros(len(pictures), bool)
        with ThreadPoolExecutor(READERS) as readers:
            for rows in batches(len(pictures), BATCH):
                images = list(readers.map(_open, pictures[rows]))
                opened[rows] = [image is not None for image in images]
                some = [image for image in images if image is not None]
                if some:
                    found = self.encoder.encode_images(some).half().cpu().numpy()
                    features[rows][opened[rows]] = found
                bar.update(len(images))
        return {"features": features, "opened": opened}


def _open(picture: Path) -> Image.Image | None:
    try:
        return open_image(picture)
    except UserError:
        return None


class Recipe(Protocol):
    """What pairs are made of."""

    @property
    def key(self) -> str:
        """Another one when the data or the seed are others."""

    def pairs(self, encoder: Encoder, pictures: PictureEncoder) -> Pairs:
        """The pairs, encoded."""


@dataclass(frozen=True)
class Corpus:
    """Our own data: each item is the answer to every task, and its picture is seen as it is."""

    items: Sequence[Item]
    changes: Changes
    seed: int

    @property
    def key(self) -> str:
        said = [(item.id, item.texts, item.noun, item.question, item.rounds) for item in self.items]
        changed = [(name, before.id, words) for name, some in self.changes.items() for before, words in some]
        return key_of("corpus", said, changed, self.seed)

    def pairs(self, encoder: Encoder, pictures: PictureEncoder) -> Pairs:
        """The pairs of those items that have a picture."""
        pictured = [(item, item.image) for item in self.items if item.image is not None]
        if not pictured:
            raise UserError(
                "There is nothing to learn from. Give --photos, --groceries or M-BEIR's --queries."
            )
        items, paths = [item for item, _ in pictured], [path for _, path in pictured]
        drawn = draw(items, self.changes, seed=self.seed)
        image, _ = pictures(paths, _refuse)
        text = encode_distinct(drawn.texts, encoder)
        return build_pairs(items, drawn, image[:, None], text, seed=self.seed)


def _refuse(picture: Path) -> None:
    raise UserError(f"{picture} cannot be opened. Mend it, or take it out of the data.")


def keep_pairs(recipe: Recipe, encoder: Path, run: Path) -> None:
    """Encode pairs into a run folder; nothing is done if they are there already.

    Raises
    ------
    UserError
        If those that are there were made with another encoder or of other data.
    """
    path, key = run / PAIRS_FILE, recipe.key
    if path.is_file():
        check_encoder(encoder, run)
        if _made_of(path)["data"] != key:
            raise UserError(
                f"{path} was made of other data, or with another seed. Give the same again, or another --run."
            )
        return
    device, name = parallel.device(), _of_encoder(encoder)
    loaded = Encoder.load(encoder, device, pick_dtype(device))
    parts = run / FEATURES_FOLDER
    pairs = recipe.pairs(loaded, PictureEncoder(loaded, name, parts))
    run.mkdir(parents=True, exist_ok=True)
    pairs.save(path, {"encoder": name, "data": key})
    shutil.rmtree(parts, ignore_errors=True)


def check_encoder(encoder: Path, run: Path) -> None:
    """UserError if the pairs in a run folder were made with another encoder."""
    path = run / PAIRS_FILE
    if path.is_file() and _made_of(path).get("encoder") != _of_encoder(encoder):
        raise UserError(
            f"{path} was made with another encoder than {encoder}. Give that one again, or another --run."
        )


def _made_of(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata() or {}


def fingerprint(*files: Path) -> str:
    """Changes with every byte of some files."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return key_of(*digests)


def _of_encoder(folder: Path) -> str:
    """Changes with every weight and setting of an encoder."""
    return fingerprint(folder / CONFIG_FILE, folder / WEIGHTS_FILE)


def encoder_folder(folder: Path) -> Path:
    """The encoder in a folder: an open_clip folder itself, or a bundle's own; UserError if there is none."""
    for place in (folder, folder / "encoder"):
        if (place / CONFIG_FILE).is_file() and (place / WEIGHTS_FILE).is_file():
            return place
    raise UserError(
        f"{folder} holds no encoder. Give a bundle, or an open_clip folder with {CONFIG_FILE} and "
        f"{WEIGHTS_FILE}."
    )


def width_of(encoder: Path) -> int:
    """The width of an encoder's features, from its configuration."""
    path = encoder / CONFIG_FILE
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["model_cfg"]["embed_dim"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not say how wide the encoder is: {error}. Give another encoder."
        ) from error
