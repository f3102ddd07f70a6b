"""The decoder against transformers' T5, and its step-wise form against the teacher-forced one."""

from __future__ import annotations

import copy

import pytest
import torch
from oracle import prefixes_of, transformers_t5
from torch import Tensor

from genius.decoder import Decoder, DecoderConfig, Normalizer, RMSNorm
from genius.schema import UserError

LEVELS = (3, 5, 7, 4)
MANY = (12, 5, 4, 3)  # too many first codes to ask for all of them
LONG = (3, *[6] * 20)  # long enough to leave the exact position buckets


def tiny(levels: tuple[int, ...] = LEVELS, seed: int = 0, **changes: float) -> Decoder:
    torch.manual_seed(seed)
    sizes = {
        "dim": 12,
        "width": 16,
        "layers": 3,
        "heads": 2,
        "head_width": 5,
        "feed_forward": 24,
        "prefixes": 4,
    }
    decoder = Decoder(DecoderConfig(levels=levels, **(sizes | changes)))  # type: ignore[arg-type]
    for norm in (module for module in decoder.modules() if isinstance(module, RMSNorm)):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)  # as if trained: a norm left out must show
    return decoder.eval()


def sample(decoder: Decoder, batch: int) -> tuple[Tensor, Tensor]:
    z = torch.nn.functional.normalize(torch.randn(batch, decoder.config.dim), dim=-1)
    return z, torch.stack([torch.randint(k, (batch,)) for k in decoder.config.levels], dim=1)


def oracle_logits(decoder: Decoder, z: Tensor, codes: Tensor) -> Tensor:
    """[B, M, vocabulary] by transformers."""
    tokens = torch.cat([torch.zeros(len(z), 1, dtype=torch.long), (codes + decoder.offsets)[:, :-1]], dim=1)
    inputs = prefixes_of(decoder, z)
    return transformers_t5(decoder)(inputs_embeds=inputs, decoder_input_ids=tokens).logits


@pytest.mark.parametrize("levels", [LEVELS, LONG, (3,)])
@pytest.mark.parametrize("batch", [1, 5])
@torch.no_grad()
def test_same_logits_as_transformers(levels: tuple[int, ...], batch: int) -> None:
    decoder = tiny(levels)
    z, codes = sample(decoder, batch)
    expected = oracle_logits(decoder, z, codes)
    start = 3
    for level, logits in enumerate(decoder(z, codes)):
        rows = expected[:, level, start : start + levels[level]]
        torch.testing.assert_close(logits, rows, atol=1e-5, rtol=0)
        start += levels[level]


@torch.no_grad()
def test_vocabulary_log_probs_count_every_row() -> None:
    decoder = tiny()
    z, codes = sample(decoder, 3)
    expected = oracle_logits(decoder, z, codes).log_softmax(-1)
    found = torch.cat(decoder.log_probs(z, codes, normalizer="vocabulary"), dim=-1)
    rows = torch.cat(
        [expected[:, i, 3 + sum(LEVELS[:i]) : 3 + sum(LEVELS[: i + 1])] for i in range(4)], dim=-1
    )
    torch.testing.assert_close(found, rows, atol=1e-5, rtol=0)


@torch.no_grad()
def test_level_log_probs_sum_to_one() -> None:
    decoder = tiny()
    for log_probs in decoder.log_probs(*sample(decoder, 3)):
        torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(3))


@pytest.mark.parametrize("normalizer", ["level", "vocabulary"])
@pytest.mark.parametrize("levels", [LEVELS, MANY, LONG])
@torch.no_grad()
def test_step_by_step_equals_teacher_forced(levels: tuple[int, ...], normalizer: str) -> None:
    """Beams with a random family tree: each must score as if its own codes had been given from the start."""
    decoder = tiny(levels)
    z, _ = sample(decoder, 3)
    state = decoder.start(z)
    history = torch.zeros(3, 1, 0, dtype=torch.long)
    log_probs = decoder.step(state, normalizer=normalizer)  # type: ignore[arg-type]
    for level, size in enumerate(levels):
        full = torch.nn.functional.pad(history, (0, len(levels) - level))
        for query, beams in enumerate(full):
            repeated = z[query].expand(len(beams), -1)
            expected = decoder.log_probs(repeated, beams, normalizer=normalizer)[level]  # type: ignore[arg-type]
            torch.testing.assert_close(log_probs[query], expected, atol=1e-5, rtol=0)
        if level + 1 == len(levels):
            break
        width = int(torch.randint(1, 7, ()))
        parents = torch.randint(history.shape[1], (3, width))
        codes = torch.randint(size, (3, width))
        kept = history.gather(1, parents[..., None].expand(-1, -1, level))
        history = torch.cat([kept, codes[..., None]], dim=-1)
        log_probs = decoder.step(state, codes, parents, normalizer=normalizer)  # type: ignore[arg-type]


@pytest.mark.parametrize("normalizer", ["level", "vocabulary"])
@pytest.mark.parametrize("written", [1, 2, 3])
@pytest.mark.parametrize("levels", [LEVELS, MANY])
@torch.no_grad()
def test_the_rest_at_once_equals_teacher_forced(
    levels: tuple[int, ...], written: int, normalizer: Normalizer
) -> None:
    """The levels after the first few, beams with a random family tree."""
    decoder = tiny(levels)
    z, _ = sample(decoder, 3)
    state = decoder.start(z)
    decoder.step(state)
    history = torch.zeros(3, 1, 0, dtype=torch.long)
    for level in range(written):
        parents = torch.randint(history.shape[1], (3, 5))
        codes = torch.randint(levels[level], (3, 5, 1))
        history = torch.cat([history.gather(1, parents[..., None].expand(-1, -1, level)), codes], dim=-1)
        if level + 1 < written:
            decoder.step(state, codes[..., 0], parents)
    further = torch.stack([torch.randint(size, (3, 5)) for size in levels[written:]], dim=-1)
    found = decoder.rest(state, torch.cat([codes, further], dim=-1), parents, normalizer=normalizer)
    for query, beams in enumerate(torch.cat([history, further], dim=-1)):
        log_probs = decoder.log_probs(z[query].expand(5, -1), beams, normalizer=normalizer)
        expected = [
            log_probs[level].gather(1, beams[:, [level]])[:, 0] for level in range(written, len(levels))
        ]
        torch.testing.assert_close(found[query], torch.stack(expected, dim=-1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("change", ["in place", "loaded", "other type and back"])
@torch.no_grad()
def test_steps_follow_a_change_of_weights(change: str) -> None:
    decoder, other = tiny(seed=0), tiny(seed=1)
    z, codes = sample(decoder, 2)
    decoder.step(decoder.start(z))
    if change == "in place":
        for weight in decoder.parameters():
            weight.mul_(1.1)
    elif change == "loaded":
        decoder.t5.load_state_dict(other.t5.state_dict())
    else:
        decoder.to(torch.bfloat16).to(torch.float32)
    found = decoder.step(decoder.start(z))[:, 0]
    torch.testing.assert_close(found, decoder.log_probs(z, codes)[0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_half_precision_steps_stay_near() -> None:
    """Rounded weights move log-probabilities a little; a mistake between number types would move them far."""
    decoder = tiny()
    z, codes = sample(decoder, 4)
    expected = decoder.log_probs(z, codes)
    half = copy.deepcopy(decoder).to(torch.bfloat16)
    state = half.start(z)
    found = half.step(state)[:, 0]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected[0], atol=0.05, rtol=0)
    found = half.step(state, codes[:, :1], torch.zeros(4, 1, dtype=torch.long))[:, 0]
    torch.testing.assert_close(found, expected[1], atol=0.05, rtol=0)


def test_transformers_weights_load_strictly() -> None:
    decoder, other = tiny(seed=0), tiny(seed=1)
    state = transformers_t5(decoder).state_dict()
    assert "lm_head.weight" in state
    other.t5.load_state_dict(state, strict=True)
    for name, value in decoder.t5.state_dict().items():
        assert torch.equal(value, other.t5.state_dict()[name]), name


def test_untied_weights_are_refused() -> None:
    state = dict(transformers_t5(tiny()).state_dict())
    state["lm_head.weight"] = state["lm_head.weight"] + 1
    with pytest.raises(RuntimeError, match="lm_head"):
        tiny().t5.load_state_dict(state, strict=True)


def test_every_parameter_learns() -> None:
    decoder = tiny(dropout=0.1).train()
    z, codes = sample(decoder, 8)
    losses = [torch.nn.functional.cross_entropy(x, codes[:, i]) for i, x in enumerate(decoder(z, codes))]
    torch.stack(losses).mean().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_later_codes_do_not_matter() -> None:
    decoder = tiny()
    z, codes = sample(decoder, 2)
    changed = codes.clone()
    changed[:, 2:] = 0
    for level, (a, b) in enumerate(zip(decoder(z, codes), decoder(z, changed), strict=True)):
        if level <= 2:
            assert torch.equal(a, b)


def test_embeddings_are_the_levels_rows() -> None:
    decoder = tiny()
    table = torch.cat([decoder.embeddings(level) for level in range(len(LEVELS))])
    assert torch.equal(table, decoder.t5.shared.weight[3:])


@pytest.mark.parametrize("changes", [{"levels": ()}, {"width": 0}, {"levels": (3, 0)}])
def test_impossible_sizes_are_refused(changes: dict) -> None:
    with pytest.raises(UserError, match="at least 1"):
        DecoderConfig(**({"levels": LEVELS, "dim": 4} | changes))


def test_levels_from_json_become_a_tuple() -> None:
    assert DecoderConfig(levels=[3, 4], dim=4).levels == (3, 4)  # type: ignore[arg-type]
