"""Draws the Mandelbrot set as a picture, with nothing but Python itself."""

import struct
import zlib
from pathlib import Path

WIDTH, HEIGHT, STEPS = 480, 320, 60
FAR = 2


def predict(input: object = None) -> dict[str, object]:
    """Write mandelbrot.png, and return how much of the picture belongs to the set. It needs no input."""
    rows, inside = [], 0
    for y in range(HEIGHT):
        row = bytearray(b"\0")
        for x in range(WIDTH):
            steps = escape(complex(3 * x / WIDTH - 2.1, 2 * y / HEIGHT - 1))
            inside += steps == STEPS
            share = steps / STEPS
            row += bytes((0, 0, 0) if share == 1 else (int(40 + 200 * share), int(90 + 150 * share), 110))
        rows.append(bytes(row))
    Path("mandelbrot.png").write_bytes(png(b"".join(rows)))
    return {"inside": round(inside / (WIDTH * HEIGHT), 3)}


def escape(point: complex) -> int:
    """Return after how many steps the point has run away, at most STEPS."""
    value = 0j
    for step in range(STEPS):
        if abs(value) > FAR:
            return step
        value = value * value + point
    return STEPS


def png(rows: bytes) -> bytes:
    """Return a PNG file of rows of red, green and blue, each row after a zero."""
    parts = (
        (b"IHDR", struct.pack(">2I5B", WIDTH, HEIGHT, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
