"""The T5 decoder laid out for beam search: fewer and larger matrix products, the same numbers.

What is fused: norm weights into the maps that follow them; query, key and value maps into one; and, once per
query, the cross-attention's query map into the prefixes' keys and its output map into their values, so that
reading N prefixes costs two products of heads·N columns. Products run in the weights' own number type; what
is carried from layer to layer stays in single precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from genius.decoder.t5 import EPSILON, T5, Block


@dataclass(frozen=True, eq=False)
class FusedBlock:
    """Weights of one layer; `inner` is heads · head_width.

    qkv [3 inner, width], out [width, inner] : self-attention;
    ask, tell [heads, head_width, width] : cross-attention's query map, and its output map turned round;
    keys, values [inner, width] : what it makes of the prefixes;
    up [feed_forward, width], down [width, feed_forward].
    """

    qkv: Tensor
    out: Tensor
    ask: Tensor
    tell: Tensor
    keys: Tensor
    values: Tensor
    up: Tensor
    down: Tensor

    @classmethod
    def of(cls, block: Block, prefix_norm: Tensor) -> FusedBlock:
        """The weights of a trained layer; prefix_norm [width] weighs the prefixes it reads."""
        own, cross, feed = block.own, block.cross, block.feed
        attention, reading = own.SelfAttention, cross.EncDecAttention
        heads = (reading.heads, -1)

        def scaled(weight: Tensor, norm: Tensor) -> Tensor:
            return (weight.float() * norm.float()).to(weight.dtype)

        qkv = torch.cat([attention.q.weight, attention.k.weight, attention.v.weight])
        return cls(
            qkv=scaled(qkv, own.layer_norm.weight),
            out=attention.o.weight,
            ask=scaled(reading.q.weight, cross.layer_norm.weight).unflatten(0, heads),
            tell=reading.o.weight.T.unflatten(0, heads),
            keys=scaled(reading.k.weight, prefix_norm),
            values=scaled(reading.v.weight, prefix_norm),
            up=scaled(feed.DenseReluDense.wi.weight, feed.layer_norm.weight),
            down=feed.DenseReluDense.wo.weight,
        )

    def memory(self, prefixes: Tensor) -> tuple[Tensor, Tensor]:
        """What reads prefixes [B, N, width]: keys and values, both [B, heads N, width]."""
        heads = (self.ask.shape[0], -1)
        keys = F.linear(prefixes, self.keys).unflatten(-1, heads).transpose(1, 2) @ self.ask
        values = F.linear(prefixes, self.values).unflatten(-1, heads).transpose(1, 2) @ self.tell
        return keys.flatten(1, 2), values.flatten(1, 2)

    def forward(self, x: Tensor, cache: Tensor, memory: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        """x [B, W, R, width]: R more places of B·W beams; see `FusedT5.forward`."""
        batch, width, places, size = x.shape
        heads = self.ask.shape[0]
        q, k, v = F.linear(_normed(x, self.qkv.dtype), self.qkv).unflatten(-1, (3, heads, -1)).unbind(-3)
        # one line per place, so that a beam's past is a stack of lines
        first = cache.shape[0] - places
        cache[first:, 0] = k.flatten(0, 1).transpose(0, 1)
        cache[first:, 1] = v.flatten(0, 1).transpose(0, 1)
        read = _attend(q.flatten(0, 1), cache, bias).reshape(batch, width * places, -1)
        x = x.view(batch, width * places, size)
        x = x + F.linear(read, self.out)
        x = x + self._read(_normed(x, self.qkv.dtype), *memory)
        x = x + F.linear(F.linear(_normed(x, self.qkv.dtype), self.up).relu_(), self.down)
        return x.view(batch, width, places, size)

    def _read(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """x [B, L, width] reads its query's prefixes."""
        scores = (x @ keys.transpose(1, 2)).float().unflatten(-1, (self.ask.shape[0], -1))
        return scores.softmax(-1).flatten(2).to(values.dtype) @ values


def _attend(q: Tensor, cache: Tensor, bias: Tensor) -> Tensor:
    """q [beams, R, heads, k] reads cache [S, 2, beams, heads, k]; bias [heads, R, S] → as q."""
    keys, values = cache.unbind(1)
    if q.shape[1] == 1:  # so little to add up for each that matrix products would be slower
        scores = (keys * q[:, 0]).sum(-1).float() + bias[:, 0].T[:, None]
        return (values * scores.softmax(0).to(values.dtype).unsqueeze(-1)).sum(0)
    scores = (q.transpose(1, 2) @ keys.permute(1, 2, 3, 0)).float() + bias
    return (scores.softmax(-1).to(values.dtype) @ values.permute(1, 2, 0, 3)).transpose(1, 2)


@dataclass
class Beams:
    """What the network remembers of the beams of B queries.

    memory : per layer, what reads the queries' prefixes.
    cache : per layer, keys and values of the beams so far [length, 2, beams, heads, head_width].
    order : which of these go on [B, W], some perhaps several times; the cache follows with the next place.
    """

    memory: list[tuple[Tensor, Tensor]]
    cache: list[Tensor]
    order: Tensor

    @property
    def length(self) -> int:
        """How many places the beams have."""
        return self.cache[0].shape[0]

    def follow(self, parents: Tensor) -> None:
        """Continue the beams parents [B, W], as numbered until now within their query."""
        self.order = self.order.gather(1, parents)


class FusedT5:
    """The network with fused weights; made by `FusedT5.of`."""

    def __init__(self, t5: T5, length: int) -> None:
        """Fuse trained weights, for sequences of at most `length` places."""
        self.table = t5.shared.weight
        self.bias = t5.position_bias(length).float()
        self.scale = t5.decoder["final_layer_norm"].weight.float() * self.table.shape[1] ** -0.5
        norm = t5.encoder.get_parameter("final_layer_norm.weight")
        self.blocks = [FusedBlock.of(block, norm) for block in t5.blocks]

    def start(self, prefixes: Tensor) -> Beams:
        """Read prefixes [B, N, width] once; each query has one beam, without a place yet."""
        normed = _normed(prefixes.float(), prefixes.dtype)
        heads, head_width, _ = self.blocks[0].ask.shape
        empty = prefixes.new_empty(0, 2, len(prefixes), heads, head_width)
        order = torch.arange(len(prefixes), device=prefixes.device)[:, None]
        return Beams([block.memory(normed) for block in self.blocks], [empty] * len(self.blocks), order)

    def extend(self, beams: Beams, tokens: Tensor) -> Tensor:
        """Write R more tokens [B, W, R] to the beams.

        Returns what the network makes of each place [B, W, R, width], ready for the product with the table.
        """
        places, past = tokens.shape[2], beams.length
        bias = self.bias[:, past : past + places, : past + places]
        order = beams.order.flatten()
        x = F.embedding(tokens, self.table).float()
        for layer, block in enumerate(self.blocks):
            old = beams.cache[layer]
            cache = old.new_empty(past + places, 2, len(order), *old.shape[3:])
            torch.index_select(old, 2, order, out=cache[:past])
            x = block.forward(x, cache, beams.memory[layer], bias)
            beams.cache[layer] = cache  # one by one, so that each takes the memory of the last
        beams.order = torch.arange(len(order), device=order.device).view(tokens.shape[:2])
        return (_normed(x, torch.float32) * self.scale).to(self.table.dtype)


def _normed(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Unit root mean square along the last dimension; x in single precision."""
    return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON)).to(dtype)
