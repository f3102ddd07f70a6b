"""Where and with what something was measured, and how times are summed up."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import numpy as np

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
        import torch  # noqa: PLC0415  the page shows a machine of the past before it has loaded torch

        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
        versions = {"python": platform.python_version()} | _versions(PACKAGES)
        return cls(_processor(), os.cpu_count() or 1, torch.get_num_threads(), round(load, 2), versions)


@dataclass(frozen=True)
class Times:
    """Milliseconds: the median, the 95th and 99th percentile and the least of `count` runs."""

    p50: float
    p95: float
    p99: float
    least: float
    count: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        """Sum up some runs."""
        ms = 1000 * np.array(seconds)
        p50, p95, p99 = (round(float(part), 3) for part in np.percentile(ms, [50, 95, 99]))
        return cls(p50, p95, p99, round(float(ms.min()), 3), len(ms))


def timed(run: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds that something takes, and what it returns."""
    begin = time.perf_counter()
    result = run()
    return time.perf_counter() - begin, result


def free_memory() -> int | None:
    """Bytes that can still be allocated here, a container's own limit included; None where nobody says."""
    numbers = [number for number in (_available(), _container()) if number is not None]
    return min(numbers, default=None)


def _available() -> int | None:
    info = Path("/proc/meminfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _container(group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What a control group leaves; files that it merely remembers count as free."""
    try:
        limit, used = (
            (group / f"memory.{name}").read_text(encoding="utf-8").strip() for name in ("max", "current")
        )
        stat = (group / "memory.stat").read_text(encoding="utf-8").split()
        remembered = int(stat[stat.index("inactive_file") + 1])
        return None if limit == "max" else max(0, int(limit) - int(used) + remembered)
    except (OSError, ValueError, IndexError):
        return None


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
