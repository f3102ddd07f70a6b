"""The encoder against open_clip's own way of opening and running the same folder."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import CAPTIONS, CONTEXT, DIM, draw, make_tiny_encoder

from genius.encoder import CONFIG_FILE, WEIGHTS_FILE, Encoder, Features, batches
from genius.schema import UserError

TEXTS = ["A red circle.", "Find the picture of this. Not a blue square, but a teal one!", "Blue.", "?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder") / "clip")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return Encoder.load(folder)


@pytest.fixture(scope="module")
def oracle(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """open_clip's model, preprocessing and tokenizer; it looks for the text tower where the file says."""
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("oracle") / "clip")
    config = json.loads((copy / CONFIG_FILE).read_text())
    config["model_cfg"]["text_cfg"] |= {"hf_model_name": str(copy), "hf_model_pretrained": False}
    (copy / CONFIG_FILE).write_text(json.dumps(config))
    clip, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{copy}", pretrained_text=False)
    return clip.eval(), preprocess, open_clip.get_tokenizer(f"local-dir:{copy}")


@torch.inference_mode()
def test_texts_equal_open_clip_on_fully_padded_tokens(encoder: Encoder, oracle: tuple) -> None:
    clip, _, tokenizer = oracle
    tokens = tokenizer(TEXTS)
    assert tokens.shape == (len(TEXTS), CONTEXT)
    torch.testing.assert_close(encoder.encode_texts(TEXTS), clip.encode_text(tokens), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_images_equal_open_clip(encoder: Encoder, oracle: tuple) -> None:
    clip, preprocess, _ = oracle
    images = [draw("red circle"), draw("teal triangle").resize((200, 90)), Image.new("RGB", (7, 300), "navy")]
    expected = clip.encode_image(torch.stack([preprocess(image) for image in images]))
    torch.testing.assert_close(encoder.encode_images(images), expected, rtol=1e-4, atol=1e-5)


def test_lower_precision_comes_close_and_gives_single_precision(encoder: Encoder, folder: Path) -> None:
    low = Encoder.load(folder, "cpu", torch.bfloat16)  # half precision is for accelerators
    assert low.dtype is torch.bfloat16
    images = [draw(caption) for caption in CAPTIONS[:4]]
    ours, exact = low.encode(images, TEXTS), encoder.encode(images, TEXTS)
    for close, to in ((ours.image, exact.image), (ours.text, exact.text)):
        assert close.dtype is torch.float32
        assert torch.nn.functional.cosine_similarity(close, to).min() > 0.99


def test_a_text_has_the_same_features_alone_and_among_longer_ones(encoder: Encoder) -> None:
    assert encoder.tokenize([TEXTS[0]]).shape[1] < encoder.tokenize(TEXTS).shape[1]
    together = encoder.encode_texts(TEXTS)
    alone = torch.cat([encoder.encode_texts([text]) for text in TEXTS])
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)


def test_different_things_have_different_features(encoder: Encoder) -> None:
    for features in (encoder.encode_texts(CAPTIONS), encoder.encode_images([draw(c) for c in CAPTIONS])):
        assert features.dtype is torch.float32
        assert features.shape == (len(CAPTIONS), DIM)
        distance = torch.cdist(features, features) + torch.eye(len(CAPTIONS)) * 1e3
        assert distance.min() > 0.01


def test_what_exceeds_the_context_is_cut(encoder: Encoder) -> None:
    long = "red circle " * 1000
    assert encoder.tokenize([long]).shape == (1, CONTEXT)
    longer = encoder.encode_texts([long, long + "blue square"])
    assert longer.isfinite().all()
    torch.testing.assert_close(longer[0], longer[1])


@pytest.mark.parametrize("text", ["\N{GRINNING FACE} 漢字", "\x00\x01", "[MASK] [PAD] [SEP]", "ÀÉ\u202e ﷽"])
def test_strange_texts_are_texts(encoder: Encoder, text: str) -> None:
    assert encoder.encode_texts([text]).isfinite().all()


def test_absent_sides_are_zeros(encoder: Encoder) -> None:
    red, blue = draw("red circle"), draw("blue square")
    found = encoder.encode([red, None, blue, None], ["", "Red circle.", "Blue square.", " \n"])
    assert len(found) == 4
    assert found.has_image.tolist() == [True, False, True, False]
    assert found.has_text.tolist() == [False, True, True, False]
    assert not found.image[[1, 3]].any() and not found.text[[0, 3]].any()
    torch.testing.assert_close(found.image[[0, 2]], encoder.encode_images([red, blue]))
    torch.testing.assert_close(found.text[[1, 2]], encoder.encode_texts(["Red circle.", "Blue square."]))


def test_nothing_to_encode(encoder: Encoder) -> None:
    found = encoder.encode([], [])
    assert found.image.shape == found.text.shape == found.embedding().shape == (0, DIM)


def test_embedding_is_the_normalised_sum() -> None:
    yes, no = torch.tensor([True]), torch.tensor([False])
    pair = Features(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]]), yes, yes)
    torch.testing.assert_close(pair.embedding(), torch.tensor([[0.6, 0.8]]))
    image = Features(torch.tensor([[0.0, -2.0]]), torch.zeros(1, 2), yes, no)
    torch.testing.assert_close(image.embedding(), torch.tensor([[0.0, -1.0]]))


def test_weights_go_through_the_folder_bit_for_bit(folder: Path) -> None:
    stored = load_file(folder / WEIGHTS_FILE)
    half = Encoder.load(folder, dtype=torch.float16)
    assert half.dtype is torch.float16 and half.device == torch.device("cpu")
    for encoder in (half, Encoder.load(folder)):
        state = encoder.clip.state_dict()
        assert state.keys() == stored.keys()
        for name, value in stored.items():
            assert torch.equal(state[name].to(value.dtype), value), name


def test_loading_needs_neither_network_nor_the_place_it_was_made(
    folder: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object) -> None:
        raise AssertionError("something wants the network")

    monkeypatch.setattr(socket.socket, "connect", offline)
    monkeypatch.setattr(socket, "getaddrinfo", offline)
    moved = Encoder.load(Path(shutil.copytree(folder, tmp_path / "a folder" / "of its own")))
    assert torch.equal(moved.encode_texts(TEXTS), encoder.encode_texts(TEXTS))


def test_the_tokenizer_is_the_one_in_the_folder(encoder: Encoder) -> None:
    """A missing vocabulary once went unnoticed: every word was unknown, and all texts of a length alike."""
    red, blue = encoder.tokenize(["red circle", "blue square"]).tolist()
    assert len(set(red) & set(blue)) == 2  # the marks of beginning and end


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


FILES = [CONFIG_FILE, WEIGHTS_FILE, "config.json", "tokenizer.json"]


@pytest.mark.parametrize("damage", [Path.unlink, truncated, emptied])
@pytest.mark.parametrize("name", FILES)
def test_missing_and_damaged_files_are_named(
    folder: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "clip"))
    damage(copy / name)
    with pytest.raises(UserError, match=rf"(?s){name}.*(Restore|train)"):
        Encoder.load(copy)


@pytest.mark.parametrize("damage", ["missing", "extra", "image shape", "text shape"])
def test_weights_of_another_model_are_refused(folder: Path, tmp_path: Path, damage: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "clip"))
    state = load_file(copy / WEIGHTS_FILE)
    if damage == "missing":
        del state["visual.head.proj.weight"]
    elif damage == "extra":
        state["visual.unheard_of"] = torch.zeros(1)
    else:
        name = {"image shape": "visual.head.proj.weight", "text shape": "text.proj.0.weight"}[damage]
        state[name] = state[name][:-1].contiguous()
    save_file(state, copy / WEIGHTS_FILE)
    with pytest.raises(UserError, match=WEIGHTS_FILE):
        Encoder.load(copy)


@pytest.mark.parametrize(
    "config",
    [
        [],
        {},
        {"model_cfg": {}},
        {"model_cfg": {"embed_dim": DIM, "text_cfg": {}}},
        {"model_cfg": {"text_cfg": {}, "vision_cfg": {}}},
        {"model_cfg": {"embed_dim": DIM, "vision_cfg": {"unheard_of": 1}, "text_cfg": {}}},
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(folder: Path, tmp_path: Path, config: object) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "clip"))
    (copy / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(UserError, match=str(copy)):
        Encoder.load(copy)


def test_batches_cover_everything_once() -> None:
    assert [list(range(10))[part] for part in batches(10, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert list(batches(0, 4)) == []


def test_a_tokenizer_brings_no_code(folder: Path, tmp_path: Path) -> None:
    """A configuration that asks for code of its own to be trusted is not obeyed."""
    other = tmp_path / "encoder"
    shutil.copytree(folder, other)
    (other / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    for name, change in {
        "open_clip_config.json": {
            "model_cfg": {"text_cfg": {"tokenizer_kwargs": {"trust_remote_code": True}}}
        },
        "tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}},
    }.items():
        path = other / name
        path.write_text(json.dumps(merged(json.loads(path.read_text()), change)))
    with contextlib.suppress(UserError):
        Encoder.load(other)
    assert not (tmp_path / "ran").exists()


def merged(old: dict, new: dict) -> dict:
    """`old` with the values of `new`, dictionaries within both being merged, too."""
    return old | {
        key: merged(old[key], value) if isinstance(value, dict) and key in old else value
        for key, value in new.items()
    }
