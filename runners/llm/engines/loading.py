"""Loads a language model and its tokenizer into transformers."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import Any

from runners.api import Device, FailureCode, Model, Retry
from runners.extras import extra_command
from runners.torch_memory import loading_faults, memory_faults


@dataclass(frozen=True)
class LoadedNetwork:
    """A loaded model. `context` is its maximum number of tokens, `ends` the tokens that end an answer."""

    model: Any
    tokenizer: Any
    context: int
    ends: frozenset[int]

    @property
    def vocabulary(self) -> int:
        """The number of logits of the model; may exceed the number of the tokenizer's tokens."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    @functools.cached_property
    def grammar_tokenizer(self) -> Any:
        """The tokenizer in the form of llguidance."""
        from llguidance import hf  # noqa: PLC0415 - the coordinator has no engine

        return hf.from_tokenizer(self.tokenizer, n_vocab=self.vocabulary, eos_token=sorted(self.ends))


def load(model: Model, device: Device) -> LoadedNetwork:
    """Load a model's safetensors. Raises `Retry`: ENGINE_MISSING, MODEL_UNAVAILABLE, OUT_OF_MEMORY."""
    # Read when torch's threads start. Threads that busy-wait multiply the processor time on a shared machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import torch  # noqa: PLC0415 - the coordinator has no engine
        from transformers.utils import logging  # noqa: PLC0415 - as above
    except ImportError as error:
        raise Retry(
            f"{error}; install it: {extra_command('transformers')}.", code=FailureCode.ENGINE_MISSING
        ) from None
    torch.set_num_threads(max(1, device.threads))
    logging.disable_progress_bar()
    with memory_faults(), loading_faults(model):
        tokenizer, network = _read(model, device, _number_type(torch, model, device))
        return _checked(network.to(device.kind).eval(), tokenizer)


def _number_type(torch: Any, model: Model, device: Device) -> Any:
    """Return the catalogue's option `dtype`, or the fastest 16-bit type; float32 on a processor that only emulates those."""
    named = model.options.get("dtype")
    if named is not None:
        return getattr(torch, str(named))
    if device.kind == "cpu":
        capable = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return torch.bfloat16 if capable() else torch.float32
    return torch.bfloat16 if float(device.compute_capability or 0) >= 8 else torch.float16  # noqa: PLR2004 - Ampere


def _read(model: Model, device: Device, number_type: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - the coordinator has no engine

    source: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    options = {**source, "dtype": number_type, "attn_implementation": "sdpa", "use_safetensors": True}
    if device.kind == "cuda":
        options["device_map"] = device.kind  # straight to the GPU, without a copy in main memory
    tokenizer = AutoTokenizer.from_pretrained(model.path, **source)
    network, report = AutoModelForCausalLM.from_pretrained(model.path, output_loading_info=True, **options)
    if report["missing_keys"]:  # transformers would fill them with random numbers
        raise ValueError(f"its files lack {len(report['missing_keys'])} of its weights")
    return tokenizer, network


def _checked(network: Any, tokenizer: Any) -> LoadedNetwork:
    settings = network.config.get_text_config(decoder=True)
    # Only these decode a stream of tokens without decoding all of it each time.
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError("this engine supports only models with a fast tokenizer")
    ends = {tokenizer.eos_token_id}
    # Models state the end of a turn in either file, some in both with different tokens.
    for source in (network.generation_config, settings):
        token_ids = getattr(source, "eos_token_id", None)
        ends |= set(token_ids) if isinstance(token_ids, list) else {token_ids}
    # Some tokenizers state no length, as a very large number.
    context = min(settings.max_position_embeddings, tokenizer.model_max_length)
    return LoadedNetwork(network, tokenizer, int(context), frozenset(ends - {None}))
