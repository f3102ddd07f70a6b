"""Arrays one after the other in a file, written aside and mapped when opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

FILE = "trie.bin"
FORMAT = (1, 0)  # of the .npy header before each array


def write(folder: Path, arrays: Sequence[NDArray]) -> None:
    """Write the file into the folder; one that was there is replaced at once or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / (FILE + ".partial")
    with aside.open("wb") as file:
        for array in arrays:
            np.lib.format.write_array(file, np.ascontiguousarray(array), FORMAT, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, folder / FILE)


def read(path: Path) -> list[NDArray]:
    """Map the arrays of a file; what they hold is read when it is needed.

    Raises
    ------
    ValueError, OSError, EOFError, TypeError
        If it is damaged.
    """
    arrays = []
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        while file.tell() < size:
            arrays.append(_map_array(file))
    return arrays


def _map_array(file: BinaryIO) -> NDArray:
    """Map the array that starts at the file's position, and move past it."""
    if np.lib.format.read_magic(file) != FORMAT:
        raise ValueError("unknown format")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject or by_columns:
        raise ValueError("unknown format")
    if 0 in shape:
        return np.empty(shape, dtype)
    begin = file.tell()
    array = np.memmap(file, dtype, "r", begin, shape)
    file.seek(begin + array.nbytes)
    return array
