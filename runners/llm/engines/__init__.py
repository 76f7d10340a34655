"""The engines that load and run language models, and the choice between them."""

from __future__ import annotations

import sys

from runners.api import Device, FailureCode, Model, Retry, Tools
from runners.engine_server import llama
from runners.extras import extra_command, has_modules
from runners.llm.engines.base import LanguageEngine
from runners.llm.files import weights
from runners.model_errors import not_downloaded


def open_engine(model: Model, device: Device, tools: Tools, vram: int | None) -> LanguageEngine:
    """Load a model: a GGUF file in llama.cpp, safetensors in vLLM, or else in transformers.

    Raises `Retry`: ENGINE_MISSING, MODEL_UNAVAILABLE, OUT_OF_MEMORY.
    """
    files = weights(model)
    if not files:
        raise not_downloaded(model.name, "as safetensors or GGUF")
    if files[0].suffix == ".gguf":
        if llama.build() is None:
            _require("xllamacpp", "llm")
        from runners.llm.engines.llama_cpp import LlamaCppEngine  # noqa: PLC0415 - engines are optional

        return LlamaCppEngine(model, device, tools, vram)
    if has_modules("vllm"):
        from runners.llm.engines.vllm import VLLMEngine  # noqa: PLC0415 - as above

        return VLLMEngine(sys.executable, model, device, vram)
    _require("transformers", "transformers")
    from runners.llm.engines.transformers import TransformersEngine  # noqa: PLC0415 - as above

    return TransformersEngine(model, device, tools, vram)


def _require(package: str, extra: str) -> None:
    if not has_modules(package):
        raise Retry(
            f"{package} is missing; install it: {extra_command(extra)}.",
            code=FailureCode.ENGINE_MISSING,
        )
