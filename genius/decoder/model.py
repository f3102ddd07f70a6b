"""Prefix embeddings before the network, codes after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genius.decoder.fused import Beams, FusedT5
from genius.decoder.t5 import SPECIAL, START, T5, DecoderConfig

Normalizer = Literal["level", "vocabulary"]

FEW = 8  # first codes; so many rows in a matrix product cost what one does: it is the weights that are read


@dataclass
class DecoderState:
    """Where a beam search stands: B queries, each with W beams, about to write code number `level`.

    ahead : where there are few first codes, what follows each of them [B, K, width]: asked for together.
    """

    beams: Beams
    level: int = 0
    ahead: Tensor | None = None


class Decoder(nn.Module):
    """Prefix projector and T5 decoder. Codes are integers counted from 0 within their level.

    In half precision, `decoder.to(torch.bfloat16)`, steps still carry sums from layer to layer in single.
    """

    offsets: Tensor

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.prefix = nn.Linear(config.dim, config.prefixes * config.width)
        self.t5 = T5(config)
        starts = [SPECIAL + sum(config.levels[:level]) for level in range(len(config.levels))]
        self.register_buffer("offsets", torch.tensor(starts), persistent=False)
        self._fused: tuple[list[tuple[int, int]], FusedT5] | None = None

    @property
    def device(self) -> torch.device:
        return self.prefix.weight.device

    def embeddings(self, level: int) -> Tensor:
        """The embedding of each code of a level, a view [K, width] of the table (row = code)."""
        start = SPECIAL + sum(self.config.levels[:level])
        return self.t5.shared.weight[start : start + self.config.levels[level]]

    def _prefixes(self, z: Tensor) -> Tensor:
        return self.prefix(z).unflatten(-1, (self.config.prefixes, self.config.width))

    def _hidden(self, z: Tensor, codes: Tensor) -> Tensor:
        """z [B, dim], codes [B, M] → [B, M, width]; each level sees the query and the codes before it."""
        tokens = F.pad(codes[:, :-1] + self.offsets[:-1], (1, 0), value=START)
        return self.t5(self._prefixes(z), tokens)

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

    @torch.no_grad()
    def start(self, z: Tensor) -> DecoderState:
        """Read the queries z [B, dim] once; each has one beam, with no codes yet."""
        return DecoderState(self._network().start(self._prefixes(z.to(self.prefix.weight))))

    @torch.no_grad()
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
        if codes is None or parents is None:
            hidden = self._open(state)
        else:
            hidden = self._write(state, codes[..., None], parents)[:, :, 0]
        state.level += 1
        return self._log_probs(hidden, state.level - 1, normalizer)

    @torch.no_grad()
    def rest(
        self, state: DecoderState, codes: Tensor, parents: Tensor, *, normalizer: Normalizer = "level"
    ) -> Tensor:
        """Log-probabilities [B, W, R] of the rest of every beam's codes, all levels at once.

        codes [B, W, 1 + R] are the codes last chosen, then all that are to follow; parents as in `step`.
        Ends the search.
        """
        hidden = self._write(state, codes[..., :-1], parents)
        scores = []
        for place in range(hidden.shape[2]):
            log_probs = self._log_probs(hidden[:, :, place], state.level + place, normalizer)
            scores.append(log_probs.gather(-1, codes[..., place + 1, None]))
        state.level = len(self.config.levels)
        return torch.cat(scores, dim=-1)

    def _open(self, state: DecoderState) -> Tensor:
        """What precedes the first code [B, 1, width]."""
        queries, few = state.beams.cache[0].shape[2], self.config.levels[0]
        tokens = torch.full((queries, 1, 1), START, device=self.device)
        if len(self.config.levels) == 1 or few > FEW:
            return self._network().extend(state.beams, tokens)[:, :, 0]
        state.beams.follow(torch.zeros(queries, few, dtype=torch.long, device=self.device))
        first = torch.arange(few, device=self.device) + self.offsets[0]
        tokens = torch.stack([torch.full_like(first, START), first], dim=-1)
        hidden = self._network().extend(state.beams, tokens.expand(queries, -1, -1))
        state.ahead = hidden[:, :, 1]
        return hidden[:, :1, 0]

    def _write(self, state: DecoderState, codes: Tensor, parents: Tensor) -> Tensor:
        """codes [B, W, R] of the levels from the last on → what follows each [B, W, R, width]."""
        tokens = codes + self.offsets[state.level - 1 :][: codes.shape[2]]
        if state.ahead is None:
            state.beams.follow(parents)
            return self._network().extend(state.beams, tokens)
        first = codes[..., 0]
        state.beams.follow(first)
        known = state.ahead.gather(1, first[..., None].expand(-1, -1, state.ahead.shape[2]))[:, :, None]
        state.ahead = None
        if tokens.shape[2] == 1:
            return known
        return torch.cat([known, self._network().extend(state.beams, tokens[..., 1:])], dim=2)

    def _network(self) -> FusedT5:
        """The network laid out for writing; made anew when a weight has changed."""
        stamp = [(weight.data_ptr(), weight._version) for weight in self.t5.parameters()]
        if self._fused is None or self._fused[0] != stamp:
            self._fused = stamp, FusedT5(self.t5, len(self.config.levels))
        return self._fused[1]

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        self._fused = None  # to another device or number type
        return super()._apply(*args, **kwargs)
