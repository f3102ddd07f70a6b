"""The residual quantizer: codes ↔ vectors, level by level (Eq. 4–6). Torch only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class QuantizerConfig:
    """`dim` of the vectors and the number of codes per level; the first level is the modality."""

    dim: int
    levels: tuple[int, ...]


@dataclass(frozen=True)
class Quantized:
    """Codes [B, M], their sum of codewords [B, d], and the residual before each level [M, B, d]."""

    codes: Tensor
    vectors: Tensor
    residuals: Tensor


class Quantizer(nn.Module):
    """One codebook per level; each level codes what the levels before it left over."""

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        self.config = config
        for level, size in enumerate(config.levels):
            self.register_buffer(f"codebook_{level}", torch.zeros(size, config.dim))

    def codebook(self, level: int) -> Tensor:
        """Codewords [K, d] of one level."""
        return self.get_buffer(f"codebook_{level}")

    def forward(self, z: Tensor) -> Quantized:
        """Quantize z [B, d]: at every level the codeword nearest to the residual in Euclidean distance."""
        residual, codes, residuals = z, [], []
        for level in range(len(self.config.levels)):
            book = self.codebook(level)
            code = nearest(residual, book)
            residuals.append(residual)
            codes.append(code)
            residual = residual - book[code]
        return Quantized(torch.stack(codes, 1), z - residual, torch.stack(residuals))

    def encode(self, z: Tensor) -> Tensor:
        """Codes [B, M] of vectors [B, d]."""
        return self(z).codes

    def decode(self, codes: Tensor) -> Tensor:
        """Sum of the codewords (Eq. 6) of codes [B, m], m ≤ M levels → [B, d]."""
        return torch.stack([self.codebook(level)[codes[:, level]] for level in range(codes.shape[1])]).sum(0)


CELLS = 1 << 26  # how many distances are held at a time


def nearest(x: Tensor, book: Tensor) -> Tensor:
    """Index [B] of the row of book [K, d] nearest to each x [B, d]; ties go to the lower index."""
    square = book.square().sum(-1)
    parts = x.split(max(1, CELLS // len(book)))
    return torch.cat([(square - 2 * part @ book.T).argmin(-1) for part in parts])


def kmeans(x: Tensor, size: int, *, rounds: int = 12, seed: int = 0) -> Tensor:
    """Codewords [size, d] of vectors x [n, d] by Lloyd's algorithm from random rows.

    With fewer vectors than codewords the rest are jittered copies, so that no codeword is left at zero.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(x), generator=generator)
    rows = rows.repeat(-(-size // len(x)))[:size]
    return lloyd(x, x[rows] + 1e-4 * torch.randn(size, x.shape[1], generator=generator).to(x), rounds)


def lloyd(x: Tensor, book: Tensor, rounds: int) -> Tensor:
    """Codewords [K, d], each moved to the mean of the vectors x [n, d] nearest to it, some rounds over.

    A codeword that nothing is near to moves into one of the busiest cells, which the next round splits.
    """
    for _ in range(rounds):
        code = nearest(x, book)
        sums = torch.zeros_like(book).index_add_(0, code, x)
        counts = torch.bincount(code, minlength=len(book))
        book = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), book)
        unused = (counts == 0).nonzero().squeeze(1)
        busiest = counts.topk(len(unused)).indices
        busiest = busiest[counts[busiest] > 1]
        each = torch.arange(len(x), device=x.device)
        member = torch.zeros_like(counts).scatter_(0, code, each)  # any vector of each cell
        book[unused[: len(busiest)]] = x[member[busiest]]
    return book


class MovingCodebooks:
    """Exponential moving averages that move a quantizer's codewords while the fusion learns.

    A codeword whose average use falls under `dead` is replaced by a random residual of the batch;
    the modality level is left alone.
    """

    def __init__(self, quantizer: Quantizer, decay: float = 0.99, dead: float = 0.1) -> None:
        self.quantizer, self.decay, self.dead = quantizer, decay, dead
        self._sum = [quantizer.codebook(level).clone() for level in range(len(quantizer.config.levels))]
        self._use = [book.new_ones(len(book)) for book in self._sum]

    def initialise(self, z: Tensor, modality: Tensor, *, seed: int = 0) -> None:
        """Level 1 from the mean of each modality [B] of z [B, d], later levels by k-means on residuals.

        A modality that nothing has stays at zero, farther from unit vectors than a mean of them.
        """
        residual = z
        for level, size in enumerate(self.quantizer.config.levels):
            if level == 0:
                groups = [z[modality == code] for code in range(size)]
                book = torch.stack([x.mean(0) if len(x) else torch.zeros_like(z[0]) for x in groups])
                code = modality
            else:
                book = kmeans(residual, size, seed=seed + level)
                code = nearest(residual, book)
            self.quantizer.codebook(level).copy_(book)
            self._use[level] = torch.bincount(code, minlength=size).float()
            self._sum[level] = book * self._use[level].unsqueeze(1)
            residual = residual - book[code]

    def settle(self, z: Tensor, rounds: int = 20) -> None:
        """Lloyd rounds on vectors z [n, d], level by level, once the fusion no longer moves."""
        residual = z
        for level in range(len(self.quantizer.config.levels)):
            book = self.quantizer.codebook(level)
            if level > 0:
                book.copy_(lloyd(residual, book, rounds))
            residual = residual - book[nearest(residual, book)]

    def update(self, quantized: Quantized) -> None:
        """Move every level's codewords toward the residuals they coded."""
        for level, size in enumerate(self.quantizer.config.levels):
            code, residual = quantized.codes[:, level], quantized.residuals[level]
            use = torch.bincount(code, minlength=size).float()
            total = residual.new_zeros(size, residual.shape[1]).index_add_(0, code, residual)
            self._use[level].mul_(self.decay).add_(use, alpha=1 - self.decay)
            self._sum[level].mul_(self.decay).add_(total, alpha=1 - self.decay)
            if level > 0:
                self._revive(level, residual)
            self.quantizer.codebook(level).copy_(
                self._sum[level] / self._use[level].clamp(min=1e-6).unsqueeze(1)
            )

    def _revive(self, level: int, residual: Tensor) -> None:
        dead = (self._use[level] < self.dead).nonzero().squeeze(1)
        fresh = residual[torch.randint(len(residual), (len(dead),))]
        self._use[level][dead] = 1.0
        self._sum[level][dead] = fresh
