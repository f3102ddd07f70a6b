"""Long work in parts: what was kept is found again, and what was damaged is made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genius.parts import Arrays, kept


def test_a_damaged_part_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "part.npz"
    made = {"codes": np.arange(12).reshape(3, 4), "vectors": np.linspace(0, 1, 12, dtype=np.float16)}
    np.savez_compressed(path, allow_pickle=False, **made)
    whole = path.read_bytes()
    listed = whole.index(b"PK\1\2")  # where the list of the arrays starts; 10 on, how one is compressed
    flipped = [whole[:n] + bytes([whole[n] ^ 0xFF]) + whole[n + 1 :] for n in (*range(listed), listed + 10)]
    again = 0

    def compute() -> Arrays:
        nonlocal again
        again += 1
        return made

    for content in (whole[:100], b"", *flipped):
        path.write_bytes(content)
        found = kept(path, compute)
        assert found.keys() == made.keys() and all((found[name] == made[name]).all() for name in made)
    assert len(flipped) / 2 < again <= len(flipped) + 2, "a flipped date, for instance, does no harm"
    before = again
    path.write_bytes(whole)
    assert kept(path, compute).keys() == made.keys() and again == before
