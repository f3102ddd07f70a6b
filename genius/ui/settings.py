"""What the page is told by its surroundings: a few environment variables, all of them optional."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from genius.schema import UserError
from genius.sources import ALL

ROOT = Path(__file__).parents[2]
_ON = {"1", "true", "yes", "on"}
_OFF = {"", "0", "false", "no", "off"}


@dataclass(frozen=True)
class Settings:
    """A field is the environment variable GENIUS_ and its name; docs/deploy.md lists them."""

    bundle: str = str(ROOT / "checkpoints" / "genius-mini")
    """The model: a folder, or hub:owner/name[@revision]."""
    collection: str = ALL
    """What is searched: a name, a folder, an M-BEIR pool, an index, or hub:owner/name[@revision]."""
    device: str | None = None
    """cuda, mps or cpu; the best there is, if not set."""
    mcp: bool = False
    """Whether to serve the endpoints to language models, too."""

    @property
    def shipped_model(self) -> bool:
        """Whether it is our own model, whose searches and names are known before it is loaded."""
        return Path(self.bundle).expanduser().resolve() == Path(Settings.bundle)

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """From environment variables; what is unset or empty keeps its default.

        Raises
        ------
        UserError
            If a variable's value is none of those it may have, or a GENIUS_ variable does not exist.
        """
        given = {
            name.removeprefix("GENIUS_").lower(): value.strip()
            for name, value in environment.items()
            if name.startswith("GENIUS_")
        }
        if unknown := sorted(given.keys() - cls.__dataclass_fields__.keys()):
            known = ", ".join(f"GENIUS_{name.upper()}" for name in cls.__dataclass_fields__)
            raise UserError(f"There is no setting GENIUS_{unknown[0].upper()}. Those there are: {known}.")
        mcp = given.pop("mcp", "").lower()
        if mcp not in _ON | _OFF:
            raise UserError(f"GENIUS_MCP is {mcp!r}; set it to 1 or 0.")
        texts = {name: value for name, value in given.items() if value}
        return cls(**texts, mcp=mcp in _ON)  # type: ignore[arg-type]  # the other fields are all texts
