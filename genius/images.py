"""Any picture a person may hand over → a clean RGB image, or a sentence that says what is wrong with it.

Knows files, bytes, SVG and Pillow images; knows nothing about models.
"""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
import resvg_py
from PIL import Image, ImageOps

from genius.schema import UserError

MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded."""

MAX_SIDE = 1024
"""Longer side of what `open_image` returns, at most."""

SVG_SIDE = 448
"""Longer side of a rendered SVG."""

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "ICO", "TIFF", "PPM", "TGA", "JPEG2000")
"""Raster formats that are read. Left out: those whose readers run other programs (EPS), and rare ones."""

_BAD_EXIF = (ArithmeticError, LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error)
_MAX_SVG_BYTES = 8_000_000
_SVG_SECONDS = 10
_SVG_SPACE = "http://www.w3.org/2000/svg"

# Elements whose drawing is bounded by the length of the file. The others (filters, patterns, clips, style
# sheets, references, text) can be made to hang or crash the renderer and are drawn in a process of their own.
_PLAIN_SVG = frozenset(
    {"svg", "g", "defs", "title", "desc", "metadata"}
    | {"path", "rect", "circle", "ellipse", "line", "polyline", "polygon"}
    | {"linearGradient", "radialGradient", "stop"}
)
_PLAIN_DEPTH = 32
_PLAIN_BYTES = 64_000

# Both sides are given, for one alone lets the other explode; without a dpi, sizes in points or mm are zero.
_DRAWING: dict[str, Any] = {"width": SVG_SIDE, "height": SVG_SIDE, "background": "#fff", "dpi": 96}
_CHILD = (
    "import json, sys, resvg_py; svg = sys.stdin.buffer.read().decode(); "
    "sys.stdout.buffer.write(resvg_py.svg_to_bytes(svg_string=svg, **json.loads(sys.argv[1])))"
)


def open_image(source: Path | str | bytes | Image.Image) -> Image.Image:
    """Return `source` as an upright RGB image on white, longer side at most `MAX_SIDE`.

    Of an animation, the first frame. Fully transparent margins are cut off.

    Parameters
    ----------
    source
        A file (path), the bytes of one, SVG markup, or a Pillow image (left untouched).

    Raises
    ------
    UserError
        If there is no such file, it is not an image, is damaged or empty, or has over `MAX_PIXELS` pixels.
    """
    if isinstance(source, Image.Image):
        _check_size(source.size, "The image")
        return _clean(source.copy(), "The image")
    name, data = _read(source)
    if _is_svg(data):
        return _clean(_render_svg(data, name), name)
    with _open_raster(source if isinstance(source, Path | str) else io.BytesIO(source), name) as image:
        image.draft("RGB", (MAX_SIDE, MAX_SIDE))  # a JPEG can be decoded at a fraction of its size
        return _clean(image, name)


def check_image(path: Path) -> None:
    """Raise the UserError that `open_image` would raise; for a JPEG, at a fraction of its cost."""
    name, data = _read(path)
    if _is_svg(data):
        _render_svg(data, name)
        return
    with _open_raster(path, name) as image:
        try:
            image.draft("RGB", (1, 1))
            image.load()
        except Exception as error:
            raise _damaged(name) from error


def _read(source: Path | str | bytes) -> tuple[str, bytes]:
    """Return what to call the source in a message, and its bytes: all of an SVG, the head of other files."""
    if isinstance(source, bytes):
        name, data = "The image", source
    elif isinstance(source, str) and source.lstrip().startswith("<"):
        name, data = "The SVG", source.encode()
    else:
        name, data = _read_file(Path(source))
    if not data:
        raise UserError(f"{name} is empty (zero bytes). Choose another image.")
    return name, data


def _read_file(path: Path) -> tuple[str, bytes]:
    try:
        with path.open("rb") as file:
            head = file.read(1024)
            if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
                head += file.read(_MAX_SVG_BYTES)
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}. Check the name and the folder.") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder, not an image. Choose a file in it.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise UserError(f"{path} cannot be read ({error}). Check the name and your rights to it.") from error
    return path.name, head


def _open_raster(file: Path | str | io.BytesIO, name: str) -> Image.Image:
    """Read the header only and refuse what is too large."""
    try:
        image = Image.open(file, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(_too_large(name)) from error
    except Exception as error:  # a damaged header makes Pillow's readers raise nearly anything
        raise UserError(
            f"{name} is not an image that can be read. Use PNG, JPEG, WebP, GIF, AVIF, TIFF, BMP or SVG."
        ) from error
    _check_size(image.size, name)
    return image


def _check_size(size: tuple[int, int], name: str) -> None:
    if min(size) < 1:
        raise UserError(f"{name} has no pixels. Choose another image.")
    if size[0] * size[1] > MAX_PIXELS:
        raise UserError(_too_large(name, f": {size[0]} × {size[1]}"))


def _too_large(name: str, size: str = "") -> str:
    return f"{name} is too large{size}. Scale it down to at most {MAX_PIXELS // 1_000_000} megapixels."


def _damaged(name: str) -> UserError:
    return UserError(f"{name} is damaged or incomplete. Save or download it again, or choose another image.")


def _clean(image: Image.Image, name: str) -> Image.Image:
    """Decode the first frame and bring it to upright RGB on white."""
    try:
        if getattr(image, "is_animated", False):
            image.seek(0)
        image.load()
        image = _upright(_eight_bits(image))
        if image.mode == "RGBA":
            image = image.crop(image.getchannel("A").getbbox())  # a clear margin shows nothing
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BICUBIC)
        if image.mode == "RGBA":
            white = Image.new("RGBA", image.size, "white")
            white.alpha_composite(image)
            image = white
        clean = Image.new("RGB", image.size)  # a new one: nothing of the file's metadata stays with it
        clean.paste(image.convert("RGB"))
        return clean
    except Exception as error:  # damaged data makes Pillow's readers raise nearly anything
        raise _damaged(name) from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Bring any pixel format to L, RGB or RGBA (keeping the metadata that says which way is up)."""
    if image.mode.startswith("I") or image.mode == "F":
        info = image.info
        shrink = max(1, max(image.size) // MAX_SIDE)  # before its numbers grow to eight bytes each
        image = Image.fromarray(_to_bytes(np.asarray(image)[::shrink, ::shrink].astype(np.float64)))
        image.info = info
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Scale deep grey values [h, w] to uint8 by the range their type suggests, or else by their own range."""
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 65535:
        low, high = 0.0, 1.0 if high <= 1 else 255.0 if high <= 255 else 65535.0
    return np.rint((values - low) * (255.0 / max(high - low, 1e-9))).astype(np.uint8)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _BAD_EXIF:  # the picture itself is fine
        return image


def _is_svg(data: bytes) -> bool:
    return data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and (b"<svg" in data or b":svg" in data)


@dataclass
class _SvgScan:
    """What an SVG holds, gathered while it is parsed."""

    size: int
    names: set[str] = field(default_factory=set)
    depth: int = 0
    deepest: int = 0
    links: list[str] = field(default_factory=list)

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """Note an opened element; a picture it links to must lie inside the SVG itself."""
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)
        space, _, local = name.rpartition(" ")
        if space in ("", _SVG_SPACE):  # elements of editors (sodipodi:namedview, rdf:RDF) are not drawn
            self.names.add(local)
        if local in ("image", "feImage"):
            hrefs = [value.strip() for key, value in attributes.items() if key.rpartition(" ")[2] == "href"]
            self.links += [href for href in hrefs if not href.lower().startswith(("#", "data:"))]

    def end(self, _: str) -> None:
        """Note a closed element."""
        self.depth -= 1

    @property
    def plain(self) -> bool:
        """Whether drawing it is sure to end, and soon."""
        return self.names <= _PLAIN_SVG and self.deepest <= _PLAIN_DEPTH and self.size <= _PLAIN_BYTES


def _scan_svg(data: bytes, name: str) -> tuple[str, _SvgScan]:
    """Parse the SVG, refuse one that is broken, huge or reads other files; return its text and contents."""
    if len(data) > _MAX_SVG_BYTES:
        raise UserError(f"{name} is too large an SVG. Use one of at most {_MAX_SVG_BYTES // 1_000_000} MB.")
    scan = _SvgScan(len(data))
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = scan.start
    parser.EndElementHandler = scan.end
    try:
        text = data.decode("utf-8-sig")
        parser.Parse(text, True)
    except (UnicodeDecodeError, expat.ExpatError) as error:
        raise _damaged(name) from error
    if scan.links:
        raise UserError(
            f"{name} links to another file ({scan.links[0][:80]}). Embed that picture in the SVG."
        )
    return text, scan


def _render_svg(data: bytes, name: str) -> Image.Image:
    """Draw an SVG on white, longer side `SVG_SIDE`."""
    text, scan = _scan_svg(data, name)
    try:
        if scan.plain:
            png = resvg_py.svg_to_bytes(svg_string=text, **_DRAWING)
        else:
            png = subprocess.run(
                [sys.executable, "-c", _CHILD, json.dumps(_DRAWING)],
                input=text.encode(),
                capture_output=True,
                check=True,
                timeout=_SVG_SECONDS,
            ).stdout
        return Image.open(io.BytesIO(png), formats=("PNG",))
    except (ValueError, OSError, subprocess.SubprocessError) as error:
        raise UserError(f"{name} is an SVG that cannot be drawn. Export it as PNG and use that.") from error
