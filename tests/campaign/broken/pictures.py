"""Broken and unusual pictures."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

from PIL import Image

from campaign.broken.request import Chance
from campaign.broken.values import damaged

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MODES = {"PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), "JPEG": ("L", "RGB", "CMYK"), "WEBP": ("RGB", "RGBA"), "GIF": ("L", "P")}  # fmt: skip
SIZES = ((1, 1), (1, 3000), (3000, 1), (2, 7), (64, 64), (63, 65), (128, 96), (500, 20), (1024, 8))


def _file(image: Any, form: str, **options: Any) -> bytes:
    stored = io.BytesIO()
    image.save(stored, form, **options)
    return stored.getvalue()


def _plain(chance: Chance, form: str) -> bytes:
    mode, size = chance.choice(MODES[form]), chance.choice(SIZES)
    seen = Image.effect_noise(size, chance.uniform(0, 100))
    return _file(
        seen.convert(mode) if mode != "I;16" else Image.new("I;16", size, chance.randrange(65536)), form
    )


def _truncated(chance: Chance, form: str) -> bytes:
    data = _plain(chance, form)
    return data[: chance.randrange(len(data))]


def _damaged(chance: Chance, form: str) -> bytes:
    return damaged(chance, _plain(chance, form))


def _animated(chance: Chance, form: str) -> bytes:
    form = "GIF" if form == "JPEG" else form
    frames = [Image.new("RGB", (48, 40), (shade, 0, 255 - shade)) for shade in range(0, 250, 25)]
    return _file(
        frames[0], form, save_all=True, append_images=frames[1:], duration=chance.choice((0, 1, 65535))
    )


def _turned(chance: Chance, form: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = chance.choice((0, 2, 3, 5, 6, 8, 9, 65535))
    exif[0x010E] = "x" * chance.choice((0, 10, 60000))
    return _file(
        Image.new("RGB", (70, 30), "green"), chance.choice(("JPEG", "PNG", "WEBP")), exif=exif.tobytes()
    )


def _wrong_profile(chance: Chance, form: str) -> bytes:
    return _file(
        Image.new("RGB", (64, 64), "red"), "PNG" if form == "GIF" else form, icc_profile=chance.randbytes(200)
    )


def _chunk(name: bytes, content: bytes, *, wrong: bool = False) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content) ^ wrong)
    )


def png(width: int, height: int, depth: int, colour: int, pixels: bytes, *more: bytes) -> bytes:
    """Return a PNG with any header; `pixels` are compressed as they are."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + b"".join(more)
        + _chunk(b"IDAT", zlib.compress(pixels, 9))
        + _chunk(b"IEND", b"")
    )


def _declared(chance: Chance, form: str) -> bytes:
    """Return a small file that declares a huge or impossible picture."""
    side = chance.choice((0, 1, 30_000, 60_000, 2**31 - 1, 2**32 - 1))
    if form == "PNG":
        return png(
            side,
            chance.choice((0, 1, 60_000, 2**31 - 1)),
            chance.choice((0, 1, 3, 8, 16, 255)),
            chance.randrange(8),
            bytes(900),
        )
    if form == "GIF":
        return b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0xF7, 0, 0) + bytes(768) + b";"
    if form == "JPEG":
        return (
            b"\xff\xd8\xff\xc0\x00\x11\x08"
            + struct.pack(">HH", 65535, side & 0xFFFF)
            + b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01\xff\xd9"
        )
    return (
        b"RIFF"
        + struct.pack("<I", 2**32 - 1)
        + b"WEBPVP8X"
        + struct.pack("<I", 10)
        + b"\x10\0\0\0"
        + b"\xff" * 6
    )


@functools.cache
def _bomb(form: str, side: int) -> bytes:
    return _file(Image.new("RGB" if form == "WEBP" else "L", (side, side), "white"), form)


def _large(chance: Chance, form: str) -> bytes:
    """Return a picture that is small as a file and large in memory."""
    return _bomb(form, chance.choice((3000, 6900, 7200)))


@functools.cache
def _text_bomb() -> bytes:
    note = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000), 9))
    return png(8, 8, 8, 0, bytes(72), note, note)


def _wrong_sum(chance: Chance, form: str) -> bytes:
    wrong = _chunk(
        chance.choice((b"tEXt", b"IDAT", b"PLTE", b"tRNS", b"acTL", b"fcTL")),
        chance.randbytes(chance.randrange(40)),
        wrong=True,
    )
    return png(8, 8, 8, chance.choice((0, 2, 3, 6)), bytes(300), wrong)


def _other(chance: Chance, form: str) -> bytes:
    return chance.choice(
        (
            b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\x24\0\0\0WEBP", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99999 99999\n", _file(Image.new("RGB", (9, 9)), "TIFF"), _file(Image.new("RGB", (9, 9)), "BMP"),
            _file(Image.new("RGB", (9, 9)), "ICO"), bytes(5000), chance.randbytes(3000),
        )
    )  # fmt: skip


KINDS: dict[str, Callable[[Chance, str], bytes]] = {
    "unusual picture": _plain,
    "truncated picture": _truncated,
    "damaged picture": _damaged,
    "animated picture": _animated,
    "turned picture": _turned,
    "wrong profile": _wrong_profile,
    "declared size": _declared,
    "large picture": _large,
    "bomb in a text chunk": lambda *_: _text_bomb(),
    "wrong checksum": _wrong_sum,
    "no picture": _other,
}


def picture(chance: Chance) -> tuple[str, bytes]:
    """Draw a picture. Returns what is wrong with it, and the file."""
    kind = chance.choice(list(KINDS))
    return kind, KINDS[kind](chance, chance.choice(FORMATS))
