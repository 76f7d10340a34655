"""Creates language models with random weights for machines without one: a small Llama that reads bytes, for each kind of engine."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

HIDDEN: Final = 256
LAYERS: Final = 4
HEADS: Final = 4
CONTEXT: Final = 1024
END: Final = "</s>"

CHAT: Final = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


def tiny_llama(directory: Path) -> None:
    """Write the model and its tokenizer in the format of transformers."""
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    tokenizer = _tokenizer(transformers)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=4 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        dtype=torch.bfloat16,
    )
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def tiny_gguf(directory: Path) -> None:
    """Write a model of the same shape as GGUF, llama.cpp's format, with 16-bit weights."""
    gguf, numpy, tokenizers = (importlib.import_module(name) for name in ("gguf", "numpy", "tokenizers"))
    random = numpy.random.default_rng(0)
    # Any sequence of these is a text; one of arbitrary bytes is not, and llama.cpp's server may refuse to answer with it.
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    letters = sorted(letter for letter in alphabet if letter.isascii() or letter in "\u0120\u010a")
    writer = gguf.GGUFWriter(directory / "model.gguf", "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(4 * HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    # llama.cpp wants at least one pair that becomes a token.
    words = [*letters, "th", END]
    writer.add_token_list(words)
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(words) - 1) + [gguf.TokenType.CONTROL])
    writer.add_token_merges(["t h"])
    writer.add_eos_token_id(words.index(END))
    writer.add_chat_template(CHAT)

    def add(name: str, *shape: int) -> None:
        norm = len(shape) == 1
        values = numpy.ones(shape) if norm else random.normal(0, shape[1] ** -0.5, shape)
        writer.add_tensor(f"{name}.weight", values.astype(numpy.float32 if norm else numpy.float16))

    add("token_embd", len(words), HIDDEN)
    add("output_norm", HIDDEN)
    for number in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            add(f"blk.{number}.{name}", HIDDEN)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{number}.{name}", HIDDEN, HIDDEN)
        for name in ("ffn_gate", "ffn_up"):
            add(f"blk.{number}.{name}", 4 * HIDDEN, HIDDEN)
        add(f"blk.{number}.ffn_down", HIDDEN, 4 * HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tokenizer(transformers: Any) -> Any:
    """Return a tokenizer with one token per byte and one for the end of the text."""
    tokenizers = importlib.import_module("tokenizers")
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[])
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=END, pad_token=END, chat_template=CHAT, model_max_length=CONTEXT
    )
