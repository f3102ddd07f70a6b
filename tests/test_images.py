"""Pictures as people have them: every format becomes upright RGB on white, every broken one a sentence."""

from __future__ import annotations

import io
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genius import images
from genius.images import MAX_SIDE, SVG_SIDE, check_image, open_image
from genius.schema import UserError

ORANGE = (200, 100, 50)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 50">'
RECTANGLE = '<rect width="100" height="50" fill="rgb(200,100,50)"/></svg>'


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def plain(mode: str = "RGB", size: tuple[int, int] = (30, 20)) -> Image.Image:
    """Return an image of one colour."""
    return Image.new("RGB", size, ORANGE).convert(mode)


def noisy_jpeg() -> bytes:
    """Return a JPEG that cannot be cut short without being missed."""
    pixels = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    return encoded(Image.fromarray(pixels), "JPEG")


def grey(value: float, kind: type) -> Image.Image:
    """Return a grey image of a deep pixel type."""
    return Image.fromarray(np.full((20, 30), value, kind))


def animation() -> list[Image.Image]:
    """Return two frames: orange, then black."""
    return [plain(), Image.new("RGB", (30, 20))]


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        pytest.param(encoded(plain(), "PNG"), ORANGE, id="rgb"),
        pytest.param(encoded(plain("CMYK"), "JPEG"), ORANGE, id="cmyk"),
        pytest.param(encoded(plain("P"), "PNG"), (204, 102, 51), id="palette"),
        pytest.param(encoded(plain(), "PNG", transparency=ORANGE), (255, 255, 255), id="colour-key"),
        pytest.param(encoded(Image.new("LA", (9, 9), (0, 128)), "PNG"), (127, 127, 127), id="half-clear"),
        pytest.param(encoded(Image.new("RGBA", (9, 9)), "PNG"), (255, 255, 255), id="clear"),
        pytest.param(encoded(Image.new("1", (9, 9), 1), "PNG"), (255, 255, 255), id="one-bit"),
        pytest.param(encoded(grey(32896, np.uint16), "PNG"), (128, 128, 128), id="16-bit"),
        pytest.param(encoded(grey(32896, np.int32), "TIFF"), (128, 128, 128), id="32-bit"),
        pytest.param(encoded(grey(128 / 255, np.float32), "TIFF"), (128, 128, 128), id="float"),
        pytest.param(encoded(plain(), "GIF", save_all=True, append_images=animation()[1:]), ORANGE, id="gif"),
        pytest.param(
            encoded(plain(), "WEBP", save_all=True, append_images=animation()[1:]), ORANGE, id="webp"
        ),
        pytest.param((SVG + RECTANGLE).encode(), ORANGE, id="svg"),
    ],
)
def test_every_format_becomes_rgb(data: bytes, colour: tuple[int, int, int]) -> None:
    image = open_image(data)
    assert image.mode == "RGB"
    assert not image.info
    middle = image.getpixel((image.width // 2, image.height // 2))
    assert np.allclose(middle, colour, atol=4)


def test_exif_rotation_is_applied() -> None:
    upper_half = Image.new("RGB", (20, 20))
    upper_half.paste(ORANGE, (0, 0, 20, 10))
    exif = Image.Exif()
    exif[0x112] = 6  # to be turned by 90° clockwise: what is up comes to the right
    turned = open_image(encoded(upper_half, "PNG", exif=exif))
    assert turned.getpixel((15, 10)) == ORANGE
    assert turned.getpixel((5, 10)) == (0, 0, 0)


def test_clear_margins_are_cut_off() -> None:
    page = Image.new("RGBA", (100, 80))
    page.paste((*ORANGE, 255), (10, 20, 40, 30))
    image = open_image(page)
    assert image.size == (30, 10)
    assert image.getpixel((0, 0)) == ORANGE


def test_a_pillow_image_is_left_untouched() -> None:
    original = plain("RGBA", (2 * MAX_SIDE, 8))
    before = original.copy()
    assert open_image(original).size == (MAX_SIDE, 4)
    assert original == before


def test_deep_grey_is_made_smaller_first() -> None:
    deep = Image.fromarray(np.full((3000, 2500), 40_000, np.uint16))
    tracemalloc.start()
    image = open_image(deep)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(image.size) <= MAX_SIDE
    assert image.getpixel((5, 5)) == (156,) * 3
    assert peak < 3000 * 2500 * 8, "less than its numbers in double precision"


@pytest.mark.parametrize("size", [(1, 10000), (10000, 1)])
def test_extreme_shapes_keep_a_pixel(size: tuple[int, int]) -> None:
    assert sorted(open_image(encoded(plain(size=size), "PNG")).size) == [1, MAX_SIDE]


def test_svg_from_text_and_file(tmp_path: Path) -> None:
    file = tmp_path / "a.svg"
    file.write_text(SVG + RECTANGLE)
    assert open_image(file).size == open_image(SVG + RECTANGLE).size == (SVG_SIDE, SVG_SIDE // 2)
    assert open_image(file) == open_image(str(file)) == open_image(SVG + RECTANGLE)


def test_svg_measured_in_points_and_with_a_filter() -> None:
    markup = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="75pt" height="37.5pt">'
        '<filter id="f"><feOffset/></filter>'
        '<rect width="400" height="400" fill="rgb(200,100,50)" filter="url(#f)"/></svg>'
    )
    image = open_image(markup)
    assert image.size == (SVG_SIDE, SVG_SIDE // 2)
    assert image.getpixel((100, 100)) == ORANGE


def test_an_svg_that_takes_forever_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips within clips: every level multiplies the work of drawing by ten."""
    monkeypatch.setattr(images, "_SVG_SECONDS", 1)
    clips = '<clipPath id="c0"><rect width="9" height="9"/></clipPath>' + "".join(
        f'<clipPath id="c{n}">'
        + f'<rect width="9" height="9" clip-path="url(#c{n - 1})"/>' * 10
        + "</clipPath>"
        for n in range(1, 7)
    )
    others: list[float] = []
    worker = threading.Thread(target=lambda: [others.append(time.sleep(0.01) or 0.0) for _ in range(40)])
    worker.start()
    with pytest.raises(UserError, match="cannot be drawn"):
        open_image(f'{SVG}{clips}<rect width="9" height="9" clip-path="url(#c6)"/></svg>')
    assert len(others) == 40, "other threads went on"


def test_a_long_svg_is_drawn_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    run = images.subprocess.run
    monkeypatch.setattr(images.subprocess, "run", lambda *a, **k: (ran.append(1), run(*a, **k))[1])
    image = open_image(SVG + RECTANGLE)
    assert not ran
    assert open_image(f"{SVG}<!--{'x' * 70_000}-->{RECTANGLE}") == image and ran


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_svg_does_not_read_files(tmp_path: Path, prefix: str) -> None:
    secret = tmp_path / "secret.png"
    plain().save(secret)
    element = f"<x:image xmlns:x='http://www.w3.org/2000/svg' width='9' height='9' href='{prefix}{secret}'/>"
    hidden = f'<!DOCTYPE svg [<!ENTITY e "{element}">]>{SVG}&e;</svg>'
    for markup in (f"{SVG}{element}</svg>", hidden):
        with pytest.raises(UserError, match="links to another file"):
            open_image(markup)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "empty", id="zero-bytes"),
        pytest.param(b"hello", "not an image", id="text"),
        pytest.param(b"<html></html>", "not an image", id="html"),
        pytest.param(noisy_jpeg()[:5000], "damaged", id="truncated-jpeg"),
        pytest.param(
            encoded(grey(7, np.uint8).resize((999, 99)), "PNG")[:-30], "damaged", id="truncated-png"
        ),
        pytest.param(SVG.encode(), "damaged", id="truncated-svg"),
        pytest.param(f"{SVG}{'<g>' * 900}{'</g>' * 900}</svg>".encode(), "cannot be drawn", id="deep-svg"),
        pytest.param(encoded(Image.new("1", (10000, 7000)), "PNG"), "too large: 10000 × 7000", id="large"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_image(data)
    file = tmp_path / "picture.png"
    file.write_bytes(data)
    with pytest.raises(UserError, match=f"picture.png .*{message}"):
        open_image(file)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_large_images_are_refused_before_decoding() -> None:
    for side in (10000, 20000):
        with pytest.raises(UserError, match="at most 64 megapixels"):
            open_image(encoded(Image.new("1", (side, side)), "PNG"))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        open_image(tmp_path / "missing.png")
    with pytest.raises(UserError, match="is a folder"):
        open_image(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        open_image("a\0b.png")
    with pytest.raises(UserError, match="no pixels"):
        open_image(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize(
    ("name", "data", "good"),
    [
        ("a.png", encoded(plain(), "PNG"), True),
        ("a.jpg", noisy_jpeg(), True),
        ("a.svg", (SVG + RECTANGLE).encode(), True),
        ("b.png", encoded(plain(), "PNG")[:-30], False),
        ("b.jpg", noisy_jpeg()[:-2000], False),
        ("b.svg", SVG.encode(), False),
        ("b.gif", b"GIF89a", False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_checking_agrees_with_opening(tmp_path: Path, name: str, data: bytes, good: bool) -> None:
    file = tmp_path / name
    file.write_bytes(data)
    for use in (check_image, open_image):
        if good:
            use(file)
        else:
            with pytest.raises(UserError):
                use(file)
