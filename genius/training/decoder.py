"""Stage 3: teach the decoder to write a target's semantic ID from a query embedding (Eq. 9–11)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from genius.decoder import Decoder, DecoderConfig
from genius.quantizer import Quantizer
from genius.training import parallel
from genius.training.loop import adamw, mixed_precision, run


@dataclass(frozen=True)
class DecoderTraining:
    """Settings of stage 3.

    `made_up` is the share of pairs that are made up from two (see `make_up`), `mixed` that of queries
    replaced by a mix of query and target (Eq. 11).
    """

    epochs: float = 6.0
    batch: int = 512
    rate: float = 1e-3
    weight_decay: float = 0.01
    made_up: float = 0.3
    mixed: float = 0.3
    alpha: float = 2.0
    smoothing: float = 0.02
    seed: int = 0


@dataclass(frozen=True)
class DecoderPairs:
    """What stage 3 learns from.

    Query vectors [n, d], the row [n] of each target, target vectors [c, d], their codes [c, M], and what
    gives such vectors their codes.
    """

    query: Tensor
    target: Tensor
    vectors: Tensor
    codes: Tensor
    quantizer: Quantizer


def train_decoder(
    pairs: DecoderPairs, config: DecoderConfig, settings: DecoderTraining, out: Path
) -> Decoder:
    """Run stage 3, resuming from `out` after an interruption; on the GPU where there is one."""
    torch.manual_seed(settings.seed)
    decoder = Decoder(config).to(parallel.device())
    optimizer = adamw([(list(decoder.parameters()), settings.rate)], settings.weight_decay)
    per_epoch = max(1, len(pairs.target) // settings.batch)
    decoder.train()

    def losses_of(step: int) -> dict[str, Tensor]:
        order = _order(len(pairs.target), settings.seed + step // per_epoch)
        return _losses(decoder, pairs, order[step % per_epoch * settings.batch :][: settings.batch], settings)

    run("decoder", decoder, optimizer, int(settings.epochs * per_epoch), out, settings.seed, losses_of)
    return decoder.cpu().eval()


@cache
def _order(count: int, seed: int) -> Tensor:
    """The rows of an epoch in random order."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def mix(query: Tensor, target: Tensor, alpha: float) -> Tensor:
    """Eq. 11: μ·z_q + (1 − μ)·z_c with μ ~ Beta(α, α) per row, back to unit length; all [B, d]."""
    weight = torch.distributions.Beta(alpha, alpha).sample((len(query), 1)).to(query)
    return F.normalize(weight * query + (1 - weight) * target, dim=-1)


def make_up(
    query: Tensor, target: Tensor, first: Tensor, quantizer: Quantizer
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs as there might be: each mixed with another one of the batch whose first code is the same.

    query, target [B, d] and first [B] → query, target, codes [B, M]. Both ends are mixed in the same
    proportion, and the target is quantized anew (mixup, Zhang et al., ICLR 2018): so codes are learned of
    what no picture of the training has.
    """
    other = torch.arange(len(first))
    for code in first.unique():
        alike = (first == code).nonzero().squeeze(1)
        other[alike] = alike[torch.randperm(len(alike))]
    weight = 0.5 + 0.5 * torch.rand(len(first), 1)  # of the pair's own
    query, target = (F.normalize(weight * x + (1 - weight) * x[other], dim=-1) for x in (query, target))
    codes = quantizer.encode(target)
    codes[:, 0] = first
    return query, target, codes


def _losses(
    decoder: Decoder, pairs: DecoderPairs, rows: Tensor, settings: DecoderTraining
) -> dict[str, Tensor]:
    """This process's part of the losses of a batch."""
    target = pairs.target[rows]
    query, wanted, codes = pairs.query[rows], pairs.vectors[target], pairs.codes[target]
    # for the whole batch, so that all processes agree
    some = torch.rand(len(rows)) < settings.made_up
    if some.any():
        parts = make_up(query[some], wanted[some], codes[some, 0], pairs.quantizer)
        query[some], wanted[some], codes[some] = parts
    mixed = torch.rand(len(rows), 1) < settings.mixed
    own = parallel.share(len(rows))
    z = torch.where(mixed, mix(query, wanted, settings.alpha), query)[own].to(decoder.device)
    codes = codes[own].to(decoder.device)
    parallel.own_chance()
    with mixed_precision(decoder.device):
        logits = decoder(z, codes)
    losses = [
        F.cross_entropy(
            logits[level].float(), codes[:, level], label_smoothing=settings.smoothing if level else 0.0
        )
        for level in range(codes.shape[1])
    ]
    correct = [(logits[level].argmax(-1) == codes[:, level]).float().mean() for level in (0, 1, 2)]
    names = {f"right_{level + 1}": value for level, value in enumerate(correct)}
    part = len(z) / len(rows)
    return {name: value * part for name, value in {"loss": torch.stack(losses).mean(), **names}.items()}
