"""Where and with what something was measured, and how times are summed up."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

Result = TypeVar("Result")

PACKAGES = ("torch", "transformers", "numpy", "faiss-cpu")


@dataclass(frozen=True)
class Machine:
    """The processor, the threads given to torch, other work going on (load at the start), and versions."""

    processor: str
    cores: int
    threads: int
    load: float
    versions: dict[str, str]

    @classmethod
    def here(cls) -> Machine:
        """This one, now."""
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
        versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
        return cls(_processor(), os.cpu_count() or 1, torch.get_num_threads(), round(load, 2), versions)


@dataclass(frozen=True)
class Times:
    """Milliseconds: the median, the 95th percentile and the least of `count` runs."""

    p50: float
    p95: float
    least: float
    count: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        """Sum up some runs."""
        ms = 1000 * np.array(seconds)
        p50, p95 = np.percentile(ms, [50, 95])
        return cls(round(float(p50), 3), round(float(p95), 3), round(float(ms.min()), 3), len(ms))


def timed(run: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds that something takes, and what it returns."""
    begin = time.perf_counter()
    result = run()
    return time.perf_counter() - begin, result


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
