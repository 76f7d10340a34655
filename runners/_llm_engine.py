"""What the runner of language models needs of an engine, and which engine a model gets."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from runners._base import Device, Fail, Model, Retry, Tools
from runners._llm_request import InferenceRequest

GGUF = "model.gguf"

_DESCRIPTIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
"""Files beside the weights that change what a model answers."""


@dataclass(frozen=True, slots=True)
class Piece:
    """News of a generation: text that is new, and tokens read and generated so far. The last one has `finish_reason`."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: Literal["stop", "length"] | None = None


class Generation(Protocol):
    """One request that an engine works on."""

    def pieces(self) -> Iterator[Piece]:
        """The news as they come. Ends after the one with `finish_reason`, or without it after `cancel`.

        Raises `Fail` or `Retry`. At least one piece comes for every step that the engine does on the request.
        """

    def cancel(self) -> None:
        """Stop at the next token. From any thread; ignored when the generation has ended."""


class LanguageEngine(Protocol):
    """A loaded model that works on several requests at the same time."""

    def submit(self, request: InferenceRequest) -> Generation:
        """Begin a request. Raises `Fail` (CONTEXT_OVERFLOW, INPUT_INVALID) or `Retry`."""

    def vram_peak(self) -> int:
        """See `Runner.vram_peak`."""

    def close(self) -> None:
        """Stop, and give back the memory."""


def weights(model: Model) -> tuple[Path, ...]:
    """The files on disk that make a model, in a fixed order; empty if it is not there in a format that we load.

    A pickle (`.bin`, `.pt`) is never loaded: it could run a stranger's code.
    """
    tensors = sorted(model.path.glob("*.safetensors")) if (model.path / "config.json").is_file() else []
    if tensors:
        return (*tensors, *(path for name in _DESCRIPTIONS if (path := model.path / name).is_file()))
    found = gguf_file(model)
    return () if found is None else (found,)


def gguf_file(model: Model) -> Path | None:
    """The GGUF file of a model's directory: `model.gguf`, or the only one."""
    named = model.path / GGUF
    files = [named] if named.is_file() else list(model.path.glob("*.gguf"))
    return files[0] if len(files) == 1 else None


def check_context(tokens: int, request: InferenceRequest, context: int) -> None:
    """Raise `Fail` with CONTEXT_OVERFLOW unless a prompt of so many tokens and its answer fit into the model's context."""
    if tokens + request.max_tokens > context:
        raise Fail(
            f"The prompt has {tokens} tokens and max_tokens is {request.max_tokens}; the model {request.model!r} holds "
            f"{context} together. Shorten one of them.",
            code="CONTEXT_OVERFLOW",
        )


def open_engine(model: Model, device: Device, tools: Tools, vram: int | None) -> LanguageEngine:
    """Load a model. Raises `Retry`: ENGINE_MISSING, MODEL_UNAVAILABLE, OUT_OF_MEMORY."""
    files = weights(model)
    if not files:
        raise Retry(
            f"The model {model.name!r} is not on this machine as safetensors or GGUF; put it there with "
            f"'aitbc-agent models pull {model.name}'.",
            code="MODEL_UNAVAILABLE",
        )
    if device.kind == "cuda" and files[0].suffix == ".safetensors" and importlib.util.find_spec("vllm"):
        from runners._llm_vllm import VLLMEngine  # noqa: PLC0415 - one engine needs not the other

        return VLLMEngine(model, device, tools, vram)
    from runners._llm_transformers import TransformersEngine  # noqa: PLC0415 - as above

    return TransformersEngine(model, device, tools, vram)
