"""The engines that load and run language models, and the choice between them."""

from __future__ import annotations

import importlib.util

from runners.api import Device, FailureCode, Model, Retry, Tools
from runners.llm.engines.base import LanguageEngine
from runners.llm.files import weights


def open_engine(model: Model, device: Device, tools: Tools, vram: int | None) -> LanguageEngine:
    """Load a model. Raises `Retry`: ENGINE_MISSING, MODEL_UNAVAILABLE, OUT_OF_MEMORY."""
    files = weights(model)
    if not files:
        raise Retry(
            f"The model {model.name!r} is not on this machine as safetensors or GGUF; download it with "
            f"'aitbc-agent models pull {model.name}'.",
            code=FailureCode.MODEL_UNAVAILABLE,
        )
    if device.kind == "cuda" and files[0].suffix == ".safetensors" and importlib.util.find_spec("vllm"):
        from runners.llm.engines.vllm import VLLMEngine  # noqa: PLC0415 - engines are optional

        return VLLMEngine(model, device, tools, vram)
    from runners.llm.engines.transformers import TransformersEngine  # noqa: PLC0415 - as above

    return TransformersEngine(model, device, tools, vram)
