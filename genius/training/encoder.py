"""Stage 1: teach an image tower and a sentence encoder one space, with instructions.

Starts from single-modality weights (an ImageNet EfficientNet-Lite2 and MiniLM-L6) and trains the
image tower's upper blocks, its projection and the whole text tower with three losses:

* contrastive CLIP loss between images and texts that say the same;
* contrastive task loss: an instructed query (sum of its image and text features, Eq. 2) against the
  image, text and image + text candidates of every item in the batch, so the instruction must decide
  the modality;
* two anchors that keep what the towers knew: ImageNet class probabilities of photographs, and the
  sentence encoder's own embeddings of plain texts.

ImageNet's classes take part without pictures: see `class_prototypes`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CustomTextCLIP
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from genius.encoder import CONFIG_FILE, WEIGHTS_FILE, Encoder, batches
from genius.instructions import TASKS, format_text
from genius.schema import Modality
from genius.training.corpus import Item, Kind, only
from genius.training.log import TrainingLog, cosine_schedule
from genius.training.pairs import Changes, Row, Sampler
from genius.training.views import SPREAD, Views, upper_tower

DIM = 384
PREPROCESS = {"size": 224, "mode": "RGB", "mean": [127 / 255] * 3, "std": [128 / 255] * 3}
PREPROCESS |= {"interpolation": "bicubic", "resize_mode": "squash", "fill_color": 255}


@dataclass(frozen=True)
class EncoderTraining:
    """Settings of stage 1."""

    epochs: float = 5
    batch: int = 128
    image_rate: float = 4e-4
    text_rate: float = 4e-5
    head_rate: float = 1e-3
    weight_decay: float = 0.05
    uninstructed: float = 0.15
    keep_image: float = 0.5
    keep_text: float = 2.0
    seed: int = 0


def model_config(text_folder: str) -> dict[str, object]:
    """open_clip configuration of our encoder; `text_folder` holds the text tower's config.json."""
    return {
        "embed_dim": DIM,
        "vision_cfg": {
            "image_size": 224,
            "timm_model_name": "tf_efficientnet_lite2",
            "timm_pool": "avg",
            "timm_proj": "mlp",
            "timm_drop": 0.1,
        },
        "text_cfg": {
            "hf_model_name": text_folder,
            "hf_tokenizer_name": text_folder,
            "hf_pooler_type": "mean_pooler",
            "context_length": 77,
        },
    }


def start_model(image_weights: Path, text_folder: Path) -> tuple[CustomTextCLIP, Tensor, Tensor]:
    """Our encoder with single-modality weights, and the ImageNet classifier [1000, 1280], [1000]."""
    config = model_config(str(text_folder))
    config["text_cfg"] |= {"hf_model_pretrained": True}  # type: ignore[operator]
    clip = CustomTextCLIP(**config)  # type: ignore[arg-type]
    state = torch.load(image_weights, map_location="cpu", weights_only=True)
    tensors = list(state.values())
    classifier = tensors[-2], tensors[-1]
    target = clip.visual.trunk.state_dict()
    # Same layers in the same order under other names.
    assert [value.shape for value in target.values()] == [value.shape for value in tensors[:-2]]
    clip.visual.trunk.load_state_dict(dict(zip(target, tensors[:-2], strict=True)))
    return clip, *classifier


def class_prototypes(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Mean pooled feature [1000, 1280] of each ImageNet class, from the classifier alone.

    For classes that share a covariance S the best linear classifier is w = S⁻¹ m, so a class mean is
    m + S (w − w̄); S comes from any photographs' `features` [n, 1280]. The step is scaled so that the
    classifier is as sure of a prototype as of a typical photograph.
    """
    mean = features.mean(0)
    covariance = torch.cov(features.T)
    direction = (weight - weight.mean(0)) @ covariance
    scale = 1.0
    for _ in range(20):
        prototypes = (mean + scale * direction).clamp(min=0)
        sure = F.softmax(prototypes @ weight.T + bias, dim=-1).diagonal().median()
        scale *= 1.15 if sure < 0.8 else 1 / 1.15
    return prototypes


def photo_features(items: Sequence[Item], views: Views) -> Tensor:
    """The original tower's features [n, 1280] of all photographs."""
    ids = [item.id for item in items if item.kind is Kind.PHOTO]
    return views.features(ids, [0] * len(ids))


class Texts:
    """All plain texts of the items, each once, with the sentence encoder's own embeddings."""

    def __init__(self, items: Sequence[Item], encoder: Encoder) -> None:
        self.all = sorted({format_text(text) for item in items for text in item.texts})
        self.index = {text: row for row, text in enumerate(self.all)}
        order = sorted(range(len(self.all)), key=lambda row: len(self.all[row]))
        self.anchor = torch.empty(len(self.all), DIM)
        with torch.autocast("cpu", torch.bfloat16):
            for part in tqdm(list(batches(len(order), 256)), desc="texts"):
                rows = order[part]
                self.anchor[rows] = encoder.encode_texts([self.all[row] for row in rows])


class EncoderTrainer:
    """Holds the model, the cached views and the anchors; `step` returns the losses of one batch."""

    def __init__(
        self,
        clip: CustomTextCLIP,
        tokenizer: object,
        views: Views,
        texts: Texts,
        classifier: tuple[Tensor, Tensor],
        prototypes: Tensor,
        noise: Tensor,
        settings: EncoderTraining,
    ) -> None:
        self.clip, self.views, self.texts, self.settings = clip, views, texts, settings
        self.encoder = Encoder(clip, open_clip.transform.PreprocessCfg(**PREPROCESS), tokenizer, DIM)
        self.classifier, self.prototypes = classifier, prototypes
        self.noise = noise

    def images(self, items: Sequence[Item]) -> tuple[Tensor, Tensor]:
        """Projected features [N, d] and the photographs' class loss."""
        pictured = [n for n, item in enumerate(items) if item.kind is not Kind.CLASS]
        ids = [items[n].id for n in pictured]
        picks = [random.randrange(self.views.count) for _ in pictured]
        maps = self.views.maps(ids, picks)
        pooled = torch.zeros(len(items), self.prototypes.shape[1])
        features = upper_tower(self.clip.visual.trunk, maps)
        pooled[pictured] = features
        classes = [n for n, item in enumerate(items) if item.kind is Kind.CLASS]
        if classes:
            spread = self.noise[torch.randint(len(self.noise), (len(classes),))]
            labels = [int(items[n].id.split("/")[1]) for n in classes]
            pooled[classes] = (self.prototypes[labels] + SPREAD * spread).clamp(min=0)
        photos = [k for k, n in enumerate(pictured) if items[n].kind is Kind.PHOTO]
        kept = features.new_zeros(())
        if photos:
            weight, bias = self.classifier
            before = self.views.features([ids[k] for k in photos], [picks[k] for k in photos])
            teacher = F.softmax(before @ weight.T + bias, dim=-1)
            kept = F.cross_entropy(features[photos] @ weight.T + bias, teacher)
        return self.clip.visual.head(pooled), kept

    def text(self, texts: Sequence[str]) -> Tensor:
        """Features [n, d] of texts; an empty text gives zeros."""
        rows = sorted((row for row, text in enumerate(texts) if text), key=lambda row: len(texts[row]))
        out = torch.zeros(len(texts), DIM)
        if not rows:
            return out
        parts = [rows[part] for part in batches(len(rows), 96)]  # little padding among texts of like length
        with torch.autocast("cpu", torch.bfloat16):
            found = [
                self.clip.encode_text(self.encoder.tokenize([texts[row] for row in part])) for part in parts
            ]
        return out.index_copy(0, torch.tensor(rows), torch.cat(found).float())

    def step(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Losses of one batch of N rows."""
        count = len(rows)
        with_partner = [n for n, row in enumerate(rows) if row.partner is not None]
        images, kept = self.images([row.item for row in rows] + [row.partner for row in rows if row.partner])
        image = images[:count]
        shown = image.index_copy(0, torch.tensor(with_partner, dtype=torch.long), images[count:])
        plain = [row.own for row in rows] + [row.other for row in rows]
        own, other, asked = self.text(plain + [row.query for row in rows]).split(count)
        scale = self.clip.logit_scale.exp().clamp(max=100)
        same = _same_thing(rows)
        clip_loss = (_contrast(other, image, scale, same) + _contrast(image, own, scale, same)) / 2
        has_image = torch.tensor([row.task.query is not Modality.TEXT for row in rows])
        query = asked + shown * has_image[:, None]
        task_loss = _task_contrast(query, (image, own, image + own), rows, scale, same)
        anchor = self.texts.anchor[[self.texts.index[text] for text in plain]]
        drift = 1 - F.cosine_similarity(torch.cat([own, other]), anchor).mean()
        s = self.settings
        total = clip_loss + task_loss + s.keep_image * kept + s.keep_text * drift
        return {"loss": total, "clip": clip_loss, "task": task_loss, "class": kept, "drift": drift}


def _same_thing(rows: Sequence[Row]) -> Tensor:
    """bool [N, N]: rows that would be false negatives of each other (same noun or same text)."""
    nouns = np.array([row.item.noun for row in rows])
    texts = np.array([row.own for row in rows])
    return torch.from_numpy((nouns[:, None] == nouns) | (texts[:, None] == texts)).fill_diagonal_(False)


def _contrast(x: Tensor, y: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """Symmetric InfoNCE of matching rows, false negatives left out."""
    logits = scale * F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).T
    logits = logits.masked_fill(same, -torch.inf)
    labels = torch.arange(len(x))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def _task_contrast(
    query: Tensor, targets: tuple[Tensor, Tensor, Tensor], rows: Sequence[Row], scale: Tensor, same: Tensor
) -> Tensor:
    """Each query against the N images, N texts and N pairs of the batch.

    A query without instruction may answer with any modality: then its own other modalities are no negatives.
    """
    count = len(query)
    pool = F.normalize(torch.cat(targets), dim=-1)
    logits = scale * F.normalize(query, dim=-1) @ pool.T
    wanted = torch.tensor([int(row.task.target) for row in rows])
    labels = wanted * count + torch.arange(count)
    hidden = same.repeat(1, 3)
    free = ~torch.tensor([row.instructed for row in rows])
    hidden |= torch.eye(count, dtype=torch.bool).repeat(1, 3) & free[:, None]
    hidden[torch.arange(count), labels] = False
    return F.cross_entropy(logits.masked_fill(hidden, -torch.inf), labels)


def train_encoder(
    items: Sequence[Item],
    changes: Changes,
    views: Views,
    image_weights: Path,
    text_folder: Path,
    out: Path,
    settings: EncoderTraining,
) -> Encoder:
    """Run stage 1, resuming from `out` after an interruption; saves the encoder as an open_clip folder."""
    torch.manual_seed(settings.seed)
    random.seed(settings.seed)
    rng = random.Random(settings.seed)
    clip, weight, bias = start_model(image_weights, text_folder)
    tokenizer = open_clip.tokenizer.HFTokenizer(str(text_folder), context_length=77)
    learn = only(items, train=True)
    weights = [item.weight for item in learn]
    reference = Encoder(clip, open_clip.transform.PreprocessCfg(**PREPROCESS), tokenizer, DIM)
    texts = Texts(learn, reference)
    photographs = photo_features(learn, views)
    prototypes = class_prototypes(photographs, weight, bias)
    noise = photographs - photographs.mean(0)
    trainer = EncoderTrainer(clip, tokenizer, views, texts, (weight, bias), prototypes, noise, settings)
    sampler = Sampler(learn, changes, settings.uninstructed)
    steps = int(settings.epochs * max(1, int(sum(weights) / settings.batch)))
    optimizer = _optimizer(clip, settings)
    log = TrainingLog(out / "log.jsonl")
    state_file = out / "state.pt"
    first = 0
    if state_file.is_file():
        state = torch.load(state_file, weights_only=True)
        clip.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
        rng.seed(settings.seed + first)
    clip.text.transformer.set_attn_implementation("eager")  # its backward pass is the faster one on a CPU
    clip.eval()  # batch statistics stay ImageNet's; the batches here are too mixed to re-estimate them
    clip.visual.head.train()
    for step in tqdm(range(first, steps), desc="encoder", initial=first, total=steps):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * cosine_schedule(step, steps)
        chosen = rng.choices(learn, weights=weights, k=settings.batch)
        losses = trainer.step([sampler.row(item, rng.choice(TASKS), rng) for item in chosen])
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
        optimizer.step()
        log.add(step, {name: float(value.detach()) for name, value in losses.items()})
        if step % 100 == 99 or step + 1 == steps:
            torch.save(
                {"model": clip.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1},
                out / "state.tmp",
            )
            (out / "state.tmp").replace(state_file)
    save_encoder(trainer.encoder, text_folder, out / "encoder")
    (out / "settings.json").write_text(json.dumps(asdict(settings), indent=1), encoding="utf-8")
    return trainer.encoder


def _optimizer(clip: CustomTextCLIP, settings: EncoderTraining) -> torch.optim.Optimizer:
    trunk = clip.visual.trunk
    clip.requires_grad_(True)
    trunk.requires_grad_(False)
    from_here = [*trunk.blocks[5:].parameters(), *trunk.conv_head.parameters(), *trunk.bn2.parameters()]
    for parameter in from_here:
        parameter.requires_grad_(True)
    groups = [
        (from_here, settings.image_rate),
        ([*clip.visual.head.parameters(), clip.logit_scale], settings.head_rate),
        (list(clip.text.parameters()), settings.text_rate),
    ]
    return torch.optim.AdamW(
        [{"params": parameters, "lr": rate, "peak": rate} for parameters, rate in groups],
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.98),
    )


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
