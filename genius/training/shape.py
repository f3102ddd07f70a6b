"""The sizes of our model: what is not a matter of how it is trained."""

from __future__ import annotations

from dataclasses import dataclass

from genius.decoder import DecoderConfig
from genius.fusion import FusionConfig
from genius.quantizer import QuantizerConfig
from genius.schema import Modality, UserError

HEAD = 64


@dataclass(frozen=True)
class Shape:
    """`codes` K of each of `levels` levels after the modality; the decoder's `width`, `layers`, `dropout`.

    No dropout: it is too short a training to learn anything by heart.
    """

    codes: int = 256
    levels: int = 8
    width: int = 256
    layers: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if min(self.codes - 1, self.levels, self.layers) < 1 or self.width < HEAD or self.width % HEAD:
            raise UserError(
                f"No model has the shape {vars(self)}. Take at least two codes, a level and a layer, and a "
                f"width that is a multiple of {HEAD}."
            )

    def fusion(self, dim: int) -> FusionConfig:
        """Of features of width `dim`."""
        return FusionConfig(dim=dim, projection=512, hidden=1024)

    def quantizer(self, dim: int) -> QuantizerConfig:
        """Of vectors of width `dim`."""
        return QuantizerConfig(dim=dim, levels=(len(Modality), *[self.codes] * self.levels))

    def decoder(self, dim: int) -> DecoderConfig:
        """Of vectors of width `dim`."""
        return DecoderConfig(
            levels=self.quantizer(dim).levels,
            dim=dim,
            width=self.width,
            layers=self.layers,
            heads=self.width // HEAD,
            feed_forward=4 * self.width,
            prefixes=16,
            dropout=self.dropout,
        )
