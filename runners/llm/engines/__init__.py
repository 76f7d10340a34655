"""The engines that load and run language models, and the choice between them."""

from __future__ import annotations

import importlib.util
import sys

from runners.api import Device, FailureCode, Model, Retry, Tools
from runners.engine_server import llama
from runners.extras import extra_command
from runners.llm.engines.base import LanguageEngine
from runners.llm.files import weights


def open_engine(model: Model, device: Device, tools: Tools, vram: int | None) -> LanguageEngine:
    """Load a model: a GGUF file in llama.cpp, safetensors in vLLM, or else in transformers.

    Raises `Retry`: ENGINE_MISSING, MODEL_UNAVAILABLE, OUT_OF_MEMORY.
    """
    files = weights(model)
    if not files:
        raise Retry(
            f"The model {model.name!r} is not on this machine as safetensors or GGUF; download it with "
            f"'aitbc-agent models pull {model.name}'.",
            code=FailureCode.MODEL_UNAVAILABLE,
        )
    if files[0].suffix == ".gguf":
        if llama.build() is None:
            _require("xllamacpp", "llm")
        from runners.llm.engines.llama_cpp import LlamaCppEngine  # noqa: PLC0415 - engines are optional

        return LlamaCppEngine(model, device, tools, vram)
    if importlib.util.find_spec("vllm"):
        from runners.llm.engines.vllm import VLLMEngine  # noqa: PLC0415 - as above

        return VLLMEngine(sys.executable, model, device, vram)
    _require("transformers", "transformers")
    from runners.llm.engines.transformers import TransformersEngine  # noqa: PLC0415 - as above

    return TransformersEngine(model, device, tools, vram)


def _require(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise Retry(
            f"{package} is missing; install it: {extra_command(extra)}.",
            code=FailureCode.ENGINE_MISSING,
        )
