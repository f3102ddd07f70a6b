"""Progress of a training run, one JSON line every few steps, and the learning-rate schedule of all stages."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

from genius.training import parallel


class TrainingLog:
    """Appends means of the last `every` steps to a JSON-lines file, so a resumed run continues it.

    Of several processes, the first one writes.
    """

    def __init__(self, path: Path, every: int = 20) -> None:
        self.path, self.every = path, every
        self._sums: dict[str, float] = {}
        self._count = 0
        self._start = time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Count the values of one step; writes a line when `every` have come together."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        if self._count == self.every:
            means = {name: round(total / self._count, 5) for name, total in self._sums.items()}
            self.write({"step": step + 1, "seconds": round(time.monotonic() - self._start, 1), **means})
            self._sums, self._count = {}, 0

    def write(self, row: Mapping[str, object]) -> None:
        """Append one line."""
        if not parallel.is_first():
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def cosine_schedule(step: int, steps: int) -> float:
    """Share of the peak learning rate: warm-up over 3 % of the steps, then half a cosine."""
    warm = max(1, steps * 3 // 100)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
