"""Beam search over semantic IDs, all queries and beams at once, limited to IDs that exist."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genius.decoder import Decoder, Normalizer
from genius.schema import Beam, BeamStep, Modality, UserError
from genius.trie import Children, CodeTrie

DECIDED = 0.1
"""A first code less than this share as likely as the likeliest is not pursued: nobody asked for it."""
Competitors = Literal["existing"] | Normalizer
"""What a code competes with: see `beam_search`."""
TRACE_KEPT = 8
TRACE_DROPPED = 5


@dataclass(frozen=True, eq=False)
class BeamResult:
    """The semantic IDs found for one query, best first.

    codes [b, M]; log_probs [b]; starts, stops [b]: the span of each ID's candidates in the trie;
    trace: what happened at each level, whether written or decided.
    """

    codes: NDArray[np.int64]
    log_probs: NDArray[np.float32]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    trace: tuple[BeamStep, ...]

    def rows(self, trie: CodeTrie) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows [c] of the candidates that the IDs name, and which of the IDs names each [c]."""
        spans = [trie.rows(*span) for span in zip(self.starts, self.stops, strict=True)]
        return np.concatenate(spans), np.repeat(np.arange(len(spans)), [len(span) for span in spans])


@dataclass(frozen=True, eq=False)
class _Beams:
    """Partial IDs of B queries, best first: codes [B, W, level], all else [B, W] but `considered` [B].

    `considered` is how many continuations each query had. Where that is fewer than W, the surplus beams
    are void: an empty span and a log-probability of -inf.
    """

    codes: NDArray[np.int64]
    log_probs: NDArray[np.float32]
    parents: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    considered: NDArray[np.int64]

    @classmethod
    def root(cls, batch: int, candidates: int) -> _Beams:
        """One empty ID per query, with all candidates under it."""
        zeros = np.zeros((batch, 1), dtype=np.int64)
        scores = np.zeros((batch, 1), dtype=np.float32)
        codes = np.zeros((batch, 1, 0), dtype=np.int64)
        return cls(codes, scores, zeros, zeros, zeros + candidates, zeros[:, 0] + 1)

    def best(self, width: int) -> _Beams:
        """The first `width` beams of each query."""
        return replace(
            self,
            codes=self.codes[:, :width],
            log_probs=self.log_probs[:, :width],
            parents=self.parents[:, :width],
            starts=self.starts[:, :width],
            stops=self.stops[:, :width],
        )

    def leading(self, share: float) -> _Beams:
        """Those at least `share` times as likely as the best of their query; the others are void."""
        led = self.log_probs >= self.log_probs[:, :1] + np.log(share)
        return replace(
            self,
            log_probs=np.where(led, self.log_probs, -np.inf),
            starts=np.where(led, self.starts, 0),
            stops=np.where(led, self.stops, 0),
            considered=np.minimum(self.considered, led.sum(1)),
        )

    def extended(self, log_probs: Tensor, children: Children, width: int) -> _Beams:
        """The best `width` continuations of each query, given the log_probs [c] of the children's codes."""
        batch, old_width = self.log_probs.shape
        query, parent = np.divmod(children.parent, old_width)
        considered = np.bincount(query, minlength=batch)
        first = np.cumsum(considered) - considered
        most = int(considered.max())

        def move(array: NDArray) -> Tensor:
            return torch.from_numpy(array).to(log_probs.device)

        # each query's continuations in a line of their own, as long as the longest
        scores = log_probs + move(self.log_probs[query, parent])
        table = torch.full((batch, most), -torch.inf, device=scores.device)
        table[move(query), move(np.arange(len(children)) - first[query])] = scores
        values, places = (x.cpu().numpy() for x in table.topk(min(width, most)))

        void = np.arange(values.shape[1]) >= considered[:, None]
        child = np.where(void, 0, first[:, None] + places)
        parents = np.where(void, 0, parent[child])
        codes = np.concatenate(
            [self.codes[np.arange(batch)[:, None], parents], children.code[child][..., None]], axis=2
        )
        starts, stops = (np.where(void, 0, ends[child]) for ends in (children.start, children.stop))
        return _Beams(codes, np.where(void, -np.inf, values), parents, starts, stops, considered)

    def settled(self, trie: CodeTrie) -> bool:
        """Whether nothing is left to decide: each beam has one ID below it, so that all will be found."""
        return trie.one_id(self.starts.ravel(), self.stops.ravel())

    def ids(self, trie: CodeTrie) -> NDArray[np.int64]:
        """The first whole ID of each beam [B, W, M]; 0 in void beams."""
        void = self.starts == self.stops
        found = trie.codes(np.where(void, 0, self.starts).ravel()).reshape(*void.shape, -1)
        return np.where(void[..., None], 0, found)

    def continued(self, codes: NDArray[np.int64], log_probs: NDArray[np.float32]) -> _Beams:
        """Every beam with the only code that can follow, codes and their log_probs [B, W]; best first."""
        scores = self.log_probs + log_probs
        order = np.argsort(-scores, axis=1, kind="stable")  # void beams stay last

        def sort(array: NDArray) -> NDArray:
            return np.take_along_axis(array, order, axis=1)

        grown = np.concatenate([self.codes, codes[..., None]], axis=2)
        grown = np.take_along_axis(grown, order[..., None], axis=1)
        live = np.count_nonzero(self.stops > self.starts, axis=1)
        return _Beams(grown, sort(scores), order, sort(self.starts), sort(self.stops), live)

    def live(self) -> NDArray[np.int64]:
        """How many beams of each query are not void [B]; they come first."""
        return np.minimum(self.considered, self.log_probs.shape[1])

    def step(self, query: int, width: int) -> BeamStep:
        """One line of a query's trace, the beams after the first `width` being those let go."""
        live = int(self.live()[query])
        kept = self._listed(query, 0, min(width, TRACE_KEPT))
        dropped = self._listed(query, width, min(live, width + TRACE_DROPPED))
        return BeamStep(self.codes.shape[2] - 1, int(self.considered[query]), kept, dropped)

    def _listed(self, query: int, begin: int, end: int) -> tuple[Beam, ...]:
        codes = self.codes[query, begin:end].tolist()
        scores = self.log_probs[query, begin:end].tolist()
        counts = (self.stops - self.starts)[query, begin:end].tolist()
        return tuple(Beam(tuple(c), s, n) for c, s, n in zip(codes, scores, counts, strict=True))


@torch.inference_mode()
def beam_search(
    decoder: Decoder,
    trie: CodeTrie,
    z: Tensor,
    width: int,
    *,
    prefix: tuple[int, ...] = (),
    normalizer: Competitors = "existing",
    decided: float = 0.0,
) -> list[BeamResult]:
    """The most probable semantic IDs for each query.

    Codes are written one level at a time only until every beam is down to one ID. The log-probabilities of
    what remains are zero if codes compete with existing ones only, and else computed all at once.

    Parameters
    ----------
    decoder
        In evaluation mode.
    trie
        The IDs that exist.
    z
        Query embeddings [B, dim].
    width
        How many beams to keep at each level, and the most IDs to return.
    prefix
        Codes that every ID must start with. Their log-probabilities count.
    normalizer
        What a code competes with. "existing": with the codes that continue the same beginning in the trie,
        as in transformers with `renormalize_logits`: what exists has all of the probability, and a code
        without alternative costs nothing. "level": with all codes of its level, "vocabulary": with the whole
        embedding table, as in transformers without; codes that no candidate has take their share in both.
    decided
        First codes less than so many times as likely as the likeliest are not pursued; with 0, all are.
        Later codes of another modality may be so much easier to guess that its IDs would win as a whole.

    Returns
    -------
    list of BeamResult
        One for each query; `trace` lists at most 8 kept and 5 dropped beams a level.

    Raises
    ------
    UserError
        If there is nothing to search.
    """
    _check(decoder, trie, width, prefix)
    if not len(z):
        return []
    levels, width = len(trie.levels), min(width, trie.unique_ids)
    within: Normalizer = "level" if normalizer == "existing" else normalizer
    state = decoder.start(z.to(decoder.device))
    log_probs = decoder.step(state, normalizer=within)
    beams = _Beams.root(len(z), len(trie))
    traces: list[list[BeamStep]] = [[] for _ in z]
    for level in range(levels):
        if level > 0:
            last = _to(decoder.device, beams.codes[..., -1], beams.parents)
            log_probs = decoder.step(state, *last, normalizer=within)
        children, chances = _continuations(beams, trie, log_probs, prefix, normalizer)
        ranked = beams.extended(chances, children, width + TRACE_DROPPED)
        beams = ranked.best(width)
        if level == 0 and decided > 0:
            beams = beams.leading(decided)
        _note(traces, ranked, beams.live())
        if beams.settled(trie):
            break
    ids, written = beams.ids(trie), beams.codes.shape[2]
    if written < levels:
        rest = np.zeros((*ids.shape[:2], levels - written), dtype=np.float32)
        if normalizer != "existing":
            codes, parents = _to(decoder.device, ids[..., written - 1 :], beams.parents)
            rest = decoder.rest(state, codes, parents, normalizer=within).cpu().numpy()
        for level in range(written, levels):
            beams = beams.continued(ids[..., level], rest[..., level - written])
            ids, rest = (np.take_along_axis(x, beams.parents[..., None], axis=1) for x in (ids, rest))
            _note(traces, beams, beams.live())
    return [_result(beams, query, tuple(trace)) for query, trace in enumerate(traces)]


def _continuations(
    beams: _Beams, trie: CodeTrie, log_probs: Tensor, prefix: tuple[int, ...], normalizer: Competitors
) -> tuple[Children, Tensor]:
    """What may follow, and its log-probabilities [c], given those of all codes of the level [B, W, K]."""
    level = beams.codes.shape[2]
    children = trie.children(beams.starts.ravel(), beams.stops.ravel(), level)
    parent, code = _to(log_probs.device, children.parent, children.code)
    chances = log_probs.flatten(0, 1)[parent, code]
    if normalizer == "existing":
        chances = _shared_out(chances, parent, int(children.parent[-1]) + 1)
    if level < len(prefix):
        chances, children = chances[code == prefix[level]], children.only(prefix[level])
    return children, chances


def _shared_out(log_probs: Tensor, parent: Tensor, parents: int) -> Tensor:
    """Log-probabilities [c] of continuations among those of the same parent [c], one of so many."""
    most = log_probs.new_full((parents,), -torch.inf).scatter_reduce(0, parent, log_probs, "amax")
    above = log_probs - most[parent]
    return above - torch.zeros_like(most).index_add(0, parent, above.exp()).log()[parent]


def _to(device: torch.device, *arrays: NDArray) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(array).to(device) for array in arrays)


def _note(traces: list[list[BeamStep]], beams: _Beams, kept: NDArray[np.int64]) -> None:
    for query, trace in enumerate(traces):
        trace.append(beams.step(query, int(kept[query])))


def _check(decoder: Decoder, trie: CodeTrie, width: int, prefix: tuple[int, ...]) -> None:
    if decoder.training:
        raise ValueError("The decoder is in training mode; call decoder.eval() before searching.")
    if width < 1:
        raise UserError(f"The beam width must be at least 1, not {width}.")
    if trie.levels != decoder.config.levels:
        raise UserError(
            "The index was built with other codes than the model's; build it again with this model."
        )
    if not len(trie):
        raise UserError("There is nothing to search yet; add candidates first.")
    start, stop = trie.find(prefix)
    if start == stop:
        codes = "-".join(map(str, prefix))
        kind = f" ({Modality(prefix[0]).label})" if len(prefix) == 1 and prefix[0] in list(Modality) else ""
        raise UserError(f"No candidate's semantic ID starts with {codes}{kind}; choose other codes or none.")


def _result(beams: _Beams, query: int, trace: tuple[BeamStep, ...]) -> BeamResult:
    live = int(beams.live()[query])
    return BeamResult(
        codes=beams.codes[query, :live],
        log_probs=beams.log_probs[query, :live],
        starts=beams.starts[query, :live],
        stops=beams.stops[query, :live],
        trace=trace,
    )
