"""Stages 2 and 3 and what all stages share: that each learns what it should, and resumes where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny import DIM, make_tiny_encoder
from torch import Tensor, nn

from genius.decoder import DecoderConfig
from genius.fusion import FusionConfig
from genius.quantizer import Quantizer, QuantizerConfig
from genius.schema import UserError
from genius.training import loop as loop_module
from genius.training import stages
from genius.training.decoder import DecoderPairs, DecoderTraining, make_up, mix, train_decoder
from genius.training.log import TrainingLog, cosine_schedule
from genius.training.loop import adamw, run
from genius.training.pairs import Pairs
from genius.training.quantizer import QuantizerTraining, fuse_pool, train_quantizer
from genius.training.shape import Shape


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def every(steps: int) -> Callable[[Path], TrainingLog]:
    """A log that writes more often than the usual one."""
    return lambda path: TrainingLog(path, every=steps)


# --- mixes, schedules, logs ------------------------------------------------------------------------------


def test_a_mix_lies_between_its_ends() -> None:
    torch.manual_seed(0)
    query, target = (F.normalize(torch.randn(500, 6), dim=-1) for _ in range(2))
    mixed = mix(query, target, alpha=2.0)
    torch.testing.assert_close(mixed.norm(dim=-1), torch.ones(500))

    def angle(a: Tensor, b: Tensor) -> Tensor:
        return torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1)) * 2

    whole, first, second = angle(query, target), angle(query, mixed), angle(mixed, target)
    torch.testing.assert_close(first + second, whole, atol=1e-3, rtol=0)
    share = first / whole
    assert share.min() > 0 and share.max() < 1
    assert 0.45 < share.mean() < 0.55 and 0.1 < share.std() < 0.35
    assert torch.equal(mix(query, query, 2.0).argmax(1), query.argmax(1))


@pytest.mark.parametrize("steps", [1, 7, 100, 5000])
def test_schedule_rises_to_one_and_falls_to_nothing(steps: int) -> None:
    shares = [cosine_schedule(step, steps) for step in range(steps)]
    peak = shares.index(max(shares))
    assert max(shares) == 1.0 and peak <= steps * 0.03
    assert shares[: peak + 1] == sorted(shares[: peak + 1])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)
    assert min(shares) > 0
    if steps > 50:
        assert shares[-1] < 0.01
        assert shares[(steps + peak) // 2] == pytest.approx(0.5, abs=0.02)


def test_log_holds_means_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "run" / "log.jsonl"
    log = TrainingLog(path, every=4)
    for step in range(9):  # the ninth is lost with the process
        log.add(step, {"loss": float(step), "other": 1.0})
    log = TrainingLog(path, every=4)
    for step in range(8, 12):
        log.add(step, {"loss": 10.0})
    log.write({"note": "é"})
    found = rows_of(path)
    assert [row.get("step") for row in found] == [4, 8, 12, None]
    assert [row.get("loss") for row in found] == [1.5, 5.5, 10.0, None]
    assert found[0]["other"] == 1.0 and found[0]["seconds"] >= 0


# --- stage 2 --------------------------------------------------------------------------------

FUSION = FusionConfig(dim=12, projection=16, hidden=24)
QUANTIZER = QuantizerConfig(dim=12, levels=(3, 16, 16, 16))


def synthetic_pairs(things: int = 40, dim: int = 12) -> Pairs:
    """Things with an image and a text feature; queries are noisy texts plus what names the modality."""
    torch.manual_seed(0)
    image = torch.randn(things, dim) + 3 * torch.randn(dim)
    text = torch.randn(things, dim) + 3 * torch.randn(dim)
    wish = 2 * torch.randn(3, dim)
    modality = torch.arange(3).repeat_interleave(things)
    target = torch.arange(3 * things).repeat(6)
    thing = target % things
    return Pairs(
        query_image=torch.zeros(len(target), dim).half(),
        query_text=(text[thing] + wish[modality[target]] + 0.1 * torch.randn(len(target), dim)).half(),
        target=target,
        task=torch.zeros_like(target),
        family=torch.zeros_like(target),
        pool_image=torch.cat([image, torch.zeros_like(image), image]).half(),
        pool_text=torch.cat([torch.zeros_like(text), text, text]).half(),
        modality=modality,
    )


@pytest.fixture(scope="module")
def stage_two(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    pairs, path = synthetic_pairs(), tmp_path_factory.mktemp("quantizer") / "log.jsonl"
    settings = QuantizerTraining(epochs=60, batch=120, rate=3e-3, modality=1.0, decay=0.9)
    log = TrainingLog(path, every=6)
    return pairs, settings, train_quantizer(pairs, FUSION, QUANTIZER, settings, log), rows_of(path)


def test_quantizer_learns(stage_two: tuple) -> None:
    pairs, _, (fusion, quantizer), log = stage_two
    assert not fusion.training and not quantizer.training
    assert log[-1]["contrast"] < 0.3 * log[0]["contrast"]
    started = next(n for n, row in enumerate(log) if "error" in row)
    assert started == 1  # one epoch without codebooks
    assert log[-1]["error"] < 0.9 * log[started]["error"]
    assert log[-1]["match"] < 0.2 * log[started]["match"]
    z = fuse_pool(fusion, pairs.pool_image, pairs.pool_text, batch=50)
    with torch.inference_mode():
        whole = fusion(pairs.pool_image.float(), pairs.pool_text.float())
    torch.testing.assert_close(z, whole)
    coded = quantizer(z)
    assert (coded.codes[:, 0] == pairs.modality).float().mean() > 0.9
    left = (z - coded.vectors).square().sum(1).mean()
    assert left < 0.3 * coded.residuals[1].square().sum(1).mean()
    assert len(coded.codes.unique(dim=0)) > 0.6 * len(z)


def test_queries_are_coded_as_their_targets(stage_two: tuple) -> None:
    pairs, _, (fusion, quantizer), _ = stage_two
    query = quantizer.encode(fuse_pool(fusion, pairs.query_image, pairs.query_text))
    target = quantizer.encode(fuse_pool(fusion, pairs.pool_image, pairs.pool_text))[pairs.target]
    same = (query == target).float().mean(0)
    assert same[0] > 0.9 and same[1] > 0.55  # of 3 and 16 codes


def test_stage_two_is_repeatable(stage_two: tuple, tmp_path: Path) -> None:
    pairs, settings, _, _ = stage_two
    short = QuantizerTraining(**{**vars(settings), "epochs": 3})
    runs = [
        train_quantizer(pairs, FUSION, QUANTIZER, short, TrainingLog(tmp_path / name)) for name in ("a", "b")
    ]
    for one, other in zip(*runs, strict=True):
        for name, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[name], value), name


@pytest.mark.parametrize("settings", [{"epochs": 1, "batch": 120}, {"epochs": 4, "batch": 10_000}])
def test_a_short_stage_two_still_has_codebooks(settings: dict, tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.jsonl")
    _, quantizer = train_quantizer(synthetic_pairs(), FUSION, QUANTIZER, QuantizerTraining(**settings), log)
    assert all(quantizer.codebook(level).any() for level in range(4))


# --- the loop --------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    with pytest.raises(RuntimeError, match="loss of the model is nan at step 0"):
        run(
            "model",
            model,
            adamw([(list(model.parameters()), 0.1)], 0.0),
            3,
            tmp_path,
            0,
            lambda _: {"loss": model.weight.sum() * torch.nan},
        )
    assert not (tmp_path / "state.pt").exists()


# --- stage 3 ---------------------------------------------------------------------------------------------

DECODER = DecoderConfig(
    (3, 8, 8, 8), 12, width=24, layers=1, heads=2, head_width=8, feed_forward=32, prefixes=4
)


def things_to_write(count: int) -> DecoderPairs:
    torch.manual_seed(0)
    vectors = F.normalize(torch.randn(count, 12), dim=-1)
    codes = torch.stack([torch.randint(size, (count,)) for size in DECODER.levels], dim=1)
    query = F.normalize(vectors + 0.05 * torch.randn(count, 12), dim=-1)
    return DecoderPairs(query, torch.arange(count), vectors, codes, some_quantizer())


def some_quantizer() -> Quantizer:
    quantizer = Quantizer(QuantizerConfig(12, DECODER.levels))
    for level, size in enumerate(DECODER.levels):
        quantizer.codebook(level).copy_(torch.randn(size, 12) / (level + 1))
    return quantizer


def test_pairs_are_made_up_from_two_of_the_same_first_code() -> None:
    pairs, quantizer = things_to_write(40), some_quantizer()
    first = pairs.codes[:, 0]
    query, target, codes = make_up(pairs.query, pairs.vectors, first, quantizer)
    assert torch.equal(codes[:, 0], first)
    assert torch.equal(codes[:, 1:], quantizer.encode(target)[:, 1:])
    for row in range(40):
        alike = (first == first[row]).nonzero().squeeze(1).tolist()
        fits = []
        for other in alike:  # both ends are the same mix of the row and one other
            ends = []
            for made, ends_of in ((query, pairs.query), (target, pairs.vectors)):
                base = torch.stack([ends_of[row], ends_of[other]], dim=1).double()
                if other == row:
                    base = base[:, :1]
                solved = torch.linalg.lstsq(base, made[row].double()).solution
                left = (base @ solved - made[row].double()).norm()
                ends.append((left, solved / solved.sum()))
            same = torch.allclose(ends[0][1], ends[1][1], atol=1e-4) and ends[0][1][0] >= 0.5 - 1e-4
            fits.append(same and max(left for left, _ in ends) < 1e-4)
        assert any(fits)


def greedy(decoder: nn.Module, z: Tensor) -> Tensor:
    """The most probable code level by level, [B, M]."""
    codes = torch.zeros(len(z), len(DECODER.levels), dtype=torch.long)
    with torch.inference_mode():
        for level in range(len(DECODER.levels)):
            codes[:, level] = decoder(z, codes)[level].argmax(-1)
    return codes


def test_decoder_learns_twenty_pairs_by_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "TrainingLog", every(20))
    pairs = things_to_write(20)
    settings = DecoderTraining(epochs=240, batch=20, rate=6e-3, made_up=0.0)  # the codes are random
    decoder = train_decoder(pairs, DECODER, settings, tmp_path)
    assert not decoder.training
    assert torch.equal(greedy(decoder, pairs.query), pairs.codes)
    assert torch.equal(greedy(decoder, pairs.vectors), pairs.codes)  # the other end of the mix
    log = rows_of(tmp_path / "log.jsonl")
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert log[-1]["right_1"] > 0.95 > log[0]["right_1"]


class Interrupted(Exception):
    """Somebody pulled the plug."""


def interrupting(at: int) -> Callable[[Path], TrainingLog]:
    class Log(TrainingLog):
        def add(self, step: int, values: object) -> None:
            if step == at:
                raise Interrupted

    return Log


def test_stage_three_resumes_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the same weights bit for bit, dropout and mixes included."""
    pairs = things_to_write(24)
    config = DecoderConfig(DECODER.levels, 12, width=8, layers=1, heads=1, head_width=4, feed_forward=8,
                           prefixes=2)  # fmt: skip
    settings = DecoderTraining(epochs=70, batch=7)  # 3 steps an epoch, so 210
    whole = train_decoder(pairs, config, settings, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "TrainingLog", interrupting(at=205))
        with pytest.raises(Interrupted):
            train_decoder(pairs, config, settings, tmp_path / "parts")
    state = torch.load(tmp_path / "parts" / "state.pt", weights_only=True)
    assert state["step"] == 200
    resumed = train_decoder(pairs, config, settings, tmp_path / "parts")
    finished = train_decoder(pairs, config, settings, tmp_path / "parts")  # nothing is left to do
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
        assert torch.equal(finished.state_dict()[name], value), name
    assert not list(tmp_path.glob("**/*.tmp"))


# --- the stages on disk ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_model_of_another_shape(tmp_path: Path) -> None:
    """From borrowed pairs to a bundle; each stage says what it lacks."""
    data = stages.TrainingData(tmp_path, shape=Shape(codes=8, levels=2, width=64, layers=1))
    synthetic_pairs(things=10, dim=DIM).save(tmp_path / "pairs.safetensors")
    with pytest.raises(UserError, match="There is no encoder in"):
        stages.run_bundle(data, tmp_path / "bundle")
    make_tiny_encoder(tmp_path / "encoder" / "encoder")
    with pytest.raises(UserError, match="Train the quantizer first"):
        stages.run_decoder(data, DecoderTraining())
    stages.run_quantizer(data, QuantizerTraining(epochs=2, batch=90))
    with pytest.raises(UserError, match="Train the decoder first"):
        stages.run_bundle(data, tmp_path / "bundle")
    stages.run_decoder(data, DecoderTraining(epochs=1, batch=180))
    stages.run_bundle(data, tmp_path / "bundle")
    config = json.loads((tmp_path / "bundle" / "config.json").read_text())
    assert config["quantizer"]["levels"] == config["decoder"]["levels"] == [3, 8, 8]
    assert (config["decoder"]["width"], config["decoder"]["layers"]) == (64, 1)
    stages.run_decoder(data, DecoderTraining(epochs=1, batch=180))  # nothing is left to do
    stages.run_quantizer(data, QuantizerTraining(epochs=2, batch=90, match=0))
    with pytest.raises(UserError, match="trained on codes of another quantizer. Delete that folder"):
        stages.run_decoder(data, DecoderTraining(epochs=1, batch=180))
