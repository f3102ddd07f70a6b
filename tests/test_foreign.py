"""Other people's checkpoints: their tensors come out as torch reads them, and nothing of theirs ever runs."""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import os
import pathlib
import pickle
import random
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from genius.foreign import _BROKEN, Placeholder, _read_pickle, _Refused, read_checkpoint
from genius.schema import UserError


class Config:
    """A class the reader has never heard of; making one or restoring its state is noticed."""

    made = 0

    def __init__(self, **values: object) -> None:
        self.__dict__ |= values

    def __setstate__(self, state: dict[str, object]) -> None:
        Config.made += 1
        self.__dict__ |= state


class ListConfig(list):
    """A foreign list."""


class DictConfig(dict):
    """A foreign dictionary."""


def trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3).half())
    optimizer = torch.optim.AdamW(model[0].parameters())
    model[0](torch.randn(2, 5)).sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A checkpoint as people save them in the middle of a training, and its tensors."""
    model, optimizer = trained()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    state = model.state_dict()
    state["shared"] = state["0.weight"]  # tied
    state["window"] = torch.arange(60.0).view(5, 12)[1:4, ::2].t()
    state["empty"], state["number"] = torch.zeros(0, 3), torch.tensor(2.5, dtype=torch.bfloat16)
    state["parameter"] = nn.Parameter(torch.arange(4.0))
    nested = Config(rate=1e-4, paths=[pathlib.Path("/data")], inner=argparse.Namespace(x=1))
    whole = {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "config": Config(a=nested, b=ListConfig([1, nested]), c=DictConfig(k=nested)),
        "more": {"set": {1, 2}, "counts": collections.Counter("aab"), "device": torch.device("cpu")},
        "epoch": 3,
    }
    torch.save(whole, tmp_path / "published.pth")
    return tmp_path / "published.pth", state


def test_tensors_come_out_as_torch_reads_them(published: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, state = published
    before = Config.made
    found = read_checkpoint(path)
    assert Config.made == before, "no foreign class was made"
    assert list(found.tensors) == list(state)
    for name, tensor in state.items():
        assert torch.equal(found.tensors[name], tensor.detach()), name
        assert found.tensors[name].dtype == tensor.dtype
        assert type(found.tensors[name]) is torch.Tensor
    assert found.rest == ("optimizer", "scheduler", "config", "more", "epoch")
    assert found.tensors["shared"].data_ptr() == found.tensors["0.weight"].data_ptr()


def test_the_file_is_never_changed(published: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, _ = published
    before = path.read_bytes()
    read_checkpoint(path).tensors["0.weight"].fill_(7)
    assert path.read_bytes() == before


def test_a_plain_state_dict_will_do(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2), "version": 3}, tmp_path / "plain.pth")
    found = read_checkpoint(tmp_path / "plain.pth")
    assert found.tensors["a"].tolist() == [1, 1]
    assert found.rest == ("version",)


def test_a_tensor_of_a_kind_unknown_here_is_left_out_by_name(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.ones(2), "b": torch.zeros(2, dtype=torch.uint16)}}, tmp_path / "x.pth")
    found = read_checkpoint(tmp_path / "x.pth")
    assert list(found.tensors) == ["a"] and found.rest == ("b",)


# ---- attacks ----


class Attack:
    """Pickles itself as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def with_pickle(path: Path, data: bytes) -> Path:
    """A `.pth` whose pickle is replaced; its storages stay."""
    torch.save({"model": {"a": torch.ones(2)}}, path)
    with zipfile.ZipFile(path) as archive:
        files = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, data if name.endswith("/data.pkl") else content)
    return path


CALLS = [os.system, os.remove, os.mkdir, subprocess.Popen, subprocess.check_output, pickle.loads, sys.exit]
CALLS += [eval, exec, getattr, open, __import__, print, random.seed]


@pytest.mark.parametrize("place", ["top", "model", "config", "optimizer"])
@pytest.mark.parametrize(
    "function",
    CALLS,
    ids=lambda function: f"{function.__module__}.{function.__qualname__}",
)
def test_what_could_run_programs_is_refused_and_nothing_ran(
    tmp_path: Path, function: Callable[..., Any], place: str
) -> None:
    proof = tmp_path / "ran"
    attack = Attack(function, f"touch {proof}")
    whole: Any = {"model": {"a": torch.ones(2)}, "config": 1}
    if place == "top":
        whole = attack
    elif place == "model":
        whole["model"]["evil"] = attack
    else:
        whole[place] = attack
    path = tmp_path / "evil.pth"
    torch.save(whole, path)
    with pytest.raises(UserError, match=r"evil\.pth names .*nothing of it was run"):
        read_checkpoint(path)
    assert not proof.exists()
    assert sorted(tmp_path.iterdir()) == [path]


RAN: list[object] = []


def notice(*arguments: object) -> None:
    """A function outside Python's library: not refused, but never called either."""
    RAN.append(arguments)


def test_a_foreign_function_is_not_called(tmp_path: Path) -> None:
    torch.save(
        {"model": {"a": torch.ones(2)}, "x": Attack(notice, 1), "y": Attack(torch.load, "z")}, tmp_path / "x"
    )
    assert read_checkpoint(tmp_path / "x").tensors["a"].tolist() == [1, 1]
    assert RAN == []


def test_a_tensor_that_a_foreign_function_makes_is_no_tensor(tmp_path: Path) -> None:
    torch.save({"model": {"a": Attack(notice, 1), "b": torch.ones(1)}}, tmp_path / "x")
    found = read_checkpoint(tmp_path / "x")
    assert list(found.tensors) == ["b"] and found.rest == ("a",) and RAN == []


@pytest.mark.parametrize(
    "pickled",
    [
        pytest.param(b"cposix\nsystem\n(S'touch ran'\ntR.", id="posix.system"),
        pytest.param(b"(S'touch ran'\nios\nsystem\n.", id="INST"),
        pytest.param(b"(cos\nsystem\nS'touch ran'\no.", id="OBJ"),
        pytest.param(b"c__builtin__\neval\n(S'1'\ntR.", id="python 2 names"),
        pytest.param(b"cbuiltins\nobject.__subclasses__\n(tR.", id="dotted name"),
        pytest.param(b"\x80\x02cgenius.foreign\nsys.modules\n.", id="a name inside ours"),
        pytest.param(
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x08\x00\x00\x00__code__NsN\x86b.",
            id="BUILD a known name",
        ),
        pytest.param(
            b"\x80\x02ccollections\nOrderedDict\n}X\x05\x00\x00\x00itemsK\x01sb.", id="BUILD a class"
        ),
        pytest.param(b"\x80\x02ctorch\nFloatStorage\n)R.", id="call a dtype"),
        pytest.param(b"\x80\x02ctorch\nFloatStorage\n)\x81.", id="NEWOBJ of a dtype"),
        pytest.param(b"\x80\x02U\x01ar\xff\xff\xff\x7f.", id="memo far away"),
        pytest.param(b"\x80\x02\x82\x01.", id="EXT1"),
        pytest.param(b"\x80\x05\x97.", id="NEXT_BUFFER"),
        pytest.param(b"\x80\x02]", id="no end"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\x80\x02.", id="empty stack"),
        pytest.param(b"\x80\x02K\x01.", id="a number"),
    ],
)
def test_a_twisted_pickle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pickled: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    path = with_pickle(tmp_path / "twisted.pth", pickled)
    with pytest.raises(UserError, match=r"twisted\.pth"):
        read_checkpoint(path)
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_state_dicts_attributes_do_not_replace_its_methods() -> None:
    table: Any = _read_pickle(b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x05sb.")
    assert list(table.items()) == []


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_random_pickles_end_in_a_value_or_a_plain_error() -> None:
    """Bytes at random, and real pickles with bytes changed: nothing but the usual errors, nothing made."""
    model, optimizer = trained()
    buffer = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "c": Config(a=1)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("data.pkl")]
        real = archive.read(name)
    dice = random.Random(0)
    before = Config.made
    for _ in range(1500):
        data = bytearray(real)
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        with contextlib.suppress(*_BROKEN, _Refused):
            _read_pickle(bytes(data))
    assert Config.made == before


# ---- tensors that are not what they say ----


def rebuilt(
    key: str = "0", numel: object = 2, offset: object = 0, size: object = (2,), stride: object = (1,)
) -> bytes:
    """A pickle with one tensor, described as told."""

    class Writer(pickle.Pickler):
        def persistent_id(self, obj: object) -> object:
            return ("storage", torch.FloatStorage, key, "cpu", numel) if obj is marker else None

    marker = object()

    class Told:
        def __reduce__(self) -> tuple[object, ...]:
            return torch._utils._rebuild_tensor_v2, (marker, offset, size, stride, False, {})

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Writer(buffer, 2).dump({"model": {"a": Told()}})
    return buffer.getvalue()


def test_the_description_used_below_is_a_good_one(tmp_path: Path) -> None:
    assert read_checkpoint(with_pickle(tmp_path / "x.pth", rebuilt())).tensors["a"].tolist() == [1, 1]
    two = read_checkpoint(with_pickle(tmp_path / "x.pth", rebuilt(size=(3, 2), stride=(0, 1)))).tensors["a"]
    assert two.tolist() == [[1, 1]] * 3


@pytest.mark.parametrize(
    "told",
    [
        {"numel": 3},
        {"key": "1"},
        {"key": "../version"},
        {"offset": 1},
        {"offset": -1},
        {"offset": 2**70},
        {"size": (3,)},
        {"size": (-1,)},
        {"size": (2, 2), "stride": (2, 1)},
        {"size": (2,), "stride": (2,)},
        {"size": (2,), "stride": (-1,)},
        {"size": (2**62, 2**62, 2), "stride": (0, 0, 1)},
        {"size": (2,), "stride": ()},
        {"size": 2},
        {"size": ("2",)},
        {"size": (2.0,)},
        {"offset": None},
    ],
    ids=str,
)
def test_a_tensor_never_reaches_beyond_its_storage(tmp_path: Path, told: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"x\.pth cannot be read"):
        read_checkpoint(with_pickle(tmp_path / "x.pth", rebuilt(**told)))  # type: ignore[arg-type]


# ---- damage ----


@pytest.mark.parametrize("left", [0, 1, 100, 0.3, 0.9, 0.999])
def test_a_truncated_download_is_named(published: tuple[Path, dict[str, torch.Tensor]], left: float) -> None:
    path, _ = published
    data = path.read_bytes()
    path.write_bytes(data[: int(left * len(data)) if left < 1 else left])
    with pytest.raises(UserError, match=r"published\.pth is cut short"):
        read_checkpoint(path)


def test_a_changed_number_is_noticed(published: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, state = published
    data = bytearray(path.read_bytes())
    weight = state["0.weight"].numpy().tobytes()
    data[data.index(weight) + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"data/\d+ in it is damaged"):
        read_checkpoint(path)


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        read_checkpoint(tmp_path / "missing.pth")
    (tmp_path / "text.pth").write_text("<html>Not found</html>")
    with pytest.raises(UserError, match="cut short or no checkpoint"):
        read_checkpoint(tmp_path / "text.pth")
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"before PyTorch 1\.6 must be saved again"):
        read_checkpoint(tmp_path / "old.pth")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(UserError, match=r"not one that torch\.save wrote"):
        read_checkpoint(tmp_path / "zip.pth")
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    with pytest.raises(UserError, match="no table of tensors"):
        read_checkpoint(tmp_path / "list.pth")
    torch.save({"model": {"a": 1}}, tmp_path / "none.pth")
    with pytest.raises(UserError, match="holds no tensors"):
        read_checkpoint(tmp_path / "none.pth")


def test_compressed_storages_are_refused(tmp_path: Path) -> None:
    """Nobody's torch writes them, and a small file could grow without bound."""
    torch.save({"a": torch.zeros(100_000)}, tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        files = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match="compressed"):
        read_checkpoint(tmp_path / "x.pth")


def test_a_big_endian_file_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pth")
    data = (tmp_path / "x.pth").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        files = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    assert b"little" in data
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, b"big" if name.endswith("byteorder") else content)
    with pytest.raises(UserError, match="big-endian"):
        read_checkpoint(tmp_path / "x.pth")


def test_a_placeholder_takes_anything_and_keeps_nothing() -> None:
    thing = Placeholder(1, b=2)
    thing.append(1)
    thing.extend([1])
    thing.add(1)
    thing["a"] = 1
    thing.__setstate__({"a": 1})
    assert not vars(thing)
