"""Small files in M-BEIR's format: drawings of coloured shapes, asked for in three tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tiny import draw

from genius.instructions import TASKS
from genius.sources.mbeir import MODALITIES

WRITTEN = {modality: word for word, modality in MODALITIES.items()}
ASKED = (0, 3, 7)


@dataclass(frozen=True)
class Files:
    """What `evaluate` reads."""

    root: Path
    queries: list[Path]
    pools: list[Path]
    instructions: Path

    @property
    def arguments(self) -> list[str]:
        """The same on the command line."""
        return [
            *("--queries", *map(str, self.queries)),
            *("--pool", *map(str, self.pools)),
            *("--instructions", str(self.instructions), "--images-root", str(self.root)),
        ]


def write_lines(path: Path, rows: Iterable[Mapping[str, object] | str]) -> Path:
    """One JSON object, or whatever else is given, a line."""
    said = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in said), encoding="utf-8")
    return path


def candidates(dataset: int, captions: Sequence[str]) -> list[dict[str, object]]:
    """Three a caption: `9:1` its image, `9:2` its text, `9:3` both."""
    rows: list[dict[str, object]] = []
    for caption in captions:
        image = f"images/{caption.replace(' ', '-')}.png"
        for word, text, place in (
            ("image", None, image),
            ("text", caption, None),
            ("image,text", caption, image),
        ):
            rows.append(
                {"did": f"{dataset}:{len(rows) + 1}", "txt": text, "img_path": place, "modality": word}
            )
    return rows


def queries(dataset: int, captions: Sequence[str]) -> list[dict[str, object]]:
    """Of every caption: text → image, image → text, and picture with another caption → that one's image."""
    rows: list[dict[str, object]] = []
    for place, caption in enumerate(captions):
        image = f"images/{caption.replace(' ', '-')}.png"
        following = (place + 1) % len(captions)
        for task, text, shown, answer in (
            (0, caption, None, 3 * place + 1),
            (3, None, image, 3 * place + 2),
            (7, captions[following], image, 3 * following + 1),
        ):
            rows.append(
                {
                    "qid": f"{dataset}:{len(rows) + 1}",
                    "query_txt": text,
                    "query_img_path": shown,
                    "query_modality": {0: "text", 3: "image", 7: "image,text"}[task],
                    "pos_cand_list": [f"{dataset}:{answer}"],
                    "neg_cand_list": [],
                    "task_id": task,
                }
            )
    return rows


def write_instructions(path: Path, datasets: Mapping[int, str]) -> Path:
    """A line for every data set and each of the three tasks."""
    lines = ["query_modality\tcand_modality\tdataset_name\tdataset_id\tprompt_1\tprompt_2"]
    for number, name in datasets.items():
        for task in TASKS:
            if task.id in ASKED:
                cells = (WRITTEN[task.query], WRITTEN[task.target], name, str(number))
                lines.append("\t".join((*cells, *task.held_out_wordings)))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_files(root: Path, captions: Mapping[int, Sequence[str]]) -> Files:
    """Pictures, one pool and one file of queries for each data set, and instructions."""
    (root / "images").mkdir(parents=True)
    pools, asked = [], []
    for dataset, some in captions.items():
        for caption in some:
            draw(caption).save(root / "images" / f"{caption.replace(' ', '-')}.png")
        pools.append(write_lines(root / f"pool-{dataset}.jsonl", candidates(dataset, some)))
        asked.append(write_lines(root / f"queries-{dataset}.jsonl", queries(dataset, some)))
    instructions = write_instructions(root / "instructions.tsv", {n: f"set {n}" for n in captions})
    return Files(root, asked, pools, instructions)
