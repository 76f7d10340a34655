"""llama.cpp's server with one model, on a Unix socket. See `runners.engine_server.llama`.

    python -I launch.py llama_server.py SETTINGS

SETTINGS is a JSON object with the fields of `ServerSettings`. This file runs with the interpreter of the engine's environment and
imports only the standard library and xllamacpp.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import xllamacpp

FREE_MEMORY = 256 * 2**20
"""Bytes of a GPU that stay free beside what the model scheduler leaves to others."""

CPU_BATCH = 128
"""Tokens of prompts that a processor reads in one step. A larger step is hardly faster there, takes memory (a number for each word
of the vocabulary and each token) and delays the answers of others."""

IMAGE_BATCH = 2048
"""Tokens of prompts that a model which sees reads in one step: some models must read an image in one."""

WARNINGS = 2
"""llama.cpp's level of messages: errors and warnings, never prompts."""


class ServerSettings(TypedDict):
    """What to load and where to listen."""

    model: str
    """A GGUF file."""
    socket: str
    """A path."""
    context: int
    """The number of tokens of all requests together; 0 for the model's own."""
    answers: int
    """How many are generated at the same time."""
    threads: int
    gpu: bool
    vram: int | None
    """Bytes of memory that the model may take of each GPU; None without a limit."""
    template: NotRequired[str | None]
    """A chat template instead of the model's own."""
    projector: NotRequired[str | None]
    """The GGUF file that lets the model see images."""
    embedding: NotRequired[bool]
    """The model returns vectors, and a text may have `context` tokens."""


def _parameters(settings: ServerSettings) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = settings["model"]
    parameters.hostnames, parameters.port = [settings["socket"]], 0
    parameters.n_ctx, parameters.n_parallel, parameters.kv_unified = (
        settings["context"],
        settings["answers"],
        True,
    )
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = settings["threads"]
    # Finished prompts stay in the context only, which has a fixed size.
    parameters.cache_ram_mib, parameters.cache_idle_slots = 0, False
    # Nothing is saved, but without it no slot can be erased.
    parameters.slot_save_path = f"{Path(settings['socket']).parent}/"
    # The slots' page would show the prompts of all clients to every program that reaches the socket.
    parameters.ui, parameters.endpoint_slots, parameters.verbosity = False, False, WARNINGS
    if (template := settings.get("template")) is not None:
        parameters.chat_template = template
    if not settings["gpu"]:
        parameters.n_gpu_layers, parameters.no_kv_offload = 0, True
        parameters.n_batch = parameters.n_ubatch = CPU_BATCH
    elif settings["vram"] is not None:
        parameters.fit_params_target = _reserved(settings["vram"], len(parameters.fit_params_target))
    if (projector := settings.get("projector")) is not None:
        parameters.mmproj.path, parameters.mmproj_use_gpu = projector, settings["gpu"]
        parameters.n_batch = parameters.n_ubatch = max(parameters.n_ubatch, IMAGE_BATCH)
    if settings.get("embedding"):
        parameters.embedding = True
        parameters.n_batch = parameters.n_ubatch = settings["context"]  # a text is read in one step
    return parameters


def _reserved(vram: int, count: int) -> list[int]:
    """Return how many bytes of each GPU llama.cpp must leave free; it has entries for `count` devices."""
    free = [device["memory_free"] for device in xllamacpp.get_device_info() if "GPU" in str(device["type"])]
    reserved = [max(FREE_MEMORY, of_gpu - vram) for of_gpu in free]
    return [*reserved, *[FREE_MEMORY] * count][:count]


if __name__ == "__main__":
    try:
        server = xllamacpp.Server(_parameters(json.loads(sys.argv[1])))
    except RuntimeError:  # llama.cpp has printed why
        sys.exit(1)
    threading.Event().wait()
