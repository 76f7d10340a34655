"""Converts the embedding model all-MiniLM-L6-v2 to GGUF, llama.cpp's format.

The package that ships the model has it as safetensors. llama.cpp's own converter is not on the package index.

    python scripts/minilm_gguf.py DIRECTORY FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

CONTROL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORD_START = "\u2581"
"""llama.cpp marks the beginnings of words, WordPiece their continuations (`##`)."""


def convert(directory: Path, file: Path) -> None:
    """Write the model in `directory` (config.json, vocab.txt, model.safetensors) to `file` with 16-bit weights."""
    config = json.loads((directory / "config.json").read_text())
    writer = gguf.GGUFWriter(file, "bert")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _add_vocabulary(writer, (directory / "vocab.txt").read_text().splitlines(), config["type_vocab_size"])
    _add_tensors(writer, directory / "model.safetensors", config["num_hidden_layers"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: gguf.GGUFWriter, words: list[str], kinds: int) -> None:
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(kinds)
    writer.add_token_list([_shown(word) for word in words])
    types = [gguf.TokenType.CONTROL if word in CONTROL else gguf.TokenType.NORMAL for word in words]
    writer.add_token_types(types)
    padding, unknown, begin, end, mask = (words.index(word) for word in CONTROL)
    writer.add_pad_token_id(padding)
    writer.add_unk_token_id(unknown)
    writer.add_bos_token_id(begin)
    writer.add_eos_token_id(end)
    writer.add_sep_token_id(end)
    writer.add_mask_token_id(mask)


def _shown(word: str) -> str:
    if word.startswith("[") and word.endswith("]"):
        return word
    return word.removeprefix("##") if word.startswith("##") else WORD_START + word


def _add_tensors(writer: gguf.GGUFWriter, file: Path, layers: int) -> None:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, layers)
    for name, tensor in load_file(file).items():
        if name.startswith("pooler") or name.endswith("position_ids"):
            continue
        matrix = tensor.ndim > 1 and "position" not in name and "token_type" not in name
        kind = np.float16 if matrix else np.float32
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), tensor.astype(kind))


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
