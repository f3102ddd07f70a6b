"""Stage 1, second half: the text tower learns instructions, and what the pictures look like.

The image tower's pooled features are computed once; only its projection goes on learning. Its losses:

* contrastive CLIP loss between texts and pictures, plain on both sides;
* contrastive task loss: an instructed query (sum of its image and text features, Eq. 2) against the
  image, text and image + text candidate of everything there is, so the instruction must decide the modality;
* the same within the batch, and a term that keeps pictures as long as texts.

An anchor keeps plain texts near the sentence encoder's own features: what it knew is what understands
paraphrases.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genius.encoder import Encoder, batches
from genius.instructions import format_text
from genius.schema import Modality
from genius.training.bank import Bank, against_bank, alike, within_batch
from genius.training.corpus import Item, Kind
from genius.training.loop import adamw, mix_weights, mixed_precision, run
from genius.training.pairs import Row, Sampler, tasks_of

REFRESH = 25  # steps between two renewals of the bank's pictures
FROZEN_LAYERS = 2  # the text tower's embeddings and first layers stay: what words are like is known
GAP = 0.5  # how far pictures start from texts, in lengths of a text; the instruction must have a way to go


@dataclass(frozen=True)
class TextTraining:
    """Settings of the second half of stage 1; `keep` weighs the anchor of plain texts, `tuned` is the share
    of the tuned weights in the tower's, the rest being the sentence encoder's (see `mix_weights`).
    """

    epochs: float = 5.0
    batch: int = 128
    text_rate: float = 8e-5
    head_rate: float = 3e-4
    weight_decay: float = 0.05
    uninstructed: float = 0.15
    keep: float = 2.0
    size: float = 0.3
    tuned: float = 0.7
    seed: int = 0


class TextTrainer:
    """Both towers, the pooled features [s, V, 1280] of all that is shown, and the bank as it is now."""

    def __init__(self, encoder: Encoder, pooled: Tensor, bank: Bank, settings: TextTraining) -> None:
        self.encoder, self.clip, self.pooled, self.bank, self.settings = (
            encoder,
            encoder.clip,
            pooled,
            bank,
            settings,
        )
        self.head = encoder.clip.visual.head
        self.length = float(bank.anchor.norm(dim=-1).mean())
        self.named = [bank.text_row[format_text(item.texts[0])] for item in bank.shown]
        self.pictures = torch.empty(0)
        self.shift = torch.empty(0)

    def refresh(self) -> None:
        """Project all pictures again."""
        training = self.head.training
        self.head.eval()
        with torch.no_grad():
            parts = [self.head(self.pooled[part, 0].float()) for part in batches(len(self.pooled), 2048)]
        self.pictures = torch.cat(parts)
        self.head.train(training)

    def image(self, items: Sequence[Item], *, plain: bool) -> Tensor:
        """Features [N, d] of the plain pictures of items, or of any view of them."""
        rows = torch.tensor([self.bank.shown_row[item.id] for item in items], dtype=torch.long)
        views = torch.zeros(len(rows), dtype=torch.long)
        if not plain:
            views = torch.randint(self.pooled.shape[1], (len(rows),))
        return self.head(self.pooled[rows, views].float())

    def text(self, texts: Sequence[str]) -> Tensor:
        """Features [n, d] of texts; an empty text gives zeros."""
        rows = sorted((row for row, text in enumerate(texts) if text), key=lambda row: len(texts[row]))
        out = torch.zeros(len(texts), self.encoder.dim)
        if not rows:
            return out
        parts = [rows[part] for part in batches(len(rows), 64)]  # little padding among texts of like length
        with mixed_precision():
            found = [
                self.clip.encode_text(self.encoder.tokenize([texts[row] for row in part])) for part in parts
            ]
        return out.index_copy(0, torch.tensor(rows), torch.cat(found).float())

    def losses(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Losses of one batch of N rows."""
        s, scale = self.settings, self.clip.logit_scale.exp().clamp(max=100)
        own, asked = self.text([row.own for row in rows] + [row.query for row in rows]).split(len(rows))
        text_rows = [self.bank.text_row[row.own] for row in rows]
        anchor = self.bank.anchor[text_rows]
        self._follow((own.detach() - anchor).mean(0))

        pictured = [n for n, row in enumerate(rows) if row.item.kind is not Kind.WORD]
        items = [rows[n].item for n in pictured]
        drawn = self.image(items, plain=False)
        seen = [n for n, row in enumerate(rows) if row.task.query is not Modality.TEXT]
        shown = self.image([rows[n].partner or rows[n].item for n in seen], plain=False)
        query = asked + _placed(len(rows), seen, shown)
        image = _placed(len(rows), pictured, self.image(items, plain=True))
        wanted = torch.tensor([int(row.task.target) for row in rows])
        target = torch.stack([image, own, image + own])[wanted, torch.arange(len(rows))]

        texts = self.bank.anchor + self.shift
        pictures, pairs = F.normalize(self.pictures, dim=-1), self.pictures + texts[self.named]
        texts, pairs = F.normalize(texts, dim=-1), F.normalize(pairs, dim=-1)
        same_shown = [self.bank.same_shown(row.item, row.own) for row in rows]
        same_texts = [self.bank.same_texts(row.item, row.own) for row in rows]
        shown_rows = [self.bank.shown_row.get(row.item.id, -1) for row in rows]

        def some(values: Sequence[Any]) -> list[Any]:
            return [values[n] for n in pictured]

        clip = against_bank(own[pictured], pictures, some(shown_rows), some(same_shown), scale)
        clip = clip + against_bank(drawn, texts, some(text_rows), some(same_texts), scale)

        starts = (0, len(pictures), len(pictures) + len(texts))
        places = [
            starts[row.task.target] + (text if row.task.target is Modality.TEXT else shown)
            for row, shown, text in zip(rows, shown_rows, text_rows, strict=True)
        ]
        alike_to = [
            [
                starts[modality] + place
                for modality, same in ((0, same_shown[n]), (1, same_texts[n]), (2, same_shown[n]))
                if not row.instructed or modality == row.task.target
                for place in same
            ]
            for n, row in enumerate(rows)
        ]
        task = against_bank(query, torch.cat([pictures, texts, pairs]), places, alike_to, scale)
        same = alike([row.item.noun for row in rows], [row.own for row in rows])
        batch = (within_batch(target, query, scale, same) + within_batch(query, target, scale, same)) / 2
        drift = 1 - F.cosine_similarity(centred(own), centred(anchor)).mean()
        length = (drawn.norm(dim=-1) / self.length - 1).square().mean()
        total = clip / 2 + task + 0.5 * batch + s.keep * drift + s.size * length
        return {
            "loss": total,
            "clip": clip / 2,
            "task": task,
            "batch": batch,
            "drift": drift,
            "length": length,
        }

    def _follow(self, shift: Tensor) -> None:
        """All texts move together; those of the bank, which are not read again, are moved along."""
        self.shift = shift if not len(self.shift) else 0.9 * self.shift + 0.1 * shift


def _placed(count: int, rows: Sequence[int], features: Tensor) -> Tensor:
    """Features [n, d] at their rows among `count`, zeros elsewhere."""
    places = torch.tensor(rows, dtype=torch.long)
    return features.new_zeros(count, features.shape[1]).index_copy(0, places, features)


def train_text_tower(
    encoder: Encoder,
    pooled: Tensor,
    items: Sequence[Item],
    bank: Bank,
    sampler: Sampler,
    settings: TextTraining,
    out: Path,
) -> None:
    """Tune the text tower and the image projection of `encoder`; goes on from `out` when interrupted."""
    clip = encoder.clip
    trainer = TextTrainer(encoder, pooled, bank, settings)
    weights = [item.weight for item in items]
    steps = int(settings.epochs * max(1, int(sum(weights) / settings.batch)))
    set_apart(clip.visual.head.eval(), pooled[:, 0], bank.anchor, settings.seed)
    clip.requires_grad_(False)
    learning = nn.ModuleList([clip.text, clip.visual.head])
    learning.register_parameter("logit_scale", clip.logit_scale)
    learning.requires_grad_(True)
    tower = clip.text.transformer
    for part in (clip.text.proj, tower.embeddings, *tower.encoder.layer[:FROZEN_LAYERS]):
        part.requires_grad_(False)
    optimizer = adamw(
        [
            ([p for p in clip.text.parameters() if p.requires_grad], settings.text_rate),
            ([*clip.visual.head.parameters(), clip.logit_scale], settings.head_rate),
        ],
        settings.weight_decay,
    )
    texts = list(clip.text.parameters())
    before = [parameter.detach().clone() for parameter in texts]
    clip.text.transformer.set_attn_implementation("eager")  # its backward pass is the faster one on a CPU
    clip.eval()
    clip.visual.head.train()

    def losses_of(step: int) -> dict[str, Tensor]:
        if step % REFRESH == 0 or not len(trainer.pictures):
            trainer.refresh()
        rng = random.Random(f"{settings.seed} {step}")
        chosen = rng.choices(items, weights=weights, k=settings.batch)
        return trainer.losses([sampler.row(item, rng.choice(tasks_of(item)), rng) for item in chosen])

    run("text tower", learning, optimizer, steps, out, settings.seed, losses_of)
    mix_weights(texts, before, settings.tuned)
    clip.eval()


def centred(x: Tensor) -> Tensor:
    """x [N, d] less its mean: all texts may move together, away from the pictures."""
    return x - x.mean(0)


@torch.no_grad()
def set_apart(head: nn.Module, pooled: Tensor, anchor: Tensor, seed: int) -> None:
    """Give pictures the texts' length, then move them all one way, at right angles to what texts share.

    pooled [s, 1280]: what the projection `head` (its last layer `mlp.fc2`) projects; anchor [t, d].
    """
    length = anchor.norm(dim=-1).mean()
    now = torch.cat([head(pooled[part].float()) for part in batches(len(pooled), 2048)]).norm(dim=-1).mean()
    common = F.normalize(anchor.mean(0), dim=0)
    direction = torch.randn(len(common), generator=torch.Generator().manual_seed(seed))
    direction = F.normalize(direction - (direction @ common) * common, dim=0)
    last = head.mlp.fc2
    last.weight.mul_(length / now)
    last.bias.mul_(length / now).add_(GAP * length * direction)
