"""Checks vLLM after its installation: it loads a tiny untrained model with the runner's own arguments, and generates a few tokens.

An import does not show what fails at the first start: a compiler, headers, or kernels for the card. Runs in vLLM's environment.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from runners.api import Device, FailureCode, Model, Retry
from runners.llm.engines.base import GenerationOptions
from runners.llm.engines.vllm import VLLMEngine
from runners.llm.request import InferenceRequest

BUDGET = 3 * 2**30
"""Bytes of the GPU's memory that vLLM gets. Its own buffers and graphs take most of them."""

HIDDEN, HEADS, CONTEXT = 256, 4, 1024
END = "</s>"
CHAT = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
SCHEMA = {"type": "object", "properties": {"name": {"enum": ["a", "b"]}}, "required": ["name"]}


def check_vllm() -> None:
    """Raise what fails: `ImportError`, `Retry`, `RuntimeError`. On a machine without a GPU, the build for GPUs is only imported."""
    from vllm.platforms import current_platform  # noqa: PLC0415 - in vLLM's environment only

    busy: Retry | None = None
    for device in _devices(current_platform):
        if device.uuid is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = device.uuid
        try:
            _load_and_generate(device)
        except Retry as error:
            # A card that other programs use says nothing about vLLM, and another one may be free.
            if error.code != FailureCode.OUT_OF_MEMORY:
                raise
            busy = error
        else:
            return
    if busy is not None:
        raise RuntimeError(
            f"No device has {BUDGET / 2**30:.0f} GiB to spare: stop what uses it, for example the agent. {busy}"
        )


def _devices(platform: Any) -> list[Device]:
    """Return the devices of vLLM's platform."""
    if platform.device_type == "cpu":
        return [Device("cpu", "the processor", threads=os.cpu_count() or 1)]
    if platform.device_type != "cuda":
        return []
    return [
        Device(
            "cuda",
            platform.get_device_name(index),
            platform.get_device_uuid(index),
            memory=platform.get_device_total_memory(index),
        )
        for index in range(platform.device_count())
    ]


def _load_and_generate(device: Device) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        engine = VLLMEngine(sys.executable, Model("tiny", Path(folder)), device, BUDGET)
        try:
            _generate(engine, {"temperature": 1, "top_p": 0.9, "top_k": 50, "seed": 1})
            _generate(engine, {"temperature": 0, "response_schema": SCHEMA})
        finally:
            engine.close()


def _generate(engine: VLLMEngine, parameters: dict[str, Any]) -> None:
    request = InferenceRequest(model="tiny", prompt="Once upon a time", raw=True, max_tokens=8, **parameters)
    pieces = list(engine.submit(request, {}, GenerationOptions()).pieces())
    if not pieces or pieces[-1].completion_tokens == 0:
        raise RuntimeError("vLLM has generated nothing.")


def write_model(directory: Path) -> None:
    """Write a Llama of one layer with random weights and a token for each byte, in the format of transformers."""
    import torch  # noqa: PLC0415 - in vLLM's environment only
    from safetensors.torch import save_file  # noqa: PLC0415 - as above
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415 - as above

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END])
    tokenizer.save(str(directory / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    wide = 4 * HIDDEN
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens": (size, HIDDEN),
        "model.norm": (HIDDEN,),
        "lm_head": (size, HIDDEN),
        **{f"model.layers.0.{name}_layernorm": (HIDDEN,) for name in ("input", "post_attention")},
        **{f"model.layers.0.self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "qkvo"},
        **{f"model.layers.0.mlp.{name}_proj": (wide, HIDDEN) for name in ("gate", "up")},
        "model.layers.0.mlp.down_proj": (HIDDEN, wide),
    }
    torch.manual_seed(0)
    weights = {f"{name}.weight": (0.02 * torch.randn(shape)).bfloat16() for name, shape in shapes.items()}
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    described: dict[str, dict[str, Any]] = {
        "config.json": {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "hidden_act": "silu",
            "hidden_size": HIDDEN, "intermediate_size": wide, "num_hidden_layers": 1, "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS, "head_dim": HIDDEN // HEADS, "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "tie_word_embeddings": False, "vocab_size": size, "eos_token_id": size - 1,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "chat_template": CHAT, "model_max_length": CONTEXT,
        },
    }  # fmt: skip
    for name, content in described.items():
        (directory / name).write_text(json.dumps(content), encoding="utf-8")
