"""One training run: resume, schedule, step, log, save. The same for every stage that takes long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from genius.training import parallel
from genius.training.log import TrainingLog, cosine_schedule

SAVE_EVERY = 100
CPU = torch.device("cpu")


def mixed_precision(device: torch.device = CPU) -> torch.autocast:
    """bfloat16 where the device multiplies it; elsewhere that would be some hundred times slower."""
    on_gpu = device.type == "cuda"
    able = torch.cuda.is_bf16_supported() if on_gpu else torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=able)


def adamw(groups: list[tuple[list[nn.Parameter], float]], weight_decay: float) -> torch.optim.AdamW:
    """AdamW over groups of parameters, each with its peak learning rate."""
    return torch.optim.AdamW(
        [{"params": parameters, "lr": rate, "peak": rate} for parameters, rate in groups],
        weight_decay=weight_decay,
        betas=(0.9, 0.98),
    )


@torch.no_grad()
def mix_weights(parameters: Sequence[nn.Parameter], before: Sequence[Tensor], share: float) -> None:
    """Leave a tuned model only a share of its tuned weights, the rest being those from before: so it still
    knows what it was not tuned on (Wortsman et al., CVPR 2022).
    """
    for parameter, start in zip(parameters, before, strict=True):
        parameter.lerp_(start, 1 - share)


def run(
    name: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    folder: Path,
    seed: int,
    losses_of: Callable[[int], dict[str, Tensor]],
) -> None:
    """Train `model` for `steps` steps, going on from `folder` after an interruption.

    `losses_of(step)` gives the losses of one batch; "loss" is the one that is minimised. Of several
    processes, each gives its part of them: the parts add up. Before each step torch is seeded anew, so
    that a resumed run is the run that was not interrupted.
    """
    log = TrainingLog(folder / "log.jsonl")
    state_file = folder / "state.pt"
    first = 0
    if state_file.is_file():
        state = torch.load(state_file, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    shown = parallel.is_first()
    for step in tqdm(range(first, steps), desc=name, initial=first, total=steps, disable=not shown):
        torch.manual_seed(1_000_003 * seed + step)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * cosine_schedule(step, steps)
        losses = losses_of(step)
        values = parallel.total(losses)
        if not isfinite(values["loss"]):
            raise RuntimeError(
                f"The loss of the {name} is {values['loss']} at step {step}; nothing was saved."
            )
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        parallel.add_up(parameters)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        log.add(step, values)
        if parallel.is_first() and (step % SAVE_EVERY == SAVE_EVERY - 1 or step + 1 == steps):
            unfinished = folder / "state.tmp"
            torch.save(
                {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1},
                unfinished,
            )
            unfinished.replace(state_file)
