"""Starts llama.cpp's server with a GGUF file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runners.api import Device, Model
from runners.engine_server.server import SOCKET, EngineServer, socket_directory
from runners.openmp import WAITING

GGUF = "model.gguf"
PROJECTORS = "mmproj*.gguf"
PART = 16_384
OVERLAP = 128
"""Characters of a text that are read at once, and how many of them belong to the next part too: no control token is longer. llama.cpp's time
for a text of control tokens grows with the square of its length, to minutes for one of a million characters."""

BORDER = 16
"""More tokens than a text has because it was cut once."""

_SERVER = Path(__file__).with_name("llama_server.py")


def gguf_file(model: Model) -> Path | None:
    """Return the GGUF file of a model's directory: `model.gguf`, or the only one beside the projector."""
    named = model.path / GGUF
    files = [named] if named.is_file() else _others(model)
    return files[0] if len(files) == 1 else None


def projector_file(model: Model) -> Path | None:
    """Return the GGUF file with the part of a model that reads images: the only one whose name begins with "mmproj"."""
    files = list(model.path.glob(PROJECTORS))
    return files[0] if len(files) == 1 else None


def _others(model: Model) -> list[Path]:
    projectors = set(model.path.glob(PROJECTORS))
    return [file for file in model.path.glob("*.gguf") if file not in projectors]


def parts(text: str) -> Iterator[str]:
    """Yield the parts of a text, each with the beginning of the next."""
    for start in range(0, len(text), PART):
        yield text[start : start + PART + OVERLAP]


def least_tokens(server: EngineServer, text: str, *, parse_special: bool) -> Iterator[int]:
    """Yield how many tokens a long text has at least, after each of its parts. Yields nothing for a text of one part."""
    least = 0
    for start in range(0, len(text), PART) if len(text) > PART else ():
        fields = {"content": text[start : start + PART], "parse_special": parse_special}
        # A cut may divide a word into more tokens than it has as a whole.
        least += max(0, len(server.read("/tokenize", fields)["tokens"]) - BORDER)
        yield least


def start_llama(
    file: Path, device: Device, vram: int | None, *, context: int, answers: int, **options: Any
) -> EngineServer:
    """Start a server. `options` are the optional settings of `llama_server.ServerSettings`. Raises as `EngineServer.start`."""
    directory = socket_directory()
    settings = {
        "model": str(file),
        "socket": str(directory / SOCKET),
        "context": context,
        "answers": answers,
        "threads": max(1, device.threads),
        "gpu": device.kind == "cuda",
        "vram": vram,
        **options,
    }
    environment = {**os.environ, **WAITING}
    return EngineServer.start(
        [sys.executable, str(_SERVER), json.dumps(settings)], environment, directory=directory
    )
