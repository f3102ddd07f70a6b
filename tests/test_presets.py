"""Presets: ours is what it was, the paper's has the published sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from layout import Sizes, _decoder_state, _quantizer_state

from genius import published
from genius.benchmark import made_up
from genius.schema import UserError
from genius.training.decoder import DecoderTraining
from genius.training.presets import MINI, PAPER
from genius.training.quantizer import QuantizerTraining
from genius.training.shape import Shape


def test_the_mini_preset_is_the_defaults() -> None:
    assert (MINI.shape, MINI.quantizer, MINI.decoder) == (Shape(), QuantizerTraining(), DecoderTraining())


def test_the_paper_preset_has_the_published_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published reader finds them in files of the published layout; no weights are made."""
    sizes = replace(Sizes(), codes=4096)
    with torch.device("meta"):
        states = {"quantizer": _quantizer_state(sizes), "decoder": _decoder_state(sizes)}
        states["decoder"] = {
            name: value
            for name, value in states["decoder"].items()
            if name.removeprefix("id_generator.") not in published._TIED
        }
        monkeypatch.setattr(
            published,
            "read_checkpoint",
            lambda path: SimpleNamespace(tensors=states[path.name], rest=()),
        )
        quantizer, decoder = (published._Tensors(kind, Path(kind)) for kind in states)
        fusion, codes = published._fusion(quantizer, "").config, published._quantizer(quantizer, "").config
        writer = published._decoder(decoder, codes).config
    assert PAPER.shape.quantizer(768) == codes
    assert PAPER.shape.fusion(768) == replace(fusion, dropout=0.1)
    assert PAPER.shape.decoder(768) == made_up.PAPER == replace(writer, dropout=0.1)


def test_the_paper_preset_has_the_papers_settings() -> None:
    quantizer, decoder, shape = PAPER.quantizer, PAPER.decoder, PAPER.shape
    assert (quantizer.epochs, quantizer.batch, quantizer.rate, quantizer.temperature) == (20, 256, 1e-4, 0.01)
    assert (decoder.epochs, decoder.batch, decoder.rate, decoder.alpha) == (30, 256, 1e-4, 2.0)
    assert (decoder.mixed, decoder.smoothing, quantizer.modality) == (1.0, 0.0, 0.0)
    config = shape.decoder(768)
    assert config.levels == (3, *[4096] * 8) and config.vocabulary == 32_774
    assert (config.width, config.layers, config.heads, config.head_width) == (512, 6, 8, 64)
    assert (config.feed_forward, config.prefixes, config.dropout) == (2048, 30, 0.1)


@pytest.mark.parametrize("wrong", [{"prefixes": 0}, {"hidden": 0}, {"dropout": 1.0}, {"width": 100}])
def test_a_shape_that_is_none_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match="No model has the shape"):
        Shape(**wrong)
