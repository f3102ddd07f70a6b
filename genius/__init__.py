"""GENIUS: search pictures and words by letting a model write the address of what you want.

The catalogue. The engine brings torch along, so it is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genius.schema import Candidate, Hit, Modality, Query, SearchOptions, SearchResult, UserError

if TYPE_CHECKING:
    from genius.engine import Engine

__all__ = ["Candidate", "Engine", "Hit", "Modality", "Query", "SearchOptions", "SearchResult", "UserError"]


def __getattr__(name: str) -> object:
    if name == "Engine":
        from genius.engine import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
