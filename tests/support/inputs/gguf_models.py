"""GGUF files with random weights, in any shape: what they answer is noise, what they need is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, quants


def write_gguf(
    target: Path,
    vocabulary_of: Path | None = None,
    *,
    architecture: str = "llama",
    layers: int = 2,
    width: int = 64,
    heads: int = 4,
    groups: int = 2,
    length: int = 0,
    inner: int = 128,
    context: int = 4096,
    window: int = 0,
    form: GGMLQuantizationType = GGMLQuantizationType.F16,
    licence: str = "",
) -> Path:
    """Write a model with the vocabulary of another GGUF file, or without any; then it can be read, but not loaded."""
    writer = GGUFWriter(target, architecture)
    size = 8 if vocabulary_of is None else _copy_vocabulary(writer, vocabulary_of)
    length = length or width // heads
    numbers = {
        "context_length": context, "embedding_length": width, "block_count": layers, "feed_forward_length": inner,
        "attention.head_count": heads, "attention.head_count_kv": groups, "attention.key_length": length,
        "attention.value_length": length, "rope.dimension_count": length, **({"attention.sliding_window": window} if window else {}),
    }  # fmt: skip
    for name, number in numbers.items():
        writer.add_uint32(f"{architecture}.{name}", number)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)
    if licence:
        writer.add_string("general.license", licence)
    random = np.random.default_rng(1)

    def add(name: str, *shape: int) -> None:
        values = (random.random(shape, dtype=np.float32) - 0.5) / 16
        if len(shape) == 1:
            writer.add_tensor(name, values + 1)
        else:
            writer.add_tensor(name, quants.quantize(values, form), raw_dtype=form)

    add("token_embd.weight", size, width)
    add("output_norm.weight", width)
    add("output.weight", size, width)
    for layer in range(layers):
        shapes: dict[str, tuple[int, ...]] = {
            "attn_norm": (width,), "ffn_norm": (width,), "attn_q": (heads * length, width), "attn_k": (groups * length, width),
            "attn_v": (groups * length, width), "attn_output": (width, heads * length), "ffn_gate": (inner, width),
            "ffn_up": (inner, width), "ffn_down": (width, inner),
        }  # fmt: skip
        if architecture in ("gemma3", "qwen3"):
            shapes |= {"attn_q_norm": (length,), "attn_k_norm": (length,)}
        if architecture == "gemma3":
            shapes |= {"post_attention_norm": (width,), "post_ffw_norm": (width,)}
        for name, shape in shapes.items():
            add(f"blk.{layer}.{name}.weight", *shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _copy_vocabulary(writer: GGUFWriter, source: Path) -> int:
    """Return the number of its tokens."""
    reader = GGUFReader(source)
    for name, field in reader.fields.items():
        if name.startswith("tokenizer."):
            of_items = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], of_items)
    return len(reader.get_field("tokenizer.ggml.tokens").contents())


def write_adapter(target: Path, base: Path, strength: float = 1.0) -> Path:
    """Write an adapter (LoRA) with random weights for the attention of a model, strong enough to change its answers."""
    reader = GGUFReader(base)
    architecture = str(reader.get_field("general.architecture").contents())
    writer = GGUFWriter(target, architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    random = np.random.default_rng(1)
    for tensor in reader.tensors:
        if tensor.name.endswith("attn_output.weight"):
            inner, outer = (int(side) for side in tensor.shape)
            writer.add_tensor(f"{tensor.name}.lora_a", random.standard_normal((4, inner), dtype=np.float32))
            writer.add_tensor(
                f"{tensor.name}.lora_b", strength * random.standard_normal((outer, 4), dtype=np.float32)
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
