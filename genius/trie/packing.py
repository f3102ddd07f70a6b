"""Semantic IDs as few bytes as they need, in bytes that sort as the codes do."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genius.schema import UserError

Integers = NDArray[np.integer]
Bytes = NDArray[np.uint8]

MOST_LEVELS, MOST_CODES = 254, 1 << 16
BLOCK = 1 << 20  # IDs packed or compared at once, so that what is needed in between stays small


class Packing:
    """Where the code of each level lies in an ID: one after the other, without gaps, first level first.

    The first level is left out, since the trie knows where each of its few codes begins. The usual
    3 + 8 x 4096 codes take 12 bytes.
    """

    def __init__(self, levels: tuple[int, ...]) -> None:
        self.levels = tuple(int(size) for size in levels)
        if not 1 <= len(levels) <= MOST_LEVELS or not all(1 <= size <= MOST_CODES for size in self.levels):
            raise UserError(
                f"Semantic IDs need 1 to {MOST_LEVELS} levels of 1 to {MOST_CODES:,} codes, not {levels}."
            )
        bits = [0, *((size - 1).bit_length() for size in self.levels[1:])]
        self._ends = np.cumsum(bits).tolist()
        self._bits = bits
        self.size = max(1, -(-self._ends[-1] // 8))

    def pack(self, codes: Integers) -> Bytes:
        """Codes [n, M], each within its level → [n, size]."""
        packed = np.zeros((len(codes), self.size), dtype=np.uint8)
        for level in range(1, len(self.levels)):
            bits = codes[:, level].astype(np.uint32) << self._shift(level)
            for byte in reversed(self._bytes(level)):
                packed[:, byte] |= bits.astype(np.uint8)
                bits >>= 8
        return packed

    def column(self, packed: Bytes, level: int, lines: Integers | slice) -> NDArray[np.int64]:
        """Codes [k] of one level, but the first, in some lines of packed [n, size]."""
        first, *others = self._bytes(level)
        bits = packed[lines, first].astype(np.int64)
        for byte in others:
            bits = bits << 8 | packed[lines, byte]
        return bits >> self._shift(level) & ((1 << self._bits[level]) - 1)

    def _bytes(self, level: int) -> range:
        first, last = (self._ends[level] - self._bits[level]) // 8, -(-self._ends[level] // 8)
        return range(first, last) if first < last else range(1)  # a level of one code has no bits

    def _shift(self, level: int) -> int:
        return -self._ends[level] % 8


def checked(codes: ArrayLike, levels: tuple[int, ...]) -> Integers:
    """Codes [n, M] as they are; UserError unless each lies within its level."""
    wide = np.asarray(codes)
    if wide.ndim != 2 or wide.shape[1] != len(levels) or not np.issubdtype(wide.dtype, np.integer):
        raise UserError(
            f"Codes must be a table of whole numbers with {len(levels)} columns, not {wide.shape}."
        )
    for level, size in enumerate(levels):
        column = wide[:, level]
        if len(column) and not 0 <= column.min() <= column.max() < size:
            bad = column[(column < 0) | (column >= size)][0]
            raise UserError(f"Code {bad} at level {level + 1} is out of range: use 0 to {size - 1}.")
    return wide


def keys(packed: Bytes) -> NDArray[np.bytes_]:
    """Each line [n, size] as one byte string [n], without copying; their order is that of the codes."""
    return packed.view(f"S{packed.shape[1]}").reshape(-1)


def narrow(numbers: Integers, size: int) -> Bytes:
    """Numbers [n] from 0 to 2³² - 1 in `size` bytes each, the highest first."""
    return np.ascontiguousarray(numbers, dtype=">u4").view(np.uint8).reshape(-1, 4)[:, 4 - size :]


def wide(numbers: Bytes) -> NDArray[np.int64]:
    """What `narrow` made [n, size] → [n]."""
    filled = np.zeros((len(numbers), 4), dtype=np.uint8)
    filled[:, 4 - numbers.shape[1] :] = numbers
    return filled.view(">u4").reshape(-1).astype(np.int64)


def bytes_for(number: int) -> int:
    """How many bytes a number needs, at least 1."""
    return max(1, -(-int(number).bit_length() // 8))
