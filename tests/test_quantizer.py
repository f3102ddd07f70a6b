"""The residual quantizer against brute force, and the ways its codebooks come about."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from genius.quantizer import MovingCodebooks, Quantized, Quantizer, QuantizerConfig, kmeans, nearest

DIM = 5
LEVELS = (3, 6, 4, 7)


@pytest.fixture
def quantizer() -> Quantizer:
    torch.manual_seed(0)
    made = Quantizer(QuantizerConfig(DIM, LEVELS))
    for level in range(len(LEVELS)):
        made.codebook(level).normal_(std=0.6**level)
    return made


def brute_force(quantizer: Quantizer, z: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, residuals before each level and sums of codewords, one vector and one codeword at a time."""
    books = [quantizer.codebook(level).double().numpy() for level in range(len(LEVELS))]
    codes, residuals, sums = [], [], []
    for row in z.double().numpy():
        left, total = row, np.zeros(DIM)
        chosen, before = [], []
        for book in books:
            distances = [((left - word) ** 2).sum() for word in book]
            code = int(np.argmin(distances))
            chosen.append(code)
            before.append(left)
            left, total = left - book[code], total + book[code]
        codes.append(chosen)
        residuals.append(before)
        sums.append(total)
    return np.array(codes), np.array(residuals).transpose(1, 0, 2), np.array(sums)


def test_equals_brute_force(quantizer: Quantizer) -> None:
    z = torch.randn(300, DIM)
    codes, residuals, sums = brute_force(quantizer, z)
    found = quantizer(z)
    assert found.codes.dtype is torch.int64
    np.testing.assert_array_equal(found.codes, codes)
    np.testing.assert_array_equal(quantizer.encode(z), codes)
    np.testing.assert_allclose(found.residuals, residuals, atol=1e-5)
    np.testing.assert_allclose(found.vectors, sums, atol=1e-5)


def test_decode_is_the_sum_of_codewords(quantizer: Quantizer) -> None:
    z = torch.randn(50, DIM)
    _, residuals, sums = brute_force(quantizer, z)
    codes = quantizer.encode(z)
    np.testing.assert_allclose(quantizer.decode(codes), sums, atol=1e-5)
    for levels in range(1, len(LEVELS)):  # fewer codes, a coarser vector
        np.testing.assert_allclose(
            quantizer.decode(codes[:, :levels]), z.numpy() - residuals[levels], atol=1e-5
        )


def test_nothing_to_quantize(quantizer: Quantizer) -> None:
    assert quantizer.encode(torch.zeros(0, DIM)).shape == (0, len(LEVELS))


def test_ties_go_to_the_lower_code() -> None:
    book = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    assert nearest(torch.tensor([[0.0, 2.0], [3.0, 0.0], [0.0, 0.0]]), book).tolist() == [1, 0, 0]


def test_state_is_the_codebooks_and_nothing_learns_by_gradient(quantizer: Quantizer) -> None:
    assert {name: tuple(value.shape) for name, value in quantizer.state_dict().items()} == {
        f"codebook_{level}": (size, DIM) for level, size in enumerate(LEVELS)
    }
    assert not list(quantizer.parameters())


def distortion(x: Tensor, book: Tensor) -> float:
    return float(torch.cdist(x, book).min(1).values.square().mean())


def test_kmeans_finds_separate_clusters() -> None:
    torch.manual_seed(1)
    centres = 20 * torch.eye(DIM)
    x = (centres[:, None] + 0.1 * torch.randn(DIM, 40, DIM)).flatten(0, 1)
    found = min((kmeans(x, DIM, seed=seed) for seed in range(8)), key=lambda book: distortion(x, book))
    assert torch.cdist(centres, found).min(1).values.max() < 0.1


@pytest.mark.parametrize("size", [2, 8, 30])
def test_kmeans_beats_random_rows_and_improves_round_by_round(size: int) -> None:
    torch.manual_seed(2)
    x = torch.randn(400, DIM) * torch.tensor([5.0, 2.0, 1.0, 0.5, 0.1])
    errors = [distortion(x, kmeans(x, size, rounds=rounds)) for rounds in (0, 1, 3, 12)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.9 * errors[0]
    assert torch.equal(kmeans(x, size, seed=3), kmeans(x, size, seed=3))
    assert not torch.equal(kmeans(x, size, seed=3), kmeans(x, size, seed=4))


def test_a_codeword_of_kmeans_is_the_mean_of_what_it_codes() -> None:
    x = torch.tensor([[0.0], [1.0], [10.0], [14.0]])
    assert sorted(kmeans(x, 2, rounds=20).flatten().tolist()) == [0.5, 12.0]


def test_kmeans_with_fewer_vectors_than_codewords() -> None:
    x = torch.randn(3, DIM) + 4
    book = kmeans(x, 10)
    assert book.shape == (10, DIM)
    assert distortion(book, x) < 1e-4 and distortion(x, book) < 1e-4  # every codeword lies at a vector


def test_initialise_gives_modality_means_and_kmeans_of_residuals(quantizer: Quantizer) -> None:
    torch.manual_seed(3)
    modality = torch.arange(3).repeat(100)
    z = torch.nn.functional.normalize(torch.randn(300, DIM) + 3 * torch.eye(3, DIM)[modality], dim=-1)
    MovingCodebooks(quantizer).initialise(z, modality)
    for code in range(3):
        torch.testing.assert_close(quantizer.codebook(0)[code], z[modality == code].mean(0))
    residual = z - quantizer.codebook(0)[modality]
    torch.testing.assert_close(quantizer.codebook(1), kmeans(residual, LEVELS[1], seed=1))
    assert (quantizer.encode(z)[:, 0] == modality).float().mean() > 0.95


def test_residuals_shrink_level_by_level(quantizer: Quantizer) -> None:
    modality = torch.arange(3).repeat(100)
    z = torch.nn.functional.normalize(torch.randn(300, DIM) + 3 * torch.eye(3, DIM)[modality], dim=-1)
    MovingCodebooks(quantizer).initialise(z, modality)
    found = quantizer(z)
    left = [*found.residuals, z - found.vectors]
    sizes = [float(residual.square().sum(-1).mean()) for residual in left]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.3 * sizes[1]


def by_hand(decay: float, dead: float) -> tuple[Quantizer, MovingCodebooks]:
    quantizer = Quantizer(QuantizerConfig(1, (2, 2)))
    quantizer.codebook(0).copy_(torch.tensor([[0.0], [10.0]]))
    quantizer.codebook(1).copy_(torch.tensor([[-1.0], [1.0]]))
    return quantizer, MovingCodebooks(quantizer, decay=decay, dead=dead)


def test_update_by_hand() -> None:
    """Counts start at one use each, sums at the codewords; decay one half, then sum by count."""
    quantizer, moving = by_hand(decay=0.5, dead=0.0)
    z = torch.tensor([[2.0], [4.0], [9.0]])
    found = quantizer(z)
    assert found.codes.tolist() == [[0, 1], [0, 1], [1, 0]]
    assert found.residuals[1].flatten().tolist() == [2.0, 4.0, -1.0]
    moving.update(found)
    # code 0: uses (1 + 2) / 2, sum (0 + 2 + 4) / 2; code 1: uses (1 + 1) / 2, sum (10 + 9) / 2
    assert quantizer.codebook(0).flatten().tolist() == [2.0, 9.5]
    # code 0: uses (1 + 1) / 2, sum (-1 - 1) / 2; code 1: uses (1 + 2) / 2, sum (1 + 2 + 4) / 2
    torch.testing.assert_close(quantizer.codebook(1).flatten(), torch.tensor([-1.0, 7 / 3]))
    moving.update(Quantized(found.codes[:1], found.vectors[:1], found.residuals[:, :1]))
    # code 0: uses (1.5 + 1) / 2, sum (3 + 2) / 2; code 1 unused: uses and sum are halved together
    assert quantizer.codebook(0).flatten().tolist() == [2.0, 9.5]


def test_after_initialising_codewords_move_little_by_little() -> None:
    torch.manual_seed(4)
    quantizer = Quantizer(QuantizerConfig(DIM, LEVELS))
    modality = torch.arange(3).repeat(50)
    z = torch.randn(150, DIM) + 4 * torch.eye(3, DIM)[modality]
    moving = MovingCodebooks(quantizer, decay=0.9, dead=0.0)
    moving.initialise(z, modality)
    before = [quantizer.codebook(level).clone() for level in range(len(LEVELS))]
    found = quantizer(z)
    moving.update(found)  # the same vectors again: the first two levels are where their means are
    for level in range(2):
        torch.testing.assert_close(quantizer.codebook(level), before[level], atol=0.2, rtol=0)


def test_unused_codes_come_back_but_a_modality_never_moves_elsewhere() -> None:
    quantizer, moving = by_hand(decay=0.5, dead=0.1)
    quantizer.codebook(1).copy_(torch.tensor([[0.0], [100.0]]))
    moving = MovingCodebooks(quantizer, decay=0.5, dead=0.1)
    z = torch.tensor([[1.0], [2.0], [3.0]])  # code 1 of either level is never used
    for _ in range(3):
        moving.update(quantizer(z))
        assert quantizer.codebook(0)[1].item() == 10.0
        assert quantizer.codebook(1)[1].item() == 100.0  # not yet: uses 1/2, 1/4, 1/8
    found = quantizer(z)
    moving.update(found)  # 1/16
    assert quantizer.codebook(1)[1] in found.residuals[1].flatten()
    for _ in range(10):
        moving.update(quantizer(z))
    assert quantizer.codebook(0)[1].item() == pytest.approx(10.0)


def test_settling_codes_better_and_leaves_the_modality_alone() -> None:
    torch.manual_seed(0)
    z = torch.randn(600, DIM) + 4 * torch.eye(3, DIM).repeat(200, 1)
    quantizer = Quantizer(QuantizerConfig(DIM, (3, 8, 8)))
    codebooks = MovingCodebooks(quantizer)
    codebooks.initialise(z[:60], torch.arange(60) % 3)  # as after a few batches: good for little else
    first = quantizer.codebook(0).clone()

    def left() -> float:
        return float((z - quantizer(z).vectors).square().sum(1).mean())

    before = left()
    codebooks.settle(z)
    assert left() < 0.95 * before
    assert torch.equal(quantizer.codebook(0), first)
    for level in (1, 2):  # each codeword is the mean of the residuals that it codes, or nearly
        coded = quantizer(z)
        for code in range(8):
            mine = coded.residuals[level][coded.codes[:, level] == code]
            assert (mine.mean(0) - quantizer.codebook(level)[code]).norm() < 0.3
