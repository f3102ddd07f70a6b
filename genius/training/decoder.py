"""Stage 3: teach the decoder to write a target's semantic ID from a query embedding (Eq. 9–11)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from genius.decoder import Decoder, DecoderConfig
from genius.training.log import TrainingLog, cosine_schedule


@dataclass(frozen=True)
class DecoderTraining:
    """Settings of stage 3; `mixed` is the share of queries replaced by a query–target mix (Eq. 11)."""

    epochs: float = 2.6
    batch: int = 512
    rate: float = 1e-3
    weight_decay: float = 0.01
    mixed: float = 0.5
    alpha: float = 2.0
    smoothing: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class DecoderPairs:
    """What stage 3 learns from.

    Query vectors [n, d], the row [n] of each target, target vectors [c, d] and their codes [c, M].
    """

    query: Tensor
    target: Tensor
    vectors: Tensor
    codes: Tensor


def train_decoder(
    pairs: DecoderPairs, config: DecoderConfig, settings: DecoderTraining, out: Path
) -> Decoder:
    """Run stage 3, resuming from `out` after an interruption."""
    torch.manual_seed(settings.seed)
    decoder = Decoder(config)
    optimizer = torch.optim.AdamW(
        decoder.parameters(), lr=settings.rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
    )
    log = TrainingLog(out / "log.jsonl")
    state_file = out / "state.pt"
    per_epoch = max(1, len(pairs.target) // settings.batch)
    steps, first = int(settings.epochs * per_epoch), 0
    if state_file.is_file():
        state = torch.load(state_file, weights_only=True)
        decoder.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    decoder.train()
    order = torch.empty(0, dtype=torch.long)
    for step in tqdm(range(first, steps), desc="decoder", initial=first, total=steps):
        if step % per_epoch == 0 or step == first:
            generator = torch.Generator().manual_seed(settings.seed + step // per_epoch)
            order = torch.randperm(len(pairs.target), generator=generator)
        optimizer.param_groups[0]["lr"] = settings.rate * cosine_schedule(step, steps)
        rows = order[step % per_epoch * settings.batch :][: settings.batch]
        losses = _losses(decoder, pairs, rows, settings)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        log.add(step, {name: float(value.detach()) for name, value in losses.items()})
        if step % 200 == 199 or step + 1 == steps:
            torch.save(
                {"model": decoder.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1},
                out / "state.tmp",
            )
            (out / "state.tmp").replace(state_file)
    return decoder.eval()


def mix(query: Tensor, target: Tensor, alpha: float) -> Tensor:
    """Eq. 11: μ·z_q + (1 − μ)·z_c with μ ~ Beta(α, α) per row, back to unit length; all [B, d]."""
    weight = torch.distributions.Beta(alpha, alpha).sample((len(query), 1)).to(query)
    return F.normalize(weight * query + (1 - weight) * target, dim=-1)


def _losses(
    decoder: Decoder, pairs: DecoderPairs, rows: Tensor, settings: DecoderTraining
) -> dict[str, Tensor]:
    target = pairs.target[rows]
    query, wanted, codes = pairs.query[rows], pairs.vectors[target], pairs.codes[target]
    mixed = torch.rand(len(rows), 1) < settings.mixed
    z = torch.where(mixed, mix(query, wanted, settings.alpha), query)
    with torch.autocast("cpu", torch.bfloat16):
        logits = decoder(z, codes)
    losses = [
        F.cross_entropy(
            logits[level].float(), codes[:, level], label_smoothing=settings.smoothing if level else 0.0
        )
        for level in range(codes.shape[1])
    ]
    correct = [(logits[level].argmax(-1) == codes[:, level]).float().mean() for level in (0, 1, 2)]
    names = {f"right_{level + 1}": value for level, value in enumerate(correct)}
    return {"loss": torch.stack(losses).mean(), **names}
