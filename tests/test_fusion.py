"""The fusion module against its formula, written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genius.fusion import Fusion, FusionConfig

DIM = 6


@pytest.fixture
def fusion() -> Fusion:
    torch.manual_seed(0)
    module = Fusion(FusionConfig(dim=DIM, projection=5, hidden=7)).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter)  # larger than usual, so that no part of the formula is negligible
    return module


def formula(fusion: Fusion, image: Tensor, text: Tensor) -> NDArray:
    """λ·text + (1 − λ)·image + output(ReLU(combiner([relu(text_proj); relu(image_proj)]))), unit length."""
    w = {name: value.double().numpy() for name, value in fusion.state_dict().items()}
    x, y = image.double().numpy(), text.double().numpy()

    def linear(name: str, value: NDArray) -> NDArray:
        return value @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def relu(value: NDArray) -> NDArray:
        return np.where(value > 0, value, 0)

    joint = np.concatenate([relu(linear("text_projection", y)), relu(linear("image_projection", x))], axis=1)
    share = 1 / (1 + np.exp(-linear("scalar", relu(linear("scalar_hidden", joint)))))
    h = share * y + (1 - share) * x + linear("output", relu(linear("combiner", joint)))
    return h / np.sqrt((h**2).sum(1, keepdims=True))


@torch.no_grad()
def test_equals_the_formula(fusion: Fusion) -> None:
    image, text = 3 * torch.randn(20, DIM), 3 * torch.randn(20, DIM)
    image[:5] = 0  # absent
    text[5:10] = 0
    np.testing.assert_allclose(fusion(image, text), formula(fusion, image, text), atol=1e-5)


@torch.no_grad()
def test_lambda_weighs_the_text(fusion: Fusion) -> None:
    image, text = torch.randn(4, DIM), torch.randn(4, DIM)
    fusion.output.weight.zero_()
    fusion.output.bias.zero_()
    fusion.scalar.weight.zero_()
    for bias, expected in ((50.0, text), (-50.0, image), (0.0, image + text)):
        fusion.scalar.bias.fill_(bias)
        torch.testing.assert_close(fusion(image, text), nn.functional.normalize(expected, dim=-1))


@torch.no_grad()
def test_rows_do_not_see_each_other(fusion: Fusion) -> None:
    image, text = torch.randn(9, DIM), torch.randn(9, DIM)
    together = fusion(image, text)
    alone = torch.cat([fusion(image[n : n + 1], text[n : n + 1]) for n in range(9)])
    torch.testing.assert_close(alone, together)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(9))
    assert fusion(image[:0], text[:0]).shape == (0, DIM)


def test_drops_out_only_while_training(fusion: Fusion) -> None:
    image, text = torch.randn(4, DIM), torch.randn(4, DIM)
    assert torch.equal(fusion(image, text), fusion(image, text))
    fusion.train()
    assert not torch.equal(fusion(image, text), fusion(image, text))


def test_every_weight_learns(fusion: Fusion) -> None:
    fusion(torch.randn(8, DIM), torch.randn(8, DIM))[:, 0].sum().backward()
    for name, parameter in fusion.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
