"""How much memory llama.cpp will take for a model, from the headers of its files, before it is loaded for the first time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from runners.model_files.gguf_header import GgufHeader, weights_size

MIB: Final = 2**20
CONTEXT: Final = 16_384
"""Tokens of all requests together on a processor, and for which a GPU should have memory."""
ANSWERS: Final = 8
"""Requests that are computed together."""
PROCESSES: Final = 95 * MIB
"""What the runner and the server take without a model: their interpreters, libraries and buffers. Measured."""
READING: Final = 28 * MIB
"""What the server takes more for a model that returns vectors or scores. Measured with one such model."""
VOCABULARY: Final = 320
"""Bytes for each token of the vocabulary, with its merges. Measured."""
GPU_CONTEXT: Final = 512 * MIB
"""What a process takes of a GPU for the driver and its libraries."""
_PROCESSOR_BATCH: Final = 128
_GPU_BATCH: Final = 512
_CELLS: Final = 256
"""llama.cpp rounds the tokens of a cache up to a multiple of this."""
_HALF: Final = 2
"""Bytes of a number in the cache."""
_SINGLE: Final = 4

_REPACKED: Final = frozenset({2, 12, 20, 39})
"""ggml's types of weights (Q4_0, Q4_K, IQ4_NL, MXFP4) of which it makes a second, faster copy for a processor."""
_REPACKED_ROWS: Final = 8

_WINDOWED: Final = {
    "cohere2": 4, "exaone4": 4, "gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "olmo2": 4,
}  # fmt: skip
"""By architecture: each layer of this number sees the whole context, the others only a window of it."""


@dataclass(frozen=True, slots=True)
class PlannedMemory:
    """Bytes: main memory on a machine without a GPU, and of a GPU; `vram_min` if some layers stay in main memory."""

    memory: int
    vram: int
    vram_min: int


def plan(
    headers: Sequence[GgufHeader], *, context: int = CONTEXT, beside: int = 0, embedding: bool = False
) -> PlannedMemory:
    """Return what a model will take. `headers` are those of its files, the first one with the description.

    `context` is the tokens of all requests together; `beside` the bytes of further files, such as the one that reads images.
    """
    first = headers[0]
    weights = weights_size(headers) + beside
    vocabulary = _vocabulary(headers)
    width = int(first.value("embedding_length"))
    batch = context if embedding else _PROCESSOR_BATCH
    cache = (
        0
        if embedding and not first.value("attention.causal", otherwise=True)
        else _cache(first, context, batch)
    )
    # A few rows of activations at a time; the probabilities of the next token of each answer.
    buffers = batch * width * _SINGLE * 8 + ANSWERS * vocabulary * _SINGLE
    fixed = PROCESSES + (READING if embedding else 0)
    memory = weights + _repacked(headers) + cache + buffers + fixed + vocabulary * VOCABULARY
    trained = int(first.value("context_length")) or context
    cache_on_gpu = cache if embedding else _cache(first, min(context, trained), _GPU_BATCH)
    buffers_on_gpu = max(batch, _GPU_BATCH) * (width * 16 + vocabulary) * _SINGLE
    vram = weights + cache_on_gpu + buffers_on_gpu + GPU_CONTEXT
    return PlannedMemory(_rounded(memory), _rounded(vram), _rounded(vram * 2 // 3))


def _rounded(size: int) -> int:
    return -(-size // MIB) * MIB


def _vocabulary(headers: Sequence[GgufHeader]) -> int:
    tokens = headers[0].fields.get("tokenizer.ggml.tokens", 0)
    return len(tokens) if isinstance(tokens, list) else int(tokens)


def _repacked(headers: Sequence[GgufHeader]) -> int:
    """Return the bytes of the second copies of weights on a processor."""
    tensors = [tensor for header in headers for tensor in header.tensors]
    # Where no output has weights of its own, those of the embedding are used for it, too.
    has_output = any(tensor.name == "output.weight" for tensor in tensors)
    return sum(
        tensor.size
        for tensor in tensors
        if tensor.type in _REPACKED
        and len(tensor.shape) > 1
        and tensor.shape[1] % _REPACKED_ROWS == 0
        and not (tensor.name == "token_embd.weight" and has_output)
    )


def _cache(header: GgufHeader, context: int, batch: int) -> int:
    """Return the bytes of the keys and values of so many tokens, and of the states of layers without them."""
    layers = int(header.value("block_count"))
    cells = -(-context // _CELLS) * _CELLS
    window = int(header.value("attention.sliding_window"))
    in_window = min(cells, -(-(window * ANSWERS + batch) // _CELLS) * _CELLS)
    windowed = _windowed_layers(header, layers) if window else frozenset[int]()
    return sum(
        (in_window if layer in windowed else cells) * numbers * _HALF if numbers else _state(header)
        for layer, numbers in enumerate(_numbers(header, layers))
    )


def _numbers(header: GgufHeader, layers: int) -> list[int]:
    """Return how many numbers each layer stores for a token."""
    ranks = header.value("attention.kv_lora_rank")
    if ranks and header.value("attention.key_length_mla"):
        return [int(ranks) + int(header.value("rope.dimension_count"))] * layers
    heads = _per_layer(header.value("attention.head_count"), layers)
    groups = header.value("attention.head_count_kv", None)
    stored = heads if groups is None else _per_layer(groups, layers)
    usual = int(header.value("embedding_length")) // max(1, *heads) if heads else 0
    length = int(header.value("attention.key_length", usual)) + int(
        header.value("attention.value_length", usual)
    )
    # Some architectures have attention in each layer of this number only.
    interval = int(header.value("full_attention_interval")) or 1
    return [
        0 if (layer + 1) % interval else groups_of_layer * length
        for layer, groups_of_layer in enumerate(stored)
    ]


def _per_layer(value: int | list[int], layers: int) -> list[int]:
    return [int(number) for number in value] if isinstance(value, list) else [int(value)] * layers


def _windowed_layers(header: GgufHeader, layers: int) -> frozenset[int]:
    named = header.value("attention.sliding_window_pattern", None)
    if isinstance(named, list):
        return frozenset(layer for layer, windowed in enumerate(named) if windowed)
    period = int(named or _WINDOWED.get(header.architecture, 1))
    return frozenset(layer for layer in range(layers) if (layer + 1) % period)


def _state(header: GgufHeader) -> int:
    """Return the bytes of the states of a layer that has no keys and values, of all requests."""
    inner, state = int(header.value("ssm.inner_size")), int(header.value("ssm.state_size"))
    groups, kernel = int(header.value("ssm.group_count")), int(header.value("ssm.conv_kernel"))
    return (max(0, kernel - 1) * (inner + 2 * groups * state) + inner * state) * ANSWERS * _SINGLE
