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
    """`codes` K of each of `levels` levels after the modality; the fusion's `projection` and `hidden`; the
    decoder's `width`, `layers`, `prefixes` and `dropout`.

    No dropout: on a processor it takes three quarters of a step. Made-up pairs take its place.
    """

    codes: int = 256
    levels: int = 8
    projection: int = 512
    hidden: int = 1024
    width: int = 256
    layers: int = 4
    prefixes: int = 16
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes = (self.codes - 1, self.levels, self.projection, self.hidden, self.layers, self.prefixes)
        if min(sizes) < 1 or self.width < HEAD or self.width % HEAD or not 0 <= self.dropout < 1:
            raise UserError(
                f"No model has the shape {vars(self)}. Take at least two codes and one of everything else, a "
                f"width that is a multiple of {HEAD}, and a dropout under 1."
            )

    def fusion(self, dim: int) -> FusionConfig:
        """Of features of width `dim`."""
        return FusionConfig(dim=dim, projection=self.projection, hidden=self.hidden)

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
            prefixes=self.prefixes,
            dropout=self.dropout,
        )
