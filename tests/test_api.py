"""The endpoints for scripts: what they say is what the index and the model say, through gradio_client."""

from __future__ import annotations

import base64
import importlib
import io
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
import pytest
from gradio.components.image import ImageData
from gradio_client import Client, handle_file
from PIL import Image

from genius.images import open_image
from genius.index import CandidateIndex
from genius.schema import Candidate, Hit, Modality, Query, SearchOptions, SearchResult, UserError
from genius.ui import api, build_app, form, theme, zerogpu
from genius.ui.api import explain, parse_code
from genius.ui.form import PictureInput
from genius.ui.handle import EngineHandle
from genius.ui.settings import Settings

if TYPE_CHECKING:
    from genius.engine import Engine

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
LEVELS = (3, 8, 8, 8)


@pytest.mark.parametrize("text", ["0 12 7", "0·12·7", "0-12-7", " 0, 12 ;7 ", "0.12.7"])
def test_codes_as_people_write_them(text: str) -> None:
    assert parse_code(text, (3, 16, 16, 16)) == (0, 12, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "Code 3 does not exist on level 1: they go from 0 to 2"),
        ("0 8", "Code 8 does not exist on level 2"),
        ("0 0 0 0 0", "An address has 4 codes, not 5"),
        ("cat", "numbers"),
        ("0 -1", "numbers"),
        ("-1", "numbers"),
        ("9" * 30, "numbers"),
        ("٣", "numbers"),
        ("1" * 3000, "characters"),
    ],
)
def test_codes_that_are_none(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_code(text, LEVELS)


class Stub:
    """An engine without a model: random addresses, and answers that can be recognised."""

    notes = ()
    codebooks = (np.eye(3, dtype=np.float32),)

    def __init__(self) -> None:
        dice = np.random.default_rng(0)
        codes = dice.integers(0, [3, 2, 2, 2], (90, 4))  # few of the codes, so that prefixes are shared
        self.candidates = [
            Candidate(f"c/{n}", Modality(int(code)), f"number {n}") for n, code in enumerate(codes[:, 0])
        ]
        self.index = CandidateIndex.build(self.candidates, codes, dice.standard_normal((90, 5)), LEVELS)

    def search(self, queries: list[Query], options: SearchOptions) -> list[SearchResult]:
        """The first candidates."""
        codes = self.index.codes(range(options.top_k))
        hits = [
            Hit(n + 1, self.candidates[n], tuple(code.tolist()), 0.5, -1.0) for n, code in enumerate(codes)
        ]
        return [SearchResult(query, tuple(hits)) for query in queries]

    def exact_search(self, queries: list[Query], options: SearchOptions) -> list[SearchResult]:
        """The same."""
        return self.search(queries, options)

    def address(self, queries: list[Query]) -> Any:
        """An address made of the lengths of the query's words, and a vector of its picture's size."""
        [query] = queries
        width, height = query.image.size if query.image else (0, 0)
        codes = np.array([[int(query.modality), len(query.text), len(query.instruction), 0]])
        return SimpleNamespace(codes=codes, vectors=np.array([[width / 1000, height / 1000]], np.float32))


@pytest.fixture(scope="module")
def stub() -> Stub:
    return Stub()


def under(stub: Stub, prefix: tuple[int, ...]) -> list[str]:
    """Ids of the candidates whose address starts so, by looking at every one."""
    codes = stub.index.codes(range(len(stub.candidates))).tolist()
    return [
        c.id for c, row in zip(stub.candidates, codes, strict=True) if tuple(row[: len(prefix)]) == prefix
    ]


def test_a_code_is_explained_by_what_lies_under_it(stub: Stub) -> None:
    first = tuple(stub.index.codes([0])[0].tolist())
    for prefix in ((), first[:1], first[:2], first[:3], first):
        said = explain(stub.index, prefix)
        expected = under(stub, prefix)
        assert said["candidates"] == len(expected) > 0
        assert said["share"] == pytest.approx(len(expected) / 90, abs=1e-6)
        assert said["code"] == list(prefix) and said["level"] == len(prefix)
        sizes = [entry["candidates"] for entry in said["continuations"]]
        assert sizes == sorted(sizes, reverse=True)
        assert sum(sizes) == (len(expected) if len(prefix) < len(LEVELS) else 0)
        for entry in said["continuations"]:
            assert entry["candidates"] == len(under(stub, (*prefix, entry["code"])))
        ids = [example["id"] for example in said["examples"]]
        assert len(ids) == min(api.EXAMPLES, len(expected)) == len(set(ids))
        assert set(ids) <= set(expected)


def test_a_code_that_nothing_has_is_empty(stub: Stub) -> None:
    said = explain(stub.index, (0, 7))
    assert said["candidates"] == said["share"] == 0
    assert said["examples"] == said["continuations"] == []


def test_a_query_like_a_candidate_has_its_address(tiny_engine: Engine) -> None:
    index = tiny_engine.index
    candidate = next(c for c in tiny_engine.candidates if c.modality is Modality.TEXT)
    coded = tiny_engine.address([Query(text=candidate.text or "")])
    row = index.row(candidate.id)
    np.testing.assert_array_equal(coded.codes, index.codes([row]))
    np.testing.assert_allclose(coded.vectors[0], index.vectors[row], atol=1e-3)


# ---- over the wire ----


@pytest.fixture(scope="module")
def served(stub: Stub) -> Iterator[gr.Blocks]:
    """The page, launched without blocking."""
    page = build_app(EngineHandle(lambda: stub, {}).start(), {}, {(0,): "pictures"})
    options = theme.launch_options([])
    page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **options)
    yield page
    page.close(verbose=False)


@pytest.fixture(scope="module")
def client(served: gr.Blocks) -> Client:
    return Client(served.local_url, verbose=False)


def test_the_named_endpoints_are_these(client: Client) -> None:
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert sorted(named) == ["/encode", "/explain_code", "/search"]
    for endpoint in named.values():
        assert all(parameter["parameter_has_default"] for parameter in endpoint["parameters"])


def test_explain_code(client: Client, stub: Stub) -> None:
    said = client.predict(code="0", api_name="/explain_code")
    assert said == explain(stub.index, (0,)) | {"name": "pictures"}
    assert client.predict(api_name="/explain_code")["candidates"] == 90
    with pytest.raises(Exception, match="Code 3 does not exist"):
        client.predict(code="3", api_name="/explain_code")


def test_encode(client: Client, tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), "red").save(tmp_path / "red.png")
    picture = handle_file(str(tmp_path / "red.png"))
    said = client.predict(text="big", image=picture, instruction="Find", api_name="/encode")
    assert said == {"modality": "pair", "semantic_id": [2, 3, 4, 0], "embedding": [0.03, 0.02]}
    assert client.predict(text="big", api_name="/encode")["semantic_id"] == [1, 3, 0, 0]
    with pytest.raises(Exception, match="Nothing to work with"):
        client.predict(api_name="/encode")
    (tmp_path / "no.png").write_text("no picture")
    with pytest.raises(Exception, match=r"no\.png"):
        client.predict(image=handle_file(str(tmp_path / "no.png")), api_name="/encode")


def test_the_readmes_examples_run(served: gr.Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand there, but for the address."""
    snippets = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    scripts = [snippet for snippet in snippets if "gradio_client" in snippet]
    assert {name for name in ("/search", "/explain_code", "/encode") if name in "".join(scripts)} == {
        "/search",
        "/explain_code",
        "/encode",
    }
    Image.new("RGB", (30, 20), "red").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    for script in scripts:
        exec(compile(script.replace("http://127.0.0.1:7860", served.local_url), "README.md", "exec"), {})


# ---- settings, ZeroGPU ----


def test_settings_are_what_the_environment_says() -> None:
    assert Settings.read({}) == Settings()
    assert Settings.read({"GENIUS_DEVICE": "", "GENIUS_MCP": "", "HOME": "/"}) == Settings()
    given = {"GENIUS_BUNDLE": "b", "GENIUS_COLLECTION": " c ", "GENIUS_DEVICE": "cpu", "GENIUS_MCP": "1"}
    assert Settings.read(given) == Settings("b", "c", "cpu", True)
    assert Settings.read({"GENIUS_MCP": "off"}) == Settings()
    with pytest.raises(UserError, match="no setting GENIUS_COLECTION. Those there are: GENIUS_BUNDLE"):
        Settings.read({"GENIUS_COLECTION": "x"})
    with pytest.raises(UserError, match="set it to 1 or 0"):
        Settings.read({"GENIUS_MCP": "maybe"})


def test_only_our_own_model_is_known_before_it_is_loaded(tmp_path: Path) -> None:
    assert Settings().shipped_model
    assert not Settings(bundle=str(tmp_path)).shipped_model
    assert not Settings(bundle="hub:somebody/genius-mini").shipped_model


def test_a_picture_sent_as_data_is_checked_like_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """By genius.images: for a PostScript file, Pillow by itself would run a program."""
    given = PictureInput(type="filepath")

    def sent(kind: str, data: bytes) -> Any:
        return ImageData(url=f"data:image/{kind};base64,{base64.b64encode(data).decode()}")

    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    with pytest.raises(UserError, match="is not an image that can be read"):
        open_image(Path(given.preprocess(sent("eps", script))))
    picture = io.BytesIO()
    Image.new("RGB", (30, 20)).save(picture, "PNG")
    assert open_image(Path(given.preprocess(sent("png", picture.getvalue())))).size == (30, 20)
    with pytest.raises(gr.Error, match="damaged"):
        given.preprocess(ImageData(url="data:image/png;base64,a"))
    monkeypatch.setattr(form, "MAX_DATA", 100)
    with pytest.raises(gr.Error, match="at most 20 MB"):
        given.preprocess(sent("png", bytes(100)))


def test_language_models_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    api.check(Settings())
    monkeypatch.setattr(api, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"gradio\[mcp\]"):
        api.check(Settings(mcp=True))


def test_elsewhere_than_on_zero_gpu_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    engine = object()
    assert zerogpu.lend(engine) is engine


def test_on_zero_gpu_the_model_is_reached_through_one_function(
    monkeypatch: pytest.MonkeyPatch, stub: Stub
) -> None:
    calls: list[str] = []
    plain = zerogpu.run

    def borrowed(within: tuple[str, ...], method: str, *arguments: Any) -> Any:
        calls.append(method)
        return plain(*pickle.loads(pickle.dumps((within, method, *arguments))))

    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(zerogpu, "run", borrowed)
    lent = zerogpu.lend(stub)
    query = [Query(text="red circle")]
    assert lent.search(query, SearchOptions()) == stub.search(query, SearchOptions())
    assert lent.candidates is stub.candidates and lent.index is stub.index
    assert lent.address(query).codes.tolist() == stub.address(query).codes.tolist()
    assert calls == ["search", "address"]


def test_on_zero_gpu_a_collection_is_encoded_in_parts(
    monkeypatch: pytest.MonkeyPatch, tiny_engine: Engine
) -> None:
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(zerogpu, "PART", 4)
    told: list[tuple[int, int]] = []
    some = tiny_engine.candidates[:10]
    z = zerogpu.lend(tiny_engine).fused(some, lambda done, total: told.append((done, total)))
    np.testing.assert_allclose(z, tiny_engine.fused(some), atol=1e-5)
    assert told == [(4, 10), (8, 10), (10, 10)]


def test_on_zero_gpu_codebooks_are_read_before_the_page_is_launched(
    monkeypatch: pytest.MonkeyPatch, stub: Stub
) -> None:
    """Afterwards, the weights are on the GPU only."""
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(stub, "codebooks", (np.eye(3, dtype=np.float32),))
    lent = zerogpu.lend(stub)
    monkeypatch.setattr(stub, "codebooks", None)
    assert lent.codebooks[0].tolist() == np.eye(3).tolist()


def test_on_zero_gpu_a_search_within_borrows_too(
    monkeypatch: pytest.MonkeyPatch, tiny_engine: Engine
) -> None:
    ran: list[tuple[str, ...]] = []
    plain = zerogpu.run
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(zerogpu, "run", lambda within, *call: (ran.append(within), plain(within, *call))[1])
    ids = [candidate.id for candidate in tiny_engine.candidates[:3]]
    lent = zerogpu.lend(tiny_engine)
    assert lent.within(ids).codebooks is lent.codebooks, "not read again"
    found = lent.within(ids).search([Query(text="red circle")], SearchOptions())[0].hits
    assert {hit.candidate.id for hit in found} == set(ids) and ran == [tuple(ids)]
    everywhere = lent.search([Query(text="red circle")], SearchOptions())[0].hits
    assert len(everywhere) > len(ids) and ran[1:] == [()], "the whole engine is still what is lent"


def test_on_zero_gpu_that_function_is_the_one_that_asks_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def wrapper(duration: float) -> Any:
        asked.append(duration)
        return lambda function: function

    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=wrapper))
    try:
        importlib.reload(zerogpu)
        assert asked == [zerogpu.SECONDS] and zerogpu.SECONDS <= 30
    finally:
        monkeypatch.undo()
        importlib.reload(zerogpu)


def test_what_borrows_are_methods_of_the_engine(tiny_engine: Engine) -> None:
    assert all(callable(getattr(tiny_engine, name)) for name in zerogpu.BORROWERS)
