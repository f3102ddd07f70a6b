"""Augmented views of every picture, run once through the frozen lower part of the image tower.

The lower blocks see edges and textures and stay as ImageNet taught them; what they compute is kept on
disk, so that an epoch of fine-tuning the upper blocks costs a tenth of a full pass. View 0 is the
plain picture; the others are augmented.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2
from tqdm import tqdm

from genius.images import open_image
from genius.training.corpus import Item, Kind
from genius.training.loop import mixed_precision

FROZEN_BLOCKS = 5
MAP_SHAPE = (120, 14, 14)
FEATURES = 1280
SIZE = 224
WHITE = (255, 255, 255)
CHUNK = 32
SPREAD = 0.6  # how far a class's made-up photographs lie from its prototype, in real photographs' spread

_COLOUR = v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.04)
_PHOTO = v2.Compose(
    [v2.RandomResizedCrop(SIZE, scale=(0.45, 1.0), ratio=(0.75, 1.33)), v2.RandomHorizontalFlip(), _COLOUR]
)
_DRAWING = v2.Compose(
    [
        v2.RandomAffine(
            degrees=12,
            translate=(0.1, 0.1),
            scale=(0.6, 1.15),
            fill=WHITE,
            interpolation=v2.InterpolationMode.BILINEAR,
        ),
        v2.RandomHorizontalFlip(0.3),
        _COLOUR,
    ]
)
_DRAWN = v2.RandomChoice(
    [
        v2.RandomPosterize(3, p=1.0),
        v2.Compose([v2.GaussianBlur(7, 2.0), v2.RandomPosterize(2, p=1.0)]),
        v2.Grayscale(3),
    ]
)


def lower_tower(trunk: nn.Module, pixels: Tensor) -> Tensor:
    """The frozen part of a timm EfficientNet: pixels [B, 3, 224, 224] → maps [B, 120, 14, 14]."""
    maps = trunk.bn1(trunk.conv_stem(pixels))
    for block in trunk.blocks[:FROZEN_BLOCKS]:
        maps = block(maps)
    return maps


def upper_tower(trunk: nn.Module, maps: Tensor) -> Tensor:
    """The part that is fine-tuned: maps [B, 120, 14, 14] → pooled features [B, 1280]."""
    for block in trunk.blocks[FROZEN_BLOCKS:]:
        maps = block(maps)
    return trunk.global_pool(trunk.bn2(trunk.conv_head(maps)))


def view_of(image: Image.Image, kind: Kind, view: int) -> Image.Image:
    """The plain picture (view 0) or an augmented one, 224 × 224."""
    if kind is Kind.DRAWING:
        small = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        return small if view == 0 else _DRAWING(small)
    if view == 0:
        return image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    augmented = _PHOTO(image)
    return _DRAWN(augmented) if torch.rand(()) < 0.2 else augmented


class Views:
    """Cached maps [V, 120, 14, 14] and original pooled features [V, 1280] of every picture, half precision.

    Kept source by source, so that adding a source recomputes nothing.
    """

    def __init__(self, parts: Sequence[tuple[np.ndarray, np.ndarray]], ids: Sequence[Sequence[str]]) -> None:
        self._maps = [maps for maps, _ in parts]
        self._features = [features for _, features in parts]
        self._place = {id_: (part, row) for part, names in enumerate(ids) for row, id_ in enumerate(names)}
        self.count: int = parts[0][0].shape[1]

    def _gather(self, arrays: Sequence[np.ndarray], ids: Sequence[str], picks: Sequence[int]) -> Tensor:
        found = [
            arrays[self._place[id_][0]][self._place[id_][1], pick]
            for id_, pick in zip(ids, picks, strict=True)
        ]
        return torch.from_numpy(np.stack(found)).float()

    def maps(self, ids: Sequence[str], picks: Sequence[int]) -> Tensor:
        """[n, 120, 14, 14]: for each id the map of one of its views."""
        return self._gather(self._maps, ids, picks).contiguous(memory_format=torch.channels_last)

    def features(self, ids: Sequence[str], picks: Sequence[int]) -> Tensor:
        """[n, 1280]: for each id the original tower's feature of one of its views."""
        return self._gather(self._features, ids, picks)


def build_views(
    items: Sequence[Item], trunk: nn.Module, normalise: v2.Transform, folder: Path, views: int, seed: int
) -> Views:
    """Compute, or resume computing, the views of all items that have a picture, source by source."""
    sources: dict[str, list[Item]] = {}
    for item in items:
        if item.image is not None:
            sources.setdefault(item.id.split("/")[0], []).append(item)
    trunk = trunk.eval()
    parts = [
        _build_part(part, trunk, normalise, folder / name, views, seed) for name, part in sources.items()
    ]
    return Views(parts, [[item.id for item in part] for part in sources.values()])


def _build_part(
    items: Sequence[Item], trunk: nn.Module, normalise: v2.Transform, folder: Path, views: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    ids = [item.id for item in items]
    folder.mkdir(parents=True, exist_ok=True)
    shape, state = (len(ids), views), folder / "state.json"
    done = 0
    if state.is_file():
        saved = json.loads(state.read_text(encoding="utf-8"))
        done = saved["done"] if saved["ids"] == ids and saved["views"] == views else 0
    mode: Literal["r+", "w+"] = "r+" if done else "w+"
    maps = np.lib.format.open_memmap(folder / "maps.npy", mode, np.float16, (*shape, *MAP_SHAPE))
    features = np.lib.format.open_memmap(folder / "features.npy", mode, np.float16, (*shape, FEATURES))
    torch.manual_seed(seed + done)
    with ThreadPoolExecutor(2) as pool, torch.inference_mode(), mixed_precision():
        for start in tqdm(range(done, len(ids), CHUNK), desc=f"views of {folder.name}", unit="chunk"):
            part = items[start : start + CHUNK]
            images = list(pool.map(lambda item: open_image(item.image), part))
            rows = slice(start, start + len(part))
            for view in range(views):  # small batches: large activations cost more in memory traffic
                drawn = [
                    normalise(view_of(image, item.kind, view))
                    for item, image in zip(part, images, strict=True)
                ]
                lower = lower_tower(trunk, torch.stack(drawn).contiguous(memory_format=torch.channels_last))
                maps[rows, view] = lower.float().numpy()
                features[rows, view] = upper_tower(trunk, lower).float().numpy()
            if start // CHUNK % 20 == 19 or start + CHUNK >= len(ids):
                maps.flush()
                features.flush()
                state.write_text(
                    json.dumps({"ids": ids, "views": views, "done": start + len(part)}), encoding="utf-8"
                )
    return maps, features
