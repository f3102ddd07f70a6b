"""A bundle comes back as it was written, or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import CAPTIONS, DIM, LEVELS, draw, make_tiny_parts, round_to_half

from genius.checkpoint import CONFIG_FILE, Bundle, load_bundle, pick_device, pick_dtype, save_parts
from genius.encoder import WEIGHTS_FILE, Encoder
from genius.fusion import Fusion, FusionConfig
from genius.schema import UserError

PARTS = ("fusion", "quantizer", "decoder")


@torch.inference_mode()
def test_a_reloaded_bundle_computes_the_same(tiny_bundle_folder: Path, tiny_bundle: Bundle) -> None:
    encoder = Encoder.load(tiny_bundle_folder / "encoder")
    fusion, quantizer, decoder = make_tiny_parts(encoder)  # as they were before they were written
    features = encoder.encode([draw(caption) for caption in CAPTIONS], CAPTIONS)
    reloaded = tiny_bundle.encoder.encode([draw(caption) for caption in CAPTIONS], CAPTIONS)
    assert torch.equal(reloaded.image, features.image) and torch.equal(reloaded.text, features.text)
    z = fusion(features.image, features.text)
    assert torch.equal(tiny_bundle.fusion(features.image, features.text), z)
    codes = quantizer.encode(z)
    assert torch.equal(tiny_bundle.quantizer.encode(z), codes)
    assert torch.equal(tiny_bundle.quantizer.decode(codes), quantizer.decode(codes))
    both = zip(tiny_bundle.decoder.log_probs(z, codes), decoder.log_probs(z, codes), strict=True)
    assert all(torch.equal(reloaded, before) for reloaded, before in both)


def test_everything_is_ready_for_use(tiny_bundle: Bundle) -> None:
    assert tiny_bundle.name == "tiny"
    for module in (tiny_bundle.fusion, tiny_bundle.quantizer, tiny_bundle.decoder, tiny_bundle.encoder.clip):
        assert not module.training
        assert {value.dtype for value in module.state_dict().values() if value.is_floating_point()} == {
            torch.float32
        }
    assert tiny_bundle.quantizer.config.levels == tiny_bundle.decoder.config.levels == LEVELS
    assert tiny_bundle.fusion.config.dim == tiny_bundle.encoder.dim == DIM


def test_codewords_are_kept_exactly_and_the_rest_in_half_precision(tiny_bundle_folder: Path) -> None:
    kinds = {
        part: {value.dtype for value in load_file(tiny_bundle_folder / f"{part}.safetensors").values()}
        for part in PARTS
    }
    assert kinds == {
        "fusion": {torch.float16},
        "quantizer": {torch.float32},
        "decoder": {torch.float16},
    }


def test_the_fingerprint_follows_what_decides_codes_and_vectors(bundle_copy: Path) -> None:
    encoder = Encoder.load(bundle_copy / "encoder")

    def fingerprint(change: Callable[[Any, Any, Any], None]) -> str:
        parts = make_tiny_parts(encoder)
        with torch.no_grad():
            change(*parts)
        save_parts(bundle_copy, "tiny", *parts)
        return load_bundle(bundle_copy, "cpu").fingerprint

    same = fingerprint(lambda fusion, quantizer, decoder: None)
    assert same == fingerprint(lambda fusion, quantizer, decoder: None)
    assert same == fingerprint(lambda fusion, quantizer, decoder: decoder.prefix.bias.add_(1))
    others = {
        fingerprint(lambda fusion, quantizer, decoder: fusion.output.bias.add_(1)),
        fingerprint(lambda fusion, quantizer, decoder: quantizer.codebook(3).add_(1)),
    }
    clip = encoder.clip
    with torch.no_grad():
        clip.visual.head.proj.bias.add_(1)
    state = {name: value.contiguous() for name, value in clip.state_dict().items()}
    save_file(state, bundle_copy / "encoder" / WEIGHTS_FILE)
    others.add(fingerprint(lambda fusion, quantizer, decoder: None))
    assert len({same, *others}) == 4


def test_a_bundle_may_be_moved(tiny_bundle_folder: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    moved = load_bundle(Path(shutil.copytree(tiny_bundle_folder, tmp_path / "else where")), "cpu")
    assert moved.fingerprint == tiny_bundle.fingerprint
    texts = ["Red circle.", "Blue square."]
    assert torch.equal(moved.encoder.encode_texts(texts), tiny_bundle.encoder.encode_texts(texts))


def test_half_precision_costs_next_to_nothing(bundle_copy: Path) -> None:
    encoder = Encoder.load(bundle_copy / "encoder")
    _, quantizer, decoder = make_tiny_parts(encoder)
    torch.manual_seed(0)
    exact = Fusion(FusionConfig(DIM, 12, 20)).eval()
    save_parts(bundle_copy, "tiny", exact, quantizer, decoder)
    image, text = torch.randn(50, DIM), torch.randn(50, DIM)
    stored = load_bundle(bundle_copy, "cpu").fusion
    torch.testing.assert_close(stored(image, text), exact(image, text), atol=1e-3, rtol=0)
    assert torch.equal(stored(image, text), round_to_half(exact)(image, text))


def test_devices() -> None:
    assert pick_device("meta") == torch.device("meta")
    assert pick_device() == pick_device(None)
    assert pick_device().type in ("cpu", "cuda", "mps")
    for name in ("toaster", "cpu:x") + (() if torch.cuda.is_available() else ("cuda",)):
        with pytest.raises(UserError, match=rf"The device '{name}' cannot be used .*Choose cuda, mps or cpu"):
            pick_device(name)


def test_half_precision_on_accelerators_only() -> None:
    kinds = {kind: pick_dtype(torch.device(kind)) for kind in ("cpu", "cuda", "mps")}
    assert kinds == {"cpu": torch.float32, "cuda": torch.float16, "mps": torch.float16}


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def missing_tensor(path: Path) -> None:
    state = load_file(path)
    del state[sorted(state)[0]]
    save_file(state, path)


def extra_tensor(path: Path) -> None:
    save_file(load_file(path) | {"unheard_of": torch.zeros(1)}, path)


def other_shape(path: Path) -> None:
    state = load_file(path)
    name = sorted(state)[0]
    state[name] = torch.cat([state[name], state[name]])
    save_file(state, path)


def pickled(path: Path) -> None:
    torch.save({"a": 1}, path)


@pytest.mark.parametrize(
    "damage", [Path.unlink, truncated, emptied, missing_tensor, extra_tensor, other_shape, pickled]
)
@pytest.mark.parametrize("part", PARTS)
def test_weights_that_are_missing_damaged_or_another_models_are_named(
    bundle_copy: Path, part: str, damage: Callable[[Path], None]
) -> None:
    damage(bundle_copy / f"{part}.safetensors")
    with pytest.raises(UserError, match=rf"(?s){part}\.safetensors.*Restore the bundle"):
        load_bundle(bundle_copy, "cpu")


@pytest.mark.parametrize("damage", [Path.unlink, truncated, emptied, pickled])
def test_a_broken_configuration_is_named(bundle_copy: Path, damage: Callable[[Path], None]) -> None:
    damage(bundle_copy / CONFIG_FILE)
    with pytest.raises(UserError, match=rf"(?s){CONFIG_FILE}.*Restore the bundle"):
        load_bundle(bundle_copy, "cpu")


def drop(*names: str) -> Callable[[Any], Any]:
    def change(config: Any) -> Any:
        inner = config
        for name in names[:-1]:
            inner = inner[name]
        del inner[names[-1]]
        return config

    return change


def put(value: object, *names: str) -> Callable[[Any], Any]:
    def change(config: Any) -> Any:
        inner = config
        for name in names[:-1]:
            inner = inner[name]
        inner[names[-1]] = value
        return config

    return change


CHANGES = {
    "no format": drop("format"),
    "no fusion": drop("fusion"),
    "no quantizer": drop("quantizer"),
    "no decoder": drop("decoder"),
    "no name": drop("name"),
    "no fingerprint": drop("fingerprint"),
    "no dim": drop("fusion", "dim"),
    "no levels": drop("quantizer", "levels"),
    "unknown setting": put(1, "decoder", "unheard_of"),
    "a word for a number": put("many", "fusion", "hidden"),
    "less than nothing": put(-1, "fusion", "hidden"),
    "a decoder of no width": put(0, "decoder", "width"),
    "a list for a table": put([], "quantizer"),
    "nothing for a table": put(None, "decoder"),
    "only a list": lambda config: [config],
    "only a number": lambda config: 3,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_configuration_that_makes_no_sense_is_named(
    bundle_copy: Path, change: Callable[[Any], Any]
) -> None:
    path = bundle_copy / CONFIG_FILE
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UserError, match=rf"(?s){path}.*Restore the bundle"):
        load_bundle(bundle_copy, "cpu")


def test_sizes_that_do_not_fit_the_weights_are_refused(bundle_copy: Path) -> None:
    path = bundle_copy / CONFIG_FILE
    path.write_text(json.dumps(put(13, "fusion", "projection")(json.loads(path.read_text()))))
    with pytest.raises(UserError, match=r"fusion\.safetensors"):
        load_bundle(bundle_copy, "cpu")


def test_another_format_asks_for_an_update(bundle_copy: Path) -> None:
    path = bundle_copy / CONFIG_FILE
    path.write_text(json.dumps(put(99, "format")(json.loads(path.read_text()))))
    with pytest.raises(UserError, match=rf"{path} is of format 99.*Update"):
        load_bundle(bundle_copy, "cpu")


def test_something_that_is_no_bundle(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="is not a model bundle"):
            load_bundle(folder, "cpu")


def test_a_bundle_without_its_encoder_is_refused(bundle_copy: Path) -> None:
    shutil.rmtree(bundle_copy / "encoder")
    with pytest.raises(UserError, match=r"encoder has no open_clip_config\.json"):
        load_bundle(bundle_copy, "cpu")
