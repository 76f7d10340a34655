"""Models, loaded once for all tests: the demo's in llama.cpp, and an untrained one of one layer in transformers."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from platformdirs import user_cache_path
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from runners.api import Device, Model, Tools
from runners.llm import LLMRunner
from runners.llm.request import InferenceRequest
from support.inputs.language_models import NAME, OPTIONS, QUESTION

END = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def device():
    """One thread: several wait for each other where other tests run beside them."""
    return Device("cpu", "test processor", threads=1)


@pytest.fixture(scope="session")
def model():
    directory = Path(os.environ.get("AITBC_MODELS_DIR") or user_cache_path("aitbc") / "models") / NAME
    if not (directory / "model.gguf").is_file():
        pytest.fail(f"The language model is not in {directory}; run `make setup`.")
    return Model(NAME, directory, options=OPTIONS)


@pytest.fixture(scope="session")
def runner(model, device, tmp_path_factory):
    """One runner for all tests, as in a child process that stays warm."""
    loaded = LLMRunner(Tools(models_dir=tmp_path_factory.mktemp("models"), batch=4), device)
    loaded.load(model)
    yield loaded
    loaded.close()


def asker(runner, make_context):
    """Return a function that sends one request to a runner and returns its results."""

    def run(prompt=QUESTION, context=None, **fields):
        if prompt is not None:
            fields["prompt"] = prompt
        request = InferenceRequest(**{"model": NAME, "temperature": 0, "max_tokens": 16, **fields})
        return runner.run(request, context or make_context()).results

    return run


@pytest.fixture
def ask(runner, make_context):
    """Ask llama.cpp."""
    return asker(runner, make_context)


@pytest.fixture
def ask_together(ask):
    """Send several requests at once and return their results in order."""

    def run(requests):
        with ThreadPoolExecutor(len(requests)) as pool:
            return list(pool.map(lambda fields: ask(**fields), requests))

    return run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A directory in the layout of a model hub: safetensors of an untrained model of one layer."""
    directory = tmp_path_factory.mktemp("hub") / "tiny"
    tokens = Tokenizer(models.BPE())
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|im_start|>", "<|im_end|>", "<file_sep>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokens.train_from_iterator(
        [QUESTION, "system user assistant", "The capital of France is Paris."], trainer
    )
    import torch  # noqa: PLC0415 - ten seconds, only where it runs
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: PLC0415 - as above

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, chat_template=TEMPLATE, **END)
    settings = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(settings).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_runner(tiny, device, tmp_path_factory):
    """The untrained model in transformers."""
    loaded = LLMRunner(Tools(models_dir=tmp_path_factory.mktemp("models"), batch=4), device)
    loaded.load(Model("tiny", tiny, options={"dtype": "float32"}))
    yield loaded
    loaded.close()


@pytest.fixture
def ask_tiny(tiny_runner, make_context):
    """Ask transformers."""
    return asker(tiny_runner, make_context)
