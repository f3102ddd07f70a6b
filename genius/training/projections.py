"""Stage 1, last part: both projections, on what the two towers computed, in large batches.

A step of the towers costs seconds and sees a hundred queries; a step of their projections costs a fraction
and sees thousands. So every query meets every kind of candidate of many items, those of like names first,
some dozen times. The text projection starts as the identity: the sentence encoder's own space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from open_clip.model import CustomTextCLIP
from torch import Tensor, nn

from genius.instructions import TASKS
from genius.training.bank import within_batch
from genius.training.corpus import Item
from genius.training.loop import adamw, mix_weights, run
from genius.training.pairs import Drawn, bunched, families


@dataclass(frozen=True)
class ProjectionTraining:
    """Settings; `keep` weighs the squared distance of the text projection from the identity, `tuned` is the
    share of the tuned weights in the result, the rest being those from before (see `mix_weights`).
    """

    epochs: float = 3.0
    batch: int = 2048
    head_rate: float = 7e-4
    text_rate: float = 3e-4
    weight_decay: float = 0.05
    keep: float = 1e-3
    tuned: float = 0.5
    seed: int = 0


class ProjectionTrainer:
    """Pooled features [s, V, 1280] of the items, raw features [t, d] of the texts, and rows of both."""

    def __init__(
        self, clip: CustomTextCLIP, items: Sequence[Item], pooled: Tensor, texts: Tensor, drawn: Drawn
    ) -> None:
        self.head, self.project, self.scale = clip.visual.head, clip.text.proj, clip.logit_scale
        self.pooled, self.texts, self.drawn = pooled, texts, drawn
        nouns = {noun: n for n, noun in enumerate(sorted({item.noun for item in items}))}
        self.noun = torch.tensor([nouns[item.noun] for item in items])
        self.wanted = torch.tensor([int(task.target) for task in TASKS])[drawn.task]

    def image(self, items: Tensor, views: Tensor) -> Tensor:
        """Features [N, d] of views of items; item -1 gives zeros."""
        features = self.head(self.pooled[items, views].float())
        return features.masked_fill((items < 0)[:, None], 0)

    def losses(self, rows: Tensor, keep: float) -> dict[str, Tensor]:
        """Losses of N rows: the task (Eq. 2's sum of image and text finds its target among all three
        candidates of all N items) and CLIP's, plain on both sides.
        """
        drawn, scale = self.drawn, self.scale.exp().clamp(max=100)
        item, own_row = drawn.item[rows], drawn.own[rows]
        plain, seen = torch.zeros_like(rows), torch.randint(self.pooled.shape[1], (2, len(rows)))
        own, asked = self.project(self.texts[torch.cat([own_row, drawn.query[rows]])].float()).chunk(2)
        query = asked + self.image(drawn.picture[rows], seen[0])
        image, viewed = self.image(item, plain), self.image(item, seen[1])
        candidates = F.normalize(torch.stack([image, own, image + own]), dim=-1)

        noun, wanted = self.noun[item], self.wanted[rows]
        alike = (noun[:, None] == noun) | (own_row[:, None] == own_row)
        each = torch.arange(len(rows))
        other = torch.arange(3)[:, None] != wanted  # [3, N]: candidates of another modality than wanted
        hidden = alike & ~(other & drawn.instructed[rows])[:, :, None]  # … answer too, if nothing was said
        hidden[wanted, each, each] = False
        logits = scale * F.normalize(query, dim=-1) @ candidates.flatten(0, 1).T
        hidden = hidden.transpose(0, 1).flatten(1)
        task = F.cross_entropy(logits.masked_fill(hidden, -torch.inf), wanted * len(rows) + each)
        target = candidates[wanted, each]
        alike.fill_diagonal_(False)
        back = within_batch(target, query, scale, alike)
        clip = (within_batch(own, viewed, scale, alike) + within_batch(viewed, own, scale, alike)) / 2
        kept = (self.project.weight - torch.eye(len(self.project.weight))).square().sum()
        return {
            "loss": task + 0.5 * back + clip + keep * kept,
            "task": task,
            "back": back,
            "clip": clip,
            "kept": kept,
        }


def train_projections(
    clip: CustomTextCLIP,
    items: Sequence[Item],
    pooled: Tensor,
    texts: Tensor,
    drawn: Drawn,
    settings: ProjectionTraining,
    out: Path,
) -> None:
    """Tune the two projections of `clip`; goes on from `out` when interrupted."""
    trainer = ProjectionTrainer(clip, items, pooled, texts, drawn)
    learning = nn.ModuleList([trainer.head, trainer.project])
    learning.register_parameter("logit_scale", clip.logit_scale)
    clip.requires_grad_(False)
    learning.requires_grad_(True)
    optimizer = adamw(
        [
            ([*trainer.head.parameters(), clip.logit_scale], settings.head_rate),
            (list(trainer.project.parameters()), settings.text_rate),
        ],
        settings.weight_decay,
    )
    parameters = list(learning.parameters())
    before = [parameter.detach().clone() for parameter in parameters]
    per_epoch = max(1, len(drawn) // settings.batch)
    trainer.head.train()
    family = families(texts[drawn.names(items)], seed=settings.seed)[drawn.item]

    @cache
    def order(epoch: int) -> Tensor:
        return bunched(family, torch.Generator().manual_seed(1000 * settings.seed + epoch))

    def losses_of(step: int) -> dict[str, Tensor]:
        start = step % per_epoch * settings.batch
        return trainer.losses(order(step // per_epoch)[start : start + settings.batch], settings.keep)

    run("projections", learning, optimizer, int(settings.epochs * per_epoch), out, settings.seed, losses_of)
    mix_weights(parameters, before, settings.tuned)
    clip.eval()
