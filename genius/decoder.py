"""The decoder: from a query embedding, the log-probability of each next code of a semantic ID.

A linear map turns the embedding into a few prefix embeddings; a T5 decoder reads them by cross-attention
and writes one code per level. This file alone knows that codes are rows of an embedding table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genius.schema import UserError

Normalizer = Literal["level", "vocabulary"]

START = 0  # padding, which is also the decoder's first token; 1 is the end token, 2 the unknown one
SPECIAL = 3  # how many rows come before the first code
BUCKETS = 32
MAX_DISTANCE = 128
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
        return self.weight * (x * torch.rsqrt(square + 1e-6)).to(self.weight.dtype)


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

    def step(self, x: Tensor, cache: Tensor, bias: Tensor) -> Tensor:
        """One level: x [B, W, width], each beam with its own cache [2, B, W, heads, level + 1, head_width].

        The cache's last place is filled here. bias [heads, 1, level + 1].
        """
        normed = self.layer_norm(x).flatten(0, 1).unsqueeze(1)
        keys, values = self.SelfAttention.memory(normed)
        cache[0, ..., -1, :] = keys.view_as(cache[0, ..., -1, :])
        cache[1, ..., -1, :] = values.view_as(cache[1, ..., -1, :])
        return x + self.SelfAttention(normed, *cache.flatten(1, 2), bias).view_as(x)


class CrossAttentionLayer(nn.Module):
    """Codes (or beams) read the prefix embeddings of their query."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.EncDecAttention = Attention(config)
        self.layer_norm = RMSNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """x [B, M or W, width]; keys and values [B, heads, prefixes, head_width]."""
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

    def finish(self, x: Tensor, memory: tuple[Tensor, Tensor]) -> Tensor:
        """What follows self-attention: read the prefixes' keys and values, then feed forward."""
        return self.layer[2](self.cross(x, *memory))


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

    def finish(self, x: Tensor) -> Tensor:
        """Final norm and the scale that goes with tied embeddings."""
        return self.dropout(self.decoder["final_layer_norm"](x)) * x.shape[-1] ** -0.5


def _drop_tied_copies(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Accept a transformers state dict, which lists the shared embeddings under four names."""
    shared = state.get(prefix + "shared.weight")
    for name in TIED:
        copy = state.get(prefix + name)
        if copy is not None and shared is not None and torch.equal(copy, shared):
            del state[prefix + name]  # a copy that differs stays, and strict loading reports it


@dataclass
class DecoderState:
    """Where a beam search stands: B queries, each with W beams, about to write code number `level`.

    memory : per layer, keys and values [B, heads, prefixes, head_width], shared by a query's beams.
    cache : per layer, self-attention keys and values [2, B, W, heads, M, head_width], filled up to `level`.
    bias : self-attention's position bias [heads, M, M].
    """

    memory: list[tuple[Tensor, Tensor]]
    cache: list[Tensor]
    bias: Tensor
    level: int = 0

    def follow(self, parents: Tensor) -> None:
        """Continue the beams parents [B, W], as numbered before; some go on several times, some end."""
        queries, beams = self.cache[0].shape[1:3]
        first = torch.arange(queries, device=parents.device)[:, None] * beams
        chosen = (first + parents).flatten()
        for layer, cache in enumerate(self.cache):  # one by one, so that each takes the memory of the last
            self.cache[layer] = cache.flatten(1, 2).index_select(1, chosen).unflatten(1, parents.shape)


class Decoder(nn.Module):
    """Prefix projector and T5 decoder. Codes are integers counted from 0 within their level."""

    offsets: Tensor

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.prefix = nn.Linear(config.dim, config.prefixes * config.width)
        self.t5 = T5(config)
        starts = [SPECIAL + sum(config.levels[:level]) for level in range(len(config.levels))]
        self.register_buffer("offsets", torch.tensor(starts), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.prefix.weight.device

    def embeddings(self, level: int) -> Tensor:
        """The embedding of each code of a level, a view [K, width] of the table (row = code)."""
        start = SPECIAL + sum(self.config.levels[:level])
        return self.t5.shared.weight[start : start + self.config.levels[level]]

    def _read(self, z: Tensor) -> list[tuple[Tensor, Tensor]]:
        return self.t5.encode(self.prefix(z).unflatten(-1, (self.config.prefixes, self.config.width)))

    def _hidden(self, z: Tensor, codes: Tensor) -> Tensor:
        """z [B, dim], codes [B, M] → [B, M, width]; each level sees the query and the codes before it."""
        tokens = F.pad(codes[:, :-1] + self.offsets[:-1], (1, 0), value=START)
        x = self.t5.dropout(self.t5.shared(tokens))
        bias = self.t5.position_bias(tokens.shape[1])
        for block, memory in zip(self.t5.blocks, self._read(z), strict=True):
            x = block.finish(block.own(x, bias), memory)
        return self.t5.finish(x)

    def _log_probs(self, hidden: Tensor, level: int, normalizer: Normalizer) -> Tensor:
        """hidden [..., width] → [..., K] log-probabilities of the level's codes.

        "level" shares out the probability among the level's own codes, "vocabulary" among all rows of the
        table, which is what transformers does.
        """
        logits = (hidden @ self.embeddings(level).T).float()
        if normalizer == "level":
            return logits.log_softmax(-1)
        return logits - (hidden @ self.t5.shared.weight.T).float().logsumexp(-1, keepdim=True)

    def forward(self, z: Tensor, codes: Tensor) -> tuple[Tensor, ...]:
        """Logits [B, K] of every level over its own codes, given z [B, dim] and the codes before [B, M]."""
        hidden = self._hidden(z, codes)
        return tuple(hidden[:, level] @ self.embeddings(level).T for level in range(len(self.config.levels)))

    def log_probs(self, z: Tensor, codes: Tensor, *, normalizer: Normalizer = "level") -> tuple[Tensor, ...]:
        """Log-probabilities [B, K] of every level, given z [B, dim] and the codes before [B, M]."""
        hidden = self._hidden(z, codes)
        return tuple(self._log_probs(hidden[:, i], i, normalizer) for i in range(len(self.config.levels)))

    def start(self, z: Tensor) -> DecoderState:
        """Read the queries z [B, dim] once; each has one beam, with no codes yet."""
        c = self.config
        shape = (2, len(z), 1, c.heads, len(c.levels), c.head_width)
        cache = [self.prefix.weight.new_zeros(shape) for _ in range(c.layers)]
        return DecoderState(self._read(z), cache, self.t5.position_bias(len(c.levels)))

    def step(
        self,
        state: DecoderState,
        codes: Tensor | None = None,
        parents: Tensor | None = None,
        *,
        normalizer: Normalizer = "level",
    ) -> Tensor:
        """Log-probabilities of the next code of every beam, [B, W, K]; moves `state` one level on.

        The first step takes neither codes nor parents. Later, codes [B, W] are the codes last chosen and
        parents [B, W] the previous step's beams that they continue; W may differ from step to step.
        """
        level = state.level
        if codes is None or parents is None:
            tokens = torch.full((state.cache[0].shape[1], 1), START, device=self.device)
        else:
            tokens = codes + self.offsets[level - 1]
            state.follow(parents)
        x = self.t5.shared(tokens)
        bias = state.bias[:, level : level + 1, : level + 1]
        for block, cache, memory in zip(self.t5.blocks, state.cache, state.memory, strict=True):
            x = block.finish(block.own.step(x, cache[..., : level + 1, :], bias), memory)
        state.level += 1
        return self._log_probs(self.t5.finish(x), level, normalizer)
