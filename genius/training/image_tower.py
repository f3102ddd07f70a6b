"""Stage 1, first half: the image tower learns to meet the sentence encoder.

The sentence encoder is locked meanwhile, as in LiT (Zhai et al., CVPR 2022): each text is embedded once,
and every picture is told apart from all texts at every step. The tower's upper blocks and its projection
learn; its lower blocks stay as ImageNet taught them (see `views`). Photographs keep their ImageNet class
probabilities, and ImageNet's classes take part without pictures (see `class_prototypes`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from open_clip.model import CustomTextCLIP
from torch import Tensor, nn
from tqdm import tqdm

from genius.encoder import batches
from genius.instructions import format_text
from genius.training.bank import Bank, against_bank, alike, within_batch
from genius.training.corpus import Item, Kind
from genius.training.loop import adamw, mixed_precision, run
from genius.training.views import FEATURES, FROZEN_BLOCKS, SPREAD, Views, upper_tower


@dataclass(frozen=True)
class ImageTraining:
    """Settings of the first half of stage 1; `keep` weighs the photographs' class probabilities."""

    epochs: float = 4.0
    batch: int = 128
    tower_rate: float = 4e-4
    head_rate: float = 2e-3
    weight_decay: float = 0.05
    keep: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class ImageNet:
    """What ImageNet's classifier knows: weight [1000, 1280], bias [1000], class prototypes [1000, 1280], and
    the spread [n, 1280] of real photographs about their mean.
    """

    weight: Tensor
    bias: Tensor
    prototypes: Tensor
    spread: Tensor

    def probabilities(self, features: Tensor) -> Tensor:
        """Class probabilities [B, 1000] of features [B, 1280]."""
        return F.softmax(features @ self.weight.T + self.bias, dim=-1)

    def made_up(self, labels: Sequence[int]) -> Tensor:
        """Features [B, 1280] as photographs of the classes might have them."""
        noise = self.spread[torch.randint(len(self.spread), (len(labels),))]
        return (self.prototypes[list(labels)] + SPREAD * noise).clamp(min=0)


def label_of(item: Item) -> int:
    """Class number of an ImageNet class."""
    return int(item.id.split("/")[1])


def class_prototypes(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Mean pooled feature [1000, 1280] of each ImageNet class, from the classifier alone.

    For classes that share a covariance S the best linear classifier is w = S⁻¹ m, so a class mean is
    m + S (w − w̄); S comes from any photographs' `features` [n, 1280]. The step is scaled so that the
    classifier is as sure of a prototype as of a typical photograph.
    """
    mean = features.mean(0)
    covariance = torch.cov(features.T)
    direction = (weight - weight.mean(0)) @ covariance
    scale = 1.0
    for _ in range(20):
        prototypes = (mean + scale * direction).clamp(min=0)
        sure = F.softmax(prototypes @ weight.T + bias, dim=-1).diagonal().median()
        scale *= 1.15 if sure < 0.8 else 1 / 1.15
    return prototypes


def imagenet(items: Sequence[Item], views: Views, weight: Tensor, bias: Tensor) -> ImageNet:
    """Prototypes and spread from the original tower's features of the items' photographs."""
    ids = [item.id for item in items if item.kind is Kind.PHOTO]
    features = views.features(ids, [0] * len(ids))
    return ImageNet(weight, bias, class_prototypes(features, weight, bias), features - features.mean(0))


class ImageTrainer:
    """The tower, the cached views and the bank; `losses` are those of one batch."""

    def __init__(
        self, clip: CustomTextCLIP, views: Views, bank: Bank, classes: ImageNet, keep: float
    ) -> None:
        self.visual, self.scale, self.views, self.bank, self.classes = (
            clip.visual,
            clip.logit_scale,
            views,
            bank,
            classes,
        )
        self.keep = keep
        self.unit = F.normalize(bank.anchor, dim=-1)

    def features(self, items: Sequence[Item]) -> tuple[Tensor, Tensor]:
        """Pooled features [N, 1280] of one view of each item, and the photographs' class loss."""
        pictured = [n for n, item in enumerate(items) if item.kind is not Kind.CLASS]
        classes = [n for n, item in enumerate(items) if item.kind is Kind.CLASS]
        pooled = torch.zeros(len(items), FEATURES)
        if classes:
            pooled[classes] = self.classes.made_up([label_of(items[n]) for n in classes])
        if not pictured:
            return pooled, pooled.new_zeros(())
        ids = [items[n].id for n in pictured]
        picks = torch.randint(self.views.count, (len(ids),)).tolist()
        with mixed_precision():
            features = upper_tower(self.visual.trunk, self.views.maps(ids, picks)).float()
        photos = [k for k, n in enumerate(pictured) if items[n].kind is Kind.PHOTO]
        kept = features.new_zeros(())
        if photos:
            teacher = self.classes.probabilities(
                self.views.features([ids[k] for k in photos], [picks[k] for k in photos])
            )
            kept = F.cross_entropy(features[photos] @ self.classes.weight.T + self.classes.bias, teacher)
        return pooled.index_copy(0, torch.tensor(pictured, dtype=torch.long), features), kept

    def losses(self, items: Sequence[Item], texts: Sequence[str]) -> dict[str, Tensor]:
        """Losses of pictures, each with one of its texts."""
        pooled, kept = self.features(items)
        image = self.visual.head(pooled)
        scale = self.scale.exp().clamp(max=100)
        same = [self.bank.same_texts(item, text) for item, text in zip(items, texts, strict=True)]
        rows = [self.bank.text_row[text] for text in texts]
        named = against_bank(image, self.unit, rows, same, scale)
        found = within_batch(
            self.bank.anchor[rows], image, scale, alike([item.noun for item in items], texts)
        )
        total = named + 0.5 * found + self.keep * kept
        return {"loss": total, "named": named, "found": found, "class": kept}


def train_image_tower(
    clip: CustomTextCLIP, views: Views, bank: Bank, classes: ImageNet, settings: ImageTraining, out: Path
) -> None:
    """Tune the upper blocks and the projection of `clip.visual`; goes on from `out` when interrupted."""
    trainer = ImageTrainer(clip, views, bank, classes, settings.keep)
    weights = [item.weight for item in bank.shown]
    steps = int(settings.epochs * max(1, int(sum(weights) / settings.batch)))
    trunk = clip.visual.trunk
    upper = [
        *trunk.blocks[FROZEN_BLOCKS:].parameters(),
        *trunk.conv_head.parameters(),
        *trunk.bn2.parameters(),
    ]
    learning = nn.ModuleList([clip.visual])
    learning.register_parameter("logit_scale", clip.logit_scale)
    optimizer = adamw(
        [
            (upper, settings.tower_rate),
            ([*clip.visual.head.parameters(), clip.logit_scale], settings.head_rate),
        ],
        settings.weight_decay,
    )
    trunk.requires_grad_(False)
    for parameter in upper:
        parameter.requires_grad_(True)
    trunk.to(memory_format=torch.channels_last)
    clip.eval()  # batch statistics stay ImageNet's; the batches here are too mixed to re-estimate them
    clip.visual.head.train()

    def losses_of(step: int) -> dict[str, Tensor]:
        rng = random.Random(f"{settings.seed} {step}")
        items = rng.choices(bank.shown, weights=weights, k=settings.batch)
        return trainer.losses(items, [format_text(text_of(item, rng)) for item in items])

    with depthwise_in_single(trunk):
        run("image tower", learning, optimizer, steps, out, settings.seed, losses_of)
    clip.eval()


@contextmanager
def depthwise_in_single(trunk: nn.Module) -> Iterator[None]:
    """Inside, depthwise convolutions are left out of autocast: their backward pass is slow in bfloat16."""
    depthwise = [m for m in trunk.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]

    def in_single(convolution: nn.Conv2d, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return type(convolution).forward(convolution, x.float())

    for convolution in depthwise:
        convolution.forward = partial(in_single, convolution)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for convolution in depthwise:
            del convolution.forward


def text_of(item: Item, rng: random.Random) -> str:
    """A text that a picture should be near: any of its sentences, mostly its own name."""
    if item.id.startswith("photos/") or rng.random() < 0.3:
        return rng.choice(item.texts)
    return item.texts[0]


@torch.inference_mode()
def pool_views(clip: CustomTextCLIP, views: Views, bank: Bank, classes: ImageNet) -> Tensor:
    """The tuned tower's pooled features [n, V, 1280], half precision, of all that is shown.

    View 0 of a class is its prototype, the others are made up about it.
    """
    out = torch.empty(len(bank.shown), views.count, FEATURES, dtype=torch.float16)
    pictured = [n for n, item in enumerate(bank.shown) if item.kind is not Kind.CLASS]
    made_up = [n for n, item in enumerate(bank.shown) if item.kind is Kind.CLASS]
    labels = [label_of(bank.shown[n]) for n in made_up]
    for view in range(views.count):
        out[made_up, view] = (classes.made_up(labels) if view else classes.prototypes[labels]).half()
    for part in tqdm(list(batches(len(pictured), 128)), desc="pooled features"):
        rows = pictured[part]
        ids = [bank.shown[n].id for n in rows]
        for view in range(views.count):
            out[rows, view] = upper_tower(clip.visual.trunk, views.maps(ids, [view] * len(ids))).half()
    return out
