"""What was worked out about an index: names, nearness, maps and measures; two files beside it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genius.explain.atlas import Prefix
from genius.explain.maps import SETTINGS, MapSettings
from genius.explain.measures import Agreement, LabelMeasure
from genius.explain.names import Name
from genius.index import IDS_FILE, read_header
from genius.parts import DAMAGE
from genius.schema import Candidate, UserError

FORMAT = 1
WORDS_FILE = "explanation.json"
ARRAYS_FILE = "explanation.npz"
CLIP, FUSED, ADDRESS = "clip", "fused", "address"


@dataclass(frozen=True, eq=False)
class Explanation:
    """What is known about the codes of n candidates.

    residuals [n, M]: |z − sum of the first m codewords|, half precision; names: by prefix; anywhere: by level
    (counted from 0) and code, under whichever parent; mapped [m]: the rows that are on the maps; maps [m, 2]:
    places on a grid of 65,536 by space, `after(level)` being that of the first codewords alone.
    """

    residuals: NDArray[np.float16]
    names: Mapping[Prefix, Name]
    anywhere: Mapping[tuple[int, int], Name]
    mapped: NDArray[np.int64]
    maps: Mapping[str, NDArray[np.uint16]]
    labels: tuple[LabelMeasure, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    settings: MapSettings = SETTINGS

    def save(self, index: Path) -> Path:
        """Write it beside an index; one there before is replaced. Returns the folder."""
        folder = folder_of(index)
        aside = folder.with_name(folder.name + ".partial")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        arrays: dict[str, Any] = {f"map_{name}": places for name, places in self.maps.items()}
        arrays |= {"residuals": self.residuals, "mapped": self.mapped.astype(np.uint32)}
        np.savez_compressed(aside / ARRAYS_FILE, **arrays)
        (aside / WORDS_FILE).write_text(
            json.dumps(self._words(index), ensure_ascii=False) + "\n", encoding="utf-8"
        )
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(aside, folder)
        return folder

    def restricted(self, rows: NDArray[np.int64]) -> Explanation:
        """What is known of some rows alone, numbered anew in their order."""
        new = np.full(len(self.residuals), -1)
        new[rows] = np.arange(len(rows))
        kept = new[self.mapped] >= 0
        return Explanation(
            self.residuals[rows],
            self.names,
            self.anywhere,
            new[self.mapped[kept]],
            {name: places[kept] for name, places in self.maps.items()},
            self.labels,
            self.agreements,
            self.settings,
        )

    def _words(self, index: Path) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "ids": _digest(index),
            "fingerprint": read_header(index).fingerprint,
            "names": {_key(prefix): _pack(name) for prefix, name in self.names.items()},
            "anywhere": {_key(place): _pack(name) for place, name in self.anywhere.items()},
            "labels": [asdict(measure) for measure in self.labels],
            "agreements": [asdict(measure) for measure in self.agreements],
            "settings": asdict(self.settings),
        }


def folder_of(index: Path) -> Path:
    """Where the explanation of an index lies: beside it."""
    return index.with_name(index.name + "-explained")


def after(level: int) -> str:
    """The name of the map of what the first `level` codes say."""
    return f"after-{level}"


def read_names(index: Path) -> dict[Prefix, str]:
    """Plain names of prefixes, for an index that has been explained; none otherwise."""
    try:
        stored = _read_words(index)
    except UserError:
        return {}
    return {_place(key): text for key, (text, *_) in stored["names"].items() if text}


def open_explanation(index: Path, candidates: Sequence[Candidate]) -> Explanation | None:
    """The explanation beside an index, for those of its candidates that are there; None if it has none.

    Raises
    ------
    UserError
        If it is damaged, or belongs to another state of the index.
    """
    if not (folder_of(index) / WORDS_FILE).is_file():
        return None
    stored = _read_words(index)
    try:
        with np.load(folder_of(index) / ARRAYS_FILE, allow_pickle=False) as arrays:
            read = {name: arrays[name] for name in arrays.files}
        explanation = Explanation(
            read.pop("residuals"),
            {_place(key): _unpack(entry) for key, entry in stored["names"].items()},
            {_level_and_code(key): _unpack(entry) for key, entry in stored["anywhere"].items()},
            read.pop("mapped").astype(np.int64),
            {name.removeprefix("map_"): places for name, places in read.items()},
            tuple(LabelMeasure(**entry) for entry in stored["labels"]),
            tuple(Agreement(**entry) for entry in stored["agreements"]),
            MapSettings(**stored["settings"]),
        )
        ids = [json.loads(line) for line in (index / IDS_FILE).read_text(encoding="utf-8").splitlines()]
    except (*DAMAGE, TypeError) as error:
        raise UserError(f"{folder_of(index)} is damaged ({error}). {_again(index)}") from error
    if len(ids) != len(explanation.residuals):
        raise UserError(f"{folder_of(index)} does not fit its index. {_again(index)}")
    row = {candidate_id: number for number, candidate_id in enumerate(ids)}
    rows = np.array([row[candidate.id] for candidate in candidates if candidate.id in row], dtype=np.int64)
    return explanation.restricted(rows) if len(rows) == len(candidates) else None


def _read_words(index: Path) -> dict[str, Any]:
    path = folder_of(index) / WORDS_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["format"] != FORMAT:
            raise ValueError(f"format {stored['format']} is not {FORMAT}")
        fits = stored["ids"] == _digest(index) and stored["fingerprint"] == read_header(index).fingerprint
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}). {_again(index)}") from error
    if not fits:
        raise UserError(f"{path} belongs to another state of the index. {_again(index)}")
    return stored


def _again(index: Path) -> str:
    return f"Make it again: python -m genius explain --index {index}"


def _digest(index: Path) -> str:
    return hashlib.sha256((index / IDS_FILE).read_bytes()).hexdigest()[:16]


def _key(codes: Sequence[int]) -> str:
    return " ".join(map(str, codes))


def _place(key: str) -> tuple[int, ...]:
    return tuple(int(code) for code in key.split())


def _pack(name: Name) -> list[Any]:
    return [name.text, round(name.confidence, 3), list(name.words)]


def _unpack(entry: list[Any]) -> Name:
    text, confidence, words = entry
    return Name(str(text), float(confidence), tuple(map(str, words)))


def _level_and_code(key: str) -> tuple[int, int]:
    level, code = _place(key)
    return level, code
