"""What the published checkpoints hold, as our parts: UniIR's CLIP-SF, GENIUS' quantizer and decoder.

Alone knows the names that other people gave their tensors. Strict: every tensor of the network must be there
with its shape, and what is left over is listed by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor, nn

from genius.decoder import Decoder, DecoderConfig
from genius.foreign import read_checkpoint
from genius.fusion import Fusion, FusionConfig
from genius.quantizer import Quantizer, QuantizerConfig
from genius.schema import Modality, UserError

NEEDED = {"clip-sf": "CLIP-SF", "quantizer": "quantizer", "decoder": "decoder"}
"""The three files, as the command's options name them, and what to call each."""

# One tensor that tells which file this is. The decoder's file holds the quantizer, too, so it comes first.
_TELLTALES = {
    "decoder": "id_generator.shared.weight",
    "quantizer": "residual_rq.layers.0._codebook.embed",
    "clip-sf": "clip_model.visual.conv1.weight",
}
_FUSION = {
    "text_projection": "text_projection_layer",
    "image_projection": "image_projection_layer",
    "combiner": "combiner_layer",
    "output": "output_layer",
    "scalar_hidden": "dynamic_scalar.0",
    "scalar": "dynamic_scalar.3",
}
_TIED = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")  # to the telltale
_CLIP_NUMBERS = ("input_resolution", "context_length", "vocab_size")  # OpenAI's way to note sizes


@dataclass(frozen=True)
class Published:
    """The network in the three files. `clip_config` is open_clip's, `clip` the weights it asks for.

    `ignored` lists by file what nobody needs, `notes` says what is worth knowing.
    """

    clip_config: dict[str, Any]
    clip: dict[str, Tensor]
    fusion: Fusion
    quantizer: Quantizer
    decoder: Decoder
    ignored: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]


def read_published(clip_sf: Path, quantizer: Path, decoder: Path) -> Published:
    """Read the three files.

    Raises
    ------
    UserError
        If a file is missing, damaged, swapped with another or of another network; the message names it.
    """
    files = [_Tensors(kind, path) for kind, path in zip(NEEDED, (clip_sf, quantizer, decoder), strict=True)]
    config, weights = _clip(files[0])
    fusion, codebooks, notes = _quantizers(files[1], files[2])
    if config["embed_dim"] != fusion.config.dim:
        raise UserError(
            f"{clip_sf} is {config['embed_dim']} wide and {quantizer} {fusion.config.dim}. "
            "Give the CLIP-SF that the quantizer was trained on."
        )
    made = _decoder(files[2], codebooks.config)
    ignored = {file.path.name: file.left() for file in files}
    return Published(config, weights, fusion, codebooks, made, ignored, notes)


class _Tensors:
    """The tensors of one file. Each is taken by name and shape; what nobody took is left."""

    def __init__(self, kind: str, path: Path) -> None:
        checkpoint = read_checkpoint(path)
        self.kind, self.path = kind, path
        self.tensors = checkpoint.tensors
        self._rest = checkpoint.rest
        self._taken: set[str] = set()
        if _TELLTALES[kind] not in self.tensors:
            looks = next((other for other, name in _TELLTALES.items() if name in self.tensors), None)
            like = f"; it looks like the {NEEDED[looks]}'s (--{looks})" if looks else ""
            raise UserError(
                f"{path} is not the {NEEDED[kind]}'s checkpoint: it has no {_TELLTALES[kind]}{like}. "
                "Check which file goes with which option."
            )

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor that must be there."""
        if name not in self.tensors:
            raise UserError(
                f"{self.path} lacks {name}. It is damaged, or of another network than the paper's."
            )
        return tuple(self.tensors[name].shape)

    def count(self, prefix: str) -> int:
        """How many blocks there are: different words that follow the prefix."""
        return len(
            {name.removeprefix(prefix).partition(".")[0] for name in self.tensors if name.startswith(prefix)}
        )

    def take(self, name: str, shape: Iterable[int]) -> Tensor:
        """A tensor that must be there and have this shape."""
        found, wanted = self.shape(name), tuple(shape)
        if found != wanted:
            raise UserError(f"{self.path}: {name} is {_by(found)}, where {_by(wanted)} is needed.")
        self._taken.add(name)
        return self.tensors[name]

    def state(self, module: nn.Module, names: Mapping[str, str]) -> dict[str, Tensor]:
        """A module's state, its own names before `names` (ours → theirs, a prefix each)."""
        state = {}
        for name, value in module.state_dict().items():
            ours = next(prefix for prefix in names if name.startswith(prefix))
            state[name] = self.take(names[ours] + name.removeprefix(ours), value.shape)
        return state

    def nothing_else(self, prefix: str, known: Iterable[str] = ()) -> None:
        """Under this prefix all must have been taken: what is left would be part of another network."""
        extra = [name for name in self.left() if name.startswith(prefix)]
        if extra := [name for name in extra if name.removeprefix(prefix) not in known]:
            raise UserError(
                f"{self.path} holds {extra[0]}, which the paper's network has not ({len(extra)} such)."
            )

    def left(self) -> tuple[str, ...]:
        """Names that nobody took, and those of what is no tensor."""
        return tuple(name for name in self.tensors if name not in self._taken) + self._rest


def _quantizers(quantizer: _Tensors, decoder: _Tensors) -> tuple[Fusion, Quantizer, tuple[str, ...]]:
    """Fusion and quantizer, and notes.

    The decoder's file has its own copy of both, which are what its codes mean: codebooks may have moved on
    while the decoder learned. The published evaluation uses that copy, and so do we.
    """
    fusion, codebooks = _fusion(quantizer, ""), _quantizer(quantizer, "")
    if "quantizer." + _TELLTALES["quantizer"] not in decoder:
        return fusion, codebooks, ()
    own_fusion, own_codebooks = _fusion(decoder, "quantizer."), _quantizer(decoder, "quantizer.")
    moved = [
        what
        for what, theirs, own in (("fusion", fusion, own_fusion), ("codebooks", codebooks, own_codebooks))
        if not _same(theirs, own)
    ]
    names = decoder.path.name, quantizer.path.name
    notes = tuple(
        f"The {what} of {names[0]} are taken: they differ from those of {names[1]}." for what in moved
    )
    return own_fusion, own_codebooks, notes


def _same(one: nn.Module, other: nn.Module) -> bool:
    """Whether all weights are equal, bit for bit."""
    theirs = other.state_dict()
    return all(
        name in theirs and torch.equal(value, theirs[name]) for name, value in one.state_dict().items()
    )


def _fusion(file: _Tensors, prefix: str) -> Fusion:
    projection, dim = _sizes_of(file, f"{prefix}encoder.text_projection_layer.weight", 2)
    hidden, _ = _sizes_of(file, f"{prefix}encoder.combiner_layer.weight", 2)
    fusion = Fusion(FusionConfig(dim, projection, hidden, dropout=0.0))
    names = {f"{ours}.": f"{prefix}encoder.{theirs}." for ours, theirs in _FUSION.items()}
    fusion.load_state_dict(file.state(fusion, names))
    file.nothing_else(f"{prefix}encoder.")
    return fusion.eval()


def _quantizer(file: _Tensors, prefix: str) -> Quantizer:
    dim = _sizes_of(file, f"{prefix}encoder.text_projection_layer.weight", 2)[1]
    names: list[str] = []
    while (name := f"{prefix}residual_rq.layers.{len(names)}._codebook.embed") in file:
        names.append(name)
    sizes = tuple(file.shape(name)[1] for name in names if len(file.shape(name)) == 3)
    if len(sizes) != file.count(f"{prefix}residual_rq.layers."):
        raise UserError(f"{file.path} has a level without its codebook. It is damaged: download it again.")
    if sizes[0] != len(Modality):
        raise UserError(
            f"{file.path} has {sizes[0]} codes on its first level, where 3 are needed, a modality each."
        )
    quantizer = Quantizer(QuantizerConfig(dim, sizes))
    books = [file.take(name, (1, size, dim))[0] for name, size in zip(names, sizes, strict=True)]
    quantizer.load_state_dict({f"codebook_{level}": book for level, book in enumerate(books)})
    return quantizer.eval()


def _decoder(file: _Tensors, codes: QuantizerConfig) -> Decoder:
    shared = _TELLTALES["decoder"]
    vocabulary, width = _sizes_of(file, shared, 2)
    first = "id_generator.decoder.block.0.layer."
    heads = _sizes_of(file, f"{first}0.SelfAttention.relative_attention_bias.weight", 2)[1]
    inner, _ = _sizes_of(file, f"{first}0.SelfAttention.q.weight", 2)
    prefixes, _ = _sizes_of(file, "embed_projector.0.weight", 2)
    config = DecoderConfig(
        codes.levels,
        codes.dim,
        width,
        layers=file.count("id_generator.decoder.block."),
        heads=heads,
        head_width=inner // heads,
        feed_forward=_sizes_of(file, f"{first}2.DenseReluDense.wi.weight", 2)[0],
        prefixes=prefixes // width,
    )
    if vocabulary != config.vocabulary:
        raise UserError(
            f"{file.path} writes {vocabulary:,} tokens, where the quantizer's levels {codes.levels} need "
            f"{config.vocabulary:,}. Give the two that belong together."
        )
    decoder = Decoder(config)
    decoder.load_state_dict(file.state(decoder, {"prefix.": "embed_projector.0.", "t5.": "id_generator."}))
    for copy in (f"id_generator.{name}" for name in _TIED):
        if copy in file and not torch.equal(file.take(copy, (vocabulary, width)), file.tensors[shared]):
            raise UserError(
                f"{file.path}: {copy} differs from {shared}, to which the paper's network ties it."
            )
    file.nothing_else("id_generator.")
    file.nothing_else("embed_projector.")
    return decoder.eval()


def _sizes_of(file: _Tensors, name: str, dimensions: int) -> tuple[int, ...]:
    """The sizes of a tensor that must be there and have so many dimensions."""
    shape = file.shape(name)
    if len(shape) != dimensions or 0 in shape:
        raise UserError(
            f"{file.path}: {name} is {_by(shape)}, where {dimensions} sizes are needed, none of them 0."
        )
    return shape


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "a number"


def _clip(file: _Tensors) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """open_clip's configuration of a CLIP in OpenAI's layout with a vision transformer, and its weights."""
    prefix = "clip_model."
    width, _, _, patch = _sizes_of(file, f"{prefix}visual.conv1.weight", 4)
    places, _ = _sizes_of(file, f"{prefix}visual.positional_embedding", 2)
    words, text_width = _sizes_of(file, f"{prefix}token_embedding.weight", 2)
    context, _ = _sizes_of(file, f"{prefix}positional_embedding", 2)
    _, dim = _sizes_of(file, f"{prefix}text_projection", 2)
    text = {"context_length": context, "vocab_size": words, "width": text_width}
    text |= {"heads": text_width // 64, "layers": file.count(f"{prefix}transformer.resblocks.")}
    vision = {
        "image_size": patch * round((places - 1) ** 0.5),
        "layers": file.count(f"{prefix}visual.transformer.resblocks."),
    }
    vision |= {"width": width, "patch_size": patch}
    with torch.device("meta"):
        model = CLIP(dim, CLIPVisionCfg(**vision), CLIPTextCfg(**text), quick_gelu=True)
    weights = file.state(model, {"": prefix})
    file.nothing_else(prefix, _CLIP_NUMBERS)
    return {"embed_dim": dim, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}, weights
