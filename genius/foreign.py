"""Tensors out of other people's checkpoint files (`.pth`), without running anything those files hold.

A `.pth` is a zip archive: a pickle says how tensors lie in the files beside it. A pickle may name any class
or function and have it called, so this reader calls none: what rebuilds a tensor is noted, every other name
becomes a hollow `Placeholder`, and a name out of Python's own library, which no checkpoint needs, is refused.
"""

from __future__ import annotations

import builtins
import io
import mmap
import pickle
import pickletools
import struct
import sys
import zipfile
import zlib
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genius.schema import UserError

MAX_PICKLE = 256 * 2**20
"""A longer description of tensors is refused before it is read."""

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# Of Python's library, what configurations and tables are made of; it becomes a placeholder like the rest.
_HARMLESS = frozenset(
    {"_codecs", "argparse", "collections", "copyreg", "datetime", "decimal", "enum", "pathlib", "typing"}
    | {"uuid"}
)
_UNUSED_OPCODES = frozenset(
    {"EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEXT_BUFFER", "READONLY_BUFFER", "PERSID"}
)
_LOCAL_HEADER = struct.Struct("<26xHH")  # of a file in a zip: lengths of its name and of the extra field


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name (views of the file, read when they are used), and the names of the rest in it."""

    tensors: dict[str, Tensor]
    rest: tuple[str, ...]


class Placeholder:
    """Stands for an object of a foreign class: takes whatever it is given, keeps nothing, does nothing."""

    def __new__(cls, *_: object, **__: object) -> Placeholder:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...

    def __setitem__(self, _: object, __: object) -> None: ...

    def append(self, _: object) -> None: ...

    def extend(self, _: object) -> None: ...

    def add(self, _: object) -> None: ...


class _Table(dict):
    """A plain dictionary that forgets the attributes a pickle would give it."""

    def __setstate__(self, _: object) -> None: ...


@dataclass(frozen=True)
class _Storage:
    """A file of numbers in the archive."""

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True)
class _Stored:
    """A tensor as torch's pickles describe it: a window on a storage. Nothing in it is checked yet."""

    storage: object
    offset: object
    size: object
    stride: object
    requires_grad: object = False
    hooks: object = None
    metadata: object = None

    def __setstate__(self, _: object) -> None: ...


class _Parameter:
    """A parameter in a pickle: the tensor in it, and nothing else."""

    def __new__(cls, data: Any, *_: object) -> Any:
        return data

    def __setstate__(self, _: object) -> None: ...


_KNOWN = {
    ("collections", "OrderedDict"): _Table,
    ("torch._utils", "_rebuild_tensor_v2"): _Stored,
    ("torch._utils", "_rebuild_tensor"): _Stored,
    ("torch._utils", "_rebuild_parameter"): _Parameter,
}
"""All that is ever called while a pickle is read, placeholders apart: our own classes, by torch's names.

Classes with a `__setstate__`, not functions: a pickle could set attributes of a function.
"""


class _Reader(pickle.Unpickler):
    """Reads a pickle's plain values and the tensors' descriptions, and lets nothing else in."""

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module, name))
        if known is not None:
            return known
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if _could_run_programs(module, name):
            raise _Refused(f"{module}.{name}")
        return type(name, (Placeholder,), {})

    def persistent_load(self, pid: Any) -> _Storage | Placeholder:
        match pid:
            case ("storage", torch.dtype() as dtype, str(key), str(), int(numel)):
                return _Storage(key, dtype, numel)
        return Placeholder()  # a kind of storage that no model we read is kept in


class _Refused(Exception):
    """The pickle names something that could run programs."""


def _could_run_programs(module: str, name: str) -> bool:
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))  # Python 2's
    top = module.partition(".")[0]
    if top == "builtins":
        return not isinstance(getattr(builtins, name, object), type)
    return top in sys.stdlib_module_names and top not in _HARMLESS


def read_checkpoint(path: Path) -> Checkpoint:
    """The model's tensors in a file that `torch.save` wrote: those under "model", or all at the top.

    Raises
    ------
    UserError
        If the file is missing, damaged or cut short, of another format, or names something that could run
        programs. None of it has been run.
    """
    with _explained(path):
        archive = _Archive(path)
        top = _read_pickle(archive.bytes("data.pkl"))
        if not isinstance(top, dict):
            raise UserError(
                f"{path} holds no table of tensors. Give a file that torch.save wrote for a model."
            )
        model = top["model"] if isinstance(top.get("model"), dict) else top
        tensors = {
            name: archive.tensor(value)
            for name, value in model.items()
            if isinstance(name, str) and isinstance(value, _Stored)
        }
    rest = [str(name) for name in top if model is not top and name != "model"]
    rest += [str(name) for name in model if name not in tensors]
    if not tensors:
        raise UserError(f"{path} holds no tensors, neither under “model” nor at the top.")
    return Checkpoint(tensors, tuple(rest))


def _read_pickle(data: bytes) -> object:
    if len(data) > MAX_PICKLE:
        raise ValueError(f"its pickle of {len(data):,} bytes is too long")
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _UNUSED_OPCODES:
            raise ValueError(f"its pickle uses {opcode.name}, which torch.save does not")
        if opcode.name.endswith("PUT") and int(argument or 0) > len(data):
            raise ValueError("its pickle counts more objects than it has bytes")
    return _Reader(io.BytesIO(data)).load()


class _Archive:
    """The files in a `.pth`, mapped into memory: a page is read from disk when it is looked at."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        homes = [entry.filename.removesuffix("data.pkl") for entry in entries if _is_pickle(entry.filename)]
        if len(homes) != 1:
            raise ValueError("it is a zip archive, but not one that torch.save wrote")
        home = homes[0]
        self._entries = {entry.filename.removeprefix(home): entry for entry in entries}
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        if "byteorder" in self._entries and self.bytes("byteorder") != b"little":
            raise ValueError("it was written on a big-endian machine")
        self._storages: dict[str, Tensor] = {}

    def bytes(self, name: str) -> bytes:
        """Contents of a file in the archive."""
        return bytes(self._view(name))

    def tensor(self, stored: _Stored) -> Tensor:
        """The tensor that a description describes, a view of the mapped file."""
        match stored:
            case _Stored(_Storage() as storage, int(offset), tuple(size), tuple(stride)):
                sizes = (offset, *size, *stride)
            case _:
                raise ValueError("a tensor's description makes no sense")
        if not all(type(number) is int and number >= 0 for number in sizes):
            raise ValueError("a tensor's size makes no sense")
        if len(size) != len(stride):
            raise ValueError("a tensor's size and stride do not fit together")
        flat = self._storage(storage)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if 0 not in size and last >= len(flat):
            raise ValueError(f"a tensor reaches beyond the end of its storage {storage.key}")
        return flat.as_strided(size, stride, offset)

    def _storage(self, storage: _Storage) -> Tensor:
        flat = self._storages.get(storage.key)
        if flat is None:
            view = self._view(f"data/{storage.key}")
            count, left = divmod(len(view), storage.dtype.itemsize)
            if left or count < storage.numel:
                raise ValueError(f"storage {storage.key} has {len(view)} bytes, too few or too many")
            flat = (
                torch.frombuffer(view, dtype=storage.dtype) if count else torch.empty(0, dtype=storage.dtype)
            )
            self._storages[storage.key] = flat
        if flat.dtype != storage.dtype:
            raise ValueError(f"storage {storage.key} is said to be of two types")
        return flat

    def _view(self, name: str) -> memoryview:
        entry = self._entries[name]
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise ValueError(f"{name} in it is compressed or encrypted, which torch.save never does")
        lengths = _LOCAL_HEADER.unpack_from(self._map, entry.header_offset)
        start = entry.header_offset + 30 + sum(lengths)
        view = memoryview(self._map)[start : start + entry.file_size]
        if len(view) != entry.file_size or zlib.crc32(view) != entry.CRC:
            raise ValueError(f"{name} in it is damaged")
        return view


def _is_pickle(name: str) -> bool:
    """Whether this is the pickle of an archive, `NAME/data.pkl`."""
    return name.count("/") == 1 and name.endswith("/data.pkl")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Whatever goes wrong with a file becomes a sentence that names it."""
    if not path.is_file():
        raise UserError(f"There is no file {path}. Check the name, or download it again.")
    try:
        yield
    except _Refused as error:
        raise UserError(
            f"{path} names {error}, which could run programs; nothing of it was run. A checkpoint needs no "
            "such thing: do not use this file, get it from its authors."
        ) from None
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{path} is cut short or no checkpoint ({error}). Download it again; a file written before "
            "PyTorch 1.6 must be saved again with a newer one."
        ) from error
    except UserError:
        raise
    except _BROKEN as error:
        raise UserError(
            f"{path} cannot be read: {error or type(error).__name__}. Download it again."
        ) from error


_BROKEN = (
    *(pickle.UnpicklingError, struct.error, OSError, EOFError, MemoryError, RecursionError, RuntimeError),
    *(ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError),
)
"""What a file that was damaged by accident or with intent can raise."""
