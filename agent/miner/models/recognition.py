"""Recognizes the models in a directory: their service, the engines that can run them, and the memory that they need."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agent.core.errors import AgentError
from runners.model_files.gguf_header import (
    GgufHeader,
    InvalidGguf,
    is_later_shard,
    read_header,
    shards,
)
from runners.model_files.llama_memory import CONTEXT, plan
from runners.registry import installed

LLAMA: Final = "llama.cpp"
TEXT: Final = "llm_inference"
EMBEDDING: Final = "text_embedding"
RERANKING: Final = "text_reranking"
SPEECH: Final = "whisper_transcription"
IMAGES: Final = "image_generation"

_EMBEDDING_CONTEXT: Final = 2048
_RANKING: Final = 4
"""llama.cpp's number of the pooling that ranks texts."""
_ENCODERS: Final = (
    "bert",
    "nomic-bert",
    "nomic-bert-moe",
    "neo-bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "modern-bert",
    "t5encoder",
)
_PROJECTOR: Final = "mmproj"
_HALF: Final = 2
_SINGLE: Final = 4
_GIB: Final = 2**30
_PROCESS: Final = 2**29
"""Bytes that PyTorch and its libraries take without a model."""


class NotRecognized(AgentError):
    """The files are of no kind that an engine here could load. The message says which are."""


@dataclass(frozen=True, slots=True)
class RecognizedModel:
    """A model. Memory is in bytes, as in the catalogue. `licence` is the one that the files state, None if they state none."""

    service: str
    engines: tuple[str, ...]
    memory: int
    vram: int
    vram_min: int
    lacks: tuple[str, ...] = ()
    licence: str | None = None
    description: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def entry(self) -> dict[str, Any]:
        """Return the fields of its entry in the catalogue."""
        fields: dict[str, Any] = {
            "service": self.service,
            "engines": list(self.engines),
            "vram": _quantity(self.vram),
            "vram_min": _quantity(self.vram_min),
            "memory": _quantity(self.memory),
            "licence": self.licence or "unknown",
            "description": self.description,
        }
        return (
            fields
            | ({"lacks": list(self.lacks)} if self.lacks else {})
            | ({"options": dict(self.options)} if self.options else {})
        )


def _quantity(size: int) -> str:
    return f"{-(-size // 2**20)}Mi"


def recognize(files: Collection[Path], context: int | None = None) -> RecognizedModel:
    """Return what the files of one model are. Raises `NotRecognized`.

    `context` is the tokens of all requests together that its entry states.
    """
    names = {file.name for file in files}
    weights = [file for file in files if file.suffix == ".gguf" and not file.name.startswith(_PROJECTOR)]
    if weights:
        return recognize_gguf(weights, [file for file in files if file.name.startswith(_PROJECTOR)], context)
    tensors = [file for file in files if file.suffix == ".safetensors"]
    if "model_index.json" in names and tensors:
        return _pictures(tensors)
    if "model.bin" in names and any(name.startswith("vocabulary.") for name in names):
        size = sum(file.stat().st_size for file in files)
        return RecognizedModel(SPEECH, ("faster-whisper",), size + _GIB, size + _GIB, size + _GIB)
    if {"vocab.txt", "config.json"} <= names and any(name.startswith("encoder-model") for name in names):
        size = sum(file.stat().st_size for file in files)
        return RecognizedModel(SPEECH, ("onnx-asr",), size + _GIB, size + _GIB, size + _GIB)
    configuration = next((file for file in files if file.name == "config.json"), None)
    if tensors and configuration is not None:
        return _transformer(tensors, _read_json(configuration))
    raise NotRecognized(
        "These files are of no kind that is known: a GGUF file; safetensors with config.json or model_index.json; model.bin of "
        "CTranslate2; or ONNX files of Parakeet. Give --service, --engine, --memory and --vram."
    )


def recognize_gguf(
    weights: Sequence[Path], projectors: Sequence[Path] = (), context: int | None = None
) -> RecognizedModel:
    """Return what GGUF files are: those of one model, which may be split, and its part that reads images. Raises `NotRecognized`.

    `context` is that of `recognize`.
    """
    first = [file for file in weights if not is_later_shard(file.name)]
    if len(first) != 1:
        raise NotRecognized(
            f"There are several models: {', '.join(sorted(file.name for file in first)[:8])}. Give the path of one file."
            if first
            else "The first file of the model is missing."
        )
    headers = headers_of(first[0])
    header = headers[0]
    beside = sum(file.stat().st_size for file in projectors)
    licence, name = header.fields.get("general.license"), header.fields.get("general.name")
    about: dict[str, Any] = {
        "licence": str(licence) if licence else None,
        "description": " ".join(str(name or "").split())[:200],
    }
    pooling = header.value("pooling_type", None)
    if header.architecture in _ENCODERS or pooling:
        read = context or min(_EMBEDDING_CONTEXT, int(header.value("context_length")) or _EMBEDDING_CONTEXT)
        planned = plan(headers, context=read, embedding=True)
        service = RERANKING if pooling == _RANKING and RERANKING in installed() else EMBEDDING
        return RecognizedModel(
            service,
            (LLAMA,),
            planned.memory,
            planned.vram,
            planned.vram_min,
            options={"context": read},
            **about,
        )
    planned = plan(headers, context=context or CONTEXT, beside=beside)
    lacks = () if projectors else ("vision",)
    return RecognizedModel(TEXT, (LLAMA,), planned.memory, planned.vram, planned.vram_min, lacks, **about)


def headers_of(first: Path) -> tuple[GgufHeader, ...]:
    """Return the headers of all files of a GGUF model, given the first. Raises `NotRecognized`, also if one is missing or no model."""
    parts = shards(first)
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise NotRecognized(f"{first.name} is one of {len(parts)} files; {missing[0]} is missing beside it.")
    try:
        headers = tuple(read_header(part) for part in parts)
    except InvalidGguf as error:
        raise NotRecognized(str(error)) from None
    if headers[0].fields.get("general.type") == "adapter":
        raise NotRecognized(
            f"{first} is an adapter. Add it with --adapter and --base, the language model that it changes."
        )
    if not headers[0].value("block_count"):
        raise NotRecognized(
            f"{first} is a GGUF file, but not of a model of texts ({headers[0].architecture or 'no architecture'})."
        )
    return headers


def require_adapter(file: Path, base: Path | None) -> None:
    """Raise `NotRecognized` unless a GGUF file is an adapter (LoRA), of the architecture of its base if that is known."""
    try:
        header = read_header(file)
        architecture = header.architecture if base is None else read_header(base).architecture
    except InvalidGguf as error:
        raise NotRecognized(str(error)) from None
    if header.fields.get("general.type") != "adapter" or header.fields.get("adapter.type") != "lora":
        raise NotRecognized(
            f"{file} is not an adapter (LoRA). Leave out --adapter and --base to add it as a model."
        )
    if header.architecture != architecture:
        raise NotRecognized(
            f"{file} is an adapter of another architecture ({header.architecture}) than its base ({architecture})."
        )


def _pictures(tensors: Sequence[Path]) -> RecognizedModel:
    """Return a pipeline of diffusers, whose weights are loaded in half precision on a GPU."""
    numbers = sum(_numbers(file) for file in tensors)
    vram = numbers * _HALF + 2 * _GIB
    return RecognizedModel(IMAGES, ("diffusers",), numbers * _SINGLE + 2 * _GIB, vram, vram // 2)


def _transformer(tensors: Sequence[Path], configuration: Mapping[str, Any]) -> RecognizedModel:
    """Return a language model, whose weights are loaded in half precision on a GPU and in single precision on most processors."""
    numbers = sum(_numbers(file) for file in tensors)
    text = configuration.get("text_config") or configuration
    heads = int(text.get("num_attention_heads") or 1)
    length = int(text.get("head_dim") or int(text.get("hidden_size") or 0) // heads)
    stored = (
        2 * int(text.get("num_hidden_layers") or 0) * int(text.get("num_key_value_heads") or heads) * length
    )
    context = min(CONTEXT, int(text.get("max_position_embeddings") or CONTEXT))
    vram = numbers * _HALF + stored * context * _HALF + _GIB
    memory = numbers * _SINGLE + stored * context * _SINGLE + _PROCESS
    lacks = () if "vision_config" in configuration else ("vision",)
    return RecognizedModel(TEXT, ("vllm", "transformers"), memory, vram, vram, lacks)


def _numbers(file: Path) -> int:
    """Return how many numbers a safetensors file holds. Its header is JSON, after eight bytes with its length. Raises `NotRecognized`."""
    try:
        with file.open("rb") as content:
            header = json.loads(content.read(int.from_bytes(content.read(8), "little")))
        return sum(
            math.prod(map(int, tensor["shape"])) for name, tensor in header.items() if name != "__metadata__"
        )
    except (OSError, ValueError, TypeError, KeyError, MemoryError, OverflowError):
        raise NotRecognized(f"{file} is damaged, or no safetensors file.") from None


def _read_json(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        raise NotRecognized(f"{file} cannot be read.") from None
    return content if isinstance(content, dict) else {}


def files_of(directory: Path) -> list[Path]:
    """Return the files of a model's directory, without hidden ones."""
    return sorted(
        path
        for path in directory.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    )
