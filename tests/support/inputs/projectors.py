"""A language model that sees colours: a projector for the tests' language model, which turns red, green and blue into these words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFWriter
from gguf.quants import dequantize

COLOURS = ("red", "green", "blue")
SIZE = 28
"""Width and height of the images that the projector reads."""
PATCH = 14
TOKENS = (SIZE // PATCH) ** 2
"""Tokens of the context that each image takes."""

_WIDTH = 8
_BLOCK = {
    **{f"attn_{name}": (_WIDTH, _WIDTH) for name in ("q", "k", "v", "out")},
    **{f"ffn_{name}": (_WIDTH, _WIDTH) for name in ("up", "down")},
    **dict.fromkeys(("ln1", "ln2"), (_WIDTH,)),
}


def write_projector(model: Path, projector: Path) -> None:
    """Write a projector in LLaVA's form for a GGUF file.

    Its image encoder is one block of zeros, which changes nothing: each patch becomes its mean red, green and blue. Of these, the
    projection makes the model's own embedding of the word for the colour.
    """
    reader = GGUFReader(model)
    tokens = reader.get_field("tokenizer.ggml.tokens").contents()
    table = next(tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
    words = dequantize(table.data, table.tensor_type)[[tokens.index(f"Ġ{colour}") for colour in COLOURS]]
    writer = GGUFWriter(projector, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.use_gelu", True)
    writer.add_string("clip.projector_type", "mlp")
    numbers = {
        "image_size": SIZE, "patch_size": PATCH, "embedding_length": _WIDTH, "feed_forward_length": _WIDTH,
        "block_count": 1, "attention.head_count": 1, "projection_dim": words.shape[1],
    }  # fmt: skip
    for name, number in numbers.items():
        writer.add_uint32(f"clip.vision.{name}", number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    for name in ("image_mean", "image_std"):
        writer.add_array(f"clip.vision.{name}", [0.5, 0.5, 0.5])
    for name, tensor in _tensors(words).items():
        writer.add_tensor(name, tensor.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(words: np.ndarray) -> dict[str, np.ndarray]:
    colours = len(COLOURS)
    mean = np.zeros((_WIDTH, colours, PATCH, PATCH))
    mean[range(colours), range(colours)] = 1 / PATCH**2
    purest = np.zeros((colours, _WIDTH))  # 3 for the pure colour, negative for the others
    purest[:, :colours] = 2 * np.eye(colours) - 1
    block = {
        f"v.blk.0.{name}.{part}": np.zeros(shape if part == "weight" else shape[:1])
        for name, shape in _BLOCK.items()
        for part in ("weight", "bias")
    }
    return block | {
        "v.patch_embd.weight": mean,
        "v.class_embd": np.zeros(_WIDTH),
        "v.position_embd.weight": np.zeros((TOKENS + 1, _WIDTH)),
        "mm.0.weight": purest,
        "mm.0.bias": np.zeros(colours),
        "mm.2.weight": words.T / 3,
        "mm.2.bias": np.zeros(words.shape[1]),
    }
