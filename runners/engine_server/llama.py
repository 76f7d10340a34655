"""Starts llama.cpp's server with a GGUF file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from runners.api import Device, Model
from runners.engine_server.server import SOCKET, EngineServer, socket_directory

GGUF = "model.gguf"
SPINS = "2000"
"""How often a thread of llama.cpp looks for work before it sleeps. With the default, 300,000, an answer takes minutes on a machine that
has other work; without looking, one request gets a quarter of the speed on an idle machine (28 instead of 100 tokens a second
with two threads)."""

_SERVER = Path(__file__).with_name("llama_server.py")


def gguf_file(model: Model) -> Path | None:
    """Return the GGUF file of a model's directory: `model.gguf`, or the only one."""
    named = model.path / GGUF
    files = [named] if named.is_file() else list(model.path.glob("*.gguf"))
    return files[0] if len(files) == 1 else None


def start_llama(
    file: Path, device: Device, vram: int | None, *, context: int, answers: int, **more: Any
) -> EngineServer:
    """Start a server. `more` are the optional settings of `llama_server.Settings`. Raises as `EngineServer.start`."""
    directory = socket_directory()
    settings = {
        "model": str(file),
        "socket": str(directory / SOCKET),
        "context": context,
        "answers": answers,
        "threads": max(1, device.threads),
        "gpu": device.kind == "cuda",
        "vram": vram,
        **more,
    }
    environment = {**os.environ, "GOMP_SPINCOUNT": SPINS}
    return EngineServer.start(
        [sys.executable, str(_SERVER), json.dumps(settings)], environment, directory=directory
    )
