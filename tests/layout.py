"""Random checkpoints in exactly the published layout, and the published network written out as an oracle.

Built from other people's parts (open_clip's CLIP, transformers' T5) and formulas, not from ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration


@dataclass(frozen=True)
class Sizes:
    """The network's numbers: those published, but for fewer codes and smaller towers; or all small."""

    dim: int = 768
    projection: int = 2560
    hidden: int = 5120
    codes: int = 64
    levels: int = 9
    width: int = 512
    layers: int = 6
    heads: int = 8
    feed_forward: int = 2048
    prefixes: int = 30
    words: int = 49408

    @property
    def vocabulary(self) -> int:
        """Rows of the decoder's table."""
        return 3 + 3 + self.codes * (self.levels - 1)

    def rows(self, level: int) -> slice:
        """Rows of a level's codes: 3 + c, then 6 + K·(l − 2) + c."""
        start = 3 if level == 0 else 6 + self.codes * (level - 1)
        return slice(start, start + (3 if level == 0 else self.codes))


SMALL = Sizes(16, 12, 20, codes=8, levels=4, width=16, layers=2, heads=2, feed_forward=24, prefixes=4)
WORDLESS = replace(SMALL, words=100)
"""Too few words to encode a text, but quick to write."""


class Foreign:
    """A configuration object as they lie in such files."""

    def __init__(self, **values: object) -> None:
        self.__dict__ |= values


@dataclass
class Files:
    """Three checkpoints, as paths and as what was written."""

    clip_sf: Path
    quantizer: Path
    decoder: Path
    sizes: Sizes
    state: dict[str, Any]

    def paths(self) -> tuple[Path, Path, Path]:
        """The three files in the order of the command."""
        return self.clip_sf, self.quantizer, self.decoder

    def write(self) -> Files:
        """Write what `state` holds, with what else lies in such files."""
        for name, path in zip(("clip_sf", "quantizer", "decoder"), self.paths(), strict=True):
            torch.save(
                {
                    "model": self.state[name],
                    "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-4}]},
                    "scheduler": {"last_epoch": 3},
                    "config": Foreign(seed=2023, model=Foreign(name=name)),
                    "epoch": 29,
                    "scaler": {"scale": 65536.0},
                },
                path,
            )
        return self


def make_files(folder: Path, sizes: Sizes = SMALL, *, half: bool = True, seed: int = 0) -> Files:
    """Write three random checkpoints into a folder; CLIP partly in half precision, as OpenAI keeps it."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    quantizer = _quantizer_state(sizes)
    names = ("clip_sf_large.pth", "rq_clip_large.pth", "GENIUS_t5small.pth")
    paths = [folder / name for name in names]
    state = {
        "clip_sf": {
            f"clip_model.{n}": value for n, value in clip_state(sizes.dim, sizes.words, half).items()
        },
        "quantizer": quantizer | {"clip_model.logit_scale": torch.tensor(1.0)},
        "decoder": _decoder_state(sizes) | {f"quantizer.{name}": value for name, value in quantizer.items()},
    }
    return Files(*paths, sizes, state).write()


def clip_state(dim: int, words: int = 100, half: bool = True) -> dict[str, Tensor]:
    """The weights of a CLIP of OpenAI's kind with two narrow towers."""
    vision = CLIPVisionCfg(layers=2, width=64, patch_size=16, image_size=64)
    text = CLIPTextCfg(context_length=77, vocab_size=words, width=64, heads=1, layers=2)
    model = CLIP(dim, vision, text, quick_gelu=True)
    for name, value in model.named_parameters():
        if "mlp" in name or "bias" in name or "proj" in name:
            nn.init.normal_(value, std=0.3)  # so that both activations and both towers matter
    state = {name: value.detach() for name, value in model.state_dict().items()}
    kept = ("ln_", "embedding", "logit_scale")
    state = {
        name: value.half() if half and not any(word in name for word in kept) else value
        for name, value in state.items()
    }
    return state | {"input_resolution": torch.tensor(64), "context_length": torch.tensor(77)}


def _quantizer_state(s: Sizes) -> dict[str, Tensor]:
    joint = 2 * s.projection
    linear = {
        "text_projection_layer": (s.projection, s.dim),
        "image_projection_layer": (s.projection, s.dim),
        "combiner_layer": (s.hidden, joint),
        "dynamic_scalar.0": (s.hidden, joint),
        "dynamic_scalar.3": (1, s.hidden),
        "output_layer": (s.dim, s.hidden),
    }
    state = {}
    for name, (rows, columns) in linear.items():
        state[f"encoder.{name}.weight"] = torch.randn(rows, columns) * columns**-0.5
        state[f"encoder.{name}.bias"] = 0.1 * torch.randn(rows)
    for level in range(s.levels):
        book = torch.randn(1, 3 if level == 0 else s.codes, s.dim) * (0.9 * s.dim**-0.5 * 0.8**level)
        own = {"embed": book, "embed_avg": book.clone(), "cluster_size": torch.ones(book.shape[:2])}
        own["initted"] = torch.tensor([True])
        for name, value in own.items():
            state[f"residual_rq.layers.{level}._codebook.{name}"] = value
            if level == 0:
                state[f"vq._codebook.{name}"] = value
    return state


def published_t5(s: Sizes) -> Any:
    """transformers' T5 with no encoder layers."""
    config = T5Config(
        vocab_size=s.vocabulary,
        d_model=s.width,
        d_kv=s.width // s.heads,
        d_ff=s.feed_forward,
        num_layers=0,
        num_decoder_layers=s.layers,
        num_heads=s.heads,
        feed_forward_proj="relu",
        tie_word_embeddings=True,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    return T5ForConditionalGeneration(config).eval()


def _decoder_state(s: Sizes) -> dict[str, Tensor]:
    t5 = published_t5(s)
    with torch.no_grad():
        for name, value in t5.named_parameters():
            if "layer_norm" in name:
                value.uniform_(0.5, 1.5)
            elif "relative_attention_bias" in name:
                value.normal_()
    state = {f"id_generator.{name}": value.detach() for name, value in t5.state_dict().items()}
    for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"):
        state[f"id_generator.{name}"] = state["id_generator.shared.weight"]
    state["embed_projector.0.weight"] = torch.randn(s.prefixes * s.width, s.dim)
    state["embed_projector.0.bias"] = 0.1 * torch.randn(s.prefixes * s.width)
    state["contra_projector.weight"] = torch.randn(s.width, s.dim)
    state["contra_projector.bias"] = torch.randn(s.width)
    return state


# ---- the published network, from the files' own tensors ----


def fused(state: dict[str, Tensor], image: Tensor, text: Tensor) -> Tensor:
    """λ·text + (1 − λ)·image + output(ReLU(combiner([relu(text_proj); relu(image_proj)]))), unit length."""

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ state[f"encoder.{name}.weight"].double().T + state[f"encoder.{name}.bias"].double()

    image, text = image.double(), text.double()
    sides = [linear("text_projection_layer", text).relu(), linear("image_projection_layer", image).relu()]
    joint = torch.cat(sides, -1)
    share = linear("dynamic_scalar.3", linear("dynamic_scalar.0", joint).relu()).sigmoid()
    mixed = (
        linear("output_layer", linear("combiner_layer", joint).relu()) + share * text + (1 - share) * image
    )
    return F.normalize(mixed, dim=-1)


def coded(state: dict[str, Tensor], z: Tensor, levels: int) -> NDArray[np.int64]:
    """Residual quantization by brute force, in double precision: codes [B, M] of z [B, d]."""
    left, codes = z.double(), []
    for level in range(levels):
        book = state[f"residual_rq.layers.{level}._codebook.embed"][0].double()
        code = (left[:, None] - book[None]).square().sum(-1).argmin(-1)
        codes.append(code)
        left = left - book[code]
    return torch.stack(codes, 1).numpy()


def prefixes(state: dict[str, Tensor], z: Tensor, s: Sizes) -> Tensor:
    """The embeddings [B, N, width] that the decoder's cross-attention reads."""
    flat = z @ state["embed_projector.0.weight"].T + state["embed_projector.0.bias"]
    return flat.view(len(z), s.prefixes, s.width)


def loaded_t5(state: dict[str, Tensor], s: Sizes) -> Any:
    """transformers' T5 with the file's weights."""
    t5 = published_t5(s)
    own = {n.removeprefix("id_generator."): v for n, v in state.items() if n.startswith("id_generator.")}
    t5.load_state_dict(own)
    return t5


@torch.no_grad()
def generated(
    t5: Any, embeds: Tensor, candidates: NDArray[np.int64], s: Sizes, width: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """transformers' beam search for one query among candidates' codes [n, M]: codes [b, M], log-probs [b]."""
    starts = np.array([s.rows(level).start for level in range(s.levels)])
    allowed: dict[tuple[int, ...], set[int]] = defaultdict(set)
    for row in (candidates + starts).tolist():
        for level, token in enumerate(row):
            allowed[tuple(row[:level])].add(token)

    def continuations(_: int, sequence: Tensor) -> Sequence[int]:
        return sorted(allowed.get(tuple(sequence.tolist()[1:]), {0}))

    found = t5.generate(
        inputs_embeds=embeds,
        num_beams=width,
        num_return_sequences=width,
        min_new_tokens=s.levels,
        max_new_tokens=s.levels,
        length_penalty=0.0,
        early_stopping=False,
        do_sample=False,
        prefix_allowed_tokens_fn=continuations,
        output_scores=True,
        return_dict_in_generate=True,
    )
    return found.sequences[:, 1:].numpy() - starts, found.sequences_scores.numpy()
