"""The same search by transformers: what ours must agree with, and is measured against.

`generate` with `prefix_allowed_tokens_fn` and a dictionary for a trie, as the published code runs it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from genius.decoder import Decoder


def transformers_t5(decoder: Decoder) -> Any:
    """A T5ForConditionalGeneration with the decoder's weights (`Any`: its own annotations are too loose)."""
    c = decoder.config
    sizes: dict[str, Any] = {
        "vocab_size": c.vocabulary,
        "d_model": c.width,
        "d_kv": c.head_width,
        "d_ff": c.feed_forward,
        "num_layers": 0,
        "num_decoder_layers": c.layers,
        "num_heads": c.heads,
        "feed_forward_proj": "relu",
        "tie_word_embeddings": True,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": None,
        "dropout_rate": c.dropout,
    }
    model: Any = T5ForConditionalGeneration(T5Config(**sizes))
    state = dict(decoder.t5.state_dict())
    for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"):
        state[name] = state["shared.weight"]
    model.load_state_dict(state, strict=True)
    model.tie_weights()
    return model.to(decoder.device).eval()


def prefixes_of(decoder: Decoder, z: Tensor) -> Tensor:
    """z [B, dim] → [B, prefixes, width], what the (empty) encoder reads."""
    return decoder.prefix(z).view(len(z), decoder.config.prefixes, decoder.config.width)


class Generate:
    """Constrained beam search by transformers among the IDs codes [n, M].

    Codes compete with the whole vocabulary; `renormalize` lets them compete with existing ones only.
    """

    def __init__(self, decoder: Decoder, codes: NDArray, *, renormalize: bool = False) -> None:
        self.decoder = decoder
        self.renormalize = renormalize
        self.model = transformers_t5(decoder)
        self.offsets = decoder.offsets.cpu().numpy()
        self.existing = {tuple(row) for row in np.asarray(codes).tolist()}
        allowed: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for row in (np.asarray(codes, dtype=np.int64) + self.offsets).tolist():
            for level, token in enumerate(row):
                allowed[tuple(row[:level])].add(token)
        self.allowed = {prefix: sorted(tokens) for prefix, tokens in allowed.items()}

    def _continuations(self, _: int, sequence: Tensor) -> list[int]:
        # a surplus beam (fewer IDs than beams) may have strayed; any answer does, it is dropped later
        return self.allowed.get(tuple(sequence.tolist()[1:]), [0])

    @torch.no_grad()
    def __call__(self, z: Tensor, width: int) -> tuple[NDArray, NDArray]:
        """Search for one query z [dim].

        Returns the IDs found [b, M], best first and at most `width`, and their summed log-probabilities [b].
        """
        logging.getLogger("transformers").setLevel(logging.ERROR)
        levels, prefixes = len(self.offsets), prefixes_of(self.decoder, z[None])
        found = self.model.generate(
            inputs_embeds=prefixes,
            num_beams=width,
            num_return_sequences=width,
            min_new_tokens=levels,
            max_new_tokens=levels,
            length_penalty=0.0,
            early_stopping=False,
            do_sample=False,
            prefix_allowed_tokens_fn=self._continuations,
            renormalize_logits=self.renormalize,
            output_scores=True,
            return_dict_in_generate=True,
        )
        if width > 1:
            scores = found.sequences_scores
        else:  # greedy search reports no score of the whole sequence
            logits = self.model(inputs_embeds=prefixes, decoder_input_ids=found.sequences[:, :-1]).logits
            if self.renormalize:
                logits = torch.stack(found.scores, dim=1)
            scores = logits.log_softmax(-1).gather(-1, found.sequences[:, 1:, None]).sum((1, 2))
        sequences = found.sequences[:, 1:].cpu().numpy() - self.offsets
        real = np.array([tuple(row) in self.existing for row in sequences.tolist()], dtype=bool)
        real &= scores.cpu().numpy() > -1e6  # surplus beams start from -1e9
        return sequences[real], scores.cpu().numpy()[real]
