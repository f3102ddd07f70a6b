"""Stage 2: fusion and codebooks together, on frozen encoder features (Eq. 3–8)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from genius.encoder import batches
from genius.fusion import Fusion, FusionConfig
from genius.quantizer import MovingCodebooks, Quantizer, QuantizerConfig
from genius.training import parallel
from genius.training.log import TrainingLog, cosine_schedule
from genius.training.pairs import Pairs, bunched


@dataclass(frozen=True)
class QuantizerTraining:
    """Settings of stage 2.

    `contrast`, `commitment` and `match` weigh L_cl, L_rq and L_mse; `modality` a cross-entropy that asks
    for the first code to be the modality.
    """

    epochs: float = 3.0
    batch: int = 1024
    rate: float = 6e-4
    weight_decay: float = 0.01
    temperature: float = 0.02
    contrast: float = 1.0
    commitment: float = 5.0
    match: float = 2.0
    modality: float = 0.2
    decay: float = 0.98
    seed: int = 0


def train_quantizer(
    pairs: Pairs,
    fusion_config: FusionConfig,
    config: QuantizerConfig,
    settings: QuantizerTraining,
    log: TrainingLog,
) -> tuple[Fusion, Quantizer]:
    """Learn h and the codebooks from pairs; on the GPU where there is one.

    Every process fuses its share of a batch; the first one moves the codebooks, which the others receive.
    """
    torch.manual_seed(settings.seed)
    device = parallel.device()
    fusion, quantizer = Fusion(fusion_config).to(device), Quantizer(config).to(device)
    parallel.own_chance()
    codebooks = MovingCodebooks(quantizer, decay=settings.decay)
    optimizer = torch.optim.AdamW(fusion.parameters(), lr=settings.rate, weight_decay=settings.weight_decay)
    per_epoch = max(1, len(pairs) // settings.batch)
    steps = int(settings.epochs * per_epoch)
    warm = min(per_epoch, steps // 2)  # the codebooks start once the fusion has settled
    generator = torch.Generator().manual_seed(settings.seed)
    order = torch.empty(0, dtype=torch.long)
    for step in tqdm(range(steps), desc="quantizer", disable=not parallel.is_first()):
        if step % per_epoch == 0:
            order = bunched(pairs.family, generator)
        rows = order[step % per_epoch * settings.batch :][: settings.batch]
        optimizer.param_groups[0]["lr"] = settings.rate * cosine_schedule(step, steps)
        own = rows[parallel.share(len(rows))]
        query = _fuse(fusion, pairs.query_image[own], pairs.query_text[own])
        candidate = _fuse(fusion, pairs.pool_image[pairs.target[own]], pairs.pool_text[pairs.target[own]])
        query, candidate = parallel.whole(query, len(rows)), parallel.whole(candidate, len(rows))
        if step == warm:
            _initialise(codebooks, fusion, pairs, settings)
        target = pairs.target[rows]
        modality = pairs.modality[target].to(device)
        books = quantizer if step >= warm else None
        losses = _losses(query, candidate, target.to(device), modality, books, settings)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        parallel.add_up(fusion.parameters())
        optimizer.step()
        if step >= warm:
            if parallel.is_first():
                with torch.no_grad():
                    codebooks.update(quantizer(candidate.detach()))
            parallel.from_first(quantizer.buffers())
        log.add(step, {name: float(value.detach()) for name, value in losses.items()})
    if parallel.is_first():
        codebooks.settle(fuse_pool(fusion, pairs.pool_image, pairs.pool_text).clone().to(device))
    parallel.from_first(quantizer.buffers())
    return fusion.cpu().eval(), quantizer.cpu().eval()


def _losses(
    query: Tensor,
    candidate: Tensor,
    target: Tensor,
    modality: Tensor,
    quantizer: Quantizer | None,
    settings: QuantizerTraining,
) -> dict[str, Tensor]:
    logits = query @ candidate.T / settings.temperature
    twins = (target[:, None] == target).fill_diagonal_(False)
    logits = logits.masked_fill(twins, -torch.inf)
    labels = torch.arange(len(query), device=query.device)
    contrast = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    losses = {"contrast": contrast}
    total = settings.contrast * contrast
    if quantizer is not None:
        coded, asked = quantizer(candidate), quantizer(query)
        books = [quantizer.codebook(level) for level in range(len(quantizer.config.levels))]
        commitment = torch.stack(
            [
                (residual - book[code]).square().sum(-1).mean()
                for result in (coded, asked)
                for residual, book, code in zip(result.residuals, books, result.codes.T, strict=True)
            ]
        ).mean()
        through = query + (asked.vectors - query).detach()  # straight-through
        match = (through - candidate).square().sum(-1).mean()
        distance = torch.cdist(torch.cat([query, candidate]), books[0]).square()
        level_one = F.cross_entropy(-distance / 0.1, modality.repeat(2))
        total = (
            total + settings.commitment * commitment + settings.match * match + settings.modality * level_one
        )
        error = (coded.vectors - candidate).square().sum(-1).mean()
        losses |= {"commitment": commitment, "match": match, "modality": level_one, "error": error}
    return {"loss": total, **losses}


@torch.inference_mode()
def fuse_pool(fusion: Fusion, image: Tensor, text: Tensor, batch: int = 8192) -> Tensor:
    """z [c, d] of features [c, d], in batches, in main memory."""
    fusion.eval()
    parts = [_fuse(fusion, image[part], text[part]).cpu() for part in batches(len(image), batch)]
    return torch.cat(parts)


def _fuse(fusion: Fusion, image: Tensor, text: Tensor) -> Tensor:
    """z [B, d], where the fusion is, of features [B, d] in main memory and half precision."""
    where = fusion.output.weight.device
    return fusion(image.to(where).float(), text.to(where).float())


def _initialise(
    codebooks: MovingCodebooks, fusion: Fusion, pairs: Pairs, settings: QuantizerTraining
) -> None:
    if parallel.is_first():
        sample = torch.randperm(len(pairs.modality))[:30_000]
        z = fuse_pool(fusion, pairs.pool_image[sample], pairs.pool_text[sample]).clone()
        where = parallel.device()
        codebooks.initialise(z.to(where), pairs.modality[sample].to(where), seed=settings.seed)
        fusion.train()
    parallel.from_first(codebooks.quantizer.buffers())
