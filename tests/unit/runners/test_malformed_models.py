"""Damaged and malicious model files: the runner quickly reports that the model cannot be used, and is unaffected."""

from __future__ import annotations

import json
import os
import resource
import shutil
import struct
from pathlib import Path

import pytest
from platformdirs import user_cache_path
from tokenizers import Tokenizer, models

from runners.api import Device, Model, Retry, Tools
from runners.llm import LLMRunner
from runners.llm.engines.loading import load
from runners.stable_diffusion import StableDiffusionRunner

pytestmark = pytest.mark.system

CPU = Device(kind="cpu", name="cpu")
MEMORY = 500 * 2**20
PROCESSOR_SECONDS = 30.0
"""Of this process and an engine's: its start alone takes longer on a busy machine."""
U32, U64 = struct.Struct("<I"), struct.Struct("<Q")
STRING, ARRAY = U32.pack(8), U32.pack(9)


def text(value: str) -> bytes:
    return U64.pack(len(value)) + value.encode()


def header(tensors: int, keys: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


ARCHITECTURE = text("general.architecture") + STRING + text("llama")
GGUF = {
    "nothing": b"",
    "only the magic number": b"GGUF",
    "a version to come": header(0, 0, 99),
    "2^63 tensors": header(2**63, 0),
    "2^40 keys": header(0, 2**40),
    "a string of 2^62 bytes": header(0, 1) + U64.pack(2**62) + b"a",
    "an array of 2^50 numbers": header(0, 1) + text("a") + ARRAY + U32.pack(4) + U64.pack(2**50),
    "arrays in arrays": header(0, 1) + text("a") + ARRAY + (U32.pack(9) + U64.pack(1)) * 100_000,
    "a tensor of 2^62 numbers": header(1, 1) + ARCHITECTURE + text("token_embd.weight") + U32.pack(2) + U64.pack(2**31) * 2
    + U32.pack(0) + U64.pack(0),
    "2^31 dimensions": header(1, 1) + ARCHITECTURE + text("token_embd.weight") + U32.pack(2**31) + b"\0" * 64,
}  # fmt: skip


@pytest.fixture
def refused(tools):
    """Load a model, which must be refused quickly and without using memory here or in an engine's process. Return the message."""

    def memory() -> int:
        return max(
            resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )

    def processor_seconds() -> float:
        return sum(os.times()[:4])

    def attempt(directory: Path) -> str:
        before, began = memory(), processor_seconds()
        with pytest.raises(Retry) as caught:
            LLMRunner(tools, CPU).load(Model("strange", directory))
        assert caught.value.code == "MODEL_UNAVAILABLE"
        assert processor_seconds() - began < PROCESSOR_SECONDS
        assert (memory() - before) * 1024 < MEMORY
        return str(caught.value)

    return attempt


@pytest.mark.parametrize("content", GGUF.values(), ids=GGUF)
def test_a_malformed_gguf_file_is_refused(content, refused, tmp_path):
    (tmp_path / "model.gguf").write_bytes(content)
    refused(tmp_path)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A complete, tiny language model."""
    directory = tmp_path_factory.mktemp("llama")
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 8,
    }
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: PLC0415 - ten seconds, only where it runs

    LlamaForCausalLM(LlamaConfig(**sizes)).save_pretrained(directory)
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))  # noqa: S106 - a word
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="b", model_max_length=64).save_pretrained(  # noqa: S106 - a word
        directory
    )
    load(Model("whole", directory), CPU)
    return directory


def rewritten(path: Path, change) -> None:
    """Rewrite a safetensors file with the result of `change(header, data)`."""
    content = path.read_bytes()
    end = 8 + U64.unpack(content[:8])[0]
    head, data = change(json.loads(content[8:end]), content[end:])
    encoded = head if isinstance(head, bytes) else json.dumps(head).encode()
    path.write_bytes(U64.pack(len(encoded)) + encoded + data)


def with_first(head, **values):
    name = next(name for name in head if name != "__metadata__")
    return {**head, name: {**head[name], **values}}


def without_last(head, data):
    """Remove the tensor at the end of the file; the rest remains valid."""
    last = max((name for name in head if name != "__metadata__"), key=lambda name: head[name]["data_offsets"])
    return {name: value for name, value in head.items() if name != last}, data[
        : head[last]["data_offsets"][0]
    ]


SAFETENSORS = {
    "a header that is no JSON": lambda _, data: (b"\xff" * 100, data),
    "a deep header": lambda _, data: (b'{"a":' * 90_000, data),
    "offsets beyond the end": lambda head, data: (with_first(head, data_offsets=[0, 2**62]), data),
    "a shape of 2^64 numbers": lambda head, data: (with_first(head, shape=[2**62, 4]), data),
    "an unknown type": lambda head, data: (with_first(head, dtype="Z9"), data),
    "the end cut off": lambda head, data: (head, data[:-10]),
    "a weight missing": without_last,
    "all weights missing": lambda *_: ({"__metadata__": {"format": "pt"}}, b""),
}


@pytest.mark.parametrize("change", SAFETENSORS.values(), ids=SAFETENSORS)
def test_a_malformed_safetensors_file_is_refused(change, llama, refused, tmp_path):
    directory = shutil.copytree(llama, tmp_path / "model")
    rewritten(directory / "model.safetensors", change)
    refused(directory)


def test_a_header_with_a_stated_size_of_2_63_bytes_is_refused(llama, refused, tmp_path):
    directory = shutil.copytree(llama, tmp_path / "model")
    weights = directory / "model.safetensors"
    weights.write_bytes(U64.pack(2**63) + weights.read_bytes()[8:])
    refused(directory)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 2**18},
        {"vocab_size": 2**40},
        {"auto_map": {"AutoModelForCausalLM": "evil.Model"}, "model_type": "evil"},
    ],
    ids=str,
)
def test_a_configuration_that_does_not_fit_the_weights_is_refused_and_its_code_not_run(
    change, llama, refused, tmp_path
):
    directory = shutil.copytree(llama, tmp_path / "model")
    configuration = directory / "config.json"
    configuration.write_text(json.dumps({**json.loads(configuration.read_text()), **change}))
    (directory / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    refused(directory)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_diffusion_model_that_lacks_a_weight_is_refused(part, tmp_path):
    """A made-up weight would spoil pictures that the miner signs."""
    directory = shutil.copytree(
        user_cache_path("aitbc") / "models" / "untrained-diffusion", tmp_path / "model"
    )
    (weights,) = (directory / part).glob("*.safetensors")
    rewritten(weights, without_last)
    runner = StableDiffusionRunner(Tools(models_dir=tmp_path), CPU)
    with pytest.raises(Retry, match="lack") as caught:
        runner.load(Model("model", directory))
    assert caught.value.code == "MODEL_UNAVAILABLE"
