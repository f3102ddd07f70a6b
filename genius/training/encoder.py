"""Stage 1: teach an image tower and a sentence encoder one space, with instructions.

Starts from single-modality weights (an ImageNet EfficientNet-Lite2 and MiniLM-L6). First the image tower
learns to meet the locked sentence encoder (`image_tower`), then the text tower learns instructions and
the pictures (`text_tower`), last the projections of both what large batches teach (`projections`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import open_clip
import torch
from open_clip.model import CustomTextCLIP
from safetensors.torch import save_file
from torch import Tensor, nn

from genius.encoder import CONFIG_FILE, WEIGHTS_FILE, Encoder
from genius.training.bank import Bank, kept
from genius.training.corpus import Item, only
from genius.training.image_tower import ImageTraining, imagenet, pool_views, train_image_tower
from genius.training.pairs import Changes, Sampler, draw, encode_distinct
from genius.training.projections import ProjectionTraining, train_projections
from genius.training.text_tower import TextTraining, train_text_tower
from genius.training.views import Views

DIM = 384
POOLED_FILE, TEXTS_FILE = "pooled.npy", "texts.npy"
PARTS = ("image_tower", "text_tower", "projections")
PREPROCESS = {"size": 224, "mode": "RGB", "mean": [127 / 255] * 3, "std": [128 / 255] * 3}
PREPROCESS |= {"interpolation": "bicubic", "resize_mode": "squash", "fill_color": 255}


def model_config(text_folder: str) -> dict[str, object]:
    """open_clip configuration of our encoder; `text_folder` holds the text tower's config.json."""
    return {
        "embed_dim": DIM,
        "vision_cfg": {
            "image_size": 224,
            "timm_model_name": "tf_efficientnet_lite2",
            "timm_pool": "avg",
            "timm_proj": "mlp",
            "timm_proj_bias": True,
            "timm_drop": 0.1,
        },
        "text_cfg": {
            "hf_model_name": text_folder,
            "hf_tokenizer_name": text_folder,
            "hf_pooler_type": "mean_pooler",
            "hf_proj_type": "linear",  # starts as the identity, the sentence encoder's own space
            "context_length": 77,
        },
    }


def start_model(image_weights: Path, text_folder: Path) -> tuple[CustomTextCLIP, Tensor, Tensor]:
    """Our encoder with single-modality weights, and the ImageNet classifier [1000, 1280], [1000]."""
    config = model_config(str(text_folder))
    config["text_cfg"] |= {"hf_model_pretrained": True}  # type: ignore[operator]
    clip = CustomTextCLIP(**config)  # type: ignore[arg-type]
    nn.init.eye_(clip.text.proj.weight)
    state = torch.load(image_weights, map_location="cpu", weights_only=True)
    tensors = list(state.values())
    classifier = tensors[-2], tensors[-1]
    target = clip.visual.trunk.state_dict()
    # Same layers in the same order under other names.
    assert [value.shape for value in target.values()] == [value.shape for value in tensors[:-2]]
    clip.visual.trunk.load_state_dict(dict(zip(target, tensors[:-2], strict=True)))
    return clip, *classifier


def train_encoder(
    items: Sequence[Item],
    changes: Changes,
    views: Views,
    image_weights: Path,
    text_folder: Path,
    out: Path,
    image: ImageTraining,
    text: TextTraining,
    projections: ProjectionTraining,
) -> Encoder:
    """Run stage 1, resuming from `out` after an interruption; saves the encoder as an open_clip folder."""
    torch.manual_seed(image.seed)
    clip, weight, bias = start_model(image_weights, text_folder)
    tokenizer = open_clip.tokenizer.HFTokenizer(str(text_folder), context_length=77)
    encoder = Encoder(clip, open_clip.transform.PreprocessCfg(**PREPROCESS), tokenizer, DIM)
    learn = only(items, train=True)
    bank = Bank(learn, encoder, out / "anchor.npy")
    classes = imagenet(learn, views, weight, bias)
    train_image_tower(clip, views, bank, classes, image, out / PARTS[0])
    pooled = kept(out / POOLED_FILE, len(bank.shown), lambda: pool_views(clip, views, bank, classes))
    sampler = Sampler(learn, changes, text.uninstructed)
    train_text_tower(encoder, pooled, learn, bank, sampler, text, out / PARTS[1])
    drawn = draw(bank.shown, changes, seed=projections.seed)
    texts = kept(out / TEXTS_FILE, len(drawn.texts), lambda: encode_distinct(drawn.texts, encoder))
    train_projections(clip, bank.shown, pooled, texts, drawn, projections, out / PARTS[2])
    save_encoder(encoder, text_folder, out / "encoder")
    settings = {name: asdict(each) for name, each in zip(PARTS, (image, text, projections), strict=True)}
    (out / "settings.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return encoder


def save_encoder(encoder: Encoder, text_folder: Path, folder: Path) -> None:
    """Write an open_clip folder in half precision, with the tokenizer and the text tower's config."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder.tokenizer.save_pretrained(folder)
    encoder.clip.text.config.save_pretrained(folder)
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in encoder.clip.state_dict().items()
    }
    save_file(state, folder / WEIGHTS_FILE)
    config = {"model_cfg": model_config("."), "preprocess_cfg": PREPROCESS}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1), encoding="utf-8")
