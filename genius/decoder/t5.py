"""A T5 decoder as a plain network: what trains, and what transformers' weights load into."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genius.schema import UserError

START = 0  # padding, which is also the decoder's first token; 1 is the end token, 2 the unknown one
SPECIAL = 3  # how many rows come before the first code
BUCKETS = 32
MAX_DISTANCE = 128
EPSILON = 1e-6
TIED = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")


@dataclass(frozen=True)
class DecoderConfig:
    """Numbers that shape the decoder. `levels` holds how many codes each level has, `dim` is z's width."""

    levels: tuple[int, ...]
    dim: int
    width: int = 256
    layers: int = 4
    heads: int = 4
    head_width: int = 64
    feed_forward: int = 1024
    prefixes: int = 30
    dropout: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))  # JSON gives a list
        sizes = (*self.levels, self.dim, self.width, self.layers, self.heads, self.head_width)
        if not self.levels or min(*sizes, self.feed_forward, self.prefixes) < 1:
            raise UserError(f"Every size in the decoder's configuration must be at least 1: {self}.")

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding table: the special tokens and every level's codes."""
        return SPECIAL + sum(self.levels)


class RMSNorm(nn.Module):
    """Scale to unit root mean square, in single precision; no shift."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        square = x.float().square().mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(square + EPSILON)).to(self.weight.dtype)


class Attention(nn.Module):
    """Multi-head attention without the usual 1/√head_width scale (T5 folds it into its initialisation)."""

    def __init__(self, config: DecoderConfig, *, positions: bool = False) -> None:
        super().__init__()
        width, inner = config.width, config.heads * config.head_width
        self.heads = config.heads
        self.dropout = config.dropout
        self.q = nn.Linear(width, inner, bias=False)
        self.k = nn.Linear(width, inner, bias=False)
        self.v = nn.Linear(width, inner, bias=False)
        self.o = nn.Linear(inner, width, bias=False)
        nn.init.normal_(self.q.weight, std=(width * config.head_width) ** -0.5)
        nn.init.normal_(self.k.weight, std=width**-0.5)
        nn.init.normal_(self.v.weight, std=width**-0.5)
        nn.init.normal_(self.o.weight, std=inner**-0.5)
        if positions:
            self.relative_attention_bias = nn.Embedding(BUCKETS, config.heads)
            nn.init.normal_(self.relative_attention_bias.weight, std=width**-0.5)

    def _split(self, x: Tensor) -> Tensor:
        """[B, L, inner] → [B, heads, L, head_width]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def memory(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of x [B, L, width], each [B, heads, L, head_width]."""
        return self._split(self.k(x)), self._split(self.v(x))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None = None) -> Tensor:
        """x [B, L, width] reads keys and values [B, heads, S, head_width]; bias [heads, L, S]."""
        scores = self._split(self.q(x)) @ keys.transpose(-1, -2)
        if bias is not None:
            scores = scores + bias
        weights = scores.float().softmax(-1).to(values.dtype)
        read = F.dropout(weights, self.dropout, self.training) @ values
        return self.o(read.transpose(1, 2).flatten(2))

    def position_bias(self, length: int) -> Tensor:
        """[heads, length, length]: a learnt number for each distance back; -inf for what lies ahead."""
        place = torch.arange(length, device=self.q.weight.device)
        back = place[:, None] - place[None, :]
        exact = BUCKETS // 2
        far = (back.clamp(min=1) / exact).log() / math.log(MAX_DISTANCE / exact) * (BUCKETS - exact)
        bucket = torch.where(back < exact, back.clamp(min=0), (exact + far.long()).clamp(max=BUCKETS - 1))
        bias = self.relative_attention_bias(bucket).permute(2, 0, 1)
        return bias.masked_fill(back < 0, -torch.inf)


class SelfAttentionLayer(nn.Module):
    """Codes read the codes before them."""

    def __init__(self, config: DecoderConfig, *, positions: bool) -> None:
        super().__init__()
        self.SelfAttention = Attention(config, positions=positions)
        self.layer_norm = RMSNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x [B, M, width], bias [heads, M, M]."""
        normed = self.layer_norm(x)
        return x + self.dropout(self.SelfAttention(normed, *self.SelfAttention.memory(normed), bias))


class CrossAttentionLayer(nn.Module):
    """Codes read the prefix embeddings of their query."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.EncDecAttention = Attention(config)
        self.layer_norm = RMSNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """x [B, M, width]; keys and values [B, heads, prefixes, head_width]."""
        return x + self.dropout(self.EncDecAttention(self.layer_norm(x), keys, values))


class FeedForward(nn.Module):
    """Two linear maps with a ReLU between."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.wi = nn.Linear(config.width, config.feed_forward, bias=False)
        self.wo = nn.Linear(config.feed_forward, config.width, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.wi.weight, std=config.width**-0.5)
        nn.init.normal_(self.wo.weight, std=config.feed_forward**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.wo(self.dropout(self.wi(x).relu()))


class FeedForwardLayer(nn.Module):
    """Each place thinks on its own."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.DenseReluDense = FeedForward(config)
        self.layer_norm = RMSNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.DenseReluDense(self.layer_norm(x)))


class Block(nn.Module):
    """One decoder layer: self-attention, cross-attention, feed-forward."""

    def __init__(self, config: DecoderConfig, *, positions: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList(
            [
                SelfAttentionLayer(config, positions=positions),
                CrossAttentionLayer(config),
                FeedForwardLayer(config),
            ]
        )

    @property
    def own(self) -> SelfAttentionLayer:
        return cast(SelfAttentionLayer, self.layer[0])

    @property
    def cross(self) -> CrossAttentionLayer:
        return cast(CrossAttentionLayer, self.layer[1])

    @property
    def feed(self) -> FeedForwardLayer:
        return cast(FeedForwardLayer, self.layer[2])

    def forward(self, x: Tensor, memory: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        """x [B, M, width]; memory: the prefixes' keys and values; bias [heads, M, M]."""
        return self.feed(self.cross(self.own(x, bias), *memory))


class T5(nn.Module):
    """A T5 with no encoder layers. Parameter names are those of transformers' T5ForConditionalGeneration."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.shared = nn.Embedding(config.vocabulary, config.width)
        self.encoder = nn.ModuleDict({"final_layer_norm": RMSNorm(config.width)})
        blocks = nn.ModuleList(Block(config, positions=i == 0) for i in range(config.layers))
        self.decoder = nn.ModuleDict({"block": blocks, "final_layer_norm": RMSNorm(config.width)})
        self.dropout = nn.Dropout(config.dropout)
        self.register_load_state_dict_pre_hook(_drop_tied_copies)

    @property
    def blocks(self) -> Iterator[Block]:
        return iter(cast("list[Block]", self.decoder["block"]))

    def encode(self, prefixes: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Prefixes [B, N, width] → for each block the keys and values its cross-attention reads."""
        memory = self.dropout(self.encoder["final_layer_norm"](self.dropout(prefixes)))
        return [block.cross.EncDecAttention.memory(memory) for block in self.blocks]

    def position_bias(self, length: int) -> Tensor:
        """[heads, length, length], learnt by the first block and shared by all."""
        return next(self.blocks).own.SelfAttention.position_bias(length)

    def forward(self, prefixes: Tensor, tokens: Tensor) -> Tensor:
        """Prefixes [B, N, width], tokens [B, M] → [B, M, width], ready for the product with the table.

        The last factor goes with embeddings that are shared between input and output.
        """
        x = self.dropout(self.shared(tokens))
        bias = self.position_bias(tokens.shape[1])
        for block, memory in zip(self.blocks, self.encode(prefixes), strict=True):
            x = block(x, memory, bias)
        return self.dropout(self.decoder["final_layer_norm"](x)) * x.shape[-1] ** -0.5


def _drop_tied_copies(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Accept a transformers state dict, which lists the shared embeddings under four names."""
    shared = state.get(prefix + "shared.weight")
    for name in TIED:
        copy = state.get(prefix + name)
        if copy is not None and shared is not None and torch.equal(copy, shared):
            del state[prefix + name]  # a copy that differs stays, and strict loading reports it
