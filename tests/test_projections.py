"""The last part of stage 1: what counts as a negative, and that it learns."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genius.instructions import TASKS
from genius.schema import Modality
from genius.training.corpus import Item, Kind
from genius.training.pairs import draw
from genius.training.projections import (
    ProjectionTrainer,
    ProjectionTraining,
    train_projections,
)

DIM = 8
NOUNS = ("thumbs up: light skin tone", "thumbs up: dark skin tone", "lion", "lion", "moon")
ITEMS = [Item(f"drawings/{n}", Kind.DRAWING, Path(f"{n}.png"), (noun,), noun) for n, noun in enumerate(NOUNS)]


class Head(nn.Module):
    """Pooled features [N, 1280] to [N, d]."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(1280, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


class Clip(nn.Module):
    """What training touches of an open_clip model."""

    def __init__(self) -> None:
        super().__init__()
        self.visual, self.text = nn.Module(), nn.Module()
        self.visual.head, self.text.proj = Head(), nn.Linear(DIM, DIM, bias=False)
        nn.init.eye_(self.text.proj.weight)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))


@pytest.fixture
def parts() -> SimpleNamespace:
    torch.manual_seed(0)
    drawn = draw(ITEMS, {}, rounds=2, seed=0, uninstructed=0.3)
    pooled, texts = torch.randn(len(ITEMS), 2, 1280), torch.randn(len(drawn.texts), DIM)
    texts[0] = 0
    return SimpleNamespace(clip=Clip(), drawn=drawn, pooled=pooled, texts=texts)


def test_the_task_loss_is_the_one_written_out_row_by_row(parts: SimpleNamespace) -> None:
    trainer = ProjectionTrainer(parts.clip, ITEMS, parts.pooled[:, :1], parts.texts, parts.drawn)
    rows, drawn = torch.arange(0, len(parts.drawn), 3), parts.drawn
    found = float(trainer.losses(rows, 0.0)["task"])
    image = parts.clip.visual.head(parts.pooled[:, 0])

    def vector(modality: Modality, row: int) -> Tensor:
        picture, text = image[drawn.item[row]], parts.texts[drawn.own[row]]
        return {Modality.IMAGE: picture, Modality.TEXT: text, Modality.PAIR: picture + text}[modality]

    losses = []
    for row in rows.tolist():
        query = parts.texts[drawn.query[row]]
        if drawn.picture[row] >= 0:
            query = query + image[drawn.picture[row]]
        wanted = TASKS[drawn.task[row]].target
        logits, right = [], None
        for modality in Modality:
            for other in rows.tolist():
                same = (
                    NOUNS[drawn.item[row]] == NOUNS[drawn.item[other]] or drawn.own[row] == drawn.own[other]
                )
                if (modality, other) == (wanted, row):
                    right = len(logits)
                elif same and (modality == wanted or not drawn.instructed[row]):
                    continue  # shows or says the same: no negative
                cosine = F.cosine_similarity(query, vector(modality, other), dim=0)
                logits.append(torch.tensor(2.0).exp() * cosine)
        losses.append(F.cross_entropy(torch.stack(logits), torch.tensor(right)))
    assert found == pytest.approx(float(torch.stack(losses).mean()), rel=1e-4)


def test_projections_learn_and_a_finished_run_is_not_run_again(
    parts: SimpleNamespace, tmp_path: Path
) -> None:
    settings = ProjectionTraining(epochs=40, batch=40)
    start = {name: value.clone() for name, value in parts.clip.state_dict().items()}
    trainer = ProjectionTrainer(parts.clip, ITEMS, parts.pooled, parts.texts, parts.drawn)
    everything = torch.arange(len(parts.drawn))
    before = float(trainer.losses(everything, 0.0)["loss"].detach())
    train_projections(parts.clip, ITEMS, parts.pooled, parts.texts, parts.drawn, settings, tmp_path / "whole")
    assert float(trainer.losses(everything, 0.0)["loss"].detach()) < 0.7 * before
    learned = {name: value.clone() for name, value in parts.clip.state_dict().items()}
    parts.clip.load_state_dict(start)
    train_projections(parts.clip, ITEMS, parts.pooled, parts.texts, parts.drawn, settings, tmp_path / "whole")
    for name, value in parts.clip.state_dict().items():
        assert torch.equal(value, learned[name]), name


def test_what_was_tuned_is_mixed_with_what_was_before(parts: SimpleNamespace, tmp_path: Path) -> None:
    start = {name: value.clone() for name, value in parts.clip.state_dict().items()}
    found = {}
    for tuned in (1.0, 0.25):  # the finished run is mixed anew
        parts.clip.load_state_dict(start)
        settings = ProjectionTraining(epochs=2, batch=40, tuned=tuned)
        train_projections(parts.clip, ITEMS, parts.pooled, parts.texts, parts.drawn, settings, tmp_path)
        found[tuned] = {name: value.clone() for name, value in parts.clip.state_dict().items()}
    for name, value in start.items():
        assert not torch.equal(value, found[1.0][name]), name
        torch.testing.assert_close(found[0.25][name], 0.75 * value + 0.25 * found[1.0][name])
