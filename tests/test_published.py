"""The converted model against the published network, built from the same files by other means."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import layout
import numpy as np
import open_clip
import pytest
import torch
from layout import SMALL, WORDLESS, Files, Sizes, make_files
from open_clip.model import build_model_from_openai_state_dict
from open_clip.transform import PreprocessCfg, image_transform_v2
from tiny import CAPTIONS, draw

from genius import convert
from genius.beam import beam_search
from genius.checkpoint import Bundle, load_bundle
from genius.convert import CONVERSION_FILE, convert_genius
from genius.engine import Engine
from genius.instructions import format_text
from genius.published import read_published
from genius.schema import Modality, Query, SearchOptions, UserError
from genius.trie import CodeTrie

FULL = Sizes()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, Bundle]:
    folder = tmp_path_factory.mktemp("published")
    files = make_files(folder / "files")
    convert_genius(*files.paths(), folder / "bundle")
    return files, load_bundle(folder / "bundle", "cpu")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, Bundle]:
    """All widths as published, K = 64; the towers before them are narrow."""
    folder = tmp_path_factory.mktemp("full")
    files = make_files(folder / "files", FULL)
    convert_genius(*files.paths(), folder / "bundle")
    return files, load_bundle(folder / "bundle", "cpu")


both = pytest.mark.parametrize("made", ["small", pytest.param("full", marks=pytest.mark.slow)])


@pytest.fixture
def converted(made: str, request: pytest.FixtureRequest) -> tuple[Files, Bundle]:
    return request.getfixturevalue(made)


def features(dim: int, count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    image, text = 3 * torch.randn(count, dim), 3 * torch.randn(count, dim)
    image[: count // 4] = 0
    text[count // 4 : count // 2] = 0
    return image, text


@torch.inference_mode()
def test_features_are_those_of_open_clips_own_reading(small: tuple[Files, Bundle]) -> None:
    files, bundle = small
    state = {name.removeprefix("clip_model."): value for name, value in files.state["clip_sf"].items()}
    oracle = build_model_from_openai_state_dict(dict(state)).float()
    preprocess = image_transform_v2(PreprocessCfg(size=64), is_train=False)  # the default is OpenAI's
    images = [draw(caption, 90).resize((120, 90)) for caption in CAPTIONS[:5]]
    texts = ["A photo of a cat.", "", "word " * 200, "Ünïcode — 漢字!", "Find me an everyday picture."]
    expected = oracle.encode_image(torch.stack([preprocess(image) for image in images]))
    torch.testing.assert_close(bundle.encoder.encode_images(images), expected, atol=1e-5, rtol=1e-4)
    tokens = open_clip.get_tokenizer("ViT-L-14-quickgelu")(texts)
    expected = oracle.encode_text(tokens)
    torch.testing.assert_close(bundle.encoder.encode_texts(texts), expected, atol=1e-5, rtol=1e-4)


@both
@torch.inference_mode()
def test_fusion_and_codes(converted: tuple[Files, Bundle]) -> None:
    files, bundle = converted
    image, text = features(files.sizes.dim)
    z = bundle.fusion(image, text)
    expected = layout.fused(files.state["quantizer"], image, text)
    np.testing.assert_allclose(z, expected, atol=1e-5)
    codes = bundle.quantizer.encode(z)
    np.testing.assert_array_equal(codes, layout.coded(files.state["quantizer"], expected, files.sizes.levels))
    assert len(np.unique(codes, axis=0)) > 30  # a test of one code would prove little


@both
@torch.inference_mode()
def test_prefixes_and_logits_of_every_step(converted: tuple[Files, Bundle]) -> None:
    files, bundle = converted
    s, state = files.sizes, files.state["decoder"]
    z = bundle.fusion(*features(s.dim, 6))
    codes = bundle.quantizer.encode(z)
    embeds = layout.prefixes(state, z, s)
    torch.testing.assert_close(bundle.decoder.prefix(z).view_as(embeds), embeds, atol=1e-5, rtol=1e-5)
    starts = torch.tensor([s.rows(level).start for level in range(s.levels)])
    tokens = torch.nn.functional.pad(codes[:, :-1] + starts[:-1], (1, 0), value=0)
    t5 = layout.loaded_t5(state, s)
    logits = t5(inputs_embeds=embeds, decoder_input_ids=tokens).logits
    for level, ours in enumerate(bundle.decoder(z, codes)):
        torch.testing.assert_close(ours, logits[:, level, s.rows(level)], atol=1e-4, rtol=1e-5)


@both
def test_beams(converted: tuple[Files, Bundle]) -> None:
    files, bundle = converted
    s, state = files.sizes, files.state["decoder"]
    with torch.inference_mode():
        queries = bundle.fusion(*features(s.dim, 4))
    dice = np.random.default_rng(0)
    candidates = dice.integers(0, [3, *[min(s.codes, 5)] * (s.levels - 1)], (500, s.levels))
    sizes = (3, *[s.codes] * (s.levels - 1))
    found = beam_search(
        bundle.decoder, CodeTrie.build(candidates, sizes), queries, 20, normalizer="vocabulary"
    )
    t5 = layout.loaded_t5(state, s)
    for z, beams in zip(queries, found, strict=True):
        codes, scores = layout.generated(t5, layout.prefixes(state, z[None], s), candidates, s, 20)
        np.testing.assert_array_equal(beams.codes, codes)
        np.testing.assert_allclose(beams.log_probs, scores, atol=1e-4)


@both
def test_a_search_from_pictures_to_hits(
    converted: tuple[Files, Bundle], tiny_pictures: Path, tmp_path: Path
) -> None:
    """The engine on the bundle: candidates have the oracle's codes, the query the oracle's best addresses."""
    files, bundle = converted
    engine = Engine(bundle, Engine.load(_folder(files), tiny_pictures, device="cpu").index)
    for candidate in engine.candidates[:40:3]:
        picture = [draw(candidate.image.stem.replace("-", " "))] if candidate.image else []
        image = bundle.encoder.encode_images(picture)[0] if picture else torch.zeros(files.sizes.dim)
        words = bundle.encoder.encode_texts([format_text(candidate.text)])[0] if candidate.text else None
        text = torch.zeros_like(image) if words is None else words
        z = layout.fused(files.state["quantizer"], image[None], text[None])
        expected = layout.coded(files.state["quantizer"], z, files.sizes.levels)
        np.testing.assert_array_equal(engine.index.codes([engine.index.row(candidate.id)]), expected)
    [result] = engine.search([Query(text="a red circle")], SearchOptions(top_k=1000, beams=90))
    pursued = [beam.prefix[0] for beam in result.trace[0].kept]  # modalities that are not far behind
    first = engine.index.codes(np.arange(len(engine.candidates)))[:, 0]
    assert len(result.hits) == np.isin(first, pursued).sum()  # every beam, so every address of theirs
    t5, s = layout.loaded_t5(files.state["decoder"], files.sizes), files.sizes
    text = bundle.encoder.encode_texts(["A red circle."])
    z = layout.fused(files.state["quantizer"], torch.zeros_like(text), text).float()
    hit = result.hits[0]
    tokens = torch.tensor([[0, *(s.rows(level).start + c for level, c in enumerate(hit.semantic_id[:-1]))]])
    with torch.no_grad():
        logits = t5(
            inputs_embeds=layout.prefixes(files.state["decoder"], z, s), decoder_input_ids=tokens
        ).logits[0]
    codes, log_probs = engine.index.codes(np.arange(len(engine.candidates))), []
    for level, code in enumerate(hit.semantic_id):  # it competes with the codes that exist
        beside = codes[(codes[:, :level] == hit.semantic_id[:level]).all(axis=1), level]
        own = logits[level, s.rows(level)]
        log_probs.append(float(own[code] - own[np.unique(beside)].logsumexp(0)))
    assert hit.log_prob == pytest.approx(sum(log_probs), abs=1e-4)


def _folder(files: Files) -> Path:
    return files.clip_sf.parents[1] / "bundle"


def test_what_the_files_held_besides_is_listed(small: tuple[Files, Bundle]) -> None:
    files, _ = small
    done = json.loads((_folder(files) / CONVERSION_FILE).read_text())
    assert done["checksums"].keys() == {path.name for path in files.paths()}
    whole = ["optimizer", "scheduler", "config", "epoch", "scaler"]
    assert done["ignored"]["clip_sf_large.pth"] == [
        "clip_model.input_resolution",
        "clip_model.context_length",
        *whole,
    ]
    left = done["ignored"]["GENIUS_t5small.pth"]
    assert {"contra_projector.weight", "quantizer.vq._codebook.embed", *whole} <= set(left)
    assert {"quantizer.residual_rq.layers.3._codebook.embed_avg"} <= set(left)
    assert "clip_model.logit_scale" in done["ignored"]["rq_clip_large.pth"]
    used = [
        name for name in left if name.startswith(("id_generator", "embed_projector", "quantizer.encoder"))
    ]
    assert used == []
    assert done["checksums"]["clip_sf_large.pth"] in (_folder(files) / "README.md").read_text()


def test_half_precision_halves_the_bundle_and_changes_next_to_nothing(
    small: tuple[Files, Bundle], tmp_path: Path
) -> None:
    files, exact = small
    convert_genius(*files.paths(), tmp_path / "half", half=True)
    rounded = load_bundle(tmp_path / "half", "cpu")

    def size(folder: Path) -> int:
        return sum((folder / part).stat().st_size for part in ("fusion.safetensors", "decoder.safetensors"))

    assert size(tmp_path / "half") < 0.7 * size(_folder(files))  # the rest are the headers' names
    image, text = features(SMALL.dim)
    torch.testing.assert_close(rounded.fusion(image, text), exact.fusion(image, text), atol=2e-3, rtol=0)


# ---- codebooks that moved, codes that are numbered otherwise ----


def test_the_decoders_own_codebooks_are_the_ones(tmp_path: Path) -> None:
    files = make_files(tmp_path, WORDLESS)
    name = "residual_rq.layers.2._codebook.embed"
    files.state["decoder"][f"quantizer.{name}"] = files.state["quantizer"][name] + 1
    found = read_published(*files.write().paths())
    assert found.notes == (
        "The codebooks of GENIUS_t5small.pth are taken: they differ from those of rq_clip_large.pth.",
    )
    assert torch.equal(found.quantizer.codebook(2), files.state["quantizer"][name][0] + 1)


def test_the_decoders_own_fusion_is_the_one(tmp_path: Path) -> None:
    files = make_files(tmp_path, WORDLESS)
    files.state["quantizer"]["encoder.output_layer.bias"] = torch.ones(16)
    found = read_published(*files.write().paths())
    assert len(found.notes) == 1 and found.notes[0].startswith("The fusion of GENIUS_t5small.pth")
    own = files.state["decoder"]["quantizer.encoder.output_layer.bias"]
    assert torch.equal(found.fusion.output.bias, own)


def test_a_decoder_without_its_own_quantizer_takes_the_other(tmp_path: Path) -> None:
    files = make_files(tmp_path, WORDLESS)
    kept = {n: v for n, v in files.state["decoder"].items() if not n.startswith("quantizer.")}
    files.state["decoder"] = kept
    found = read_published(*files.write().paths())
    name = "residual_rq.layers.2._codebook.embed"
    assert torch.equal(found.quantizer.codebook(2), files.state["quantizer"][name][0])
    assert found.notes == ()


@torch.inference_mode()
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_first_codes_get_the_numbers_of_their_modalities(
    small: tuple[Files, Bundle], tmp_path: Path, order: tuple[int, ...]
) -> None:
    """A codebook that tells modalities apart, numbered as k-means might: code order[m] means modality m."""
    _, bundle = small
    moved = make_files(tmp_path)  # the same seed, the same files
    encoder = bundle.encoder
    image = encoder.encode_images([convert._drawing(colour) for colour in convert._COLOURS])
    text = encoder.encode_texts([f"A {colour} circle on a white wall." for colour in convert._COLOURS])
    nothing = torch.zeros_like(image)
    sides = [(image, nothing), (nothing, text), (image, text)]
    z = torch.cat([layout.fused(moved.state["quantizer"], *side) for side in sides]).float()
    apart = torch.linalg.lstsq(z, torch.eye(3).repeat_interleave(len(image), 0)).solution.T
    book = torch.zeros(3, SMALL.dim)
    book[list(order)] = 0.1 * apart / apart.square().sum(1).max()  # so short that only directions count
    for prefix, part in (("", "quantizer"), ("quantizer.", "decoder")):
        moved.state[part][f"{prefix}residual_rq.layers.0._codebook.embed"] = book[None]
    done = convert_genius(*moved.write().paths(), tmp_path / "bundle")
    assert any("0, 1 and 2" in note for note in done.notes) == (order != (0, 1, 2))
    made = load_bundle(tmp_path / "bundle", "cpu")
    for modality, (pictures, words) in zip(Modality, sides, strict=True):
        codes = made.quantizer.encode(made.fusion(pictures, words))
        assert codes[:, 0].tolist() == [modality] * len(codes)
    z = made.fusion(*features(SMALL.dim, 5))  # and the decoder still says the same of every modality
    [ours, *_] = made.decoder.log_probs(z, torch.zeros(5, SMALL.levels, dtype=torch.long))
    [theirs, *_] = bundle.decoder.log_probs(z, torch.zeros(5, SMALL.levels, dtype=torch.long))
    torch.testing.assert_close(ours, theirs[:, list(order)])


# ---- files that are not what they should be ----


def swap(one: str, other: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        files.state[one], files.state[other] = files.state[other], files.state[one]

    return change


def drop(part: str, name: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        del files.state[part][name]

    return change


def put(part: str, name: str, value: torch.Tensor) -> Callable[[Files], None]:
    return lambda files: files.state[part].update({name: value})


def more_codes(files: Files) -> None:
    """A quantizer with twice as many codes a level than the decoder writes."""
    for name, value in files.state["quantizer"].items():
        if name.endswith("_codebook.embed") and value.shape[1] > 3:
            files.state["quantizer"][name] = torch.cat([value, value], 1)
    files.state["decoder"] = {
        name: value for name, value in files.state["decoder"].items() if not name.startswith("quantizer.")
    }


def other_clip(files: Files) -> None:
    """A CLIP of another width than the quantizer was trained on."""
    clip = layout.clip_state(24)
    files.state["clip_sf"] = {f"clip_model.{name}": value for name, value in clip.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            swap("quantizer", "decoder"),
            r"rq_clip_large\.pth is not the quantizer's .* like the decoder's \(--decoder\)",
        ),
        (swap("clip_sf", "decoder"), r"clip_sf_large\.pth is not the CLIP-SF's .* like the decoder's"),
        (swap("clip_sf", "quantizer"), r"clip_sf_large\.pth is not .* like the quantizer's \(--quantizer\)"),
        (drop("clip_sf", "clip_model.ln_final.bias"), r"clip_sf_large\.pth lacks clip_model\.ln_final\.bias"),
        (
            drop("clip_sf", "clip_model.text_projection"),
            r"clip_sf_large\.pth lacks clip_model\.text_projection",
        ),
        (
            drop("quantizer", "encoder.output_layer.bias"),
            r"rq_clip_large\.pth lacks encoder\.output_layer\.bias",
        ),
        (drop("quantizer", "residual_rq.layers.2._codebook.embed"), "a level without its codebook"),
        (drop("decoder", "embed_projector.0.bias"), r"GENIUS_t5small\.pth lacks embed_projector\.0\.bias"),
        (
            drop("decoder", "id_generator.encoder.final_layer_norm.weight"),
            r"GENIUS_t5small\.pth lacks id_generator\.encoder\.final_layer_norm\.weight",
        ),
        (
            put("decoder", "id_generator.encoder.block.0.x", torch.ones(1)),
            "which the paper's network has not",
        ),
        (put("decoder", "id_generator.lm_head.weight", torch.ones(30, 16)), "differs from .* ties it"),
        (put("clip_sf", "clip_model.visual.extra", torch.ones(1)), "visual.extra, which the paper's network"),
        (
            put("quantizer", "encoder.output_layer.bias", torch.ones(7)),
            "output_layer.bias is 7, where 16 is needed",
        ),
        (
            put("quantizer", "residual_rq.layers.0._codebook.embed", torch.ones(1, 8, 16)),
            "8 codes on its first level",
        ),
        (more_codes, r"writes 30 tokens, where the quantizer's levels \(3, 16, 16, 16\) need 54"),
        (other_clip, r"clip_sf_large\.pth is 24 wide and .*rq_clip_large\.pth 16"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_left(
    tmp_path: Path, change: Callable[[Files], None], message: str
) -> None:
    files = make_files(tmp_path / "files", WORDLESS)
    change(files)
    files.write()
    with pytest.raises(UserError, match=message):
        convert_genius(*files.paths(), tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_a_missing_or_truncated_file_is_named(small: tuple[Files, Bundle], tmp_path: Path) -> None:
    files, _ = small
    clip_sf, quantizer, decoder = files.paths()
    with pytest.raises(UserError, match=r"There is no file .*nowhere\.pth"):
        convert_genius(clip_sf, quantizer, tmp_path / "nowhere.pth", tmp_path / "bundle")
    cut = tmp_path / "cut.pth"
    cut.write_bytes(decoder.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"cut\.pth is cut short"):
        convert_genius(clip_sf, quantizer, cut, tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["cut.pth"]


def test_a_folder_that_is_taken_stays_as_it_is(small: tuple[Files, Bundle], tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        convert_genius(*small[0].paths(), tmp_path / "bundle")
    assert (tmp_path / "bundle" / "mine.txt").read_text() == "mine"


def no_room(path: Path) -> Any:
    return shutil._ntuple_diskusage(10**12, 10**12, 10)  # type: ignore[attr-defined]


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("place", "name", "broken", "raised"),
    [
        (convert.shutil, "disk_usage", no_room, pytest.raises(UserError, match="The disk is full")),
        (convert, "save_file", full_disk, pytest.raises(UserError, match="The disk is full")),
        (convert, "save_parts", full_disk, pytest.raises(UserError, match="The disk is full")),
        (convert, "load_bundle", interrupted, pytest.raises(KeyboardInterrupt)),
    ],
)
def test_a_half_made_bundle_never_gets_the_name(
    small: tuple[Files, Bundle],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: Any,
    name: str,
    broken: Any,
    raised: Any,
) -> None:
    monkeypatch.setattr(place, name, broken)
    with raised:
        convert_genius(*small[0].paths(), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
