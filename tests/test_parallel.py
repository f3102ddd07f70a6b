"""Two processes train what one would: the same batches, the same decoder, the same codebooks."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_stages import DECODER, FUSION, QUANTIZER, synthetic_pairs, things_to_write
from torch import nn
from torch.distributed.run import parse_args

from genius import cli
from genius.schema import UserError
from genius.training import decoder as decoder_module
from genius.training import parallel
from genius.training.decoder import DecoderTraining, train_decoder
from genius.training.log import TrainingLog
from genius.training.quantizer import QuantizerTraining, train_quantizer

NAMES = ("fusion", "quantizer", "decoder")


def train_both(out: Path) -> None:
    """A few steps of the quantizer and the decoder, in batches that two processes cannot halve.

    Without dropout, which falls differently in each process, and in single precision.
    """
    quantizing = QuantizerTraining(epochs=2, batch=121)
    log = TrainingLog(out / "quantizer" / "log.jsonl", every=5)
    fusion = replace(FUSION, dropout=0.0)
    trained = train_quantizer(synthetic_pairs(), fusion, QUANTIZER, quantizing, log)
    writing = DecoderTraining(epochs=2, batch=7)
    with patch.object(decoder_module, "mixed_precision", lambda device: nullcontext()):
        decoder = train_decoder(things_to_write(24), replace(DECODER, dropout=0.0), writing, out / "decoder")
    if parallel.is_first():
        for name, part in zip(NAMES, (*trained, decoder), strict=True):
            save_file(part.state_dict(), out / f"{name}.safetensors")


def started_twice(out: Path) -> None:
    """What torchrun starts."""
    torch.set_num_threads(1)
    with parallel.together():
        assert parallel.count() == 2
        train_both(out)


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "device", lambda: torch.device("cpu"))
    train_both(tmp_path / "one")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    (tmp_path / "two").mkdir()
    ran = subprocess.run(
        [*torchrun, __file__, str(tmp_path / "two")],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": str(Path(__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    for name in NAMES:
        one, two = (load_file(tmp_path / folder / f"{name}.safetensors") for folder in ("one", "two"))
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, atol=1e-4, rtol=0, msg=lambda m, k=key: f"{k}: {m}")
    logs = [(tmp_path / folder / "quantizer" / "log.jsonl").read_text() for folder in ("one", "two")]
    assert [len(log.splitlines()) for log in logs] == [2, 2]  # the second process writes nothing
    assert (tmp_path / "two" / "decoder" / "state.pt").is_file()


def test_torchrun_understands_the_readmes_command() -> None:
    """Its own options begin like ours: without the two dashes it would take `--run` for one of them."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    [line] = [line for line in readme.splitlines() if line.startswith("torchrun ")]
    args = parse_args(shlex.split(line)[1:])
    assert (args.nproc_per_node, args.module, args.training_script) == ("2", True, "genius")
    assert cli.build_parser().parse_args(args.training_script_args).stage == "decoder"


def test_one_process_keeps_everything() -> None:
    x = torch.randn(5, 3, requires_grad=True)
    layer = nn.Linear(3, 1)
    layer(x).sum().backward()
    gradient = layer.weight.grad.clone()
    with parallel.together():
        assert (parallel.count(), parallel.rank(), parallel.is_first()) == (1, 0, True)
        assert parallel.share(5) == slice(0, 5) and parallel.whole(x, 5) is x
        parallel.wait()
        parallel.add_up(layer.parameters())
        parallel.from_first([x])
        parallel.own_chance()
    assert torch.equal(layer.weight.grad, gradient)
    assert parallel.total({"loss": torch.tensor(2.0, requires_grad=True)}) == {"loss": 2.0}


def test_shares_make_up_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "count", lambda: 3)
    for size in (3, 7, 256):
        rows = []
        for number in range(3):
            monkeypatch.setattr(parallel, "rank", lambda number=number: number)
            rows.append(range(size)[parallel.share(size)])
        assert [row for share in rows for row in share] == list(range(size))
        assert max(map(len, rows)) - min(map(len, rows)) <= 1
    with pytest.raises(UserError, match="3 processes cannot share a batch of 2"):
        parallel.share(2)


if __name__ == "__main__":
    started_twice(Path(sys.argv[1]))
