"""What is wrong in a person's files: named by file and line, counted, and refused or left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from genius.schema import UserError

NAMED = 5


@dataclass(frozen=True)
class LeftOut:
    """How many lines of a kind were left out, and the first few by file and line."""

    why: str
    lines: int
    first: tuple[str, ...]


class Problems:
    """Collects bad lines; `refuse` ends the command over them, unless they are to be skipped."""

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self._count: Counter[str] = Counter()
        self._first: dict[str, dict[str, None]] = {}
        self._seen: set[tuple[Path, int]] = set()

    def add(self, why: str, file: Path, line: int, detail: str = "") -> None:
        """Note a line; the same line counts once. `why` is its kind, `detail` what holds of it alone."""
        if (file, line) in self._seen:
            return
        self._seen.add((file, line))
        self._count[why] += 1
        if self._count[why] <= NAMED:
            self._first.setdefault(why, {})[f"line {line} of {file}{detail and f' ({detail})'}"] = None

    def refuse(self) -> None:
        """Raise a UserError over what was noted, if anything was and is not to be skipped."""
        if self._count and not self.skip:
            said = "; ".join(f"{left.why}: {_list(left)}" for left in self.left_out)
            raise UserError(
                f"{sum(self._count.values())} lines cannot be used. {said}. "
                "Mend them, or leave them out with --skip-bad."
            )

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What was noted, the commonest kind first."""
        return tuple(LeftOut(why, count, tuple(self._first[why])) for why, count in self._count.most_common())

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence a kind."""
        return tuple(f"{left.lines} lines are left out, {left.why}: {_list(left)}" for left in self.left_out)


def _list(left: LeftOut) -> str:
    return ", ".join(left.first) + (" …" if left.lines > len(left.first) else "")
