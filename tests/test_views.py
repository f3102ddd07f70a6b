"""Augmented views: computed once, found again, and one with what the whole tower sees."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from open_clip.transform import PreprocessCfg, image_transform_v2
from tiny import draw
from torch import Tensor, nn

from genius.images import open_image
from genius.training import views as views_module
from genius.training.corpus import Item, Kind
from genius.training.encoder import PREPROCESS
from genius.training.views import Views, build_views, lower_tower, upper_tower, view_of


@pytest.fixture(scope="module")
def trunk() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite2", pretrained=False, num_classes=0).eval()


@pytest.fixture(scope="module")
def pictured_items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    folder = tmp_path_factory.mktemp("views")
    items = []
    for n, (source, caption) in enumerate(
        [("photos", "red circle"), ("photos", "blue square"), ("openmoji", "teal triangle")]
    ):
        draw(caption, 100).save(folder / f"{n}.png")
        kind = Kind.PHOTO if source == "photos" else Kind.DRAWING
        items.append(Item(f"{source}/{n}", kind, folder / f"{n}.png", (caption,), caption))
    return [*items, Item("imagenet/291", Kind.CLASS, None, ("lion",), "lion")]


NORMALISE = image_transform_v2(PreprocessCfg(**PREPROCESS), is_train=False)


@torch.inference_mode()
def test_the_two_halves_of_the_tower_make_the_whole(trunk: nn.Module) -> None:
    pixels = torch.randn(2, 3, 224, 224)
    lower = lower_tower(trunk, pixels)
    assert lower.shape[1:] == views_module.MAP_SHAPE
    torch.testing.assert_close(upper_tower(trunk, lower), trunk(pixels), rtol=1e-4, atol=1e-6)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(F.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0))


def test_views_are_computed_once_and_source_by_source(
    trunk: nn.Module, pictured_items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = pictured_items[:2]
    first = build_views(photos, trunk, NORMALISE, tmp_path, 2, 0)
    assert first.count == 2
    ids = [item.id for item in photos]
    with torch.inference_mode():
        plain = torch.stack([NORMALISE(open_image(item.image).resize((224, 224), 3)) for item in photos])
        expected = trunk(plain)
    for n in range(2):
        assert cosine(first.features(ids, [0, 0])[n], expected[n]) > 0.995  # view 0, in low precision
        assert cosine(first.features(ids, [1, 1])[n], expected[n]) < 0.99999  # the other is augmented
    with torch.inference_mode():
        from_maps = upper_tower(trunk, first.maps(ids, [0, 1]))
    for n, view in enumerate([0, 1]):
        assert cosine(from_maps[n], first.features([ids[n]], [view])[0]) > 0.995

    computed: list[int] = []

    def counting(trunk: nn.Module, pixels: Tensor) -> Tensor:
        computed.append(len(pixels))
        return lower_tower(trunk, pixels)

    monkeypatch.setattr(views_module, "lower_tower", counting)
    second = build_views(pictured_items, trunk, NORMALISE, tmp_path, 2, 0)
    assert sum(computed) == 2  # one new drawing, two views; the photographs were there, the class has none
    for picks in ([0, 0], [1, 1]):
        assert torch.equal(second.maps(ids, picks), first.maps(ids, picks))
        assert torch.equal(second.features(ids, picks), first.features(ids, picks))
    build_views(pictured_items, trunk, NORMALISE, tmp_path, 3, 0)
    assert sum(computed) == 2 + 9  # another number of views: all anew


def test_views_are_found_by_id_whatever_the_order() -> None:
    maps = np.arange(2 * 3 * 4, dtype=np.float16).reshape(2, 3, 1, 2, 2)
    parts = [
        (maps, np.zeros((2, 3, 1), np.float16)),
        (np.full((1, 3, 1, 2, 2), 99, np.float16), np.ones((1, 3, 1), np.float16)),
    ]
    views = Views(parts, [["a/0", "a/1"], ["b/0"]])
    found = views.maps(["b/0", "a/1", "a/0", "a/1"], [2, 0, 1, 2])
    assert found[:, 0, 0, 0].tolist() == [99, 12, 4, 20]
    assert views.features(["a/0", "b/0"], [0, 0]).flatten().tolist() == [0, 1]


@pytest.mark.parametrize("kind", [Kind.PHOTO, Kind.DRAWING])
def test_view_zero_is_the_picture_itself(kind: Kind) -> None:
    image = draw("purple triangle", 90)
    plain = image.resize((224, 224), 3)
    assert np.array_equal(view_of(image, kind, 0), plain)
    torch.manual_seed(0)
    others = [np.asarray(view_of(image, kind, view)) for view in range(1, 8)]
    assert {other.shape for other in others} == {(224, 224, 3)}
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations([*others, plain], 2))
