"""A whole model of random weights, built in a second or two, for tests that need every part to be there.

Nothing is downloaded. The bundle is written to disk and opened by the program's own loaders, so every test
that uses it tests those too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from open_clip.model import CustomTextCLIP
from open_clip.tokenizer import HFTokenizer
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import BertConfig, BertTokenizerFast

from genius.benchmark.record import ADDRESSES, FLAT, GENIUS, HNSW, IVF, RaceSettings
from genius.checkpoint import save_parts
from genius.decoder import Decoder, DecoderConfig
from genius.encoder import CONFIG_FILE, WEIGHTS_FILE, Encoder
from genius.engine import Engine
from genius.fusion import Fusion, FusionConfig
from genius.images import open_image
from genius.instructions import format_text
from genius.quantizer import MovingCodebooks, Quantizer, QuantizerConfig

Part = TypeVar("Part", bound=nn.Module)

DIM = 16
CONTEXT = 24
LEVELS = (3, 8, 8, 8)
OFFSET = 2.0  # how far apart the random towers put pictures and words
PREPROCESS = {"size": 64, "mode": "RGB", "mean": [0.5] * 3, "std": [0.5] * 3}
PREPROCESS |= {"interpolation": "bicubic", "resize_mode": "squash", "fill_color": 255}

COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "brown", "black")
SHAPES = ("circle", "square", "triangle")
SMALL_RACE = RaceSettings(
    sizes=(60, 200), methods=(GENIUS, ADDRESSES, FLAT, IVF, HNSW), beams=(5,), queries=8, top_k=4
)

CAPTIONS = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
WORDS = ("find", "show", "a", "an", "the", "picture", "image", "text", "of", "this", "that", "not", "in")


def draw(caption: str, size: int = 64) -> Image.Image:
    """A picture of what the caption (a colour and a shape) says."""
    colour, shape = caption.split()
    image = Image.new("RGB", (size, size), "white")
    pen, near, far = ImageDraw.Draw(image), size // 8, size - size // 8
    if shape == "circle":
        pen.ellipse((near, near, far, far), fill=colour)
    elif shape == "square":
        pen.rectangle((near, near, far, far), fill=colour)
    else:
        pen.polygon(((near, far), (far, far), (size // 2, near)), fill=colour)
    return image


def make_tiny_pictures(folder: Path, captions: list[str] | None = None) -> Path:
    """A folder of thirty drawings with captions beside them; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for caption in CAPTIONS if captions is None else captions:
        name = caption.replace(" ", "-")
        draw(caption).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(caption + "\n", encoding="utf-8")
    return folder


def make_tiny_encoder(folder: Path, *, seed: int = 0) -> Path:
    """An open_clip folder: a timm image tower and a BERT text tower, as in our own bundle; returns it."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=DIM,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=CONTEXT,
        initializer_range=0.3,
    )
    config.architectures = ["BertModel"]
    config.save_pretrained(folder)
    save_clip(_clip(folder), folder)
    return folder


def _tokenizer(folder: Path) -> BertTokenizerFast:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,!?-'", *letters, *(f"##{c}" for c in letters)]
    pieces += [*COLOURS, *SHAPES, *(word for word in WORDS if len(word) > 1)]
    tokenizer = BertTokenizerFast(
        {piece: number for number, piece in enumerate(pieces)}, model_max_length=CONTEXT
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def _model_config(text_folder: str) -> dict[str, Any]:
    return {
        "embed_dim": DIM,
        "vision_cfg": {
            "image_size": 64,
            "timm_model_name": "test_efficientnet",
            "timm_pool": "avg",
            "timm_proj": "linear",
            "timm_proj_bias": True,
        },
        "text_cfg": {
            "hf_model_name": text_folder,
            "hf_tokenizer_name": text_folder,
            "hf_pooler_type": "mean_pooler",
            "context_length": CONTEXT,
        },
    }


def _clip(folder: Path) -> CustomTextCLIP:
    """Random towers, stretched so that they tell apart pictures, words, and what these show and mean."""
    config = _model_config(str(folder))
    config["text_cfg"] |= {"hf_model_pretrained": False}
    clip = CustomTextCLIP(**config).eval()
    words = HFTokenizer(str(folder), context_length=CONTEXT)([format_text(caption) for caption in CAPTIONS])
    with torch.no_grad():
        seen = clip.visual.trunk(torch.stack([_pixels(draw(caption)) for caption in CAPTIONS]))
        head = clip.visual.head.proj
        head.weight /= nn.functional.linear(seen - seen.mean(0), head.weight).std()
        head.bias.copy_(OFFSET * torch.randn(DIM) - nn.functional.linear(seen.mean(0), head.weight))
        weight, read = clip.text.proj[-1].weight, clip.encode_text(words)
        common = nn.functional.normalize(read.mean(0), dim=0)  # what random towers see in every text
        weight -= (1 - OFFSET / 10) * torch.outer(common, common @ weight)
        weight /= clip.encode_text(words).std(0).mean()
    return round_to_half(clip)


def _pixels(image: Image.Image) -> Tensor:
    return (
        torch.tensor(list(image.tobytes()), dtype=torch.float32).view(64, 64, 3).permute(2, 0, 1) / 127.5 - 1
    )


def round_to_half(module: Part) -> Part:
    """Keep what half precision can hold, so that saving in half precision loses nothing."""
    state = module.state_dict()
    module.load_state_dict({k: v.half().float() if v.is_floating_point() else v for k, v in state.items()})
    return module


def save_clip(clip: CustomTextCLIP, folder: Path) -> None:
    """Weights in half precision and configuration, as training writes them."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in clip.state_dict().items()}
    save_file({name: value.contiguous() for name, value in state.items()}, folder / WEIGHTS_FILE)
    config = {"model_cfg": _model_config("."), "preprocess_cfg": PREPROCESS}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1), encoding="utf-8")


def make_tiny_parts(encoder: Encoder, *, seed: int = 0) -> tuple[Fusion, Quantizer, Decoder]:
    """Random fusion and decoder, and codebooks by k-means on the drawings, their names and both together."""
    torch.manual_seed(seed)
    fusion = round_to_half(Fusion(FusionConfig(dim=DIM, projection=12, hidden=20)).eval())
    quantizer = Quantizer(QuantizerConfig(dim=DIM, levels=LEVELS)).eval()
    sizes = DecoderConfig(
        LEVELS, DIM, width=16, layers=2, heads=2, head_width=8, feed_forward=24, prefixes=4, dropout=0.0
    )
    decoder = round_to_half(Decoder(sizes).eval())
    images = encoder.encode_images([open_image(draw(caption)) for caption in CAPTIONS])
    texts = encoder.encode_texts([format_text(caption) for caption in CAPTIONS])
    nothing = torch.zeros_like(images)
    with torch.inference_mode():
        z = fusion(torch.cat([images, nothing, images]), torch.cat([nothing, texts, texts]))
    MovingCodebooks(quantizer).initialise(z, torch.arange(3).repeat_interleave(len(CAPTIONS)), seed=seed)
    return fusion, quantizer, decoder


def make_tiny_bundle(folder: Path, *, seed: int = 0) -> Path:
    """A complete bundle of a few hundred kilobytes; returns its folder, for `Engine.load`."""
    encoder = Encoder.load(make_tiny_encoder(folder / "encoder", seed=seed))
    save_parts(folder, "tiny", *make_tiny_parts(encoder, seed=seed))
    return folder


def make_tiny_engine(folder: Path, *, seed: int = 0) -> Engine:
    """An engine on thirty drawings (90 candidates); everything it needs is written below `folder`."""
    bundle = make_tiny_bundle(folder / "bundle", seed=seed)
    return Engine.load(bundle, make_tiny_pictures(folder / "shapes"), device="cpu")
