"""Several processes, started by torchrun, train as one would: each takes its share of every batch.

With one process, nothing here does anything. No model is wrapped: what the processes must agree on is added
up where it is needed, and what keeps averages or decides by chance is left to the first of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from genius.schema import UserError

PATIENCE = timedelta(days=7)
"""How long the others wait for the first process, which may have many pictures to encode."""

FAR = 1_000_000_007


@contextmanager
def together() -> Iterator[None]:
    """Inside, the processes that torchrun started know of each other."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    where = device()
    if where.type == "cuda":
        if where.index >= torch.cuda.device_count():
            raise UserError(f"There are {torch.cuda.device_count()} GPUs here. Start a process for each.")
        torch.cuda.set_device(where)
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo", timeout=PATIENCE)
    yield
    dist.destroy_process_group()  # not after an error: it would wait for processes that wait for this one


def device() -> torch.device:
    """This process's GPU where there is one, the processor elsewhere."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def count() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if count() > 1 else 0


def is_first() -> bool:
    """Whether this process is the one that writes files and shows progress."""
    return rank() == 0


def wait() -> None:
    """Go on once every process has come here."""
    if count() > 1:
        dist.barrier()


def share(size: int) -> slice:
    """This process's rows of a batch; UserError if there are fewer rows than processes."""
    if size < count():
        raise UserError(
            f"{count()} processes cannot share a batch of {size}. Start fewer, or set a larger batch."
        )
    return slice(size * rank() // count(), size * (rank() + 1) // count())


def whole(own: Tensor, size: int) -> Tensor:
    """A batch [size, d] from every process's `share` [b, d]; gradients reach a process's own rows only.

    So each process computes the whole loss, and the gradients of all of them add up to those of one.
    """
    if count() == 1:
        return own
    rows = share(size)
    batch = own.new_zeros(size, *own.shape[1:])
    batch[rows] = own.detach()
    dist.all_reduce(batch)
    return torch.cat([batch[: rows.start], own, batch[rows.stop :]])


def add_up(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its sum over the processes."""
    if count() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def total(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Sums of single numbers over the processes."""
    if count() == 1:
        return {name: float(value.detach()) for name, value in values.items()}
    numbers = torch.stack([value.detach().float() for value in values.values()])
    dist.all_reduce(numbers)
    return dict(zip(values, numbers.tolist(), strict=True))


def from_first(tensors: Iterable[Tensor]) -> None:
    """Replace what every process holds by what the first one holds."""
    if count() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def own_chance() -> None:
    """From here on, chance falls differently in each process: they must not drop out the same units."""
    if rank() > 0:
        torch.manual_seed(torch.initial_seed() + FAR * rank())
