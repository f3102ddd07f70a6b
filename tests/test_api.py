"""The endpoints for scripts: what they say is what the index and the model say, through gradio_client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from tiny import draw

from genius.engine import Engine
from genius.schema import Modality, Query, UserError
from genius.ui import api, build_app, theme, zerogpu
from genius.ui.api import explain, parse_code
from genius.ui.handle import EngineHandle
from genius.ui.settings import Settings

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


def under(engine: Engine, prefix: tuple[int, ...]) -> list[str]:
    """Ids of the candidates whose address starts so, by looking at every one."""
    index = engine.index
    return [
        c.id for c in engine.candidates if tuple(index.codes([index.row(c.id)])[0][: len(prefix)]) == prefix
    ]


def test_a_code_is_explained_by_what_lies_under_it(tiny_engine: Engine) -> None:
    index = tiny_engine.index
    first = tuple(index.codes([0])[0].tolist())
    for prefix in ((), first[:1], first[:2], first):
        said = explain(index, prefix)
        expected = under(tiny_engine, prefix)
        assert said["candidates"] == len(expected)
        assert said["share"] == pytest.approx(len(expected) / len(tiny_engine.candidates), abs=1e-6)
        assert said["code"] == list(prefix)
        sizes = [entry["candidates"] for entry in said["continuations"]]
        assert sizes == sorted(sizes, reverse=True)
        assert sum(sizes) == (len(expected) if len(prefix) < len(LEVELS) else 0)
        for entry in said["continuations"]:
            assert entry["candidates"] == len(under(tiny_engine, (*prefix, entry["code"])))
        ids = [example["id"] for example in said["examples"]]
        assert len(ids) == min(api.EXAMPLES, len(expected)) == len(set(ids))
        assert set(ids) <= set(expected)


def test_a_code_that_nothing_has_is_empty(tiny_engine: Engine) -> None:
    free = next(code for code in range(8) if not under(tiny_engine, (0, code, 0, 0)))
    said = explain(tiny_engine.index, (0, free, 0, 0))
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
def served(tiny_engine: Engine) -> Iterator[gr.Blocks]:
    """The page with the tiny engine, launched without blocking."""
    page = build_app(EngineHandle(lambda: tiny_engine, {}).start(), {}, {(0,): "pictures"})
    options = theme.launch_options(theme.picture_folders(tiny_engine.candidates))
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


def test_explain_code(client: Client, tiny_engine: Engine) -> None:
    said = client.predict(code="0", api_name="/explain_code")
    assert said == explain(tiny_engine.index, (0,)) | {"name": "pictures"}
    assert client.predict(api_name="/explain_code")["candidates"] == len(tiny_engine.candidates)
    with pytest.raises(Exception, match="Code 3 does not exist"):
        client.predict(code="3", api_name="/explain_code")


def test_encode(client: Client, tiny_engine: Engine, tmp_path: Path) -> None:
    draw("red circle").save(tmp_path / "red.png")
    said = client.predict(
        text="bigger",
        image=handle_file(str(tmp_path / "red.png")),
        instruction="Find it.",
        api_name="/encode",
    )
    coded = tiny_engine.address([Query(draw("red circle"), "bigger", "Find it.")])
    assert said["semantic_id"] == coded.codes[0].tolist()
    np.testing.assert_allclose(said["embedding"], coded.vectors[0], atol=1e-5)
    assert said["modality"] == "pair"
    with pytest.raises(Exception, match="Nothing to work with"):
        client.predict(api_name="/encode")


def test_the_readmes_examples_run(served: gr.Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand there, but for the address."""
    snippets = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    scripts = [snippet for snippet in snippets if "gradio_client" in snippet]
    assert {name for name in ("/search", "/explain_code", "/encode") if name in "".join(scripts)} == {
        "/search",
        "/explain_code",
        "/encode",
    }
    draw("red circle").save(tmp_path / "photo.jpg")
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
    monkeypatch: pytest.MonkeyPatch, tiny_engine: Engine
) -> None:
    calls: list[str] = []
    plain = zerogpu.run

    def borrowed(method: str, *arguments: Any) -> Any:
        calls.append(method)
        return plain(method, *arguments)

    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(zerogpu, "run", borrowed)
    lent = zerogpu.lend(tiny_engine)
    query = [Query(text="red circle")]
    [ours], [theirs] = lent.search(query), tiny_engine.search(query)
    assert ours.hits == theirs.hits
    assert lent.candidates == tiny_engine.candidates and lent.index is tiny_engine.index
    np.testing.assert_array_equal(lent.address(query).codes, tiny_engine.address(query).codes)
    assert calls == ["search", "address"]
    assert all(callable(getattr(Engine, name)) for name in zerogpu.BORROWERS)
