"""What is known of candidates beside their pictures and words, to hold the codes against."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genius.schema import Candidate, Modality, UserError
from genius.sources import openmoji


@dataclass(frozen=True)
class Labels:
    """One known trait of n candidates: its title and each one's value, "" where it is not known."""

    title: str
    values: tuple[str, ...]

    @property
    def informative(self) -> bool:
        """Whether there are at least two values."""
        return len({*self.values} - {""}) > 1


def known_labels(candidates: Sequence[Candidate]) -> list[Labels]:
    """All labels that say something about these candidates.

    OpenMoji tells flag, person or thing, skin tone and gender; other collections the folder a picture is in.
    """
    traits = openmoji.labels() if any(c.collection == openmoji.NAME for c in candidates) else {}
    found = [Labels("folder", tuple(_folder(candidate) for candidate in candidates))]
    for title in openmoji.LABELS:
        known = (traits.get(_picture(candidate), {}) for candidate in candidates)
        found.append(Labels(title, tuple(of_one.get(title, "") for of_one in known)))
    return [labels for labels in found if labels.informative]


def groceries(folder: Path) -> tuple[list[Candidate], list[Labels]]:
    """Photographs and labels of a folder; lines of `labels.jsonl` hold `image`, `class`, `coarse_class`.

    Raises
    ------
    UserError
        If the file is missing or says something else.
    """
    path = folder / "labels.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
        shown = [
            Candidate(
                f"groceries/{row['image']}",
                Modality.IMAGE,
                None,
                folder / "images" / row["image"],
                "groceries",
            )
            for row in rows
        ]
        kinds = (("grocery", "class"), ("kind of grocery", "coarse_class"))
        labels = [Labels(title, tuple(str(row[key]) for row in rows)) for title, key in kinds]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}). Name a folder that holds labels.jsonl and images/."
        ) from error
    return shown, labels


def _picture(candidate: Candidate) -> str:
    """The picture's id within OpenMoji, "" for other collections."""
    collection, _, rest = candidate.id.partition("/")
    return rest.rpartition(":")[0] if collection == openmoji.NAME else ""


def _folder(candidate: Candidate) -> str:
    """The first folder of a picture's place in its collection: `stamps/animals/birds/owl:image` → animals."""
    parts = candidate.id.rpartition(":")[0].split("/")
    return parts[1].replace("_", " ") if len(parts) > 2 else ""
