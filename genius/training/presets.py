"""Settings that go together: those of the model we ship, and the paper's."""

from __future__ import annotations

from dataclasses import dataclass, field

from genius.training.decoder import DecoderTraining
from genius.training.image_tower import ImageTraining
from genius.training.projections import ProjectionTraining
from genius.training.quantizer import QuantizerTraining
from genius.training.shape import Shape
from genius.training.text_tower import TextTraining

PAPER_DIM = 768


@dataclass(frozen=True)
class Preset:
    """The settings of the encoder's three parts, of the two later stages, and the model's shape."""

    image: ImageTraining = field(default_factory=ImageTraining)
    text: TextTraining = field(default_factory=TextTraining)
    projections: ProjectionTraining = field(default_factory=ProjectionTraining)
    quantizer: QuantizerTraining = field(default_factory=QuantizerTraining)
    decoder: DecoderTraining = field(default_factory=DecoderTraining)
    shape: Shape = field(default_factory=Shape)


MINI = Preset()

PAPER = Preset(  # its encoder is CLIP-SF, which is not trained here
    quantizer=QuantizerTraining(
        epochs=20.0,
        batch=256,
        rate=1e-4,
        temperature=0.01,
        commitment=100 / PAPER_DIM,  # published: 100 times the mean over the width; here it is the sum
        match=100 / PAPER_DIM,
        modality=0.0,
        decay=0.9,
    ),
    decoder=DecoderTraining(
        epochs=30.0, batch=256, rate=1e-4, made_up=0.0, mixed=1.0, alpha=2.0, smoothing=0.0
    ),
    shape=Shape(
        codes=4096,
        levels=8,
        projection=2560,
        hidden=5120,
        width=512,
        layers=6,
        prefixes=30,
        dropout=0.1,
    ),
)

PRESETS = {"mini": MINI, "paper": PAPER}
