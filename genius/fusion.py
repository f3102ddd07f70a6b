"""The fusion module h: image and text features of one item become one unit vector. Torch only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class FusionConfig:
    """`dim` is the encoder's width d; `projection` and `hidden` those inside (published: 2560, 5120)."""

    dim: int
    projection: int
    hidden: int
    dropout: float = 0.1


class Fusion(nn.Module):
    """h(x, y) = λ·y + (1 − λ)·x + MLP([y; x]), λ = sigmoid(MLP([y; x])), then unit length (Sec. 4.2.1).

    x is the image feature and y the text feature, zeros where absent; λ weighs the text, as in the
    published network, whose layers these are.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        joint = 2 * config.projection
        self.text_projection = nn.Linear(config.dim, config.projection)
        self.image_projection = nn.Linear(config.dim, config.projection)
        self.combiner = nn.Linear(joint, config.hidden)
        self.output = nn.Linear(config.hidden, config.dim)
        self.scalar_hidden = nn.Linear(joint, config.hidden)
        self.scalar = nn.Linear(config.hidden, 1)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Features [B, d] and [B, d] → z [B, d], unit length."""
        joint = torch.cat([self.text_projection(text), self.image_projection(image)], dim=-1).relu()
        joint = self.dropout(joint)
        weight = self.scalar(self.dropout(self.scalar_hidden(joint).relu())).sigmoid()
        mixed = weight * text + (1 - weight) * image + self.output(self.dropout(self.combiner(joint).relu()))
        return F.normalize(mixed, dim=-1)
