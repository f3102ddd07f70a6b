"""The CLIP encoder: images and texts to features. Any open_clip model, ours or ViT-L/14 CLIP-SF.

Knows nothing about fusion, codes or collections. Weights are read from a local folder only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.hf_model import HFTextEncoder
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn

from genius.schema import UserError

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class Features:
    """Encoder output for a batch. Rows of an absent modality are zeros; nothing is normalised.

    image, text: [B, d]; has_image, has_text: bool [B].
    """

    image: Tensor
    text: Tensor
    has_image: Tensor
    has_text: Tensor

    def embedding(self) -> Tensor:
        """CLIP-SF embedding, unit length [B, d]: the normalised sum of what is present (Eq. 2)."""
        return F.normalize(self.image + self.text, dim=-1)

    def __len__(self) -> int:
        return len(self.image)


class Encoder:
    """An open_clip model with its preprocessing and tokenizer."""

    def __init__(self, clip: nn.Module, preprocess: PreprocessCfg, tokenizer: Any, dim: int) -> None:
        self.clip = clip.eval()
        self.dim = dim
        self.preprocess = image_transform_v2(preprocess, is_train=False)
        self.tokenizer = tokenizer
        # Convolutional towers run about four times faster on CPUs in this layout; others ignore it.
        self.clip.visual.to(memory_format=torch.channels_last)

    @classmethod
    def load(
        cls, folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Encoder:
        """Open an open_clip folder (`open_clip_config.json`, weights, tokenizer files).

        Raises
        ------
        UserError
            If a file is missing, damaged or does not fit the configuration; the message names it.
        """
        _require(folder, CONFIG_FILE)
        with _opening(folder / CONFIG_FILE):
            config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))["model_cfg"]
            text_cfg, dim = dict(config["text_cfg"]), int(config["embed_dim"])
        if "hf_model_name" in text_cfg:  # the tower is built from the folder's own config.json
            _require(folder, "config.json", TOKENIZER_FILE)  # without it, every word would be unknown
            text_cfg |= {"hf_model_name": str(folder), "hf_model_pretrained": False}
        _require(folder, WEIGHTS_FILE)
        name = f"local-dir:{folder}"
        with _opening(folder / WEIGHTS_FILE):
            clip = open_clip.create_model(
                name, text_cfg=text_cfg, pretrained_text=False, pretrained_image=False
            )
        with _opening(folder / TOKENIZER_FILE):
            # what a bundle's own files say of its tokenizer must not bring code
            trusted = {"trust_remote_code": False} if text_cfg.get("hf_tokenizer_name") else {}
            tokenizer = open_clip.get_tokenizer(name, **trusted)
        preprocess = PreprocessCfg(**open_clip.get_model_preprocess_cfg(clip))
        return cls(clip.to(device=device, dtype=dtype), preprocess, tokenizer, dim)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.clip.logit_scale.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.clip.logit_scale.dtype

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids [B, L] on the device; what exceeds the tower's context length is cut."""
        tokens = self.tokenizer(list(texts))
        tower = getattr(self.clip, "text", None)
        if isinstance(tower, HFTextEncoder):  # masked towers give the same result without the padding
            longest = int((tokens != tower.config.pad_token_id).sum(1).max())
            tokens = tokens[:, :longest]
        return tokens.to(self.device)

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """RGB images to features [B, d], float32, not normalised."""
        pixels = torch.stack([self.preprocess(image) for image in images])
        pixels = pixels.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)
        return self.clip.encode_image(pixels).float()

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts to features [B, d], float32, not normalised."""
        return self.clip.encode_text(self.tokenize(texts)).float()

    @torch.inference_mode()
    def encode(self, images: Sequence[Image.Image | None], texts: Sequence[str]) -> Features:
        """Features of B items, each an image, a text (not blank), or both.

        `images` and `texts` have the same length B; an absent image is None, an absent text is "".
        """
        has_image = torch.tensor([image is not None for image in images], device=self.device)
        has_text = torch.tensor([bool(text.strip()) for text in texts], device=self.device)
        image_part = torch.zeros(len(images), self.dim, device=self.device)
        text_part = torch.zeros_like(image_part)
        if has_image.any():
            image_part[has_image] = self.encode_images([image for image in images if image is not None])
        if has_text.any():
            text_part[has_text] = self.encode_texts([text for text in texts if text.strip()])
        return Features(image_part, text_part, has_image, has_text)


def _require(folder: Path, *names: str) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise UserError(f"The encoder in {folder} has no {name}. Restore the bundle or train it again.")


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    """Whatever goes wrong with a file becomes a sentence that names it."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{path} is damaged or does not fit the files beside it: {error}. "
            "Restore the bundle or train it again."
        ) from error


def batches(count: int, size: int) -> Iterator[slice]:
    """Slices that cut `count` items into runs of at most `size`."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
