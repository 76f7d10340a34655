"""One language model, loaded once for all tests, and an untrained model of one layer."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from platformdirs import user_cache_path
from transformers import LlamaConfig, LlamaForCausalLM

from runners.api import Device, Model, Tools
from runners.llm import LLMRunner
from runners.llm.request import InferenceRequest
from support.language_models import NAME, QUESTION


@pytest.fixture(scope="session")
def device():
    """One thread: several wait for each other in busy loops where other tests run beside them."""
    return Device("cpu", "test processor", threads=1)


@pytest.fixture(scope="session")
def model():
    directory = Path(os.environ.get("AITBC_MODELS_DIR") or user_cache_path("aitbc") / "models") / NAME
    if not (directory / "model.gguf").is_file():
        pytest.fail(f"The language model is not in {directory}; run `make setup`.")
    # In float32 an answer does not depend on the processor or on its neighbours in the batch.
    return Model(NAME, directory, options={"dtype": "float32"})


@pytest.fixture(scope="session")
def runner(model, device, tmp_path_factory):
    """One runner for all tests, as in a child process that stays warm."""
    loaded = LLMRunner(Tools(models_dir=tmp_path_factory.mktemp("models"), batch=4), device)
    loaded.load(model)
    yield loaded
    loaded.close()


@pytest.fixture
def ask(runner, make_context):
    """Send one request and return its results."""

    def run(prompt=QUESTION, context=None, **fields):
        if prompt is not None:
            fields["prompt"] = prompt
        request = InferenceRequest(**{"model": NAME, "temperature": 0, "max_tokens": 16, **fields})
        return runner.run(request, context or make_context()).results

    return run


@pytest.fixture
def ask_together(ask):
    """Send several requests at once and return their results in order."""

    def run(requests):
        with ThreadPoolExecutor(len(requests)) as pool:
            return list(pool.map(lambda fields: ask(**fields), requests))

    return run


@pytest.fixture(scope="session")
def tiny(runner, tmp_path_factory):
    """A directory in the layout of a model hub: safetensors of an untrained model of one layer, without a chat template."""
    directory = tmp_path_factory.mktemp("hub") / "tiny"
    tokenizer = runner._engine._loaded.tokenizer
    settings = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(settings).save_pretrained(directory)
    template, tokenizer.chat_template = tokenizer.chat_template, None
    tokenizer.save_pretrained(directory)
    tokenizer.chat_template = template
    return directory
