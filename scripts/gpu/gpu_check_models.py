"""Creates a language model with random weights for machines without one: a small Llama that reads bytes."""

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
